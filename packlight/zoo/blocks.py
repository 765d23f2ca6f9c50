"""What the families share: widths, convolutions with their batch norm, attention, shuffles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from packlight.errors import BadInput

MOST = 16  # times as wide or deep as the paper's


class ImageClassifier(nn.Module):
    """Features of an image, then logits: (n, *input_shape) -> (n, classes).

    Args:
        features: layers that keep an image.
        classifier: pools or flattens it, and ends in the logits.
        input_shape: channels, height and width of the images that it is made for.
    """

    def __init__(
        self, features: nn.Module, classifier: nn.Module, input_shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        self.input_shape = input_shape
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image))


def image_shape(
    resolution: int,
    classes: int,
    channels: int,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    least: int = 32,
) -> tuple[int, int, int]:
    """Channels, height and width of the input, once every argument is possible.

    Args:
        least: the smallest resolution that leaves something to pool.
    Raises:
        BadInput: an argument is not.
    """
    for name, value, bound in (
        ("resolution", resolution, least),
        ("classes", classes, 1),
        ("channels", channels, 1),
    ):
        if not isinstance(value, int) or value < bound:
            raise BadInput(f"{name}={value!r} is not possible here; give a whole number >= {bound}")
    for name, factor in (("width", width), ("depth", depth)):
        if not 0 < factor <= MOST:
            raise BadInput(
                f"{name}={factor!r} is not possible; give a factor above 0, {MOST} at most"
            )
    return channels, resolution, resolution


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, but never more than a tenth below `channels`.

    Processors handle channels in groups of 8. Source: Sandler et al., arXiv:1801.04381, their code.
    """
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * channels else nearest + divisor


def repeats(blocks: int, depth: float) -> int:
    """How many blocks a stage of `blocks` has at another depth; at least one.

    Source: Tan and Le, arXiv:1905.11946, their code: rounded up.
    """
    return max(1, ceil(round(depth * blocks, 6)))  # 1.1 x 10 is no more than 11


def deepened(
    rows: Sequence[tuple[Any, ...]], depth: float, channels: Callable[[tuple[Any, ...]], int]
) -> list[tuple[Any, ...]]:
    """A table of blocks at another depth: stages lose their last blocks, or repeat the last one.

    Args:
        rows: one per block, the stride last.
        channels: of a row's output; rows in sequence that make as many are a stage.
    """
    made: list[tuple[Any, ...]] = []
    for _, rows_of_stage in groupby(rows, channels):
        stage = list(rows_of_stage)
        count = repeats(len(stage), depth)
        again = (*stage[-1][:-1], 1)
        made += [*stage[:count], *[again] * (count - len(stage))]
    return made


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
    **norm: Any,
) -> nn.Sequential:
    """Convolution, batch norm, activation; padded so that only the stride makes images smaller.

    Args:
        norm: arguments of the batch norm.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, **norm),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def depthwise(
    channels: int,
    kernel: int = 3,
    stride: int = 1,
    activation: type[nn.Module] | None = None,
    **norm: Any,
) -> nn.Sequential:
    """`conv_bn` with a kernel of its own for every channel."""
    return conv_bn(channels, channels, kernel, stride, channels, activation, **norm)


def pooled_linear(features: int, classes: int, dropout: float = 0.0) -> nn.Sequential:
    """The mean over all positions, and one linear layer."""
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(features, classes))


def dense(widths: Sequence[int], dropout: float = 0.0) -> list[nn.Module]:
    """Linear layers with ReLU between them, and dropout before all but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return [*layers, nn.Linear(widths[-2], widths[-1])]


class SqueezeExcite(nn.Module):
    """Weighs channels by what the whole image shows: pool, two layers, a gate per channel.

    Source: Hu et al., arXiv:1709.01507; the hard sigmoid is of Howard et al., arXiv:1905.02244.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.relu = nn.ReLU()
        self.excite = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.excite(self.relu(self.squeeze(self.pool(x)))))


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels of every group out to all groups: (n, c, h, w) -> the same shape.

    Group convolutions never look beyond their group; after this the next one sees all of them.
    Source: Zhang et al., arXiv:1707.01083, fig. 1.
    """
    channels, height, width = x.shape[1:]
    dealt = x.reshape(-1, groups, channels // groups, height, width).transpose(1, 2)
    return dealt.reshape(-1, channels, height, width)


def _initialise(layer: nn.Module) -> None:
    """Kernels keep the variance of gradients (He et al., arXiv:1502.01852), classifiers start
    small."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=min(0.01, layer.in_features**-0.5))
    else:
        return
    if layer.bias is not None:
        with torch.no_grad():
            layer.bias.zero_()
