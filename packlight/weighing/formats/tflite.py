"""TFLite files -> operations, read from the flatbuffer alone.

Field and operator numbers are those of TFLite's schema.fbs. Shapes lie in the file, one for every
tensor; an axis that may vary is 1 there, and its sign in the shape's signature is -1.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from packlight.coding.openers.flatbuffers import Table, root
from packlight.errors import BadInput
from packlight.weighing.formats.operations import BITS, Datum, Listing, Operation, Weight
from packlight.weighing.formats.packed import unpacked

_CODES, _GRAPHS, _BUFFERS = 1, 2, 4
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 0, 1, 2, 3
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTIZATION, _SPARSITY, _SIGNATURE = 0, 1, 2, 3, 4, 6, 7
_SCALE, _ZERO_POINT, _QUANTIZED_AXIS = 2, 3, 6
_OLD_CODE, _CUSTOM_CODE, _CODE = 0, 1, 3
_OP_CODE, _OP_INPUTS, _OP_OUTPUTS, _OP_OPTIONS = 0, 1, 2, 4
_DATA, _DATA_OFFSET, _DATA_SIZE = 0, 1, 2

_DTYPES = {
    **{0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16"},
    **{8: "complex64", 9: "int8", 10: "float64", 11: "complex128", 12: "uint64", 15: "uint32"},
    **{16: "uint16", 17: "int4", 18: "bfloat16", 19: "int2"},
}
_CUSTOM = 32
_CONV, _DEPTHWISE, _DENSE, _TURNED, _CONV_3D, _MATMUL = 3, 4, 9, 67, 132, 126
_RECURRENT = {16: "LSTM", 24: "SimpleRNN", 27: "SVDF", 35: "SimpleRNN", 44: "LSTM", 52: "LSTM"}
_RESHAPE, _MEAN, _EMBEDDING, _GATHER = 22, 40, 7, 36
_CALLS = (31, 118, 119, 129)  # of other graphs
_NAMES = {
    **{0: "Add", 1: "AveragePool2D", 2: "Concatenate", 3: "Conv2D", 4: "DepthwiseConv2D"},
    **{5: "DepthToSpace", 6: "Dequantize", 7: "Embedding", 9: "Dense", 11: "UnitNormalization"},
    **{12: "L2Pool2D", 13: "LRN", 17: "MaxPool2D", 18: "Multiply", 22: "Reshape"},
    **{23: "UpSampling2D", 25: "Softmax", 26: "SpaceToDepth", 31: "Call", 34: "Padding"},
    **{36: "Gather", 37: "BatchToSpace", 38: "SpaceToBatch", 39: "Permute", 40: "Mean"},
    **{41: "Subtract", 42: "Divide", 43: "Squeeze", 45: "Slice", 47: "exp", 48: "TopK"},
    **{49: "Split", 50: "LogSoftmax", 53: "Cast", 54: "PReLU", 55: "Maximum", 56: "ArgMax"},
    **{57: "Minimum", 59: "neg", 60: "Padding", 65: "Slice", 66: "sin", 67: "Conv2DTranspose"},
    **{69: "Tile", 70: "ExpandDims", 73: "log", 74: "Sum", 75: "sqrt", 76: "rsqrt", 77: "Shape"},
    **{78: "pow", 79: "ArgMin", 82: "Max", 83: "Stack", 88: "Split", 89: "Min", 92: "square"},
    **{97: "UpSampling2D", 99: "SquaredDifference", 100: "Padding", 101: "abs", 102: "Split"},
    **{106: "Add", 108: "cos", 114: "Quantize", 118: "If", 119: "While", 123: "Select"},
    **{126: "MatMul", 128: "CumulativeSum", 130: "BroadcastTo", 132: "Conv3D"},
}
_ACTIVATIONS = {
    **{14: "Sigmoid", 19: "ReLU", 20: "Clip", 21: "ReLU6", 28: "Tanh", 98: "LeakyReLU"},
    **{111: "ELU", 117: "HardSwish", 150: "GELU", 152: "Clip"},
}
_FUSED = {1: "ReLU", 2: "Clip", 3: "ReLU6", 4: "Tanh", 5: "SignBit"}
#: operator -> the field of its options that holds the fused activation
_FUSED_FIELD = {
    **{0: 0, 1: 5, 2: 1, 3: 3, 4: 4, 9: 0, 11: 0, 12: 5, 17: 5, 18: 0, 41: 0, 42: 0, 67: 3},
    **{132: 4},
}
_SILENT = (6, 43, 53, 70, 114)
_SILENT_IF_SAME = (22, 34, 45, 65, 130)
_VIEWS = (22, 43, 70)
_OVERWRITES = (*_ACTIVATIONS, 0, 18, 41, 42, 47, 54, 55, 57, 59, 73, 75, 76, 78, 92, 101)
_IN_PARTS = (49, 88, 102)
_SETTINGS = {  # operator -> first input that is a size, an axis or a bound
    **{22: 1, 23: 1, 34: 1, 37: 1, 38: 1, 39: 1, 40: 1, 45: 1, 48: 1, 60: 1, 65: 1, 69: 1, 70: 1},
    **{74: 1, 82: 1, 89: 1, 97: 1, 100: 1, 102: 1, 128: 1, 130: 1, 56: 1, 79: 1},
}
_ODD = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError),
    *(ValueError, struct.error),
)


def read_listing(path: Path) -> Listing:
    """List the operations of a file's first graph.

    Raises:
        BadInput: it is no TFLite file, or damaged.
    """
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise BadInput(f"{path.name} is not a TFLite file, or it is cut off or damaged")
    try:
        return _Reader(data).listing()
    except _ODD as problem:
        if isinstance(problem, BadInput):
            raise
        raise BadInput(f"{path.name} is cut off or damaged ({problem})") from problem


@dataclass(frozen=True)
class _Tensor:
    """One tensor as the file describes it."""

    name: str
    shape: tuple[int, ...]
    open_axes: frozenset[int]  # those whose size may vary
    dtype: str
    place: tuple[int, int]  # first byte, bytes; (0, 0) where it is made by an operator
    quantization: Table | None
    sparse: bool


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        model = root(data)
        self.buffers = [self._place(buffer) for buffer in model.tables(_BUFFERS)]
        self.codes = [
            (max(code.number(_OLD_CODE, "b"), code.number(_CODE, "i")), code.text(_CUSTOM_CODE))
            for code in model.tables(_CODES)
        ]
        self.graphs = model.tables(_GRAPHS)
        if not self.graphs:
            raise ValueError("it holds no graph")
        self.tensors = [self._tensor(table) for table in self.graphs[0].tables(_TENSORS)]
        self.keys = _distinct([tensor.name for tensor in self.tensors])
        self.inputs = self.graphs[0].numbers(_INPUTS)
        self.outputs = self.graphs[0].numbers(_OUTPUTS)
        self.batch = self._batch()
        self.values: dict[str, Datum] = {}
        self.behind: dict[int, list[Weight]] = {}  # weights of a constant tensor

    def listing(self) -> Listing:
        """The operations of the first graph."""
        for index, tensor in enumerate(self.tensors):
            if tensor.place[1]:
                self.behind[index] = self._weight(index, tensor)
        for index in self.inputs:
            self.values[self.keys[index]] = self._datum(index)
        operations = []
        for table in self.graphs[0].tables(_OPERATORS):
            operation = self._operation(table)
            if operation is not None:
                operations.append(operation)
        inputs, outputs = (
            [self.keys[index] for index in indices if self.keys[index] in self.values]
            for indices in (self.inputs, self.outputs)
        )
        return Listing(self.values, operations, inputs, outputs, self._notes())

    def _notes(self) -> list[str]:
        notes = []
        if len(self.graphs) > 1:
            notes.append(
                f"the file holds {len(self.graphs)} graphs; the rows are those of the first"
            )
        custom = [name for code, name in self.codes if code == _CUSTOM]
        if custom:
            notes.append(f"not standard operators: {', '.join(custom)}")
        return notes

    def _place(self, buffer: Table) -> tuple[int, int]:
        offset, size = buffer.number(_DATA_OFFSET, "Q"), buffer.number(_DATA_SIZE, "Q")
        if offset > 1:  # behind the flatbuffer, in files of more than 2 GB
            if offset + size > len(self.data):
                raise ValueError("a buffer ends behind the file")
            return offset, size
        return buffer.vector(_DATA, 1)

    def _tensor(self, table: Table) -> _Tensor:
        shape, signature = table.numbers(_SHAPE), table.numbers(_SIGNATURE)
        if any(size < 0 for size in shape):
            raise ValueError("a tensor has a negative size")
        return _Tensor(
            name=table.text(_NAME),
            shape=shape,
            open_axes=frozenset(axis for axis, size in enumerate(signature) if size < 0),
            dtype=_DTYPES.get(table.number(_TYPE, "b"), "unknown"),
            place=self.buffers[table.number(_BUFFER, "I")],
            quantization=table.table(_QUANTIZATION),
            sparse=table.table(_SPARSITY) is not None,
        )

    def _weight(self, index: int, tensor: _Tensor) -> list[Weight]:
        count, (at, size) = prod(tensor.shape), tensor.place
        bits = BITS.get(tensor.dtype)
        if bits is None or not tensor.shape or not count:
            return []
        if not tensor.sparse and size != (count * bits + 7) // 8:
            raise ValueError(f"tensor {tensor.name!r} has {size} bytes, not those of its shape")
        items = unpacked(self.data[at : at + size], tensor.dtype, count)
        scales: tuple[int, ...] = ()
        zero_points: tuple[int, ...] = ()
        axis = 0
        if tensor.quantization is not None:
            scales = tensor.quantization.numbers(_SCALE, "I")
            zero_points = tensor.quantization.numbers(_ZERO_POINT, "q")
            axis = tensor.quantization.number(_QUANTIZED_AXIS, "i")
        zeros = 0
        if items is not None:
            zeros = _zeros(items, tensor.shape, zero_points, axis, tensor.sparse)
        stored = size + 4 * len(scales) + 8 * len(zero_points)
        return [Weight(self.keys[index], tensor.shape, stored, zeros)]

    def _operation(self, table: Table) -> Operation | None:
        code, custom = self.codes[table.number(_OP_CODE, "I")]
        inputs = [index for index in table.numbers(_OP_INPUTS) if index != -1]
        outputs = [index for index in table.numbers(_OP_OUTPUTS) if index != -1]
        if any(not 0 <= index < len(self.tensors) for index in (*inputs, *outputs)):
            raise ValueError("an operator reads or writes a tensor that is not there")
        moving = [index for index in inputs if self.keys[index] in self.values]
        constant = bool(inputs) and all(index in self.behind for index in inputs)
        read = inputs[: _SETTINGS.get(code, len(inputs))]
        weights = [weight for index in read for weight in self.behind.get(index, ())]
        if constant and code not in _CALLS and code != _CUSTOM:
            for index in outputs:
                self.behind[index] = [
                    Weight(w.name, self.tensors[index].shape, w.bytes, w.zeros)
                    if w.count == prod(self.tensors[index].shape)
                    else w
                    for w in weights
                ]
            return None
        for index in outputs:
            self.values[self.keys[index]] = self._datum(index)
        writes = tuple(self.keys[index] for index in outputs)
        label = self.tensors[outputs[0]].name.partition(";")[0] if outputs else ""
        kind = custom if code == _CUSTOM else self._type(code, moving, outputs, inputs, weights)
        unknown = code == _CUSTOM or code in _CALLS
        return Operation(
            name=label or kind,
            type=kind,
            reads=tuple(self.keys[index] for index in moving),
            writes=writes,
            role=self._role(code, moving, outputs, weights),
            weights=tuple(weights),
            parameters=self._written_out(code, inputs, weights),
            macs=None if unknown else self._macs(code, inputs, outputs),
            activation=self._fused(code, table),
            in_parts=code in _IN_PARTS,
            is_view=code in _VIEWS,
            overwrites=code in _OVERWRITES,
        )

    def _role(self, code: int, moving: list[int], outputs: list[int], weights: list[Weight]) -> str:
        if not moving or not outputs or weights:
            return "layer"
        before, after = self._size(moving[0]), self._size(outputs[0])
        if code in _SILENT or (code in _SILENT_IF_SAME and before == after):
            return "silent"
        return "activation" if code in _ACTIVATIONS and len(moving) == 1 else "layer"

    def _type(
        self,
        code: int,
        moving: list[int],
        outputs: list[int],
        inputs: list[int],
        weights: list[Weight],
    ) -> str:
        if code == _RESHAPE and moving and outputs:
            before, after = (self._datum(index).shown or () for index in (moving[0], outputs[0]))
            return "Flatten" if len(after) == 1 < len(before) else "Reshape"
        if code == _MEAN and len(inputs) > 1 and len(self.tensors[inputs[0]].shape) == 4:
            at, size = self.tensors[inputs[1]].place
            axes = np.frombuffer(self.data[at : at + size], np.uint8)[::4].tolist()
            if sorted(axes) == [1, 2]:
                return "GlobalAveragePool2D"
        if code in (_MATMUL, _GATHER) and weights:
            return "Dense" if code == _MATMUL else "Embedding"
        return _RECURRENT.get(code) or _ACTIVATIONS.get(code) or _NAMES.get(code, f"Operator{code}")

    def _macs(self, code: int, inputs: list[int], outputs: list[int]) -> int:
        made = prod(self._size(outputs[0])) if outputs else 0
        shapes = [self.tensors[index].shape for index in inputs]
        if code in (_CONV, _DENSE):
            return made * prod(shapes[1][1:])
        if code == _DEPTHWISE:
            return made * prod(shapes[1][1:3])
        if code == _TURNED:
            return prod(self._size(inputs[2])) * prod(shapes[1][:3])
        if code == _CONV_3D:
            return made * prod(shapes[1][:4])
        if code == _MATMUL:
            return made * shapes[0][-1]
        if code in _RECURRENT:
            steps = prod(self._size(inputs[0])[:-1])
            return steps * sum(
                prod(self.tensors[index].shape)
                for index in inputs[1:]
                if index in self.behind and len(self.tensors[index].shape) == 2
            )
        return 0

    def _written_out(self, code: int, inputs: list[int], weights: list[Weight]) -> str:
        """Kernels lie as (o, h, w, i) and (1, h, w, c), matrices as (o, i)."""
        terms = [weight.shape for weight in weights]
        if terms and code in (_CONV, _TURNED) and len(terms[0]) == 4:
            outputs, *taps = terms[0]
            terms[0] = (*taps, outputs)
        elif terms and code == _DEPTHWISE and len(terms[0]) == 4:
            _, *taps, channels = terms[0]
            groups = self.tensors[inputs[0]].shape[-1]
            terms[0] = (*taps, channels)
            if groups and channels != groups:
                terms[0] = (*taps, groups, channels // groups)
        elif code == _DENSE or code in _RECURRENT:
            terms = [term[::-1] for term in terms]
        return "+".join("x".join(map(str, term)) for term in terms)

    def _fused(self, code: int, table: Table) -> str:
        options = table.table(_OP_OPTIONS) if code in _FUSED_FIELD else None
        return _FUSED.get(options.number(_FUSED_FIELD[code], "b"), "") if options else ""

    def _size(self, index: int) -> tuple[int, ...]:
        """All axes for one sample."""
        shape = self.tensors[index].shape
        if self.batch > 1 and shape and shape[0] % self.batch == 0:
            return (shape[0] // self.batch, *shape[1:])
        return shape

    def _datum(self, index: int) -> Datum:
        tensor, sizes = self.tensors[index], self._size(index)
        shape = [
            None if axis and axis in tensor.open_axes else size for axis, size in enumerate(sizes)
        ]
        leads = len(shape) > 1 and tensor.shape[0] == self.batch
        return Datum(tuple(shape), tensor.dtype, tuple(shape[1:] if leads else shape))

    def _batch(self) -> int:
        """Samples of a run: what all inputs and outputs begin with."""
        for index in (*self.inputs, *self.outputs):
            if not 0 <= index < len(self.tensors):
                raise ValueError("an input or output is not there")
        shapes = [self.tensors[index].shape for index in (*self.inputs, *self.outputs)]
        leading = {shape[0] for shape in shapes if prod(shape) > 1}
        return (leading.pop() or 1) if len(leading) == 1 else 1


def _zeros(
    items: np.ndarray[Any, Any],
    shape: tuple[int, ...],
    zero_points: Sequence[int],
    axis: int,
    sparse: bool,
) -> int:
    """Numbers that are exactly zero: those at their zero point."""
    if sparse:
        return prod(shape) - int(np.count_nonzero(items))
    if not any(zero_points):
        return int(items.size - np.count_nonzero(items))
    if len(zero_points) == 1:
        return int((items == zero_points[0]).sum())
    lines = np.moveaxis(items.reshape(shape), axis, -1)
    return int((lines == np.array(zero_points)).sum())


def _distinct(names: list[str]) -> list[str]:
    """The names, those that stand twice with a number."""
    seen: set[str] = set()
    found = []
    for index, name in enumerate(names):
        found.append(f"{name}#{index}" if name in seen or not name else name)
        seen.add(found[-1])
    return found
