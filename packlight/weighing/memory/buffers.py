"""Buffers that need memory for a while, and plans that say where each of them lies.

Time is counted in whole ticks; a buffer is alive from `lower` up to, not including, `upper`. Two
buffers that are alive together must not share a byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Buffer:
    """One block of memory.

    Args:
        name: for people.
        lower, upper: ticks; alive while lower <= tick < upper.
        size: bytes.
        alignment: its offset is a multiple of this.
    """

    name: str
    lower: int
    upper: int
    size: int
    alignment: int = 1


@dataclass(frozen=True)
class Plan:
    """Where each buffer lies.

    Args:
        offsets: one per buffer, bytes from the start of the arena.
        peak: bytes that the arena takes.
        lower_bound: bytes that no plan can go below.
        proved: no plan takes fewer bytes than this one.
    """

    offsets: tuple[int, ...]
    peak: int
    lower_bound: int
    proved: bool

    @property
    def gap(self) -> float:
        """How far above the lower bound, as a share of it."""
        return self.peak / self.lower_bound - 1 if self.lower_bound else 0.0

    @property
    def verdict(self) -> str:
        """What is known about the plan, in words."""
        return "proved optimal" if self.proved else "best found"

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "offsets": list(self.offsets),
            "peak": self.peak,
            "lower_bound": self.lower_bound,
            "gap": self.gap,
            "verdict": self.verdict,
        }


def sections(buffers: Sequence[Buffer]) -> list[list[int]]:
    """The sets of buffers that are alive together, in order of time.

    Only the largest: between two deaths, the moment after the last birth. Every other moment's
    buffers are all in one of these sets.
    """
    born: dict[int, list[int]] = {}
    dead: dict[int, list[int]] = {}
    for index, buffer in enumerate(buffers):
        born.setdefault(buffer.lower, []).append(index)
        dead.setdefault(buffer.upper, []).append(index)
    alive: set[int] = set()
    found: list[list[int]] = []
    grew = False
    for tick in sorted(born.keys() | dead.keys()):
        if tick in dead:
            if grew:
                found.append(sorted(alive))
            grew = False
            alive.difference_update(dead[tick])
        if tick in born:
            grew = True
            alive.update(born[tick])
    return found


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """The largest number of bytes alive at once."""
    return max(
        (sum(buffers[index].size for index in alive) for alive in sections(buffers)), default=0
    )


def aligned(offset: int, alignment: int) -> int:
    """The first multiple of `alignment` that is not below `offset`."""
    return -(-offset // alignment) * alignment
