"""ShuffleNet v2: built by the clock instead of by counting MACs.

Four guidelines, measured on phones: as many channels out as in, few groups, few branches, few
element-wise steps. So a unit works on one half of the channels, leaves the other as it is, joins
the two and shuffles; groups and sums are gone.
Source: Ma et al., arXiv:1807.11164, fig. 3 and table 5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from packlight.zoo.blocks import (
    ImageClassifier,
    channel_shuffle,
    conv_bn,
    depthwise,
    image_shape,
    pooled_linear,
    repeats,
)

_STEM = 24
_FIRST_STAGE = {0.5: 48, 1.0: 116, 1.5: 176, 2.0: 244}  # width -> channels, then doubled twice
_BLOCKS = (4, 8, 4)


def shufflenet_v2(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
) -> ImageClassifier:
    """ShuffleNet v2, 2,278,604 parameters at width 1.

    Args:
        width: 0.5, 1, 1.5 and 2 have the paper's channels; other factors scale those of width 1.
        depth: factor on the blocks of each stage.
        resolution, channels: of the images.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    first = _FIRST_STAGE.get(width) or 2 * max(1, round(width * _FIRST_STAGE[1.0] / 2))
    layers: list[nn.Module] = [conv_bn(channels, _STEM, stride=2), nn.MaxPool2d(3, 2, 1)]
    inputs = _STEM
    for stage, blocks in enumerate(_BLOCKS):
        outputs = first * 2**stage
        layers.append(HalvingUnit(inputs, outputs))
        layers += [ShuffleUnit(outputs) for _ in range(repeats(blocks, depth) - 1)]
        inputs = outputs
    last = 2048 if width >= 2 else 1024
    layers.append(conv_bn(inputs, last, 1))
    return ImageClassifier(nn.Sequential(*layers), pooled_linear(last, classes), shape)


class ShuffleUnit(nn.Module):
    """Half of the channels through 1x1, depthwise and 1x1, the other half as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(conv_bn(half, half, 1), depthwise(half), conv_bn(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1)
        return channel_shuffle(torch.cat([kept, self.body(changed)], 1), 2)


class HalvingUnit(nn.Module):
    """Both branches see all channels and halve the image; each gives half of the outputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.short = nn.Sequential(depthwise(inputs, stride=2), conv_bn(inputs, half, 1))
        self.long = nn.Sequential(
            conv_bn(inputs, half, 1), depthwise(half, stride=2), conv_bn(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return channel_shuffle(torch.cat([self.short(x), self.long(x)], 1), 2)
