"""GhostNet: half of the channels are cheap echoes of the other half.

Trained networks hold many feature maps that nearly repeat each other. A ghost module computes half
of them with a 1x1 convolution and derives the rest, each from one of those, by a depthwise 3x3.
Source: Han et al., arXiv:1911.11907, table 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from packlight.zoo.blocks import (
    ImageClassifier,
    SqueezeExcite,
    conv_bn,
    deepened,
    depthwise,
    image_shape,
    make_divisible,
)

_STEM = 16
_BLOCKS = (  # kernel, expanded, channels, attention, stride
    (3, 16, 16, False, 1),
    (3, 48, 24, False, 2),
    (3, 72, 24, False, 1),
    (5, 72, 40, True, 2),
    (5, 120, 40, True, 1),
    (3, 240, 80, False, 2),
    (3, 200, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
)
_POOLED, _LAST = 960, 1280


def ghostnet(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
) -> ImageClassifier:
    """GhostNet, 5.2 M parameters at width 1.

    Args:
        width: factor on every layer's channels but the last.
        depth: factor on the blocks of each stage.
        resolution, channels: of the images.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    inputs = make_divisible(width * _STEM, 4)
    layers: list[nn.Module] = [conv_bn(channels, inputs, stride=2)]
    rows = deepened(_BLOCKS, depth, lambda row: int(row[2]))
    for kernel, expanded, count, attention, stride in rows:
        hidden, outputs = make_divisible(width * expanded, 4), make_divisible(width * count, 4)
        layers.append(GhostBottleneck(inputs, hidden, outputs, kernel, stride, attention))
        inputs = outputs
    pooled = make_divisible(width * _POOLED, 4)
    layers.append(conv_bn(inputs, pooled, 1))
    classifier = nn.Sequential(
        *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(pooled, _LAST, 1), nn.ReLU()),
        *(nn.Flatten(1), nn.Dropout(0.2), nn.Linear(_LAST, classes)),
    )
    return ImageClassifier(nn.Sequential(*layers), classifier, shape)


class Ghost(nn.Module):
    """`outputs` channels, the second half of them depthwise from the first."""

    def __init__(self, inputs: int, outputs: int, activation: type[nn.Module] | None) -> None:
        super().__init__()
        half = outputs // 2
        self.primary = conv_bn(inputs, half, 1, activation=activation)
        self.cheap = depthwise(half, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        return torch.cat([x, self.cheap(x)], 1)


class GhostBottleneck(nn.Module):
    """Two ghost modules, wide and narrow; between them what halves the image and attention."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, kernel: int, stride: int, attention: bool
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(Ghost(inputs, hidden, nn.ReLU))
        if stride > 1:
            self.body.append(depthwise(hidden, kernel, stride))
        if attention:
            self.body.append(SqueezeExcite(hidden, make_divisible(hidden / 4, 4)))
        self.body.append(Ghost(hidden, outputs, None))
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                depthwise(inputs, kernel, stride), conv_bn(inputs, outputs, 1, activation=None)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)
