"""Where channels lie: second, as in torch, or last, where TFLite's kernels want them.

Channels last has four dimensions always: N x H x W x C. A value of three (a signal: N x C x L) is
there an image of one row, so that kernels for images serve signals too.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np

from packlight.types import Array

LAST_ORDER = (0, 2, 3, 1)  # from channels where torch has them to channels last
PLAIN_ORDER = (0, 3, 1, 2)  # and back
SIGNAL_ORDER = (0, 2, 1)  # the same without the row


class Layout(Enum):
    """Where the channels of three or four dimensions are; other ranks are always PLAIN."""

    PLAIN = "as in torch"
    LAST = "channels last"


def has_layouts(rank: int) -> bool:
    """Whether values of so many dimensions can have their channels last."""
    return rank in (3, 4)


def as_image(sizes: Sequence[int], row: int = 1) -> tuple[int, ...]:
    """Numbers per dimension of a signal, with `row` for its only row; of an image: as they are."""
    return (*sizes[:2], row, *sizes[2:]) if len(sizes) == 3 else tuple(sizes)


def stored_shape(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Of the tensor that holds a value of torch's `shape`."""
    if layout is Layout.PLAIN:
        return tuple(shape)
    image = as_image(shape)
    return tuple(image[axis] for axis in LAST_ORDER)


def stored_axis(axis: int, rank: int, layout: Layout) -> int:
    """Where a dimension of torch is in the tensor."""
    if layout is Layout.PLAIN:
        return axis
    return LAST_ORDER.index(axis + 1 if rank == 3 and axis == 2 else axis)


def stored_array(array: Array, layout: Layout) -> Array:
    """A constant as the tensor holds it."""
    if layout is Layout.PLAIN:
        return array
    turned: Array = np.ascontiguousarray(array.reshape(as_image(array.shape)).transpose(LAST_ORDER))
    return turned
