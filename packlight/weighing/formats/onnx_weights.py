"""The parameters of an ONNX node as its file stores them.

A weight may come to its operator through others that only prepare it: off a quantisation grid, out
of a codebook, turned, reshaped. What counts is the tensor at the other end: its bytes, with those
of its scales, zero points or codebook; its numbers, as many as the operator gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from onnx import NodeProto

from packlight.readers.onnx.file import Array
from packlight.weighing.formats.onnx_contrib import attribute
from packlight.weighing.formats.onnx_store import Store
from packlight.weighing.formats.operations import Weight

#: operator -> positions of (weights, grids of the first weight); other inputs are settings
_PLACES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "Conv": ((1, 2), ()),
    "ConvInteger": ((1,), (3,)),
    "ConvTranspose": ((1, 2), ()),
    "FusedConv": ((1, 2), ()),
    "QLinearConv": ((3, 8), (4, 5)),
    "Gemm": ((1, 2, 0), ()),
    "FusedGemm": ((1, 2), ()),
    "QGemm": ((3, 6), (4, 5)),
    "MatMulInteger": ((1, 0), (3,)),
    "QLinearMatMul": ((3,), (4, 5)),
    "LSTM": ((1, 2, 3, 7), ()),
    "GRU": ((1, 2, 3), ()),
    "RNN": ((1, 2, 3), ()),
    "Gather": ((0,), ()),
    "GatherBlockQuantized": ((0,), (2, 3)),
}
#: operator -> first position of settings: sizes, axes, bounds
_SETTINGS = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "Unsqueeze", "Squeeze", "Split", "TopK"), 1),
    **dict.fromkeys(("Clip", "Pad", "Slice", "Resize", "Upsample", "Dropout", "CumSum"), 1),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"), 1),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"), 1),
    **dict.fromkeys(("ReduceSumSquare", "Trilu", "QuantizeLinear", "DequantizeLinear"), 1),
    **dict.fromkeys(("OneHot", "NonMaxSuppression", "ConstantOfShape", "Range"), 0),
    **dict.fromkeys(("QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearLeakyRelu"), 0),
}
LAYERS = frozenset(
    (
        *("BatchNormalization", "Conv", "ConvTranspose", "GRU", "Gemm", "GroupNormalization"),
        *("InstanceNormalization", "LSTM", "LayerNormalization", "MatMul", "PRelu"),
        *("RMSNormalization", "RNN"),
    )
)
_MOVED = ("Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Flatten", "Cast")


class Weights:
    """Answers for the nodes of one graph."""

    def __init__(
        self, nodes: Iterable[NodeProto], store: Store, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self._store = store
        self._shapes = shapes
        self._maker = {name: node for node in nodes for name in node.output if name}

    def of(self, node: NodeProto, constants: set[str]) -> list[Weight]:
        """The weights that a node reads, in the order they are written out."""
        if node.op_type == "MatMulNBits":
            return self._few_bits(node)
        grids: Sequence[int] = ()
        if node.op_type in _PLACES:
            places, grids = _PLACES[node.op_type]
        else:
            places = tuple(range(_SETTINGS.get(node.op_type, len(node.input))))
        found: list[Weight] = []
        for position in places:
            name = node.input[position] if position < len(node.input) else ""
            if name in constants:
                found += self._behind(name, node.op_type in LAYERS)
        if found and grids:
            extra = sum(self._size(node, position) for position in grids)
            found[0] = replace(
                found[0],
                bytes=found[0].bytes + extra,
                zeros=self._quantised(node, places[0], grids),
            )
        return list({weight.name: weight for weight in found}.values())

    def _behind(self, name: str, by_layer: bool, depth: int = 0) -> list[Weight]:
        """What is stored behind a constant."""
        if name in self._store:
            return self._leaf(name, by_layer)
        node = self._maker.get(name)
        if node is None or depth > 64 or node.op_type in ("Shape", "Size"):
            return []
        shape = self._shapes.get(name, ())
        if node.op_type == "DequantizeLinear":
            return self._off_grid(node, shape)
        if node.op_type == "Gather":
            found = self._from_codebook(node, shape)
            if found:
                return found
        read = node.input[: _SETTINGS.get(node.op_type, len(node.input))]
        found = [
            weight for item in read if item for weight in self._behind(item, by_layer, depth + 1)
        ]
        if node.op_type in _MOVED and len(found) == 1 and prod(shape) == found[0].count:
            return [replace(found[0], shape=shape)]
        return found

    def _leaf(self, name: str, by_layer: bool) -> list[Weight]:
        """A tensor of the file, unless it is a mere number."""
        store, shape = self._store, self._store.shape(name)
        count = prod(shape)
        if not count or not shape or (name in store.inline and count == 1 and not by_layer):
            return []
        return [Weight(name, shape, store.bytes(name), store.zeros(name))]

    def _off_grid(self, node: NodeProto, shape: tuple[int, ...]) -> list[Weight]:
        """A tensor with its scales and zero points."""
        source = self._through_casts(node.input[0])
        if source not in self._store:
            return self._behind(node.input[0], False)
        size = self._store.bytes(source) + sum(self._size(node, at) for at in (1, 2))
        zeros = self._at_zero_point(node, source)
        return [Weight(source, shape or self._store.shape(source), size, zeros)]

    def _at_zero_point(self, node: NodeProto, source: str) -> int:
        items = self._store.array(source)
        if len(node.input) < 3 or not node.input[2]:
            return 0 if items is None else int(items.size - np.count_nonzero(items))
        zero = self._array(node.input[2])
        if items is None or zero is None:
            return 0
        axis, block = attribute(node, "axis", 1), attribute(node, "block_size", 0)
        return _equal(items, zero, axis, block)

    def _quantised(self, node: NodeProto, place: int, grids: Sequence[int]) -> int:
        """Zeros of a weight whose zero point is the last of a node's inputs `grids`."""
        items = self._array(node.input[place])
        at = grids[-1]
        zero = self._array(node.input[at]) if at < len(node.input) and node.input[at] else None
        if items is None:
            return 0
        axis = -1 if "MatMul" in node.op_type or "Gemm" in node.op_type else 0
        return _equal(items, np.zeros((), items.dtype) if zero is None else zero, axis, 0)

    def _from_codebook(self, node: NodeProto, shape: tuple[int, ...]) -> list[Weight]:
        """A palette: few numbers, and for each weight which of them it is."""
        book, index = (self._through_casts(name) for name in node.input[:2])
        if not (book in self._store and index in self._store):
            return []
        if prod(self._store.shape(index)) < self._store.shape(book)[:1][0]:
            return []  # a few rows of a table
        size = self._store.bytes(book) + self._store.bytes(index)
        numbers, indices = self._store.array(book), self._store.array(index)
        zeros = 0
        if numbers is not None and indices is not None and attribute(node, "axis", 0) == 0:
            per_entry = (numbers.reshape(len(numbers), -1) == 0).sum(axis=1)
            used = np.bincount(indices.reshape(-1) % len(numbers), minlength=len(numbers))
            zeros = int((per_entry * used).sum())
        return [Weight(index, shape, size, zeros)]

    def _few_bits(self, node: NodeProto) -> list[Weight]:
        """com.microsoft's MatMulNBits: blocks of a column, packed low bits first."""
        columns, depth, bits = (attribute(node, name, 0) for name in ("N", "K", "bits"))
        source, bits = node.input[1], bits or 4
        if source not in self._store:
            return []
        size = self._store.bytes(source) + sum(self._size(node, at) for at in (2, 3, 4))
        packed = self._store.array(source)
        zeros = 0
        if packed is not None and bits in (2, 4, 8) and not self._size(node, 3):
            per_byte = 8 // bits
            lanes = [(packed >> (bits * lane)) & ((1 << bits) - 1) for lane in range(per_byte)]
            items = np.stack(lanes, axis=-1).reshape(columns, -1)[:, :depth]
            zeros = int((items == 1 << (bits - 1)).sum())
        found = [Weight(source, (depth, columns), size, zeros)]
        if len(node.input) > 5 and node.input[5]:
            found += self._behind(node.input[5], True)
        return found

    def _through_casts(self, name: str) -> str:
        while (node := self._maker.get(name)) is not None and node.op_type in _MOVED:
            name = node.input[0]
        return name

    def _array(self, name: str) -> Array | None:
        name = self._through_casts(name)
        return self._store.array(name) if name in self._store else None

    def _size(self, node: NodeProto, position: int) -> int:
        name = node.input[position] if position < len(node.input) else ""
        name = self._through_casts(name)
        return self._store.bytes(name) if name in self._store else 0


def _equal(items: Array, zero: Array, axis: int, block: int) -> int:
    """How many items equal their zero point: one for all, one for each slice, or for each block."""
    if zero.size == 1:
        return int((items == zero.reshape(-1)[0]).sum())
    if block and zero.ndim == items.ndim:
        spread = np.repeat(zero, block, axis=axis)
        spread = np.take(spread, range(items.shape[axis]), axis=axis)
        return int((items == spread).sum()) if spread.shape == items.shape else 0
    if items.ndim == 0 or zero.size != items.shape[axis % items.ndim]:
        return 0
    shape = [1] * items.ndim
    shape[axis % items.ndim] = -1
    return int((items == zero.reshape(shape)).sum())
