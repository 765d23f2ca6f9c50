"""Tensors of Core ML: weight.bin, and the programs that say the shapes of what it holds.

weight.bin is a run of blobs, each behind a record of 64 bytes (coremltools,
mlmodel/src/MILBlob/Blob/StorageFormat.hpp). A program names blobs and their shapes, as protobuf in
an .mlpackage (mlmodel/format/MIL.proto) and as text in a compiled .mlmodelc.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from math import prod

from packlight.coding.openers import coreml_network as network
from packlight.coding.openers.protobuf import fields, number, parts, text
from packlight.coding.openers.tensor import ITEM_SIZES, Tensor

_HERE = "@model_path/"
_RECORD, _SENTINEL = 64, 0xDEADBEEF
_BLOB_TYPES = {
    1: "float16",
    2: "float32",
    3: "uint8",
    4: "int8",
    5: "bfloat16",
    6: "int16",
    7: "uint16",
    14: "int32",
}
_VALUE_TYPES = {
    10: "float16",
    11: "float32",
    13: "bfloat16",
    21: "int8",
    22: "int16",
    23: "int32",
    31: "uint8",
    32: "uint16",
}
_TEXT_TYPES = {b"fp16": "float16", b"fp32": "float32", b"bf16": "bfloat16"} | {
    name.encode(): name for name in ("int8", "uint8", "int16", "uint16", "int32")
}
_TEXT = re.compile(
    rb"tensor<(\w+), \[([\d, ]+)\]>\(BLOBFILE\(path = [^\"()]{0,40}\(\"@model_path/([^\"]+)\"\)"
    rb", offset = [^()]{0,40}\((\d+)\)"
)

_MODEL_PIPELINES = {200: (1, 1), 201: (1, 1), 202: (1,)}
_MODEL_REGRESSOR, _MODEL_CLASSIFIER, _MODEL_NETWORK, _MODEL_PROGRAM = 303, 403, 500, 502
_PROGRAM_FUNCTIONS, _FUNCTION_BLOCKS, _MAP_VALUE = 2, 3, 2
_BLOCK_OPERATIONS = 3
_OPERATION_INPUTS, _OPERATION_OUTPUTS, _OPERATION_BLOCKS, _OPERATION_ATTRIBUTES = 2, 3, 4, 5
_OUTPUT_NAME, _OUTPUT_TYPE = 1, 2
_ARGUMENT_BINDINGS, _BINDING_VALUE = 1, 2
_VALUE_TYPE, _VALUE_BLOB = 2, 5
_BLOB_FILE, _BLOB_OFFSET = 1, 2
_TYPE_TENSOR, _TENSOR_TYPE, _TENSOR_DIMENSIONS = 1, 1, 3
_DIMENSION_SIZE = (1, 1)
_DEPTH = 64


def weights(data: bytes) -> Iterator[Tensor]:
    """The blobs of a weight.bin, whose shapes it does not know."""
    at = _RECORD
    while at + _RECORD <= len(data):
        sentinel, kind, size, offset = struct.unpack_from("<IIQQ", data, at)
        if sentinel != _SENTINEL or offset < at + _RECORD:
            return
        if kind in _BLOB_TYPES:
            dtype = _BLOB_TYPES[kind]
            yield Tensor(offset, dtype, (size // ITEM_SIZES[dtype],))
        at = -(-(offset + size) // _RECORD) * _RECORD


def program(data: bytes) -> Iterator[Tensor]:
    """The blobs that a compiled model's model.mil names in files beside it."""
    for kind, shape, file, offset in _TEXT.findall(data):
        if kind in _TEXT_TYPES:
            lengths = tuple(int(length) for length in shape.split(b","))
            at = int(offset) + _RECORD
            yield Tensor(at, _TEXT_TYPES[kind], lengths, file=file.decode())


def tensors(data: bytes) -> Iterator[Tensor]:
    """Blobs that an .mlmodel names in files beside it, and the weights of older networks."""
    yield from _model(data, 0, len(data), 0)


def _model(data: bytes, start: int, end: int, depth: int) -> Iterator[Tensor]:
    if depth > _DEPTH:
        return
    for field, at, to in fields(data, start, end):
        if field == _MODEL_PROGRAM:
            functions = (_PROGRAM_FUNCTIONS, _MAP_VALUE)
            for a, b in parts(data, at, to, *functions, _FUNCTION_BLOCKS, _MAP_VALUE):
                yield from _block(data, a, b, depth)
        elif field in (_MODEL_NETWORK, _MODEL_CLASSIFIER, _MODEL_REGRESSOR):
            yield from network.tensors(data, at, to)
        elif field in _MODEL_PIPELINES:
            for a, b in parts(data, at, to, *_MODEL_PIPELINES[field]):
                yield from _model(data, a, b, depth + 1)


def _block(data: bytes, start: int, end: int, depth: int) -> Iterator[Tensor]:
    if depth > _DEPTH:
        return
    for at, to in parts(data, start, end, _BLOCK_OPERATIONS):
        yield from _operation(data, at, to)
        for a, b in parts(data, at, to, _OPERATION_BLOCKS):
            yield from _block(data, a, b, depth + 1)


def _operation(data: bytes, start: int, end: int) -> Iterator[Tensor]:
    name = text(data, start, end, _OPERATION_OUTPUTS, _OUTPUT_NAME)
    dense: tuple[int, ...] = ()
    for at, to in parts(data, start, end, _OPERATION_OUTPUTS, _OUTPUT_TYPE, _TYPE_TENSOR):
        dense = _shape(data, at, to)
    attributes = (_OPERATION_ATTRIBUTES, _MAP_VALUE)
    inputs = (_OPERATION_INPUTS, _MAP_VALUE, _ARGUMENT_BINDINGS, _BINDING_VALUE)
    for path in (attributes, inputs):
        for at, to in parts(data, start, end, *path):
            yield from _value(data, at, to, name, dense)


def _value(
    data: bytes, start: int, end: int, name: str, dense: tuple[int, ...]
) -> Iterator[Tensor]:
    file = text(data, start, end, _VALUE_BLOB, _BLOB_FILE)
    if not file.startswith(_HERE):
        return
    offset = number(data, start, end, _VALUE_BLOB, _BLOB_OFFSET) + _RECORD
    for at, to in parts(data, start, end, _VALUE_TYPE, _TYPE_TENSOR):
        kind, shape = number(data, at, to, _TENSOR_TYPE), _shape(data, at, to)
        if len(shape) == 1 and prod(shape) == prod(dense):
            shape = dense  # a palette's indices are listed flat
        if kind in _VALUE_TYPES and all(shape):
            path = file.removeprefix(_HERE)
            yield Tensor(offset, _VALUE_TYPES[kind], shape, name, file=path)


def _shape(data: bytes, start: int, end: int) -> tuple[int, ...]:
    dimensions = parts(data, start, end, _TENSOR_DIMENSIONS)
    return tuple(number(data, at, to, *_DIMENSION_SIZE) for at, to in dimensions)
