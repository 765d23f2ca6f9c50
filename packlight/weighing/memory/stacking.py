"""Whether buffers fit into a capacity: a complete search that learns from its conflicts.

For every two buffers that are alive together, one lies below the other; a plan is a choice of all
these pairs in which no stack is higher than the capacity. That is disjunctive scheduling, offsets
being the times and each set of buffers alive together being a machine, and it is solved as such:

1. Each buffer has a head (the bytes that must lie below it) and a tail (those above it). What lies
   below it in one set of buffers alive together adds up: the head is at least the time at which
   those could all be stacked, each no lower than its own head.
2. A pair whose one order does not fit, head + size + size + tail above the capacity, takes the
   other one. Below is transitive.
3. Where neither order fits, the pairs that led there become a clause, and the search goes back to
   where that clause decides something (conflict-driven clause learning, first unique implication
   point). Pairs that were in recent conflicts are decided first.
4. Buffers with the same lifetime and size are interchangeable: they are stacked in index order.

Sources: Grimes & Hebrard, "Solving Variants of the Job Shop Scheduling Problem through
Conflict-Directed Search", INFORMS Journal on Computing 2015; Schutt et al., "Explaining the
cumulative propagator", Constraints 2011 (lazy clause generation); Moffitt, "MiniMalloc",
ASPLOS 2023 (the sets of buffers alive together as sections).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from typing import Literal

from packlight.weighing.memory.buffers import Buffer, aligned, sections

_RESTART = 60  # conflicts; times the Luby sequence
_DECAY = 1 / 0.95
_RESCALE = 1e100
_LOOK_AT_CLOCK = 16  # decisions or conflicts between two looks at the clock

_Reason = tuple[tuple[int, ...], tuple[int, ...]]  # literals, and positions of bounds on the trail
_NONE: _Reason = ((), ())


class Stacking:
    """The search for one capacity.

    Literals: pair p has 2p (its first buffer lies below its second) and 2p + 1 (above it).

    Args:
        capacity: bytes.
        hint: offsets of a plan, which need not fit; the search starts with its order.
    """

    def __init__(self, buffers: Sequence[Buffer], capacity: int, hint: Sequence[int]) -> None:
        self.capacity = capacity
        self.count = len(buffers)
        self.size = [buffer.size for buffer in buffers]
        self.alignment = [buffer.alignment for buffer in buffers]
        self.align = any(step > 1 for step in self.alignment)
        together = sections(buffers)
        self.span = [(len(together), 0)] * self.count  # first and one past the last section
        for index, alive in enumerate(together):
            for item in alive:
                self.span[item] = (min(self.span[item][0], index), index + 1)
        self.sections_of = [dict.fromkeys(range(*span)) for span in self.span]
        self._number_pairs(together)
        pairs = len(self.ends) // 2
        self.value = [0] * (2 * pairs)  # of literals: 1 true, -1 false, 0 open
        self.level_of = [0] * pairs
        self.reason: list[_Reason] = [_NONE] * pairs
        self.saved: list[int] = []
        # side 0: heads and what lies below; side 1: tails and what lies above
        self.bound = [[0] * self.count, [0] * self.count]
        self.last = [[-1] * self.count, [-1] * self.count]  # the bound's position on the trail
        self.beyond: list[list[list[int]]] = [[[] for _ in buffers], [[] for _ in buffers]]
        # the trail: literals as they are; bounds as -1 with (side, buffer, old, old last, reason)
        self.trail: list[int] = []
        self.detail: list[tuple[int, int, int, int, _Reason] | None] = []
        self.starts: list[int] = []  # where each level starts on the trail
        self.seen_to = 0
        self.stale: list[dict[int, None]] = [{}, {}]  # buffers whose bounds may rise
        self.moved: dict[int, None] = {}  # sections in which a bound rose
        self.together = together
        self.slack = [capacity - sum(self.size[item] for item in alive) for alive in together]
        self.watch: list[list[list[int]]] = [[] for _ in range(2 * pairs)]
        self.gain = 1.0
        self.queue = [(-self.activity[pair], pair) for pair in range(pairs)]
        heapq.heapify(self.queue)
        self.queued = list(self.activity)  # what each pair's entry in the queue says; -1: none
        self.start_from(hint)

    def start_from(self, offsets: Sequence[int]) -> None:
        """Choose the order that each pair has in a plan, which need not fit, where nothing is known
        against it."""
        self._undo(0)
        self.saved = [
            2 * pair + (offsets[low] > offsets[high])
            for pair, (low, high) in enumerate(self.ends[::2])
        ]

    def solve(self, deadline: float) -> tuple[int, ...] | Literal[False] | None:
        """Offsets that fit; False: there are none; None: the time is over."""
        if not self.starts and not self.trail and not self._set_up():
            return False
        conflicts = looked = runs = 0
        while True:
            looked += 1
            if looked % _LOOK_AT_CLOCK == 0 and time.monotonic() > deadline:
                return None
            conflict = self._propagate()
            if conflict is not None:
                if not self.starts or not self._learn(conflict):
                    return False
                conflicts += 1
                self.gain *= _DECAY
                if conflicts >= _RESTART * _luby(runs):
                    conflicts, runs = 0, runs + 1
                    self._undo(0)
            elif not self._decide():
                return tuple(self.bound[0])

    def _set_up(self) -> bool:
        """What holds before anything is decided; False if nothing fits."""
        fits = all(self._raise(1, item, 0, _NONE) for item in range(self.count))
        for low, high in self._twins():
            literal = self.literal[low][high]
            if self.value[literal] == 0:
                self._assign(literal, _NONE)
        return fits

    def _number_pairs(self, together: list[list[int]]) -> None:
        load = [sum(self.size[item] for item in alive) for alive in together]
        self.literal: list[dict[int, int]] = [{} for _ in range(self.count)]
        self.ends: list[tuple[int, int]] = []  # per literal: who lies below whom
        self.activity: list[float] = []
        for alive, total in zip(together, load, strict=True):
            for at, low in enumerate(alive):
                for high in alive[at + 1 :]:
                    pressure = total / max(self.capacity, 1)
                    if high not in self.literal[low]:
                        self.literal[low][high] = len(self.ends)
                        self.literal[high][low] = len(self.ends) + 1
                        self.ends += [(low, high), (high, low)]
                        self.activity.append(pressure)
                    pair = self.literal[low][high] >> 1
                    self.activity[pair] = max(self.activity[pair], pressure)

    def _twins(self) -> list[tuple[int, int]]:
        last: dict[tuple[int, int, int, int], int] = {}
        found = []
        for item in range(self.count):
            key = (*self.span[item], self.size[item], self.alignment[item])
            if key in last:
                found.append((last[key], item))
            last[key] = item
        return found

    # --- assigning and undoing ---------------------------------------------------------------

    def _assign(self, literal: int, reason: _Reason) -> None:
        low, high = self.ends[literal]
        self.value[literal], self.value[literal ^ 1] = 1, -1
        self.level_of[literal >> 1] = len(self.starts)
        self.reason[literal >> 1] = reason
        self.trail.append(literal)
        self.detail.append(None)
        self.beyond[0][high].append(low)
        self.beyond[1][low].append(high)
        self.stale[0][high] = None
        self.stale[1][low] = None

    def _raise(self, side: int, item: int, bound: int, reason: _Reason) -> bool:
        """Raise a head or a tail; False if the buffer does not fit any more."""
        if self.align:
            if side == 0:
                bound = aligned(bound, self.alignment[item])
            else:
                top = self.capacity - self.size[item]
                bound = top - (top - bound) // self.alignment[item] * self.alignment[item]
        self.trail.append(-1)
        self.detail.append((side, item, self.bound[side][item], self.last[side][item], reason))
        self.bound[side][item] = bound
        self.last[side][item] = len(self.trail) - 1
        self.moved.update(self.sections_of[item])
        return self.bound[0][item] + self.size[item] + self.bound[1][item] <= self.capacity

    def _undo(self, level: int) -> None:
        if level >= len(self.starts):
            return
        start = self.starts[level]
        for position in range(len(self.trail) - 1, start - 1, -1):
            literal = self.trail[position]
            if literal >= 0:
                low, high = self.ends[literal]
                self.value[literal] = self.value[literal ^ 1] = 0
                self.saved[literal >> 1] = literal
                self.beyond[0][high].pop()
                self.beyond[1][low].pop()
                self._enqueue(literal >> 1)
            else:
                detail = self.detail[position]
                assert detail is not None
                side, item, old, last, _ = detail
                self.bound[side][item], self.last[side][item] = old, last
        del self.trail[start:], self.detail[start:], self.starts[level:]
        self.seen_to = start
        self.stale = [{}, {}]
        self.moved = {}

    def _decide(self) -> bool:
        """Choose the order of one more pair; False if all are chosen."""
        while self.queue:
            activity, pair = heapq.heappop(self.queue)
            if -activity != self.queued[pair]:
                continue
            self.queued[pair] = -1.0
            if self.value[2 * pair] == 0:
                self.starts.append(len(self.trail))
                self._assign(self.saved[pair], _NONE)
                return True
        return False

    # --- propagation: each returns the reason of a conflict, or None ---------------------------

    def _propagate(self) -> _Reason | None:
        while True:
            while self.seen_to < len(self.trail):
                literal = self.trail[self.seen_to]
                self.seen_to += 1
                if literal >= 0:
                    conflict = self._through_clauses(literal) or self._through_others(literal)
                    if conflict:
                        return conflict
            if self.stale[0]:
                side = 0
            elif self.stale[1]:
                side = 1
            elif self.moved:
                section = next(iter(self.moved))
                del self.moved[section]
                conflict = self._through_section(section, 0) or self._through_section(section, 1)
                if conflict:
                    return conflict
                continue
            else:
                return None
            item = next(iter(self.stale[side]))
            del self.stale[side][item]
            conflict = self._through_bounds(side, item)
            if conflict:
                return conflict

    def _through_clauses(self, true: int) -> _Reason | None:
        """Clauses whose watched literal became false."""
        false = true ^ 1
        value, watching, kept = self.value, self.watch[false], []
        for at, clause in enumerate(watching):
            if clause[0] == false:
                clause[0], clause[1] = clause[1], false
            first = clause[0]
            if value[first] == 1:
                kept.append(clause)
                continue
            for position in range(2, len(clause)):
                other = clause[position]
                if value[other] != -1:
                    clause[1], clause[position] = other, false
                    self.watch[other].append(clause)
                    break
            else:
                kept.append(clause)
                if value[first] == -1:
                    kept += watching[at + 1 :]
                    self.watch[false] = kept
                    return tuple(item ^ 1 for item in clause), ()
                self._assign(first, (tuple(item ^ 1 for item in clause[1:]), ()))
        self.watch[false] = kept
        return None

    def _through_others(self, true: int) -> _Reason | None:
        """Below is transitive among three that are alive together in pairs."""
        low, high = self.ends[true]
        for near, far, side in ((low, high, 1), (high, low, 0)):
            known = self.literal[near]
            for other in self.beyond[side][far]:
                if other in known:
                    wanted = known[other] if side else known[other] ^ 1
                    state = self.value[wanted]
                    if state == 1:
                        continue
                    link = self.literal[far][other] if side else self.literal[other][far]
                    if state == -1:
                        return (true, link, wanted ^ 1), ()
                    self._assign(wanted, ((true, link), ()))
        return None

    def _through_bounds(self, side: int, item: int) -> _Reason | None:
        """Raise a buffer's head or tail, and choose the pairs that this leaves one order."""
        bound, size = self.bound[side], self.size
        beyond = sorted(self.beyond[side][item], key=bound.__getitem__)
        first, end = self.span[item]
        reach = [0] * (end - first)
        for other in beyond:
            start, stop = self.span[other]
            least, more = bound[other], size[other]
            for at in range(max(start, first) - first, min(stop, end) - first):
                height = reach[at]
                reach[at] = (height if height > least else least) + more
        highest = max(reach)
        if highest > bound[item]:
            reason = self._stack(side, item, beyond, first + reach.index(highest))
            if not self._raise(side, item, highest, reason):
                return (), (self.last[0][item], self.last[1][item])
            for other in self.beyond[1 - side][item]:
                self.stale[side][other] = None
            return self._through_pairs(side, item)
        return None

    def _stack(self, side: int, item: int, beyond: list[int], section: int) -> _Reason:
        """Why a head is as high as it is: the buffers stacked without a gap in one section."""
        bound, height, ground = self.bound[side], 0, 0
        stacked: list[int] = []
        for other in beyond:
            start, stop = self.span[other]
            if start <= section < stop:
                if bound[other] > height:
                    height = ground = bound[other]
                    stacked = []
                stacked.append(other)
                height += self.size[other]
        known = self.literal[item]
        literals = tuple(known[other] ^ 1 if side == 0 else known[other] for other in stacked)
        return literals, tuple(self._since(side, other, ground) for other in stacked)

    def _since(self, side: int, item: int, least: int) -> int:
        """The position on the trail from which on a bound was at least so high."""
        position = self.last[side][item]
        if least <= 0:
            return -1
        while True:
            detail = self.detail[position]
            assert detail is not None
            if detail[2] < least:
                return position
            position = detail[3]

    def _through_pairs(self, side: int, item: int) -> _Reason | None:
        room = self.capacity - self.bound[side][item] - self.size[item]
        facing, size, value = self.bound[1 - side], self.size, self.value
        for other, literal in self.literal[item].items():
            wanted = literal ^ 1 if side == 0 else literal  # the other one comes first
            if value[wanted] == 1 or size[other] + facing[other] <= room:
                continue
            least = self.capacity + 1 - self.size[item] - size[other] - facing[other]
            reason = ((), (self._since(side, item, least), self.last[1 - side][other]))
            if value[wanted] == -1:
                return (wanted ^ 1,), reason[1]
            self._assign(wanted, reason)
        return None

    def _through_section(self, section: int, side: int) -> _Reason | None:
        """Edge finding: what does not fit under a set of buffers, nor among them, lies above.

        A set is all buffers with heads from one height on and tails from another on. On side 1
        the same with above and below exchanged.
        """
        heads, tails, size = self.bound[side], self.bound[1 - side], self.size
        alive, room, slack = self.together[section], self.capacity, self.slack[section]
        order = sorted(alive, key=heads.__getitem__, reverse=True)
        for tail in {tails[item] for item in alive}:
            total = tail
            for at, item in enumerate(order):
                head = heads[item]
                if head + tail <= slack:
                    break  # even all of the section's buffers would fit between the two
                if tails[item] < tail:
                    continue
                total += size[item]
                if head + total > room:
                    return (), self._bounds_of(
                        self._chosen(order, at, tail, side), side, head, tail
                    )
                left, top = room - total, head + total - tail
                for other in alive:
                    ground = heads[other]
                    if ground >= head:
                        if tails[other] >= tail or ground >= top:
                            continue  # in the set or in the next one, or known to lie above
                        ground = head
                    if ground + size[other] > left:
                        chosen = self._chosen(order, at, tail, side)
                        conflict = self._put_beyond(other, chosen, side, head, tail)
                        if conflict:
                            return conflict
        return None

    def _chosen(self, order: list[int], at: int, tail: int, side: int) -> list[int]:
        tails = self.bound[1 - side]
        return [item for item in order[: at + 1] if tails[item] >= tail]

    def _put_beyond(
        self, item: int, chosen: list[int], side: int, head: int, tail: int
    ) -> _Reason | None:
        """Put a buffer above all of a set (below, on side 1)."""
        known, reason = self.literal[item], _NONE
        for other in chosen:
            wanted = known[other] ^ 1 if side == 0 else known[other]
            if self.value[wanted] == 1:
                continue
            if reason is _NONE:
                least = min(head, self.bound[side][item])
                bounds = self._bounds_of(chosen, side, head, tail)
                reason = ((), (*bounds, self._since(side, item, least)))
            if self.value[wanted] == -1:
                return (wanted ^ 1,), reason[1]
            self._assign(wanted, reason)
        return None

    def _bounds_of(self, chosen: list[int], side: int, head: int, tail: int) -> tuple[int, ...]:
        return (
            *(self._since(side, other, head) for other in chosen),
            *(self._since(1 - side, other, tail) for other in chosen),
        )

    # --- learning ----------------------------------------------------------------------------

    def _learn(self, conflict: _Reason) -> bool:
        """Add the clause that a conflict teaches and go back; False if nothing is left open."""
        level = len(self.starts)
        seen: set[int] = set()  # literals
        followed: set[int] = set()  # positions of bounds
        rest: list[int] = []
        here = 0

        def take(reason: _Reason) -> None:
            nonlocal here
            literals, bounds = list(reason[0]), list(reason[1])
            while bounds:
                position = bounds.pop()
                if position >= 0 and position not in followed:
                    followed.add(position)
                    detail = self.detail[position]
                    assert detail is not None
                    more, further = detail[4]
                    literals += more
                    bounds += further
            for literal in literals:
                pair = literal >> 1
                if literal not in seen and self.level_of[pair] > 0:
                    seen.add(literal)
                    self._bump(pair)
                    if self.level_of[pair] == level:
                        here += 1
                    else:
                        rest.append(literal)

        take(conflict)
        while here == 0:  # all of it happened on earlier levels
            if not rest:
                return False
            level = max(self.level_of[literal >> 1] for literal in rest)
            self._undo(level)
            here = sum(self.level_of[literal >> 1] == level for literal in rest)
            rest = [literal for literal in rest if self.level_of[literal >> 1] < level]
        position = len(self.trail)
        while True:
            position -= 1
            literal = self.trail[position]
            if literal < 0 or literal not in seen or self.level_of[literal >> 1] != level:
                continue
            if here == 1:
                break
            here -= 1
            take(self.reason[literal >> 1])
        rest = self._without_implied(rest, seen)
        rest.sort(key=lambda item: -self.level_of[item >> 1])
        self._undo(self.level_of[rest[0] >> 1] if rest else 0)
        clause = [literal ^ 1, *(item ^ 1 for item in rest)]
        if len(clause) > 1:
            self.watch[clause[0]].append(clause)
            self.watch[clause[1]].append(clause)
        self._assign(clause[0], (tuple(rest), ()))
        return True

    def _without_implied(self, rest: list[int], seen: set[int]) -> list[int]:
        """Without the literals that others of the clause imply through one clause."""
        kept = []
        for literal in rest:
            literals, bounds = self.reason[literal >> 1]
            if (
                not literals
                or bounds
                or not all(item in seen or self.level_of[item >> 1] == 0 for item in literals)
            ):
                kept.append(literal)
        return kept

    def _bump(self, pair: int) -> None:
        self.activity[pair] += self.gain
        if self.activity[pair] > _RESCALE:
            self.activity = [activity / _RESCALE for activity in self.activity]
            self.gain /= _RESCALE
            self.queue = [
                (-activity, pair)
                for pair, activity in enumerate(self.activity)
                if self.value[2 * pair] == 0
            ]
            heapq.heapify(self.queue)
            self.queued = [-1.0] * len(self.activity)
            for activity, other in self.queue:
                self.queued[other] = -activity
        elif self.value[2 * pair] == 0:
            self._enqueue(pair)

    def _enqueue(self, pair: int) -> None:
        if self.queued[pair] != self.activity[pair]:
            self.queued[pair] = self.activity[pair]
            heapq.heappush(self.queue, (-self.activity[pair], pair))


def _luby(index: int) -> int:
    """1 1 2 1 1 2 4 1 1 2 1 1 2 4 8 ..."""
    index += 1
    while True:
        bits = index.bit_length()
        if index == (1 << bits) - 1:
            return 1 << (bits - 1)
        index -= (1 << (bits - 1)) - 1
