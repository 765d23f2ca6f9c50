"""Buffers stacked from the ground up, without waste where there is none to spare.

Each set of buffers alive together has a floor, what is stacked in it so far, and slack, the bytes
that may still be wasted in it. The search takes the set with the lowest floor and the least slack,
and puts one of its buffers on the floors below it, trying those first that waste least. If none
may lie there, the floor rises to the next height that something can rest on. It goes back when a
set runs out of slack, and starts again with other choices after a number of steps.

Where nearly all bytes are in use this finds a plan in milliseconds or not at all. It proves
nothing.

Source: Moffitt, "MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine
Learning", ASPLOS 2023 (floors of sections and what must still fit above them). Differs: lowest
and tightest section first, random restarts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from packlight.weighing.memory.buffers import Buffer, aligned, sections

_TIGHTNESS = 1.0  # a byte of slack counts as much as a byte of floor
_SHUFFLE = 0.5  # how far chance may change the order of equally good buffers


@dataclass
class _Choice:
    """One step of the search: what is left to try, and how to take back what was done."""

    section: int
    options: list[tuple[float, float, int, int]]  # waste, rank, buffer, offset; best last
    may_lift: bool = True
    undo: tuple[int, list[int]] | None = None  # a buffer, or -1 for a lift, and the old floors


class Skyline:
    """The stacks of one set of buffers under one capacity."""

    def __init__(self, buffers: Sequence[Buffer], capacity: int, rng: random.Random) -> None:
        self.buffers, self.rng = buffers, rng
        self.together = sections(buffers)
        self.span = [(len(self.together), 0)] * len(buffers)
        for index, alive in enumerate(self.together):
            for item in alive:
                self.span[item] = (min(self.span[item][0], index), index + 1)
        self.floor = [0] * len(self.together)
        self.slack = [capacity - sum(buffers[x].size for x in alive) for alive in self.together]
        self.waiting = [set(alive) for alive in self.together]
        self.offsets = [-1] * len(buffers)

    def search(self, steps: int, deadline: float) -> list[int] | None:
        """Offsets that fit, or None after so many steps."""
        if min(self.slack, default=0) < 0:
            return None
        path: list[_Choice] = []
        done = 0
        for step in range(steps):
            if done == len(self.buffers):
                return self.offsets
            if step % 256 == 255 and time.monotonic() > deadline:
                return None
            if not path or path[-1].undo is not None:
                path.append(self._choices())
            while path and not self._advance(path[-1]):
                path.pop()
                if path:
                    done -= self._take_back(path[-1])
            if not path:
                return None
            undo = path[-1].undo
            done += undo is not None and undo[0] >= 0
        return self.offsets if done == len(self.buffers) else None

    def _choices(self) -> _Choice:
        section = min(
            (index for index, items in enumerate(self.waiting) if items),
            key=lambda index: self.floor[index] + _TIGHTNESS * self.slack[index],
        )
        options, seen = [], set()
        for item in sorted(self.waiting[section]):
            start, stop = self.span[item]
            buffer = self.buffers[item]
            key = (start, stop, buffer.size, buffer.alignment)
            if key in seen:
                continue
            seen.add(key)
            offset = aligned(max(self.floor[start:stop]), buffer.alignment)
            waste = 0.0
            for index in range(start, stop):
                lost = offset - self.floor[index]
                if lost > self.slack[index]:
                    break
                waste += lost / (self.slack[index] + 1)
            else:
                area = (stop - start) * buffer.size
                rank = -area * (1 + _SHUFFLE * self.rng.random())
                options.append((waste, rank, item, offset))
        return _Choice(section, sorted(options, reverse=True))

    def _advance(self, choice: _Choice) -> bool:
        """Do the next thing that a choice leaves; False if there is none."""
        if choice.options:
            _, _, item, offset = choice.options.pop()
            start, stop = self.span[item]
            choice.undo = (item, self.floor[start:stop])
            for index in range(start, stop):
                self.slack[index] -= offset - self.floor[index]
                self.floor[index] = offset + self.buffers[item].size
                self.waiting[index].discard(item)
            self.offsets[item] = offset
            return True
        if not choice.may_lift:
            return False
        choice.may_lift = False
        section = choice.section
        level = self._next_level(section) if self.slack[section] > 0 else None
        rise = 0 if level is None else level - self.floor[section]
        if not 0 < rise <= self.slack[section]:
            return False
        choice.undo = (-1, [self.floor[section]])
        self.floor[section] += rise
        self.slack[section] -= rise
        return True

    def _take_back(self, choice: _Choice) -> int:
        """Undo what a choice did; 1 if that was a buffer."""
        assert choice.undo is not None
        item, floors = choice.undo
        choice.undo = None
        if item < 0:
            self.slack[choice.section] += self.floor[choice.section] - floors[0]
            self.floor[choice.section] = floors[0]
            return 0
        start, stop = self.span[item]
        for index, old in zip(range(start, stop), floors, strict=True):
            self.slack[index] += self.offsets[item] - old
            self.floor[index] = old
            self.waiting[index].add(item)
        self.offsets[item] = -1
        return 1

    def _next_level(self, section: int) -> int | None:
        """The lowest height that a waiting buffer beside this section would reach."""
        here = self.waiting[section]
        levels = [
            max(self.floor[slice(*self.span[other])]) + self.buffers[other].size
            for item in here
            for index in range(*self.span[item])
            for other in self.waiting[index] - here
        ]
        return min(levels, default=None)
