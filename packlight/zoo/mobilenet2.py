"""MobileNet v2: inverted residuals with linear bottlenecks.

What is handed on, and added to, is narrow; only inside a block are there many channels, and there
the convolution is depthwise. The last 1x1 of a block has no activation: ReLU would destroy what
little a narrow layer holds.
Source: Sandler et al., arXiv:1801.04381, table 2.
"""

from __future__ import annotations

from torch import nn

from packlight.zoo.blocks import (
    ImageClassifier,
    Residual,
    conv_bn,
    depthwise,
    image_shape,
    make_divisible,
    pooled_linear,
    repeats,
)

_STEM = 32
_STAGES = (  # expansion, channels, blocks, stride of the first
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
_LAST = 1280


def mobilenet_v2(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
) -> ImageClassifier:
    """MobileNet v2, 3,504,872 parameters at width 1.

    Args:
        width: factor on every layer's channels; below 1 the last layer keeps its 1280.
        depth: factor on the blocks of each stage.
        resolution, channels: of the images.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    inputs = make_divisible(width * _STEM)
    layers: list[nn.Module] = [conv_bn(channels, inputs, stride=2, activation=nn.ReLU6)]
    for expansion, count, blocks, first in _STAGES:
        outputs = make_divisible(width * count)
        for block in range(repeats(blocks, depth)):
            layers.append(inverted_residual(inputs, outputs, expansion, 1 if block else first))
            inputs = outputs
    last = make_divisible(max(width, 1.0) * _LAST)
    layers.append(conv_bn(inputs, last, 1, activation=nn.ReLU6))
    return ImageClassifier(nn.Sequential(*layers), pooled_linear(last, classes, 0.2), shape)


def inverted_residual(
    inputs: int, outputs: int, expansion: int, stride: int, kernel: int = 3
) -> nn.Module:
    """1x1 to `expansion` times the channels, depthwise, 1x1 down; added where sizes agree."""
    hidden = expansion * inputs
    body = nn.Sequential(depthwise(hidden, kernel, stride, nn.ReLU6))
    if expansion > 1:
        body.insert(0, conv_bn(inputs, hidden, 1, activation=nn.ReLU6))
    body.append(conv_bn(hidden, outputs, 1, activation=None))
    return Residual(body) if stride == 1 and inputs == outputs else body
