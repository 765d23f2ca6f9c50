"""SqueezeNet: AlexNet's accuracy with fifty times fewer parameters.

Three ideas: 1x1 kernels instead of 3x3 ones, few inputs for the 3x3 ones that stay (a fire module
squeezes before it expands), and pooling late, so that most layers see large images. Nothing is
fully connected: the last convolution has a channel per class, and their means are the logits.
Source: Iandola et al., arXiv:1602.07360. 1.1 pools earlier and starts narrower, for 2.4 times less
arithmetic (https://github.com/forresti/SqueezeNet, SqueezeNet_v1.1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from packlight.zoo.blocks import ImageClassifier, Residual, image_shape, make_divisible

_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_LEAST = 32


class Fire(nn.Module):
    """Squeeze with 1x1 kernels, then expand with 1x1 and 3x3 kernels side by side.

    Args:
        inputs: channels read.
        squeezed: channels between.
        expanded: channels of either kind of kernel; twice as many come out.
    """

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))], 1)


def squeezenet1_0(
    *,
    width: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
    bypass: bool = False,
) -> ImageClassifier:
    """SqueezeNet 1.0, 1,248,424 parameters.

    Args:
        width: factor on every layer's channels.
        resolution, channels: of the images.
        bypass: add the input of every second fire module to its output, where both have the same
            size (the paper's simple bypass: no parameters, 2.9 points of top-1).
    Raises:
        BadInput: an argument is not possible.
    """
    return _squeezenet(96, 7, (0, 3, 7), width, resolution, classes, channels, bypass)


def squeezenet1_1(
    *,
    width: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
    bypass: bool = False,
) -> ImageClassifier:
    """SqueezeNet 1.1, 1,235,496 parameters. Args: as of `squeezenet1_0`."""
    return _squeezenet(64, 3, (0, 2, 4), width, resolution, classes, channels, bypass)


def _squeezenet(
    stem: int,
    kernel: int,
    pooled: tuple[int, ...],
    width: float,
    resolution: int,
    classes: int,
    channels: int,
    bypass: bool,
) -> ImageClassifier:
    """`pooled` tells how many fire modules stand before each pooling."""
    shape = image_shape(resolution, classes, channels, width=width, least=_LEAST)
    inputs = make_divisible(width * stem)
    layers: list[nn.Module] = [nn.Conv2d(channels, inputs, kernel, stride=2), nn.ReLU()]
    for place, (squeezed, expanded) in enumerate(_FIRES):
        if place in pooled:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        half = make_divisible(width * expanded)
        fire = Fire(inputs, make_divisible(width * squeezed), half)
        layers.append(Residual(fire) if bypass and inputs == 2 * half else fire)
        inputs = 2 * half
    classifier = nn.Sequential(
        nn.Dropout(0.5),
        nn.Conv2d(inputs, classes, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(1),
    )
    return ImageClassifier(nn.Sequential(*layers), classifier, shape)
