"""Graph -> flatbuffer, one rule per ATen operator.

A graph's value can have several tensors in the file: float or int8 (the same numbers, on a grid),
and with channels where torch has them or last, where TFLite's kernels want them. Each is made when
an operator first asks for it, so a layout or a float that nobody needs costs nothing.

Integers: the graph says `quantize` and `dequantize`; neither is written where the operators around
them have integer kernels.
1. A convolution, linear layer, sum or mean whose inputs are int8 and whose only reader quantises
   it (perhaps past a ReLU) becomes one int8 operator.
2. What only moves values (reshape, concatenation, max-pool, pad ...) stays int8 on the same grid.
3. Anything else computes in float, int8 weights too: the file holds the integers, and LiteRT makes
   them floats once, when it loads them.
Sums are computed in float as well unless `values` is "int8": LiteRT's int8 sums err by one level
in 10,000 of them, and the layers behind make more of it. With `values` "float", only weights are
integers: the kernels round the values that they multiply with as they find them.

uint8 grids become int8 ones by subtracting 128 from levels and zero point: the same real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from packlight.errors import BadInput
from packlight.graph import clamp_ends, is_call, is_weight, layer_name, quantized, value_of
from packlight.network import Network
from packlight.runtimes.tflite import Values
from packlight.runtimes.tflite.flatfile import FlatFile, Grid, is_type
from packlight.runtimes.tflite.layouts import (
    LAST_ORDER,
    PLAIN_ORDER,
    SIGNAL_ORDER,
    Layout,
    as_image,
    has_layouts,
    stored_array,
    stored_axis,
    stored_shape,
)
from packlight.runtimes.tflite.schema import schema
from packlight.types import Array

UINT8_SHIFT = 128
LOWEST_LEVEL = -128
Activation = schema.ActivationFunctionType


@dataclass
class Value:
    """What a node of the graph gives.

    Args:
        shape: as in torch.
        grid: of its integers, if it has any.
        tensors: in the file, by (whether it is integers, layout).
        array: its numbers, if they are constant: levels where it has a grid.
        padded: the value it is, with zeros around it; written out only if someone asks for it.
    """

    shape: tuple[int, ...]
    grid: Grid | None = None
    tensors: dict[tuple[bool, Layout], int] = field(default_factory=dict)
    array: Array | None = None
    padded: Padded | None = None

    @property
    def layout(self) -> Layout:
        """The one it is there in already."""
        if self.padded is not None:
            return self.padded.source.layout
        last = any(layout is Layout.LAST for _, layout in self.tensors)
        return Layout.LAST if last else Layout.PLAIN


@dataclass(frozen=True)
class Padded:
    """A value with `before` and `after` more elements per dimension, all of one number."""

    source: Value
    before: tuple[int, ...]
    after: tuple[int, ...]
    number: float


@dataclass(frozen=True)
class Ending:
    """What follows an operator that can be part of it.

    Args:
        last: the node whose value the operator gives.
        activation: the schema's number of a ReLU passed on the way.
        grid: of the quantisation passed on the way.
    """

    last: fx.Node
    activation: int = Activation.NONE
    grid: Grid | None = None


Rule = Callable[["Lowering", fx.Node], None]
RULES: dict[Any, Rule] = {}


def rule(*operators: Any) -> Callable[[Rule], Rule]:
    """Register how calls of these operators are written."""

    def register(function: Rule) -> Rule:
        for operator in operators:
            RULES[operator] = function
        return function

    return register


class Lowering:
    """One graph on its way into a file.

    Args:
        network: with all sizes fixed.
        values: "fitted", "int8" or "float".
        last: the inputs of four dimensions have their channels last in the file.
    """

    def __init__(self, network: Network, values: Values = "fitted", last: bool = False) -> None:
        self.file = FlatFile()
        self.values = values
        self._network = network
        self._last = last
        self._values: dict[fx.Node, Value] = {}
        self._done: set[fx.Node] = set()
        #: where an operator's work ends: the node whose value it gives, the tensor, its layout
        self.made: list[tuple[fx.Node, int, Layout]] = []
        self._fixed: set[fx.Node] = set()  # nodes that depend on no input
        for node in network.module.graph.nodes:
            if node.op == "get_attr" or (
                node.op == "call_function"
                and all(one in self._fixed for one in node.all_input_nodes)
            ):
                self._fixed.add(node)
        self.parts: dict[Any, list[Value]] = {}  # of nodes that give several values
        self._constants: dict[fx.Node, Any] = {}
        self.turned_weights: dict[tuple[fx.Node, tuple[int, ...]], Value] = {}

    def run(self) -> bytes:
        """Write every node; returns the file.

        Raises:
            BadInput: names an operator that can not be written.
        """
        inputs = {}
        for name, node in zip(self._network.input_names, self._network.placeholders(), strict=True):
            inputs[name] = self._input(node)
        for node in self._network.module.graph.nodes:
            if node.op == "call_function" and node not in self._done and node.users:
                self._lower(node)
        outputs: dict[str, int] = {}
        for name, node in zip(self._network.output_names, self._network.results(), strict=True):
            tensor = self.tensor(self.value(node), False, Layout.PLAIN)
            if tensor in [*inputs.values(), *outputs.values()] or self.is_constant(node):
                tensor = self.copied(tensor)
            outputs[name] = tensor
        return self.file.bytes(inputs, outputs, self._network.metadata)

    def _input(self, node: fx.Node) -> int:
        meta = node.meta["val"]
        shape = tuple(meta.shape)
        layout = Layout.LAST if self._last and len(shape) == 4 else Layout.PLAIN
        if not is_type(dtype_of(meta)):
            raise BadInput(f"input {node.name} is {dtype_of(meta)}, which LiteRT does not take")
        tensor = self.file.value(stored_shape(shape, layout), dtype_of(meta), name=node.name)
        self._values[node] = Value(shape, tensors={(False, layout): tensor})
        return tensor

    def _lower(self, node: fx.Node) -> None:
        if self.is_constant(node):
            return
        found = RULES.get(getattr(node.target, "overloadpacket", node.target))
        if found is None:
            raise unsupported(node, "packlight has no rule for it")
        made = node.meta["val"]
        for value in made if isinstance(made, (tuple, list)) else [made]:
            if any(not isinstance(size, int) for size in value.shape):
                raise unsupported(node, "a size of its output depends on data")
            if not is_type(dtype_of(value)):
                raise unsupported(node, f"its numbers are {dtype_of(value)}")
        found(self, node)

    # what rules ask

    def is_constant(self, node: Any) -> bool:
        """Whether a node depends on no input."""
        return node in self._fixed

    def numbers(self, node: fx.Node) -> Array:
        """A constant node's numbers."""
        array: Array = self._computed(node).detach().numpy()
        return array

    def _computed(self, node: fx.Node) -> Any:
        if is_weight(node):
            return value_of(self._network.module, node)
        if node not in self._constants:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._computed)
            assert callable(node.target)
            with torch.no_grad():
                self._constants[node] = node.target(*args, **kwargs)
        return self._constants[node]

    def value(self, node: Any) -> Value:
        """What a node, or a number, gives."""
        if not isinstance(node, fx.Node):
            return Value((), array=np.array(node, np.float32))
        if node not in self._values:
            self._values[node] = self._constant(node)
        return self._values[node]

    def _constant(self, node: fx.Node) -> Value:
        shape = shape_of(node)
        found = self.levels(node)
        if found is not None and found.levels.dtype == np.int8:
            return Value(shape, Grid(found.scale, found.zero, found.axis), array=found.levels)
        array = self.numbers(node)
        return Value(shape, array=array.astype(np.float32) if array.dtype == np.float64 else array)

    def levels(self, node: fx.Node) -> Levels | None:
        """The integers of a constant node that dequantises some; None if it is no such node."""
        if not self.is_constant(node):
            return None
        if is_call(node, quantized.dequantize_per_channel):
            stored, scale, zeros = (self.numbers(source) for source in node.args[:3])
            zero = np.unique(zeros)
            if len(zero) != 1:
                return None
            return _levels(stored, tuple(map(float, scale)), int(zero[0]), node.args[3])
        if is_call(node, quantized.dequantize_per_tensor):
            stored, scale, zero = node.args[:3]
            return _levels(self.numbers(stored), (float(scale),), int(zero), 0)
        return None

    def ending(self, node: fx.Node, *, quantised: bool) -> Ending:
        """The ReLU and the quantisation that are a node's only readers.

        Args:
            quantised: whether the operator can write integers; otherwise only the ReLU is passed.
        """
        last, activation = node, Activation.NONE
        user = _only_user(last)
        if user is not None:
            fused = fused_activation(user)
            if fused != Activation.NONE:
                last, activation = user, fused
                user = _only_user(last)
        if quantised and user is not None:
            grid = grid_of(user)
            if grid is not None:
                return Ending(user, activation, grid)
        if self.values == "float" and user is not None and not activation and starts_at_zero(user):
            return Ending(user, Activation.RELU)
        return Ending(last, activation)

    def tensor(self, value: Value, integers: bool, layout: Layout) -> int:
        """The tensor that holds a value in a form, made if it is not there yet."""
        if not has_layouts(len(value.shape)):
            layout = Layout.PLAIN
        wanted = (integers, layout)
        if wanted not in value.tensors:
            value.tensors[wanted] = self._made(value, integers, layout)
        return value.tensors[wanted]

    def _made(self, value: Value, integers: bool, layout: Layout) -> int:
        if value.array is not None and integers == (value.grid is not None):
            return self._written(value, layout)
        if value.padded is not None and not value.tensors:
            return self._pad(value, value.padded, integers, layout)
        for other in Layout:
            if other is not layout and (integers, other) in value.tensors:
                return self._turned(value, value.tensors[integers, other], integers, layout)
        if integers:
            raise AssertionError("a float value is made integer by a quantisation only")
        source = self.tensor(value, True, layout if value.array is None else Layout.PLAIN)
        made = self.file.value(self.file.shape(source), "float32")
        self.file.operator("DEQUANTIZE", [source], [made], schema.DequantizeOptionsT())
        if value.array is not None and layout is Layout.LAST:
            return self._turned(value, made, False, layout)
        return made

    def _written(self, value: Value, layout: Layout) -> int:
        array, grid = value.array, value.grid
        assert array is not None
        if grid is not None:
            axis = stored_axis(grid.axis, len(value.shape), layout)
            grid = Grid(grid.scale, grid.zero, axis)
        return self.file.constant(stored_array(array, layout), grid)

    def _turned(self, value: Value, tensor: int, integers: bool, layout: Layout) -> int:
        """The same numbers in the other layout."""
        grid, target = value.grid if integers else None, stored_shape(value.shape, layout)
        order = LAST_ORDER if layout is Layout.LAST else PLAIN_ORDER
        source = as_image(value.shape) if layout is Layout.LAST else self.file.shape(tensor)
        moved = [axis for axis in order if source[axis] != 1]
        if moved == sorted(moved):
            return self.reshaped(tensor, target)  # only dimensions of one element change places
        if len(value.shape) == 3:
            between = value.shape if layout is Layout.LAST else (source[0], *source[2:])
            turned = self.transposed(self.reshaped(tensor, between), SIGNAL_ORDER, grid)
            return self.reshaped(turned, target)
        return self.transposed(tensor, order, grid)

    def transposed(self, tensor: int, order: Sequence[int], grid: Grid | None) -> int:
        """A tensor with its dimensions in another order."""
        shape = self.file.shape(tensor)
        made = self.file.value([shape[axis] for axis in order], self.file.dtype(tensor), grid)
        indices = self.file.constant(np.array(order, np.int32))
        self.file.operator("TRANSPOSE", [tensor, indices], [made], schema.TransposeOptionsT())
        return made

    def reshaped(self, tensor: int, shape: Sequence[int]) -> int:
        """A tensor with other dimensions; itself if they are its own."""
        if self.file.shape(tensor) == tuple(shape):
            return tensor
        made = self.file.like(tensor, shape)
        self.reshape(tensor, made)
        return made

    def _pad(self, value: Value, padded: Padded, integers: bool, layout: Layout) -> int:
        if integers != (value.grid is not None):
            integers = value.grid is not None
            self.tensor(value, integers, layout)
            return self.tensor(value, not integers, layout)
        source = self.tensor(padded.source, integers, layout)
        return self.pad(source, padded, value.grid if integers else None, layout)

    def pad(self, source: int, padded: Padded, grid: Grid | None, layout: Layout) -> int:
        """A tensor with more elements around it."""
        around: tuple[tuple[int, ...], ...] = padded.before, padded.after
        if layout is Layout.LAST:
            around = as_image(padded.before, row=0), as_image(padded.after, row=0)
        pairs = np.array(around, np.int32).T
        if layout is Layout.LAST:
            pairs = pairs[list(LAST_ORDER)]
        shape = [
            size + int(pair.sum())
            for size, pair in zip(self.file.shape(source), pairs, strict=True)
        ]
        made = self.file.value(shape, "float32" if grid is None else "int8", grid)
        amounts = self.file.constant(np.ascontiguousarray(pairs))
        if padded.number == 0:
            self.file.operator("PAD", [source, amounts], [made], schema.PadOptionsT())
        else:
            number = np.array([padded.number], np.float32)
            if grid is not None:
                exact = number.astype(np.float64) / grid.scale[0]  # no float32 may hold it
                number = np.clip(np.rint(exact) + grid.zero, -128, 127).astype(np.int8)
            self.file.operator(
                "PADV2",
                [source, amounts, self.file.constant(number, grid)],
                [made],
                schema.PadV2OptionsT(),
            )
        return made

    def reshape(self, source: int, made: int) -> None:
        """Write a RESHAPE from one tensor to another."""
        shape = np.array(self.file.shape(made), np.int32)
        self.file.operator(
            "RESHAPE",
            [source, self.file.constant(shape)],
            [made],
            schema.ReshapeOptionsT(newShape=shape),
        )

    def copied(self, tensor: int) -> int:
        """The same numbers in a tensor of their own."""
        made = self.file.like(tensor, self.file.shape(tensor))
        self.reshape(tensor, made)
        return made

    # what rules tell

    def give(self, node: fx.Node, value: Value) -> None:
        """The value of a node."""
        self._values[node] = value

    def output(self, node: fx.Node, ending: Ending, layout: Layout) -> int:
        """A tensor for what a node and its ending give; int8 if the ending has a grid."""
        shape = shape_of(node)
        if not has_layouts(len(shape)):
            layout = Layout.PLAIN
        integers = ending.grid is not None
        dtype = "int8" if integers else dtype_of(node.meta["val"])
        tensor = self.file.value(stored_shape(shape, layout), dtype, ending.grid)
        value = Value(shape, ending.grid, {(integers, layout): tensor})
        step: fx.Node | None = node
        while step is not None:
            self._done.add(step)
            self._values[step] = value
            step = None if step is ending.last else _only_user(step)
        self.made.append((ending.last, tensor, layout))
        return tensor


