"""Memory plans and orders by trying everything, and checks that rely on nothing but definitions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from packlight.weighing.memory import Buffer
from packlight.weighing.program import Program


def overlaps(buffers: Sequence[Buffer], offsets: Sequence[int]) -> list[str]:
    """What is wrong with a plan: one sentence for each buffer or pair of buffers."""
    wrong = []
    for i, one in enumerate(buffers):
        if offsets[i] < 0 or offsets[i] % one.alignment:
            wrong.append(f"{one} lies at {offsets[i]}")
        for j in range(i):
            other = buffers[j]
            together = max(one.lower, other.lower) < min(one.upper, other.upper)
            low, high = (
                max(offsets[i], offsets[j]),
                min(offsets[i] + one.size, offsets[j] + other.size),
            )
            if together and low < high:
                wrong.append(f"{one} at {offsets[i]} and {other} at {offsets[j]}")
    return wrong


def height(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Where the highest buffer ends."""
    return max((x + buffer.size for x, buffer in zip(offsets, buffers, strict=True)), default=0)


def most_alive(buffers: Sequence[Buffer]) -> int:
    """The most bytes alive at any tick, every tick looked at."""
    ticks = range(max((buffer.upper for buffer in buffers), default=0))
    return max((sum(b.size for b in buffers if b.lower <= t < b.upper) for t in ticks), default=0)


def smallest_arena(buffers: Sequence[Buffer]) -> int:
    """The best of all plans.

    In some best plan every buffer rests on the ground or on another one. Putting them down in
    the order of their offsets, each as low as it can lie above those it overlaps, gives that plan.
    """
    best = sum(buffer.size + buffer.alignment for buffer in buffers)
    for order in permutations(range(len(buffers))):
        tops: list[tuple[Buffer, int]] = []
        for index in order:
            one = buffers[index]
            ground = max(
                (top for b, top in tops if b.lower < one.upper and one.lower < b.upper), default=0
            )
            offset = -(-ground // one.alignment) * one.alignment
            tops.append((one, offset + one.size))
        best = min(best, max((top for _, top in tops), default=0))
    return best


def peak_of_order(program: Program, order: Sequence[int], alignment: int) -> int:
    """Run the steps one by one and add up what has to be in memory during each."""

    def size(name: str) -> int:
        return -(-program.values[name].bytes // alignment) * alignment

    owner = {name: name for name in program.values}  # whose storage a value is
    for step in program.steps:
        if step.view_of is not None:
            for name in step.writes:
                owner[name] = owner[step.view_of]
    steps = [program.steps[index] for index in order]
    made, peak = set(program.inputs), 0
    for position, step in enumerate(steps):
        later = {owner[name] for other in steps[position + 1 :] for name in other.reads}
        later |= {owner[name] for name in program.outputs}
        reads = {owner[name] for name in step.reads}
        held = {name for name in made if owner[name] == name and name in later | reads}
        during = sum(map(size, held))
        new = [name for name in step.writes if owner[name] == name]
        over = [
            owner[name]
            for name in step.may_overwrite
            if owner[name] not in later
            and owner[name] not in program.inputs
            and len(step.writes) == 1
            and size(owner[name]) == size(step.writes[0])
        ]
        if not (new and over):
            during += sum(map(size, new))
        peak = max(peak, during)
        made.update(step.writes)
    return peak


def orders(program: Program) -> list[tuple[int, ...]]:
    """All orders in which every step finds what it reads."""
    found = []
    for order in permutations(range(len(program.steps))):
        made = set(program.inputs)
        for index in order:
            if not set(program.steps[index].reads) <= made:
                break
            made.update(program.steps[index].writes)
        else:
            found.append(order)
    return found
