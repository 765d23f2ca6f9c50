"""MobileNet v1: a 3x3 convolution taken apart.

A depthwise convolution filters every channel by itself, a 1x1 convolution mixes them: together
about an eighth of the arithmetic. Two numbers trade accuracy for size: width (parameters and MACs
fall with its square) and resolution (MACs alone).
Source: Howard et al., arXiv:1704.04861, table 1.
"""

from __future__ import annotations

from torch import nn

from packlight.zoo.blocks import (
    ImageClassifier,
    conv_bn,
    deepened,
    depthwise,
    image_shape,
    make_divisible,
    pooled_linear,
)

_STEM = 32
_LAYERS = (  # channels, stride
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)


def mobilenet_v1(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
) -> ImageClassifier:
    """MobileNet v1, 4,231,976 parameters at width 1.

    Args:
        width: factor on every layer's channels; 1, 0.75, 0.5 and 0.25 are published.
        depth: factor on the blocks of each stage.
        resolution, channels: of the images.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    inputs = make_divisible(width * _STEM)
    layers = [conv_bn(channels, inputs, stride=2)]
    for count, stride in deepened(_LAYERS, depth, lambda row: int(row[0])):
        outputs = make_divisible(width * count)
        layers += [
            depthwise(inputs, stride=stride, activation=nn.ReLU),
            conv_bn(inputs, outputs, 1),
        ]
        inputs = outputs
    return ImageClassifier(nn.Sequential(*layers), pooled_linear(inputs, classes), shape)
