"""EfficientNet-Lite0: EfficientNet-B0 made for int8.

B0's blocks, found by search, without attention and with ReLU6 for swish: both were hard to round to
int8. Stem and head do not scale with the width.
Source: Tan and Le, arXiv:1905.11946, table 1; Liu, "Higher accuracy on vision models with
EfficientNet-Lite", TensorFlow blog, March 2020.
"""

from __future__ import annotations

from torch import nn

from packlight.zoo.blocks import (
    ImageClassifier,
    conv_bn,
    image_shape,
    make_divisible,
    pooled_linear,
    repeats,
)
from packlight.zoo.mobilenet2 import inverted_residual

_STEM, _LAST = 32, 1280
_STAGES = (  # expansion, kernel, channels, blocks, stride of the first
    *((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2)),
    *((6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1)),
)


def efficientnet_lite0(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
) -> ImageClassifier:
    """EfficientNet-Lite0, 4.7 M parameters.

    Args:
        width: factor on every layer's channels but the first and the last.
        depth: factor on the blocks of each stage.
        resolution, channels: of the images.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    layers: list[nn.Module] = [conv_bn(channels, _STEM, stride=2, activation=nn.ReLU6)]
    inputs = _STEM
    for expansion, kernel, count, blocks, first in _STAGES:
        outputs = make_divisible(width * count)
        for block in range(repeats(blocks, depth)):
            stride = 1 if block else first
            layers.append(inverted_residual(inputs, outputs, expansion, stride, kernel))
            inputs = outputs
    layers.append(conv_bn(inputs, _LAST, 1, activation=nn.ReLU6))
    return ImageClassifier(nn.Sequential(*layers), pooled_linear(_LAST, classes, 0.2), shape)
