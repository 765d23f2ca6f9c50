"""The fewest bytes from what a device has to what it wants: the whole file, or differences."""

from __future__ import annotations

import heapq
from collections.abc import Collection

from packlight.delivery.index import Index, Packed, Variant


def cheapest(
    index: Index, wanted: Collection[Variant], held: Collection[str]
) -> tuple[Variant, list[tuple[Packed, Variant]]]:
    """The shortest path to any of the wanted variants, by bytes to download.

    Args:
        index: every version; differences between those that are no longer offered count too.
        wanted: where it may end; the first of equals is taken.
        held: unpacked SHA-256s of what the device has.
    Returns:
        The variant it ends in, and the packed files to unpack in order, each with a variant of the
        size and SHA-256 it unpacks to; no files where the device has it already.
    Source: Dijkstra's algorithm, from the wanted files backwards to what is held or to nothing.
    """
    everything = [variant for one in index.releases for variant in one.files]
    made: dict[str, list[tuple[Packed, Variant]]] = {}  # unpacked SHA-256 -> ways to make it
    for variant in everything:
        ways = made.setdefault(variant.sha256, [])
        ways += [(packed, variant) for packed in (variant.full, *variant.deltas)]
    queue: list[tuple[int, int, str | None, Variant, list[tuple[Packed, Variant]]]]
    queue = [(0, order, v.sha256, v, []) for order, v in enumerate(wanted)]
    order = len(queue)
    done: set[str] = set()
    while queue:
        bytes_, _, at, end, steps = heapq.heappop(queue)
        if at is None or at in held:
            return end, steps
        if at in done:
            continue
        done.add(at)
        for packed, variant in made.get(at, ()):
            order += 1
            way = [(packed, variant), *steps]
            heapq.heappush(queue, (bytes_ + packed.size, order, packed.base, end, way))
    raise AssertionError("every variant has its full file")
