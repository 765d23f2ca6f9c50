"""Flatbuffers, read directly (flatbuffers.dev, "Internals").

Tables may share parts, so that a small file can describe endlessly many: how much is read is
bounded by a multiple of the file's size.
"""

from __future__ import annotations

import struct

#: tables, items and characters that are read for each byte of a file
_READ = 4


class _Allowance:
    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError("the file describes more than it can hold")


class Table:
    """One table of a flatbuffer, its fields by number."""

    def __init__(self, data: bytes, at: int, allowance: _Allowance) -> None:
        self.data, self.at, self._allowance = data, at, allowance
        allowance.spend(1)
        self._vtable = at - _int(data, at, "i")
        self._size = _int(data, self._vtable, "H")

    def _field(self, number: int) -> int | None:
        place = 4 + 2 * number
        if place + 2 > self._size:
            return None
        offset = _int(self.data, self._vtable + place, "H")
        return self.at + offset if offset else None

    def number(self, number: int, kind: str) -> int:
        """A number of a type that struct knows, 0 if the field is not there."""
        at = self._field(number)
        return 0 if at is None else _int(self.data, at, kind)

    def fraction(self, number: int) -> float:
        """An fp32 number, 0 if the field is not there."""
        bits = self.number(number, "I")
        return float(struct.unpack("<f", struct.pack("<I", bits))[0])

    def vector(self, number: int, width: int) -> tuple[int, int]:
        """(first byte, items), (0, 0) if the field is not there."""
        at = self._field(number)
        if at is None:
            return 0, 0
        at += _int(self.data, at, "I")
        count = _int(self.data, at, "I")
        if at + 4 + count * width > len(self.data):
            raise ValueError("a vector is longer than the file")
        return at + 4, count

    def table(self, number: int) -> Table | None:
        """A table, None if the field is not there."""
        at = self._field(number)
        return None if at is None else self.root(at)

    def tables(self, number: int) -> list[Table]:
        """Tables of a vector, none if the field is not there."""
        at, count = self.vector(number, 4)
        places = range(at, at + 4 * count, 4)
        return [self.root(place) for place in places]

    def numbers(self, number: int, kind: str = "i") -> tuple[int, ...]:
        """Numbers of a vector, none if the field is not there."""
        at, count = self.vector(number, struct.calcsize(kind))
        self._allowance.spend(count)
        return struct.unpack_from(f"<{count}{kind}", self.data, at)

    def root(self, at: int) -> Table:
        """The table that the offset at `at` leads to, as at the start of a flatbuffer."""
        return Table(self.data, at + _int(self.data, at, "I"), self._allowance)

    def text(self, number: int) -> str:
        """A text, empty if the field is not there."""
        at, size = self.vector(number, 1)
        self._allowance.spend(size)
        return self.data[at : at + size].decode("utf-8", "replace")


def _int(data: bytes, at: int, kind: str) -> int:
    if at < 0:
        raise ValueError("an offset points before the file")
    try:
        return int(struct.unpack_from("<" + kind, data, at)[0])
    except struct.error as problem:
        raise ValueError("an offset points behind the file") from problem


def root(data: bytes) -> Table:
    """The table that a flatbuffer holds."""
    return Table(data, _int(data, 0, "I"), _Allowance(_READ * len(data)))
