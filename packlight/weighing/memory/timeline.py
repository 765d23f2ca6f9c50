"""What a network needs in memory while it runs, and what it could need."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from packlight.weighing.memory.buffers import Plan, lower_bound
from packlight.weighing.memory.greedy import greedy_by_size
from packlight.weighing.memory.lifetimes import (
    ALIGNMENT,
    Lifetimes,
    in_order,
    lifetimes,
    live_bytes,
)
from packlight.weighing.memory.order import best_order
from packlight.weighing.memory.packing import best_plan
from packlight.weighing.program import Program

SECONDS = 10.0  # for all searches together; most networks take far less


@dataclass(frozen=True)
class Live:
    """A tensor that is alive at the peak.

    Args:
        name: of the value.
        bytes: of its storage.
    """

    name: str
    bytes: int


@dataclass(frozen=True)
class Timeline:
    """Live memory over the steps.

    Args:
        steps: the layers' names, in the order they run.
        live: bytes alive during each step.
        at_peak: the tensors alive at the first step with the most bytes, largest first.
    """

    steps: tuple[str, ...]
    live: tuple[int, ...]
    at_peak: tuple[Live, ...]

    @property
    def peak(self) -> int:
        """The most bytes alive at once."""
        return max(self.live, default=0)

    @property
    def peak_step(self) -> int:
        """The index of the first step with that many."""
        return self.live.index(self.peak) if self.live else 0

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return asdict(self) | {"peak": self.peak, "peak_step": self.peak_step}


@dataclass(frozen=True)
class Reordered:
    """The same steps in an order with a lower peak.

    Args:
        order: indices into the program's steps.
        plan: of the arena in that order.
        timeline: in that order.
        proved: no order has fewer bytes alive at its peak.
    """

    order: tuple[int, ...]
    plan: Plan
    timeline: Timeline
    proved: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "order": list(self.order),
            "plan": self.plan.to_dict(),
            "timeline": self.timeline.to_dict(),
            "proved": self.proved,
        }


@dataclass(frozen=True)
class MemoryPlan:
    """The memory of a network's inputs and activations; weights come on top.

    Args:
        alignment: bytes that every size is rounded up to.
        input_bytes: of the network's inputs.
        activation_bytes: of all that the steps write, each in storage of its own.
        greedy: the arena as TFLite plans it, largest tensor first.
        plan: the smallest arena found.
        storages: the tensors that lie in each block of the plans, the first one first.
        timeline: live memory over the steps.
        reordered: the same for a better order of steps, where one was found.
    """

    alignment: int
    input_bytes: int
    activation_bytes: int
    greedy: Plan
    plan: Plan
    storages: tuple[tuple[str, ...], ...]
    timeline: Timeline
    reordered: Reordered | None

    @property
    def naive(self) -> int:
        """Bytes without any planning."""
        return self.input_bytes + self.activation_bytes

    @property
    def peak(self) -> int:
        """Bytes of the smallest arena found, in the order given."""
        return self.plan.peak

    @property
    def lower_bound(self) -> int:
        """What no arena can go below in the order given: the most bytes alive at once, or more
        where it was proved that those can not be stacked."""
        return self.plan.lower_bound

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "alignment": self.alignment,
            "input_bytes": self.input_bytes,
            "activation_bytes": self.activation_bytes,
            "naive": self.naive,
            "lower_bound": self.lower_bound,
            "peak": self.peak,
            "greedy": self.greedy.to_dict(),
            "plan": self.plan.to_dict(),
            "storages": [list(names) for names in self.storages],
            "timeline": self.timeline.to_dict(),
            "reordered": self.reordered.to_dict() if self.reordered else None,
        }


def memory_of(
    program: Program, *, seconds: float = SECONDS, alignment: int = ALIGNMENT
) -> MemoryPlan:
    """Plan a network's memory.

    Args:
        seconds: how long to search for better plans and orders at most.
        alignment: bytes that every tensor's size is rounded up to.
    Raises:
        BadInput: the program reads what nobody writes; the alignment is no positive number.
    """
    deadline = time.monotonic() + seconds
    found = lifetimes(program, alignment)
    plan = best_plan(found.buffers, seconds=seconds / 3)
    order = best_order(program, seconds=seconds / 3, alignment=alignment)
    reordered = None
    if order.peak < lower_bound(found.buffers):
        other = in_order(program, order.steps)
        after = lifetimes(other, alignment)
        rest = max(deadline - time.monotonic(), 0.0)
        planned = best_plan(after.buffers, seconds=rest)
        if planned.peak < plan.peak:
            reordered = Reordered(order.steps, planned, _timeline(other, after), order.proved)
    return MemoryPlan(
        alignment=alignment,
        input_bytes=found.input_bytes,
        activation_bytes=found.activation_bytes,
        greedy=greedy_by_size(found.buffers),
        plan=plan,
        storages=found.values,
        timeline=_timeline(program, found),
        reordered=reordered,
    )


def _timeline(program: Program, found: Lifetimes) -> Timeline:
    live = live_bytes(found.buffers, len(program.steps))
    peak_step = live.index(max(live)) if live else 0
    at_peak = []
    for buffer, names in zip(found.buffers, found.values, strict=True):
        if buffer.lower <= peak_step < buffer.upper:
            at_peak.append(Live(_current(program, names, peak_step), buffer.size))
    return Timeline(
        steps=tuple(step.name for step in program.steps),
        live=tuple(live),
        at_peak=tuple(sorted(at_peak, key=lambda item: (-item.bytes, item.name))),
    )


def _current(program: Program, names: tuple[str, ...], tick: int) -> str:
    """The value that a storage holds at a step: the last one written by then."""
    written = {x for step in program.steps[: tick + 1] for x in step.writes}
    return next((x for x in reversed(names) if x in written), names[0])
