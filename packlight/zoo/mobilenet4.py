"""MobileNet v4, the small convolutional one: one block that can be four.

The universal inverted bottleneck has two depthwise convolutions that may be left out: one before
the expansion, one inside it. The second alone is v2's block, the first alone ConvNeXt's, both
together see further for little more, none is a feed-forward layer. Fast on processors of all kinds:
ReLU only, no attention, and full convolutions where images are large and channels few.
Source: Qin et al., arXiv:2404.10518, table of MNv4-Conv-S.
"""

from __future__ import annotations

from torch import nn

from packlight.zoo.blocks import (
    ImageClassifier,
    Residual,
    conv_bn,
    deepened,
    depthwise,
    image_shape,
    make_divisible,
)

_STEM = 32
_FUSED = ((32, 32), (96, 64))  # 3x3 with stride 2 to these channels, 1x1 to those
_BLOCKS = (  # kernel before the expansion, kernel inside it (0: none), expansion, channels, stride
    (5, 5, 3, 96, 2),
    *(4 * ((0, 3, 2, 96, 1),)),
    (3, 0, 4, 96, 1),
    (3, 3, 6, 128, 2),
    (5, 5, 4, 128, 1),
    (0, 5, 4, 128, 1),
    (0, 5, 3, 128, 1),
    *(2 * ((0, 3, 4, 128, 1),)),
)
_POOLED, _LAST = 960, 1280


def mobilenet_v4_conv_small(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
) -> ImageClassifier:
    """MobileNet v4 conv small, 3,774,024 parameters at width 1.

    Args:
        width: factor on every layer's channels; the last two keep their 960 and 1280.
        depth: factor on the blocks of each stage.
        resolution, channels: of the images.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    inputs = make_divisible(width * _STEM)
    layers: list[nn.Module] = [conv_bn(channels, inputs, stride=2)]
    for wide, narrow in _FUSED:
        hidden, outputs = make_divisible(width * wide), make_divisible(width * narrow)
        layers += [conv_bn(inputs, hidden, 3, 2), conv_bn(hidden, outputs, 1)]
        inputs = outputs
    rows = deepened(_BLOCKS, depth, lambda row: int(row[3]))
    for before, inside, expansion, count, stride in rows:
        outputs = make_divisible(width * count)
        layers.append(_universal_bottleneck(inputs, outputs, before, inside, expansion, stride))
        inputs = outputs
    layers.append(conv_bn(inputs, _POOLED, 1))
    classifier = nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        conv_bn(_POOLED, _LAST, 1),
        *(nn.Flatten(1), nn.Dropout(0.2), nn.Linear(_LAST, classes)),
    )
    return ImageClassifier(nn.Sequential(*layers), classifier, shape)


def _universal_bottleneck(
    inputs: int, outputs: int, before: int, inside: int, expansion: int, stride: int
) -> nn.Module:
    """The last depthwise convolution takes the stride; one before the expansion is linear."""
    hidden = make_divisible(expansion * inputs)
    body = nn.Sequential(conv_bn(inputs, hidden, 1))
    if before:
        body.insert(0, depthwise(inputs, before, 1 if inside else stride))
    if inside:
        body.append(depthwise(hidden, inside, stride, nn.ReLU))
    body.append(conv_bn(hidden, outputs, 1, activation=None))
    return Residual(body) if stride == 1 and inputs == outputs else body
