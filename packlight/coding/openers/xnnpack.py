"""Tensors of a program that ExecuTorch hands to XNNPACK (pytorch/executorch,
backends/xnnpack/serialization/runtime_schema.fbs): held in it, behind it, or as named data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from packlight.coding.openers.flatbuffers import Table
from packlight.coding.openers.tensor import ITEM_SIZES, Derived, Tensor

_NODES, _VALUES, _BUFFERS, _CONSTANTS = 1, 2, 6, 8
_CONSTANT_OFFSET, _CONSTANT_SIZE, _CONSTANT_KEY = 0, 1, 2
_UNION_KIND, _UNION, _QUANTIZED = 0, 1, 2
_QUANTIZED_TENSOR, _QUANTIZED_KIND, _QUANTIZED_BY = 0, 1, 2
_PER_TENSOR, _SCALE = 2, 0
_SCALES = 0  # in the description of what is quantized by channel or by group
#: kind of quantization (by channel, by group) -> the field that says where the scales are if not
_SCALES_BUFFERS = {1: (2, "float32"), 4: (4, "bfloat16")}
_TENSOR_TYPE, _TENSOR_SIZES, _TENSOR_BUFFER, _TENSOR_NUMBER = 0, 2, 3, 6
#: fully connected, convolution, depthwise, transposed -> the first of input, weights and bias
_NODE_INPUTS = {2: 0, 7: 15, 13: 15, 39: 15}
_TYPES = {
    1: "float32",
    2: "float16",
    3: "int8",
    4: "uint8",
    5: "int32",
    6: "int8",
    7: "int32",
    12: "int32",
    14: "bfloat16",
}
Found = Tensor | Derived
_MAGIC = b"XH00"
_PLAIN_MAGICS = (b"XN00", b"XN01")


def tensors(program: Table, start: int, named: Mapping[str, tuple[int, int]]) -> Iterator[Found]:
    """Every constant of a known type, and the scales of biases.

    Args:
        program: of ExecuTorch.
        start: where XNNPACK's program begins.
        named: (first byte, bytes) of data that the file holds under a name.
    """
    found = _graph(program, start)
    if found is None:
        return
    graph, base = found
    places = [buffer.vector(0, 1) for buffer in graph.tables(_BUFFERS)]
    if not places:
        places = [_place(entry, base, named) for entry in graph.tables(_CONSTANTS)]
    values: dict[int, _Value] = {}
    for table in graph.tables(_VALUES):
        value = _value(table, places)
        if value:
            values[value.number] = value
            yield from value.found
    for node in graph.tables(_NODES):
        yield from _bias_scales(node, values)


def count_nodes(program: Table, start: int) -> int:
    """How many nodes a program of XNNPACK has that begins at `start`."""
    found = _graph(program, start)
    return len(found[0].tables(_NODES)) if found else 0


def _graph(program: Table, start: int) -> tuple[Table, int] | None:
    """The graph of a program, and where the offsets of its constants count from."""
    data, base = program.data, 0
    if data[start + 4 : start + 8] == _MAGIC:
        offset, _, constants = struct.unpack_from("<III", data, start + 10)
        base = start + constants
        start += offset
    if data[start + 4 : start + 8] not in _PLAIN_MAGICS:
        return None
    return program.root(start), base


def _place(entry: Table, base: int, named: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    key = entry.text(_CONSTANT_KEY)
    if key:
        return named.get(key, (0, 0))
    return base + entry.number(_CONSTANT_OFFSET, "Q"), entry.number(_CONSTANT_SIZE, "Q")


@dataclass
class _Value:
    """A tensor of the graph: its items and scales if the file holds them, its one scale if not."""

    number: int
    found: list[Tensor]
    scales: Tensor | None = None
    scale: float = 0.0


def _value(value: Table, places: list[tuple[int, int]]) -> _Value | None:
    tensor = value.table(_UNION)
    quantized = None
    if tensor and value.number(_UNION_KIND, "B") == _QUANTIZED:
        quantized, tensor = tensor, tensor.table(_QUANTIZED_TENSOR)
    if not tensor:
        return None
    found = _Value(tensor.number(_TENSOR_NUMBER, "I"), list(_tensor(tensor, places)))
    by = quantized.table(_QUANTIZED_BY) if quantized else None
    if quantized and by:
        kind = quantized.number(_QUANTIZED_KIND, "B")
        if kind == _PER_TENSOR:
            found.scale = by.fraction(_SCALE)
        elif kind in _SCALES_BUFFERS:
            field, dtype = _SCALES_BUFFERS[kind]
            number = by.number(field, "I")
            at, size = places[number]
            if not number:
                dtype, (at, count) = "float32", by.vector(_SCALES, ITEM_SIZES["float32"])
                size = count * ITEM_SIZES["float32"]
            if size:
                found.scales = Tensor(at, dtype, (size // ITEM_SIZES[dtype],), "scales")
                found.found.append(found.scales)
    return found


def _tensor(tensor: Table, places: list[tuple[int, int]]) -> Iterator[Tensor]:
    number, kind = tensor.number(_TENSOR_BUFFER, "I"), tensor.number(_TENSOR_TYPE, "h")
    shape = tensor.numbers(_TENSOR_SIZES, "I")
    if number and kind in _TYPES and all(shape):
        at, size = places[number]
        if prod(shape) * ITEM_SIZES[_TYPES[kind]] == size:
            yield Tensor(at, _TYPES[kind], shape, channels_last=len(shape) == 4)


def _bias_scales(node: Table, values: Mapping[int, _Value]) -> Iterator[Derived]:
    """A bias is held in units of its input's scale times its weights' scales."""
    kind, inputs = node.number(_UNION_KIND, "B"), node.table(_UNION)
    if not inputs or kind not in _NODE_INPUTS:
        return
    first = _NODE_INPUTS[kind]
    x, weights, bias = (values.get(inputs.number(first + i, "I")) for i in range(3))
    if not (x and weights and bias and weights.scales and bias.scales):
        return
    old, new = weights.scales, bias.scales
    alike = old.dtype == new.dtype == "float32" and old.size == new.size
    if alike and x.scale and old.offset + old.size <= new.offset:
        factor = struct.pack("<f", x.scale)
        yield Derived(new.offset, new.size, old.offset, factor, "bias scales")
