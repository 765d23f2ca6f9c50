"""Which stored weight a constant of a Core ML program is, also where coremltools laid it out anew.

It turns the matrix of a product, reorders the gates of recurrent layers and cuts their matrices in
parts. Whatever it did, an output channel's numbers stay together: constants that are not the very
array are looked for row by row.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from packlight.runtimes.coreml import Int8
from packlight.runtimes.lowering import Lookup
from packlight.types import Array

Key = tuple[tuple[int, ...], bytes]


class Stored:
    """What the next conversion shall store in place of which floats.

    Args:
        weights: the floats, and what decompresses to them.
    """

    def __init__(self, weights: Iterable[tuple[Array, Int8 | Lookup]] = ()) -> None:
        self._whole: dict[Key, Int8 | Lookup] = {}
        self._rows: dict[bytes, tuple[Array, np.float32]] = {}
        self._rows_of: dict[Key, set[bytes]] = {}
        self._met: set[Key] = set()
        self._met_rows: set[bytes] = set()
        for floats, what in weights:
            key = _key(floats)
            self._whole[key] = what
            if isinstance(what, Int8) and floats.ndim == 2:
                rows = list(_rows(floats, what.axis))
                levels = what.levels if what.axis == 0 else what.levels.T
                self._rows |= zip(rows, zip(levels, what.scale, strict=True), strict=True)
                self._rows_of[key] = set(rows)

    def find(self, floats: Array) -> Int8 | Lookup | None:
        """What stands for a constant; None where nothing does."""
        key = _key(floats)
        if key in self._whole:
            self._met.add(key)
            return self._whole[key]
        if floats.ndim == 2:
            for axis in (0, 1):
                rows = list(_rows(floats, axis))
                if all(row in self._rows for row in rows):
                    self._met_rows.update(rows)
                    levels = np.stack([self._rows[row][0] for row in rows], axis)
                    return Int8(levels, np.array([self._rows[row][1] for row in rows]), axis)
        return None

    def missing(self) -> int:
        """How many weights were not met, or not wholly."""
        return sum(
            key not in self._met and not self._rows_of.get(key, {b""}) <= self._met_rows
            for key in self._whole
        )


def _key(floats: Array) -> Key:
    return floats.shape, np.ascontiguousarray(floats, np.float32).tobytes()


def _rows(floats: Array, axis: int) -> Iterable[bytes]:
    turned = np.ascontiguousarray(floats if axis == 0 else floats.T, np.float32)
    return (row.tobytes() for row in turned)