@dataclass(frozen=True)
class Levels:
    """A constant's integers: real = scale * (level - zero); one scale, or one per slice."""

    levels: Array
    scale: tuple[float, ...]
    zero: int
    axis: int

    @property
    def is_symmetric(self) -> bool:
        """Whether integer kernels take it for a weight."""
        return self.levels.dtype == np.int8 and self.zero == 0

    def per_slice(self, count: int) -> tuple[float, ...]:
        """One scale for each of `count` slices."""
        return self.scale * count if len(self.scale) == 1 else self.scale


def _levels(stored: Array, scale: tuple[float, ...], zero: int, axis: int) -> Levels:
    if stored.dtype == np.uint8:
        stored = (stored.astype(np.int16) - UINT8_SHIFT).astype(np.int8)
        zero -= UINT8_SHIFT
    return Levels(stored, scale, zero, axis)


def grid_of(node: fx.Node) -> Grid | None:
    """The int8 grid that a quantisation rounds to; None for any other node."""
    if not is_call(node, quantized.quantize_per_tensor):
        return None
    scale, zero, low, high, dtype = node.args[1:6]
    whole = {torch.uint8: (0, 255), torch.int8: (-128, 127)}
    if (low, high) != whole.get(dtype):
        return None
    shift = UINT8_SHIFT if dtype is torch.uint8 else 0
    return Grid((float(np.float32(scale)),), int(zero) - shift)


