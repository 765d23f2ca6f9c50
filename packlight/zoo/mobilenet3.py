"""MobileNet v3: blocks of v2 found by search, with attention and cheap curves.

The search chose every block's expansion and kernel under a bound on a phone's milliseconds. Some
blocks weigh their channels (squeeze and excite); deep ones use x * relu6(x + 3) / 6 for a swish.
The expensive end is moved behind the pooling, where it is one position.
Source: Howard et al., arXiv:1905.02244, tables 1 and 2; squeezed widths are rounded to eights.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from packlight.zoo.blocks import (
    ImageClassifier,
    Residual,
    SqueezeExcite,
    conv_bn,
    deepened,
    depthwise,
    image_shape,
    make_divisible,
)

_STEM = 16
_NORM: dict[str, Any] = {"eps": 1e-3, "momentum": 0.01}
_RE, _HS = nn.ReLU, nn.Hardswish
_Block = tuple[int, int, int, bool, type[nn.Module], int]

_SMALL: tuple[_Block, ...] = (  # kernel, expanded, channels, attention, activation, stride
    (3, 16, 16, True, _RE, 2),
    (3, 72, 24, False, _RE, 2),
    (3, 88, 24, False, _RE, 1),
    (5, 96, 40, True, _HS, 2),
    (5, 240, 40, True, _HS, 1),
    (5, 240, 40, True, _HS, 1),
    (5, 120, 48, True, _HS, 1),
    (5, 144, 48, True, _HS, 1),
    (5, 288, 96, True, _HS, 2),
    (5, 576, 96, True, _HS, 1),
    (5, 576, 96, True, _HS, 1),
)
_LARGE: tuple[_Block, ...] = (
    (3, 16, 16, False, _RE, 1),
    (3, 64, 24, False, _RE, 2),
    (3, 72, 24, False, _RE, 1),
    (5, 72, 40, True, _RE, 2),
    (5, 120, 40, True, _RE, 1),
    (5, 120, 40, True, _RE, 1),
    (3, 240, 80, False, _HS, 2),
    (3, 200, 80, False, _HS, 1),
    (3, 184, 80, False, _HS, 1),
    (3, 184, 80, False, _HS, 1),
    (3, 480, 112, True, _HS, 1),
    (3, 672, 112, True, _HS, 1),
    (5, 672, 160, True, _HS, 2),
    (5, 960, 160, True, _HS, 1),
    (5, 960, 160, True, _HS, 1),
)


def mobilenet_v3_small(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
) -> ImageClassifier:
    """MobileNet v3 small, 2,542,856 parameters at width 1.

    Args:
        width: factor on every layer's channels.
        depth: factor on the blocks of each stage.
        resolution, channels: of the images.
    Raises:
        BadInput: an argument is not possible.
    """
    return _mobilenet_v3(_SMALL, 1024, width, depth, resolution, classes, channels)


def mobilenet_v3_large(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
) -> ImageClassifier:
    """MobileNet v3 large, 5,483,032 parameters at width 1. Args: as of `mobilenet_v3_small`."""
    return _mobilenet_v3(_LARGE, 1280, width, depth, resolution, classes, channels)


def _mobilenet_v3(
    blocks: tuple[_Block, ...],
    last: int,
    width: float,
    depth: float,
    resolution: int,
    classes: int,
    channels: int,
) -> ImageClassifier:
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    inputs = make_divisible(width * _STEM)
    layers: list[nn.Module] = [conv_bn(channels, inputs, stride=2, activation=_HS, **_NORM)]
    rows = deepened(blocks, depth, lambda row: int(row[2]))
    for kernel, expanded, count, attention, activation, stride in rows:
        hidden, outputs = make_divisible(width * expanded), make_divisible(width * count)
        body = nn.Sequential(depthwise(hidden, kernel, stride, activation, **_NORM))
        if hidden != inputs:
            body.insert(0, conv_bn(inputs, hidden, 1, activation=activation, **_NORM))
        if attention:
            body.append(SqueezeExcite(hidden, make_divisible(hidden / 4)))
        body.append(conv_bn(hidden, outputs, 1, activation=None, **_NORM))
        layers.append(Residual(body) if stride == 1 and inputs == outputs else body)
        inputs = outputs
    pooled, hidden = 6 * inputs, make_divisible(width * last)
    layers.append(conv_bn(inputs, pooled, 1, activation=_HS, **_NORM))
    classifier = nn.Sequential(
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)),
        *(nn.Linear(pooled, hidden), nn.Hardswish(), nn.Dropout(0.2)),
        nn.Linear(hidden, classes),
    )
    return ImageClassifier(nn.Sequential(*layers), classifier, shape)
