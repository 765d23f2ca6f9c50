"""Tensors and operators, one after the other, and the .tflite file they make.

Quantised tensors are int8 or int32: real = scale * (level - zero), with one scale for all or one
per slice along an axis. Equal vectors and equal constants are written once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from packlight.runtimes.tflite.schema import flatbuffers, schema
from packlight.types import Array

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
ALIGNMENT = 16  # bytes; kernels read weights with vector loads

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "bool": schema.TensorType.BOOL,
}
_TYPE_NAMES = {number: name for name, number in _TYPES.items()}
#: the first version of an operator that there is a kernel for, where it is not 1
_VERSIONS = {"BROADCAST_TO": 2}
#: the same where it takes int8
_INT8_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "PADV2": 2,
    "RELU": 2,
    "RELU6": 2,
    "SLICE": 2,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "TRANSPOSE": 2,
    "TRANSPOSE_CONV": 2,
}
#: the same for float values and int8 weights
_HYBRID_VERSIONS = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 9}


@dataclass(frozen=True)
class Grid:
    """real = scale * (level - zero).

    Args:
        scale: (1,) or (channels,) float32, positive.
        zero: the level of 0, the same for every channel.
        axis: the dimension of the channels.
    """

    scale: tuple[float, ...]
    zero: int = 0
    axis: int = 0

    def holds(self, number: float) -> bool:
        """Whether a number is one of an int8 grid with one scale."""
        level = number / self.scale[0] + self.zero
        return -128 <= round(level) <= 127 and abs(level - round(level)) < 1e-3


def is_type(dtype: str) -> bool:
    """Whether tensors can hold numbers of a type, as numpy calls it."""
    return dtype in _TYPES


class FlatFile:
    """A file in the making; tensors are told by their index."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        self._buffers: dict[bytes, int] = {b"": 0}
        self._constants: dict[tuple[Any, ...], int] = {}
        self._vectors: dict[bytes, int] = {}  # of quantisation, and where they were written

    def value(
        self, shape: Sequence[int], dtype: str, grid: Grid | None = None, name: str = ""
    ) -> int:
        """A tensor that an operator, or the user, fills."""
        return self._add(shape, dtype, 0, grid, name)

    def constant(self, array: Array, grid: Grid | None = None, name: str = "") -> int:
        """A tensor whose numbers are in the file; an equal one that is there already is taken."""
        # not ascontiguousarray, which would give a scalar a dimension
        data = array.astype(array.dtype.newbyteorder("<"), order="C").tobytes()
        key = (data, array.shape, str(array.dtype), grid)
        if key not in self._constants:
            buffer = self._buffers.setdefault(data, len(self._buffers))
            self._constants[key] = self._add(array.shape, str(array.dtype), buffer, grid, name)
        return self._constants[key]

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None
    ) -> None:
        """A call of a builtin operator.

        Args:
            name: as in the schema's BuiltinOperator.
            inputs: -1 stands for one left out.
            options: the schema's options object for it, if it has any.
        """
        code = getattr(schema.BuiltinOperator, name)
        key = (code, self._version(name, inputs))
        call = schema.OperatorT(
            opcodeIndex=self._codes.setdefault(key, len(self._codes)),
            inputs=np.array(inputs, np.int32),
            outputs=np.array(outputs, np.int32),
        )
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            call.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            call.builtinOptions = options
        self._operators.append(call)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Of a tensor."""
        return tuple(int(size) for size in self._tensors[tensor].shape)

    def maker(self, tensor: int) -> int | None:
        """The number of the operator that fills a tensor."""
        for number, call in enumerate(self._operators):
            if tensor in call.outputs:
                return number
        return None

    def dtype(self, tensor: int) -> str:
        """Of a tensor's numbers."""
        return _TYPE_NAMES[self._tensors[tensor].type]

    def like(self, tensor: int, shape: Sequence[int]) -> int:
        """Another tensor for numbers of the same type and grid."""
        grid: Any = self._tensors[tensor].quantization
        return self.value(shape, self.dtype(tensor), None if grid is None else grid.grid)

    def rename(self, tensor: int, name: str) -> None:
        """Give a tensor the name that the user knows it by."""
        self._tensors[tensor].name = name

    def bytes(
        self, inputs: dict[str, int], outputs: dict[str, int], metadata: dict[str, str]
    ) -> bytes:
        """The file.

        Args:
            inputs, outputs: name -> tensor, in order; also the names of the only signature.
            metadata: key -> text.
        """
        for name, tensor in [*inputs.items(), *outputs.items()]:
            self.rename(tensor, name)
        entries = []
        for name, text in metadata.items():
            buffer = self._buffers.setdefault(text.encode(), len(self._buffers))
            entries.append(schema.MetadataT(name=name, buffer=buffer))
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=np.array([*inputs.values()], np.int32),
            outputs=np.array([*outputs.values()], np.int32),
            operators=self._operators,
            name="main",
        )
        signature = schema.SignatureDefT(
            inputs=[schema.TensorMapT(name, tensor) for name, tensor in inputs.items()],
            outputs=[schema.TensorMapT(name, tensor) for name, tensor in outputs.items()],
            signatureKey="serving_default",
        )
        model = schema.ModelT(
            version=SCHEMA_VERSION,
            operatorCodes=[_code(*key) for key in self._codes],
            subgraphs=[graph],
            description="packlight",
            buffers=[_Buffer(data) for data in self._buffers],
            metadata=entries or None,
            signatureDefs=[signature],
        )
        self._vectors.clear()
        return _packed(model)

    def _add(
        self, shape: Sequence[int], dtype: str, buffer: int, grid: Grid | None, name: str
    ) -> int:
        self._tensors.append(
            schema.TensorT(
                shape=np.array(shape, np.int32),
                type=_TYPES[dtype],
                buffer=buffer,
                name=name or f"t{len(self._tensors)}",
                quantization=None if grid is None else _Quantization(grid, self._vectors),
                hasRank=True,
            )
        )
        return len(self._tensors) - 1

    def _version(self, name: str, inputs: Sequence[int]) -> int:
        types = [self._tensors[index].type for index in inputs if index >= 0]
        if types and types[0] == schema.TensorType.INT8:
            return _INT8_VERSIONS.get(name, _VERSIONS.get(name, 1))
        if name in _HYBRID_VERSIONS and schema.TensorType.INT8 in types:
            return _HYBRID_VERSIONS[name]
        return _VERSIONS.get(name, 1)


