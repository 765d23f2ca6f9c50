"""Plans made by one rule, largest buffer first: quick, and what most runtimes do.

Source: Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference",
arXiv:2001.03288, section 5.2 (greedy by size, offset calculation); it plans TFLite's arena.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from packlight.weighing.memory.buffers import Buffer, Plan, aligned, lower_bound


def greedy_by_size(buffers: Sequence[Buffer]) -> Plan:
    """The largest buffer first, each into the smallest gap that takes it."""
    order = sorted(range(len(buffers)), key=lambda index: -buffers[index].size)
    return place_in_order(buffers, order)


def place_in_order(
    buffers: Sequence[Buffer], order: Sequence[int], fixed: Mapping[int, int] | None = None
) -> Plan:
    """One buffer after the other, each into the smallest gap that takes it.

    Args:
        order: indices of the buffers to place, each once.
        fixed: offsets of buffers that lie already, by index.
    """
    offsets = [0] * len(buffers)
    for index, offset in (fixed or {}).items():
        offsets[index] = offset
    placed = sorted(fixed or (), key=offsets.__getitem__)
    for index in order:
        buffer = buffers[index]
        best, room = None, 0
        end = 0  # of the bytes looked at
        for other in placed:
            neighbour = buffers[other]
            if neighbour.lower >= buffer.upper or buffer.lower >= neighbour.upper:
                continue
            start = aligned(end, buffer.alignment)
            left = offsets[other] - start
            if left >= buffer.size and (best is None or left < room):
                best, room = start, left
            end = max(end, offsets[other] + neighbour.size)
        offsets[index] = aligned(end, buffer.alignment) if best is None else best
        at = len(placed)
        while at and offsets[placed[at - 1]] > offsets[index]:
            at -= 1
        placed.insert(at, index)
    peak = max((o + b.size for o, b in zip(offsets, buffers, strict=True)), default=0)
    bound = lower_bound(buffers)
    return Plan(tuple(offsets), peak, bound, proved=peak == bound)
