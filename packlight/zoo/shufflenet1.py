"""ShuffleNet v1: 1x1 convolutions in groups, and channels shuffled between them.

In small networks most arithmetic is in 1x1 convolutions. In groups they cost a part of it, but
then a group would never hear of the others; shuffling the channels costs nothing and mixes them.
Source: Zhang et al., arXiv:1707.01083, table 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from packlight.errors import BadInput
from packlight.zoo.blocks import (
    ImageClassifier,
    channel_shuffle,
    conv_bn,
    depthwise,
    image_shape,
    make_divisible,
    pooled_linear,
    repeats,
)

_STEM = 24  # whatever the width: what a first unit adds has to divide into groups
_FIRST_STAGE = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # groups -> channels, then doubled twice
_BLOCKS = (4, 8, 4)
_NARROW = 4  # a unit works on a quarter of its channels


def shufflenet_v1(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
    groups: int = 3,
) -> ImageClassifier:
    """ShuffleNet v1, about 140 million MACs whatever the groups.

    Args:
        width: factor on the channels of the three stages.
        depth: factor on the blocks of each stage.
        resolution, channels: of the images.
        groups: of the 1x1 convolutions; 1, 2, 3, 4 or 8. More groups allow more channels.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    if groups not in _FIRST_STAGE:
        allowed = ", ".join(map(str, _FIRST_STAGE))
        raise BadInput(f"groups={groups!r} is not in the paper; give one of {allowed}")
    layers: list[nn.Module] = [conv_bn(channels, _STEM, stride=2), nn.MaxPool2d(3, 2, 1)]
    inputs = _STEM
    for stage, blocks in enumerate(_BLOCKS):
        outputs = make_divisible(width * _FIRST_STAGE[groups] * 2**stage, _NARROW * groups)
        for block in range(repeats(blocks, depth)):
            first = 1 if inputs == _STEM else groups  # 24 channels are too few for groups
            layers.append(ShuffleUnit(inputs, outputs, groups, first, 1 if block else 2))
            inputs = outputs
    return ImageClassifier(nn.Sequential(*layers), pooled_linear(inputs, classes), shape)


class ShuffleUnit(nn.Module):
    """1x1 in groups, shuffle, depthwise, 1x1 in groups; then added to the input, or joined with
    it where the image is halved.

    Args:
        first: groups of the first 1x1 convolution.
        stride: 1, where `inputs` are `outputs`, or 2.
    """

    def __init__(self, inputs: int, outputs: int, groups: int, first: int, stride: int) -> None:
        super().__init__()
        narrow, made = outputs // _NARROW, outputs - inputs if stride == 2 else outputs
        self.groups = groups
        self.squeeze = conv_bn(inputs, narrow, 1, groups=first)
        self.depthwise = depthwise(narrow, stride=stride)
        self.expand = conv_bn(narrow, made, 1, groups=groups, activation=None)
        self.pool = nn.AvgPool2d(3, 2, 1) if stride == 2 else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        made = channel_shuffle(self.squeeze(x), self.groups)
        made = self.expand(self.depthwise(made))
        if self.pool is None:
            return self.relu(x + made)
        return self.relu(torch.cat([self.pool(x), made], 1))
