"""Tensors of a program that ExecuTorch hands to XNNPACK (pytorch/executorch,
backends/xnnpack/serialization/runtime_schema.fbs): held in it, behind it, or as named data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from math import prod

from packlight.coding.openers.flatbuffers import Table
from packlight.coding.openers.tensor import ITEM_SIZES, Tensor

_VALUES, _BUFFERS, _CONSTANTS = 2, 6, 8
_CONSTANT_OFFSET, _CONSTANT_SIZE, _CONSTANT_KEY = 0, 1, 2
_UNION_KIND, _UNION, _QUANTIZED = 0, 1, 2
_QUANTIZED_TENSOR, _QUANTIZED_KIND, _QUANTIZED_BY = 0, 1, 2
_PER_CHANNEL, _SCALES_BUFFER = 1, 2
_PER_GROUP, _GROUP_SCALES_BUFFER = 4, 4
_TENSOR_TYPE, _TENSOR_SIZES, _TENSOR_BUFFER = 0, 2, 3
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
_MAGIC = b"XH00"
_PLAIN_MAGICS = (b"XN00", b"XN01")


def tensors(program: Table, start: int, named: Mapping[str, tuple[int, int]]) -> Iterator[Tensor]:
    """Every constant of a known type.

    Args:
        program: of ExecuTorch.
        start: where XNNPACK's program begins.
        named: (first byte, bytes) of data that the file holds under a name.
    """
    data, base = program.data, 0
    if data[start + 4 : start + 8] == _MAGIC:
        offset, _, constants = struct.unpack_from("<III", data, start + 10)
        base = start + constants
        start += offset
    if data[start + 4 : start + 8] not in _PLAIN_MAGICS:
        return
    graph = program.root(start)
    places = [buffer.vector(0, 1) for buffer in graph.tables(_BUFFERS)]
    if not places:
        places = [_place(entry, base, named) for entry in graph.tables(_CONSTANTS)]
    for value in graph.tables(_VALUES):
        yield from _value(value, places)


def _place(entry: Table, base: int, named: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    key = entry.text(_CONSTANT_KEY)
    if key:
        return named.get(key, (0, 0))
    return base + entry.number(_CONSTANT_OFFSET, "Q"), entry.number(_CONSTANT_SIZE, "Q")


def _value(value: Table, places: list[tuple[int, int]]) -> Iterator[Tensor]:
    tensor = value.table(_UNION)
    if tensor and value.number(_UNION_KIND, "B") == _QUANTIZED:
        yield from _scales(tensor, places)
        tensor = tensor.table(_QUANTIZED_TENSOR)
    if not tensor:
        return
    number, kind = tensor.number(_TENSOR_BUFFER, "I"), tensor.number(_TENSOR_TYPE, "h")
    shape = tensor.numbers(_TENSOR_SIZES, "I")
    if not number or kind not in _TYPES or not all(shape):
        return
    at, size = places[number]
    if prod(shape) * ITEM_SIZES[_TYPES[kind]] == size:
        yield Tensor(at, _TYPES[kind], shape, channels_last=len(shape) == 4)


def _scales(quantized: Table, places: list[tuple[int, int]]) -> Iterator[Tensor]:
    """The scales of weights that lie beside them."""
    by, kind = quantized.table(_QUANTIZED_BY), quantized.number(_QUANTIZED_KIND, "B")
    if not by or kind not in (_PER_CHANNEL, _PER_GROUP):
        return
    field = _SCALES_BUFFER if kind == _PER_CHANNEL else _GROUP_SCALES_BUFFER
    at, size = places[by.number(field, "I")]
    dtype = "float32" if kind == _PER_CHANNEL else "bfloat16"
    if by.number(field, "I") and size:
        yield Tensor(at, dtype, (size // ITEM_SIZES[dtype],), "scales")