def parsed(data: bytes) -> Any:
    """A file as the schema's ModelT."""
    return schema.ModelT.InitFromPackedBuf(data, 0)


def unparsed(model: Any) -> bytes:
    """The file of a ModelT that `parsed` gave, perhaps changed."""
    model.buffers = [_Buffer(_data(buffer)) for buffer in model.buffers]
    return _packed(model)


def _data(buffer: Any) -> bytes:
    return b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _code(builtin: int, version: int) -> Any:
    # readers older than 2020 look into a byte, where the larger codes have no room
    placeholder = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
    return schema.OperatorCodeT(
        deprecatedBuiltinCode=min(builtin, placeholder), builtinCode=builtin, version=version
    )


class _Buffer(schema.BufferT):
    """Bytes at an address that kernels can load from."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._bytes = data

    def Pack(self, builder: Any) -> Any:  # noqa: N802 (the schema's name)
        data = _vector(builder, self._bytes, 1, ALIGNMENT) if self._bytes else None
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class _Quantization(schema.QuantizationParametersT):
    """A grid; vectors that are written already are pointed to."""

    def __init__(self, grid: Grid, written: dict[bytes, int]) -> None:
        super().__init__()
        self.grid, self._written = grid, written

    def Pack(self, builder: Any) -> Any:  # noqa: N802 (the schema's name)
        count = len(self.grid.scale)
        scale = self._once(builder, struct.pack(f"<{count}f", *self.grid.scale), 4)
        zero = self._once(builder, struct.pack(f"<{count}q", *[self.grid.zero] * count), 8)
        schema.QuantizationParametersStart(builder)
        schema.QuantizationParametersAddScale(builder, scale)
        schema.QuantizationParametersAddZeroPoint(builder, zero)
        schema.QuantizationParametersAddQuantizedDimension(builder, self.grid.axis)
        return schema.QuantizationParametersEnd(builder)

    def _once(self, builder: Any, data: bytes, size: int) -> int:
        key = bytes([size]) + data
        if key not in self._written:
            self._written[key] = _vector(builder, data, size, size)
        return self._written[key]


def _vector(builder: Any, data: bytes, size: int, alignment: int) -> int:
    builder.StartVector(size, len(data) // size, alignment)
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    place: int = builder.EndVector()
    return place
