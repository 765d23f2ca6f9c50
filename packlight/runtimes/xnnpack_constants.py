"""XNNPACK's constants right behind the graph that reads them, instead of by name in the program.

executorch gives each constant (weights, scales, biases, their scales: four of a layer) a name of 64
letters, once in XNNPACK's graph and once in the program, and a segment of its own: 190 bytes, more
than most of them hold. The runtime reads a graph with its constants behind it as well, at offsets,
and gives their memory back once they are packed likewise. A constant that two delegates share has
to be named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from packlight.runtimes.xnnpack_graph import inline_scales

_BEYOND = 16  # bytes that XNNPACK's kernels may read past the end of a constant


@dataclass
class Placed:
    """What was written so far.

    Args:
        seen: names of the constants in all delegates.
        repeated: a constant is in the file more than once, because two delegates read it.
    """

    seen: set[str] = field(default_factory=set)
    repeated: bool = False


@contextmanager
def constants_inside() -> Iterator[Placed]:
    """While it lasts, executorch writes XNNPACK's constants behind their graph."""
    from executorch.backends.xnnpack import xnnpack_preprocess as upstream

    placed = Placed()
    stores: list[Any] = []
    store_class, serialize = upstream.NamedDataStore, upstream.serialize_xnnpack_binary

    def opened() -> Any:
        stores.append(store_class())
        return stores[-1]

    def with_constants(graph: Any, constants: bytearray) -> bytes:
        store = stores.pop()
        _place(graph, constants, store, placed)
        store.__init__()  # nothing is left to name
        data: bytes = serialize(graph, constants)
        return data

    upstream.NamedDataStore, upstream.serialize_xnnpack_binary = opened, with_constants
    try:
        yield placed
    finally:
        upstream.NamedDataStore, upstream.serialize_xnnpack_binary = store_class, serialize


def _place(graph: Any, constants: bytearray, store: Any, placed: Placed) -> None:
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import (
        CONSTANT_TENSOR_ALIGNMENT,
    )

    held = store.get_named_data_store_output()
    data = {name: bytes(held.buffers[one.buffer_index]) for name, one in held.pte_data.items()}
    starts: dict[str, int] = {}
    inline_scales(graph, data)
    for entry in graph.constant_data:
        name = entry.named_key
        if not name:
            continue  # the first, which stands for "no constant"
        if name not in starts:
            constants.extend(bytes(-len(constants) % CONSTANT_TENSOR_ALIGNMENT))
            starts[name] = len(constants)
            constants.extend(data[name])
            placed.repeated |= name in placed.seen
        entry.offset, entry.named_key = starts[name], None  # an empty name would be looked up
    placed.seen |= starts.keys()
    if starts:
        constants.extend(bytes(_BEYOND))
