"""An order of a program's steps that needs less memory at its peak.

What is alive after some steps have run depends only on which have run, not on their order. So the
search walks over sets of steps that can have run: to the set with the lowest peak so far it adds
one step that can run next. The first time that all have run, no order is better.

1. Where every other step must run before or after one step, the network is cut there, and the
   pieces are searched one by one.
2. A step that frees at least what it makes, and fits under the peak so far, runs at once: running
   it later can not lower any peak.
3. A set whose peak is not below the best order known is dropped.
4. Where there are too many sets, a beam of growing width keeps the most promising of each size.

Source: the search over sets and the cuts are those of Ahn et al., "Ordering Chaos: Memory-Aware
Scheduling of Irregularly Wired Neural Networks for Edge Devices" (SERENITY), arXiv:2003.02369.
Differs: best first by peak in place of budgets that are tightened, and rule 2.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass

from packlight.weighing.memory.buffers import aligned
from packlight.weighing.memory.lifetimes import ALIGNMENT
from packlight.weighing.program import Program

_BEAM_WIDTHS = (1, 4, 16, 64, 256, 1024, 4096)
_LOOK_AT_CLOCK = 64  # sets between two looks at the clock


@dataclass(frozen=True)
class Order:
    """An order of steps.

    Args:
        steps: indices into the program's steps.
        peak: the largest number of bytes alive at once.
        proved: no order has a lower peak.
    """

    steps: tuple[int, ...]
    peak: int
    proved: bool


def best_order(program: Program, *, seconds: float = 10.0, alignment: int = ALIGNMENT) -> Order:
    """The order with the lowest peak of live bytes that can be found.

    Never worse than the order given, which is kept where no better one is found.

    Args:
        seconds: how long to search; small networks take far less.
        alignment: bytes that sizes are rounded up to.
    """
    deadline = time.monotonic() + seconds
    graph = _Graph(program, alignment)
    given = list(range(len(program.steps)))
    known = graph.peak_of(given)
    pieces = list(graph.pieces())
    order: list[int] = []
    peak, proved, done = graph.live(0), True, 0  # proved: a piece with this peak is
    for number, piece in enumerate(pieces):
        share = (deadline - time.monotonic()) / (len(pieces) - number)
        search = _Search(graph, done, piece, time.monotonic() + share)
        found = search.run()
        order += found.steps
        if found.peak >= peak:
            proved = found.proved or (proved and found.peak == peak)
            peak = found.peak
        done |= sum(1 << index for index in piece)
    proved = proved or peak == graph.least_peak()
    return Order(tuple(order if peak < known else given), min(peak, known), proved)


def peak_of(program: Program, alignment: int = ALIGNMENT) -> int:
    """The most bytes alive at once, in the order given."""
    return _Graph(program, alignment).peak_of(list(range(len(program.steps))))


class _Graph:
    """Steps as bits, values by the storage they are in."""

    def __init__(self, program: Program, alignment: int) -> None:
        self.count = len(program.steps)
        root: dict[str, str] = {name: name for name in program.values}
        for step in program.steps:
            if step.view_of in root:
                root.update((name, root[step.view_of]) for name in step.writes)
        self.size = {name: aligned(v.bytes, alignment) for name, v in program.values.items()}
        self.outputs = {root[name] for name in program.outputs}
        self.inputs = set(program.inputs)
        self.readers: dict[str, int] = dict.fromkeys(root, 0)
        maker: dict[str, int] = {}
        self.reads: list[list[str]] = []
        self.writes: list[list[str]] = []
        self.overwrites: list[list[str]] = []
        self.needs: list[int] = []  # the steps that must have run
        for index, step in enumerate(program.steps):
            bit = 1 << index
            reads = dict.fromkeys(root[name] for name in step.reads if name in root)
            for name in reads:
                self.readers[name] |= bit
            self.needs.append(sum({1 << maker[x] for x in step.reads if x in maker}))
            maker.update(dict.fromkeys(step.writes, index))
            view = step.view_of in root
            self.reads.append(list(reads))
            self.writes.append([] if view else list(step.writes))
            self.overwrites.append(
                [
                    root[name]
                    for name in step.may_overwrite
                    if root.get(name, name) not in self.inputs
                    and self.size[root[name]] == self.size[step.writes[0]]
                ]
                if len(step.writes) == 1 and not view
                else []
            )
        self.maker = {name: index for name, index in maker.items() if root[name] == name}

    def step(self, done: int, live: int, index: int) -> tuple[int, int]:
        """Bytes alive while a step runs after those of `done`, and after it."""
        after = done | 1 << index
        made = sum(self.size[name] for name in self.writes[index])
        freed, over = 0, 0
        for name in self.reads[index]:
            if not self.readers[name] & ~after and name not in self.outputs:
                freed += self.size[name]
                if name in self.overwrites[index]:
                    over = made
        kept = sum(
            self.size[name]
            for name in self.writes[index]
            if self.readers[name] & ~after or name in self.outputs
        )
        return live + made - over, live - freed + kept

    def live(self, done: int) -> int:
        """Bytes alive after the steps of `done`."""
        total = 0
        for name, readers in self.readers.items():
            made = name in self.inputs or (name in self.maker and done >> self.maker[name] & 1)
            if made and (readers & ~done or name in self.outputs):
                total += self.size[name]
        return total

    def peak_of(self, order: list[int]) -> int:
        """The largest number of bytes alive at once in an order."""
        done, live = 0, self.live(0)
        peak = live
        for index in order:
            during, live = self.step(done, live, index)
            peak = max(peak, during)
            done |= 1 << index
        return peak

    def least_peak(self) -> int:
        """What no order can go below: the start, the end, and each step with what it touches."""
        least = max(self.live(0), self.live((1 << self.count) - 1))
        for index in range(self.count):
            touched = sum(self.size[name] for name in self.reads[index])
            made = sum(self.size[name] for name in self.writes[index])
            least = max(least, touched + (0 if self.overwrites[index] else made))
        return least

    def pieces(self) -> Iterator[list[int]]:
        """The steps between cuts, in order; a cut ends its piece."""
        before = [0] * self.count
        for index in range(self.count):  # the order given is one in which they can run
            for source in _bits(self.needs[index]):
                before[index] |= before[source] | 1 << source
        behind = [0] * self.count
        for index in reversed(range(self.count)):
            for source in _bits(self.needs[index]):
                behind[source] |= behind[index] | 1 << index
        everything, done = (1 << self.count) - 1, 0
        for index in range(self.count):
            if before[index] | behind[index] | 1 << index == everything:
                piece = (before[index] | 1 << index) & ~done
                yield list(_bits(piece))
                done |= piece
        if everything & ~done:
            yield list(_bits(everything & ~done))


@dataclass(frozen=True)
class _Found:
    steps: list[int]
    peak: int
    proved: bool


class _Search:
    """The best order of one piece, whose earlier steps have all run."""

    def __init__(self, graph: _Graph, done: int, piece: list[int], deadline: float) -> None:
        self.graph, self.start, self.piece, self.deadline = graph, done, piece, deadline
        # when the exact search gives way to the beams
        self.middle = deadline - 0.3 * (deadline - time.monotonic())
        self.end = done | sum(1 << index for index in piece)
        live = graph.live(done)
        self.given = self._judged(live)
        self.first = (live, live, done)  # peak so far, live now, steps that have run

    def run(self) -> _Found:
        """Exact where the sets are few enough, otherwise the best of beams."""
        best = self.given
        if len(self.piece) < 2:
            return _Found(best.steps, best.peak, True)
        for width in _BEAM_WIDTHS[:3]:  # a good order known early makes the exact search short
            best = min(best, self._beam(width, best.peak) or best, key=lambda found: found.peak)
        exact = self._exact(best.peak)
        if exact is not None:
            return exact if exact.steps else _Found(best.steps, best.peak, True)
        for width in _BEAM_WIDTHS[3:]:
            best = min(best, self._beam(width, best.peak) or best, key=lambda found: found.peak)
        return best

    def _judged(self, live: int) -> _Found:
        peak, done = live, self.start
        for index in self.piece:
            during, live = self.graph.step(done, live, index)
            peak, done = max(peak, during), done | 1 << index
        return _Found(list(self.piece), peak, False)

    def _ready(self, done: int) -> list[int]:
        needs = self.graph.needs
        return [index for index in self.piece if not done >> index & 1 and not needs[index] & ~done]

    def _moves(self, peak: int, live: int, done: int) -> Iterator[tuple[int, int, int, int]]:
        """Peak, live bytes, steps run and the step, after each step that is worth trying."""
        moves = []
        for index in self._ready(done):
            during, after = self.graph.step(done, live, index)
            move = (max(peak, during), after, done | 1 << index, index)
            if after <= live and during <= peak:
                yield move  # rule 2
                return
            moves.append(move)
        yield from moves

    def _exact(self, below: int) -> _Found | None:
        """The best order; one without steps if none has a peak below `below`; None: no time."""
        peak, live, done = self.first
        came: dict[int, tuple[int, int]] = {done: (done, -1)}
        reached = {done: peak}
        heap = [(peak, 0, live, done)]
        looked = 0
        while heap:
            peak, size, live, done = heapq.heappop(heap)
            if done == self.end:
                return _Found(self._path(came, done), peak, True)
            if peak > reached[done]:
                continue
            looked += 1
            # only now and then: a small search is the same however slow the machine
            if looked % _LOOK_AT_CLOCK == 0 and time.monotonic() > self.middle:
                return None
            for higher, after, then, index in self._moves(peak, live, done):
                if higher < below and higher < reached.get(then, below):
                    reached[then] = higher
                    came[then] = (done, index)
                    heapq.heappush(heap, (higher, size - 1, after, then))
        return _Found([], below, True)

    def _beam(self, width: int, below: int) -> _Found | None:
        """An order with a peak below `below`, keeping `width` sets of each size."""
        level = [self.first]
        came: dict[int, tuple[int, int]] = {}
        for _ in self.piece:
            best: dict[int, tuple[int, int, int]] = {}
            for peak, live, done in level:
                for higher, after, then, index in self._moves(peak, live, done):
                    if higher < below and (then not in best or higher < best[then][0]):
                        best[then] = (higher, after, then)
                        came[then] = (done, index)
            level = heapq.nsmallest(width, best.values())
            if not level or time.monotonic() > self.deadline:
                return None
        peak, _, done = level[0]
        return _Found(self._path(came, done), peak, False)

    def _path(self, came: dict[int, tuple[int, int]], done: int) -> list[int]:
        steps = []
        while done != self.start:
            done, index = came[done]
            steps.append(index)
        return steps[::-1]


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