def starts_at_zero(node: fx.Node) -> bool:
    """Whether a node rounds to a grid without negative numbers, so that it is a ReLU too."""
    grid = grid_of(node)
    return grid is not None and grid.zero == LOWEST_LEVEL


def fused_activation(node: fx.Node) -> int:
    """The activation that TFLite's operators can end with, if a node is one; otherwise NONE."""
    known = {
        (0.0, math.inf): Activation.RELU,
        (0.0, 6.0): Activation.RELU6,
        (-1.0, 1.0): Activation.RELU_N1_TO_1,
    }
    ends = clamp_ends(node)
    return Activation.NONE if ends is None else known.get(ends, Activation.NONE)


def unsupported(node: fx.Node, why: str) -> BadInput:
    """The error for a node that can not be written."""
    name = str(node.target).rpartition(".")[0] or str(node.target)
    owner = layer_name(node)
    layer = "" if owner == node.name else f", layer {owner},"
    return BadInput(
        f"operator {name} of node {node.name!r}{layer} can not be written for LiteRT: {why}; "
        "export to onnx, or replace the operator"
    )


def shape_of(node: fx.Node) -> tuple[Any, ...]:
    """Of a node's value."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        raise unsupported(node, "it gives more than one tensor, or none")
    return tuple(value.shape)


def dtype_of(value: Tensor) -> str:
    """As FlatFile calls it."""
    return str(value.dtype).removeprefix("torch.")


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].op == "call_function" else None
