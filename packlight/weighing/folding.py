"""Blocks that repeat, folded into one: residual, fire, inverted bottleneck, transformer blocks.

A block is a run of rows that follows itself at once: the same types, activations, output sizes and
kernels, in their order. Its layers' figures are added up, so a folded table has the same totals.

1. Input channels may differ, as they do in the first block of a stage; not in blocks of two rows.
2. A block begins with arithmetic where that hides as many rows: a convolution and its batch norm,
   not a batch norm and the next convolution. Blocks of two rows always do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packlight.weighing.table import LayerRow

LONGEST = 128  # rows of a block
_SUMMED = ("elements", "data_bytes", "parameter_count", "macs", "bytes", "zeros")
_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Folded:
    """One row shown for `len(rows)` of them.

    Args:
        rows: alike, one from each repetition.
    """

    rows: tuple[LayerRow, ...]

    @property
    def times(self) -> int:
        """How many layers this stands for."""
        return len(self.rows)

    @cached_property
    def row(self) -> LayerRow:
        """The rows as one: figures added up, what differs in names and parameters as a range."""
        first = self.rows[0]
        if self.times == 1:
            return first
        sums = {name: sum(getattr(row, name) for row in self.rows) for name in _SUMMED}
        reads = [row.read_bytes for row in self.rows]
        known = [(row.bits_per_weight, row.parameter_count) for row in self.rows]
        bits = sum((each or 0.0) * count for each, count in known)
        return replace(
            first,
            **sums,
            layer=span([row.layer for row in self.rows]),
            parameters=span([row.parameters for row in self.rows]),
            read_bytes=None if None in reads else sum(filter(None, reads)),
            bits_per_weight=None
            if any(each is None for each, _ in known)
            else bits / max(sums["parameter_count"], 1),
            tensors=tuple(name for row in self.rows for name in row.tensors),
        )


def fold(rows: Sequence[LayerRow]) -> list[Folded]:
    """Rows in their order, every repeated block as one.

    At each place the block that hides most rows is taken, of two the shorter.
    """
    keys = _Keys.of(rows)
    folded: list[Folded] = []
    at = 0
    while at < len(rows):
        length, times = _best(keys, at)
        if times > 1 and not rows[at].macs:
            later = range(at + 1, at + length)
            if any(rows[place].macs and _best(keys, place) == (length, times) for place in later):
                length = times = 1
        for place in range(at, at + length):
            folded.append(Folded(tuple(rows[place + length * turn] for turn in range(times))))
        at += length * times
    return folded


@dataclass(frozen=True)
class _Keys:
    """What must be equal for rows to be alike, and for those of short blocks."""

    loose: list[int]
    strict: list[int]
    works: list[bool]

    @classmethod
    def of(cls, rows: Sequence[LayerRow]) -> _Keys:
        known: dict[object, int] = {}  # numbers are compared sooner than tuples
        loose, strict = [], []
        for row in rows:
            key = (row.type, row.activation, row.shape)
            loose.append(known.setdefault((key, _kernel(row.parameters)), len(known)))
            strict.append(known.setdefault((key, row.parameters), len(known)))
        return cls(loose, strict, [row.macs > 0 for row in rows])


def _kernel(parameters: str) -> str:
    """3x3xx64+64 of 3x3x32x64+64."""
    first, plus, rest = parameters.partition("+")
    sizes = first.split("x")
    if len(sizes) > 1:
        sizes[-2] = ""
    return "x".join(sizes) + plus + rest


def _best(keys: _Keys, at: int) -> tuple[int, int]:
    """Length and repetitions of the block that starts here; (1, 1) where none repeats."""
    best, hidden = (1, 1), 0
    for length in range(2, min(LONGEST, (len(keys.loose) - at) // 2) + 1):
        if length == 2 and not keys.works[at]:
            continue
        row = keys.strict if length == 2 else keys.loose
        block = row[at : at + length]
        times = 1
        while row[at + length * times : at + length * (times + 1)] == block:
            times += 1
        if length * (times - 1) > hidden:
            best, hidden = (length, times), length * (times - 1)
    return best


def span(names: Sequence[str]) -> str:
    """One text for several: 3x3x16–32x64 where numbers differ, an ellipsis where more does."""
    if len(set(names)) == 1:
        return names[0]
    parts = [_NUMBER.split(name) for name in names]
    if len({len(each) for each in parts}) > 1:
        return f"{names[0]} …"
    text = []
    for index, column in enumerate(zip(*parts, strict=True)):
        if len(set(column)) == 1:
            text.append(column[0])
        elif index % 2:
            numbers = sorted(map(int, column))
            text.append(f"{numbers[0]}–{numbers[-1]}")
        else:
            return f"{names[0]} …"
    return "".join(text)
