"""The memory that a network's inputs and activations need, planned without running it."""

from __future__ import annotations

from packlight.weighing.memory.buffers import Buffer, Plan, lower_bound
from packlight.weighing.memory.greedy import greedy_by_size
from packlight.weighing.memory.order import Order, best_order
from packlight.weighing.memory.packing import best_plan
from packlight.weighing.memory.timeline import (
    Live,
    MemoryPlan,
    Reordered,
    Timeline,
    memory_of,
)
from packlight.weighing.memory.trace import read_trace

__all__ = [
    "Buffer",
    "Live",
    "MemoryPlan",
    "Order",
    "Plan",
    "Reordered",
    "Timeline",
    "best_order",
    "best_plan",
    "greedy_by_size",
    "lower_bound",
    "memory_of",
    "read_trace",
]
