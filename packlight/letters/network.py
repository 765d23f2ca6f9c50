"""A network whose room follows the size it has to fit: bounded capacity.

A few convolutions that halve the image down to 4 pixels, one that looks at what is left, the mean
over all places, and a score per class. The mean instead of a layer over all places leaves the
weights to the convolutions; few layers keep what a file costs beside its weights near 700 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

BASE = (16, 8, 64)  # channels of the first convolution, what each further one adds, of the last
SMALLEST_SIDE = 4  # pixels: what the image is halved down to, about
BITS = 2.3  # packed, a weight: what the figures in docs/letters.md were reached with
BESIDE = 1000  # bytes of a packed file that are no weights
WIDEST, NARROWEST = 3.0, 0.25  # times BASE: beyond, letters gain nothing, and below they are lost
STEP = 1 / 16  # between two widths that are tried


class LetterNet(nn.Module):
    """Photographs (n, 1, size, size) in 0..1 -> scores (n, classes).

    Args:
        classes: how many characters are told apart.
        channels: of every convolution; all but the last halve the image.
    """

    def __init__(self, classes: int, channels: Sequence[int]) -> None:
        super().__init__()
        first, *middle, last = channels
        blocks = _convolution(1, first, 5, 2)
        before = first
        for width in middle:
            blocks += _convolution(before, width, 3, 2)
            before = width
        self.features = nn.Sequential(*blocks, *_convolution(before, last, 3, 1))
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(last, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Scores, before any softmax."""
        scores: Tensor = self.classify(self.mean(self.features(image)).flatten(1))
        return scores


def channels_for(target_size: int, classes: int, size: int) -> list[int]:
    """Channels of the widest LetterNet that a packed size has room for.

    Args:
        target_size: bytes, packed.
        classes: how many characters are told apart.
        size: side of an image in pixels.
    """
    room = max(target_size - BESIDE, 0) * 8 / BITS
    steps = range(round(WIDEST / STEP), round(NARROWEST / STEP), -1)
    for width in (STEP * step for step in steps):
        channels = scaled(width, size)
        if weights(channels, classes) <= room:
            return channels
    return scaled(NARROWEST, size)


def scaled(width: float, size: int) -> list[int]:
    """Channels so many times BASE, in fours: that is what processors compute at once."""
    first, more, last = BASE
    halvings = max(round(math.log2(size / SMALLEST_SIDE)), 1)
    base = [*(first + more * index for index in range(halvings)), last]
    return [max(4 * round(width * channels / 4), 4) for channels in base]


def weights(channels: Sequence[int], classes: int) -> int:
    """How many weights a LetterNet has."""
    first, *others = channels
    inside = sum(9 * a * b for a, b in zip(channels, others, strict=False))
    return 25 * first + inside + channels[-1] * classes


def _convolution(inputs: int, outputs: int, side: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
