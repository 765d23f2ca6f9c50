"""Whether buffers fit into a capacity, asked of OR-Tools' CP-SAT solver.

A buffer is a rectangle: its time is given, its offset is sought, and no two may overlap. Offsets
are counted in the largest unit that divides all sizes and alignments, time in sets of buffers alive
together. One worker searches with a fixed seed: the same buffers get the same plan.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from math import gcd
from typing import Literal

from packlight.weighing.memory.buffers import Buffer, sections


def is_installed() -> bool:
    """Whether packlight was installed with its extra `solver`."""
    return importlib.util.find_spec("ortools") is not None


def solve(
    buffers: Sequence[Buffer], capacity: int, seconds: float
) -> list[int] | Literal[False] | None:
    """Search for a plan that fits.

    Args:
        capacity: bytes.
        seconds: how long to search.
    Returns:
        Offsets in bytes; False: there are none; None: the time is over.
    """
    from ortools.sat.python import cp_model

    if any(buffer.size > capacity for buffer in buffers):
        return False
    aligned = [buffer.alignment for buffer in buffers if buffer.alignment > 1]
    unit = gcd(*(buffer.size for buffer in buffers), *aligned) or 1
    alive = sections(buffers)
    born = {item: at for at, items in reversed([*enumerate(alive)]) for item in items}
    died = {item: at for at, items in enumerate(alive) for item in items}
    model = cp_model.CpModel()
    offsets, times, places = [], [], []
    for item, buffer in enumerate(buffers):
        step = max(buffer.alignment // unit, 1)
        slot = model.new_int_var(0, (capacity - buffer.size) // (step * unit), "")
        offsets.append(step * slot)
        if buffer.size:
            length = died[item] - born[item] + 1
            times.append(model.new_fixed_size_interval_var(born[item], length, ""))
            places.append(model.new_fixed_size_interval_var(step * slot, buffer.size // unit, ""))
    model.add_no_overlap_2d(times, places)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    match solver.solve(model):
        case cp_model.OPTIMAL | cp_model.FEASIBLE:
            return [unit * solver.value(offset) for offset in offsets]
        case cp_model.INFEASIBLE:
            return False
    return None
