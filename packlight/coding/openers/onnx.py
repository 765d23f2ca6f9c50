"""Tensors of an ONNX file: raw_data, packed float_data, external data; in subgraphs too.

Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from packlight.coding.openers.protobuf import fields, numbers, varint
from packlight.coding.openers.tensor import Tensor

_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 7, 1, 5, 15
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 4, 8, 9
_TENSOR_EXTERNAL, _ENTRY_KEY, _ENTRY_VALUE = 13, 1, 2
_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    10: "float16",
    16: "bfloat16",
}
_DEPTH = 64


def tensors(data: bytes) -> Iterator[Tensor]:
    """Every tensor with at least one item."""
    for field, start, end in fields(data, 0, len(data)):
        if field == _MODEL_GRAPH:
            yield from _graph(data, start, end, 0)


def _graph(data: bytes, start: int, end: int, depth: int) -> Iterator[Tensor]:
    if depth > _DEPTH:
        return
    for field, at, to in fields(data, start, end):
        if field == _GRAPH_INITIALIZER:
            yield from _tensor(data, at, to)
        elif field == _GRAPH_NODE:
            for part, a, b in fields(data, at, to):
                if part == _NODE_ATTRIBUTE:
                    yield from _attribute(data, a, b, depth)


def _attribute(data: bytes, start: int, end: int, depth: int) -> Iterator[Tensor]:
    for field, at, to in fields(data, start, end):
        if field in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS) and to > at:
            yield from _tensor(data, at, to)
        elif field in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS) and to > at:
            yield from _graph(data, at, to, depth + 1)


def _tensor(data: bytes, start: int, end: int) -> Iterator[Tensor]:
    shape: list[int] = []
    kind, name = 0, ""
    blob: tuple[int, int] | None = None
    external: dict[str, str] = {}
    for field, at, to in fields(data, start, end):
        if field == _TENSOR_DIMS:
            shape.extend(numbers(data, at, to))
        elif field == _TENSOR_TYPE:
            kind = varint(data, at, to)[0]
        elif field == _TENSOR_NAME:
            name = data[at:to].decode("utf-8", "replace")
        elif field in (_TENSOR_RAW, _TENSOR_FLOATS) and to - at > 4:
            blob = at, to
        elif field == _TENSOR_EXTERNAL:
            entry = {part: data[a:b].decode() for part, a, b in fields(data, at, to)}
            external[entry.get(_ENTRY_KEY, "")] = entry.get(_ENTRY_VALUE, "")
    if blob and kind in _TYPES:
        tensor = Tensor(blob[0], _TYPES[kind], tuple(shape), name)
        if prod(shape) and tensor.size == blob[1] - blob[0]:
            yield tensor
    elif "location" in external and kind in _TYPES and all(shape):
        at = int(external.get("offset", "0"))
        yield Tensor(at, _TYPES[kind], tuple(shape), name, file=external["location"])
