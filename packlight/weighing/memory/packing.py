"""The plan with the lowest peak that can be found, proved lowest where that is possible.

1. Greedy plans by several orders. Most networks are done here: the peak is the lower bound.
2. Is there a plan at the lower bound? The buffers of the fullest moments, the core, are stacked by
   `skyline`, and the rest goes into the gaps. Where that fails, a complete search (`solver`)
   decides, if OR-Tools is installed; otherwise skylines are tried until the time is over.
3. If not, or if the time allowed is over, the same between the bound and the best peak known, by
   bisection. What is proved not to fit raises the lower bound.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import gcd
from typing import Literal

from packlight.weighing.memory import solver
from packlight.weighing.memory.buffers import Buffer, Plan, lower_bound, sections
from packlight.weighing.memory.greedy import place_in_order
from packlight.weighing.memory.skyline import Skyline

_CORES = (0.97, 0.93, 0.9, 0.85, 0.8, 0.7, 0.5, 0.0)  # how full the moments of a core are
_SKYLINE_STEPS = (500, 500, 2000, 500, 8000)  # of the attempts at one core
_SKYLINE_SHARE = 0.15  # of the time, where a complete search comes next


def best_plan(
    buffers: Sequence[Buffer], *, capacity: int | None = None, seconds: float = 10.0
) -> Plan:
    """Search for the plan with the lowest peak.

    Args:
        capacity: stop at the first plan that fits into so many bytes; default: at the best one.
        seconds: how long to search. What is found in less does not depend on it.
    """
    deadline = time.monotonic() + seconds
    best = min(_greedy_plans(buffers), key=lambda plan: plan.peak, default=Plan((), 0, 0, True))
    low = best.lower_bound
    target = low if capacity is None else max(capacity, low)
    grain = 0
    for buffer in buffers:
        grain = gcd(grain, buffer.size, buffer.alignment if buffer.alignment > 1 else 0)
    tried: set[int] = set()
    while best.peak > target and time.monotonic() < deadline:
        # the wanted peak is worth most of the time; then whatever is better than the best
        share = 1.0 if capacity is not None else 0.85 if not tried else 0.5
        until = _share_of(deadline, share)
        tried.add(target)
        found = _fit(buffers, target, until)
        if found:
            peak = max(x + buffer.size for x, buffer in zip(found, buffers, strict=True))
            best = replace(best, offsets=tuple(found), peak=peak)
        elif found is False:
            low = target + max(grain, 1)
        if capacity is not None:
            break
        target = max(low, (low + best.peak) // 2 // grain * grain)
        if target in tried or target >= best.peak:
            break
    low = min(low, best.peak)
    return replace(best, lower_bound=low, proved=best.peak == low)


def _greedy_plans(buffers: Sequence[Buffer]) -> Iterator[Plan]:
    bound = lower_bound(buffers)
    pressure = _pressure(buffers)
    for key in (
        lambda x: -buffers[x].size,
        lambda x: -buffers[x].size * (buffers[x].upper - buffers[x].lower),
        lambda x: (-pressure[x], -buffers[x].size),
        lambda x: -(buffers[x].upper - buffers[x].lower),
    ):
        plan = place_in_order(buffers, sorted(range(len(buffers)), key=key))
        yield plan
        if plan.peak == bound:
            return


def _pressure(buffers: Sequence[Buffer]) -> list[int]:
    """Per buffer, the most bytes alive at once while it is."""
    pressure = [0] * len(buffers)
    for alive in sections(buffers):
        load = sum(buffers[item].size for item in alive)
        for item in alive:
            pressure[item] = max(pressure[item], load)
    return pressure


def _fit(
    buffers: Sequence[Buffer], capacity: int, deadline: float
) -> Sequence[int] | Literal[False] | None:
    """Offsets that fit into a capacity; False if there are none, None if none were found."""
    rng = random.Random(0)
    complete = solver.is_installed()
    while time.monotonic() < deadline:
        until = _share_of(deadline, _SKYLINE_SHARE) if complete else deadline
        for plan in _from_cores(buffers, capacity, rng, until):
            if max(x + buffer.size for x, buffer in zip(plan, buffers, strict=True)) <= capacity:
                return plan
        if complete:
            return solver.solve(buffers, capacity, deadline - time.monotonic())
    return None


def _share_of(deadline: float, share: float) -> float:
    """When that share of the time left will be over."""
    return time.monotonic() + share * (deadline - time.monotonic())


def _from_cores(
    buffers: Sequence[Buffer], capacity: int, rng: random.Random, deadline: float
) -> list[list[int]]:
    """Offsets for all buffers, each built around a core that fits; the largest core first."""
    found: list[list[int]] = []
    pressure = _pressure(buffers)
    size = 0
    for share in _CORES:
        core = [item for item, load in enumerate(pressure) if load >= share * capacity]
        if len(core) == size:
            continue
        size = len(core)
        for steps in _SKYLINE_STEPS:
            sky = Skyline([buffers[item] for item in core], capacity, rng)
            offsets = sky.search(steps, deadline)
            if offsets:
                found.append(_around(buffers, dict(zip(core, offsets, strict=True)), capacity))
                break
    return found[::-1][:3]


def _around(buffers: Sequence[Buffer], core: dict[int, int], capacity: int) -> list[int]:
    """The rest put into the gaps around a core, in the order that ends lowest."""
    rest = [item for item in range(len(buffers)) if item not in core]
    pressure = _pressure(buffers)
    plans = [
        place_in_order(buffers, sorted(rest, key=key), core)
        for key in (
            lambda x: -buffers[x].size * (buffers[x].upper - buffers[x].lower),
            lambda x: -buffers[x].size,
            lambda x: -pressure[x],
        )
    ]
    return list(min(plans, key=lambda plan: plan.peak).offsets)
