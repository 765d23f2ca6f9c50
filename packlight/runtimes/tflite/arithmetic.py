"""Rules for sums, products and functions of single values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx

from packlight.graph import argument, aten
from packlight.runtimes.tflite.layouts import Layout, has_layouts
from packlight.runtimes.tflite.lowering import (
    Activation,
    Ending,
    Lowering,
    Value,
    dtype_of,
    fused_activation,
    rule,
    shape_of,
    unsupported,
)
from packlight.runtimes.tflite.schema import schema

_UNARY: dict[Any, tuple[str, Any]] = {
    aten.abs: ("ABS", schema.AbsOptionsT),
    aten.ceil: ("CEIL", None),
    aten.cos: ("COS", schema.CosOptionsT),
    aten.elu: ("ELU", None),
    aten.exp: ("EXP", schema.ExpOptionsT),
    aten.floor: ("FLOOR", None),
    aten.hardswish: ("HARD_SWISH", schema.HardSwishOptionsT),
    aten.hardswish_: ("HARD_SWISH", schema.HardSwishOptionsT),
    aten.log: ("LOG", None),
    aten.neg: ("NEG", schema.NegOptionsT),
    aten.logical_not: ("LOGICAL_NOT", schema.LogicalNotOptionsT),
    aten.round: ("ROUND", None),
    aten.rsqrt: ("RSQRT", None),
    aten.sigmoid: ("LOGISTIC", None),
    aten.sigmoid_: ("LOGISTIC", None),
    aten.sign: ("SIGN", schema.SignOptionsT),
    aten.sin: ("SIN", None),
    aten.sqrt: ("SQRT", None),
    aten.square: ("SQUARE", schema.SquareOptionsT),
    aten.tanh: ("TANH", None),
    aten.tanh_: ("TANH", None),
}
_BINARY: dict[Any, tuple[str, Any]] = {
    aten.add: ("ADD", schema.AddOptionsT),
    aten.add_: ("ADD", schema.AddOptionsT),
    aten.atan2: ("ATAN2", schema.ATan2OptionsT),
    aten.div: ("DIV", schema.DivOptionsT),
    aten.maximum: ("MAXIMUM", schema.MaximumMinimumOptionsT),
    aten.minimum: ("MINIMUM", schema.MaximumMinimumOptionsT),
    aten.mul: ("MUL", schema.MulOptionsT),
    aten.mul_: ("MUL", schema.MulOptionsT),
    aten.pow: ("POW", schema.PowOptionsT),
    aten.remainder: ("FLOOR_MOD", schema.FloorModOptionsT),
    aten.sub: ("SUB", schema.SubOptionsT),
}
_COMPARISONS: dict[Any, tuple[str, Any]] = {
    aten.eq: ("EQUAL", schema.EqualOptionsT),
    aten.ge: ("GREATER_EQUAL", schema.GreaterEqualOptionsT),
    aten.gt: ("GREATER", schema.GreaterOptionsT),
    aten.le: ("LESS_EQUAL", schema.LessEqualOptionsT),
    aten.lt: ("LESS", schema.LessOptionsT),
    aten.ne: ("NOT_EQUAL", schema.NotEqualOptionsT),
}
_LOGICAL: dict[Any, tuple[str, Any]] = {
    aten.logical_and: ("LOGICAL_AND", schema.LogicalAndOptionsT),
    aten.logical_or: ("LOGICAL_OR", schema.LogicalOrOptionsT),
}
_POWERS = {2.0: "SQUARE", 0.5: "SQRT", -0.5: "RSQRT"}
_WITH_INTEGERS = ("ADD", "SUB", "MUL")
_FUSING = ("ADD", "SUB", "MUL", "DIV")
_ACTIVATIONS = {
    Activation.RELU: "RELU",
    Activation.RELU6: "RELU6",
    Activation.RELU_N1_TO_1: "RELU_N1_TO_1",
}


@rule(*_UNARY)
def unary(low: Lowering, node: fx.Node) -> None:
    """A function of single values, in float."""
    name, options = _UNARY[node.target.overloadpacket]
    defaults = {"alpha": 1, "scale": 1, "input_scale": 1}
    if name == "ELU" and any(
        argument(node, at + 1, key, value) != value
        for at, (key, value) in enumerate(defaults.items())
    ):
        raise unsupported(node, "its alpha or a scale is not 1")
    _call(low, node, name, options and options())


@rule(aten.leaky_relu, aten.leaky_relu_)
def leaky_relu(low: Lowering, node: fx.Node) -> None:
    """LEAKY_RELU."""
    slope = argument(node, 1, "negative_slope", 0.01)
    _call(low, node, "LEAKY_RELU", schema.LeakyReluOptionsT(alpha=slope))


@rule(aten.gelu)
def gelu(low: Lowering, node: fx.Node) -> None:
    """GELU."""
    rough = argument(node, 1, "approximate", "none") == "tanh"
    _call(low, node, "GELU", schema.GeluOptionsT(approximate=rough))


@rule(aten.relu, aten.relu_, aten.relu6, aten.relu6_)
@rule(aten.hardtanh, aten.hardtanh_, aten.clamp, aten.clamp_, aten.clamp_min)
def clamp(low: Lowering, node: fx.Node) -> None:
    """RELU and the like, or MAXIMUM and MINIMUM."""
    name = _ACTIVATIONS.get(fused_activation(node))
    if name is not None:
        _call(low, node, name)
        return
    low_end, high_end = _ends(node)
    if any(isinstance(end, fx.Node) and not low.is_constant(end) for end in (low_end, high_end)):
        raise unsupported(node, "its ends depend on data")
    x = low.value(node.args[0])
    layout = x.layout
    tensor = low.tensor(x, False, layout)
    steps = [("MAXIMUM", low_end), ("MINIMUM", high_end)]
    given = [(step, end) for step, end in steps if end is not None]
    for step, end in given:
        dtype = low.file.dtype(tensor)
        end_numbers = low.numbers(end) if isinstance(end, fx.Node) else end
        number = low.file.constant(np.array(end_numbers, dtype))
        last = (step, end) == given[-1]
        made = (
            low.output(node, Ending(node), layout)
            if last
            else low.file.like(tensor, low.file.shape(tensor))
        )
        low.file.operator(step, [tensor, number], [made], schema.MaximumMinimumOptionsT())
        tensor = made


def _ends(node: fx.Node) -> tuple[Any, Any]:
    if node.target in (aten.hardtanh.default, aten.hardtanh_.default):
        return argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0)
    return argument(node, 1, "min"), argument(node, 2, "max")


@rule(aten.prelu)
def prelu(low: Lowering, node: fx.Node) -> None:
    """PRELU; its slopes lie along the channels."""
    x = low.value(node.args[0])
    slopes = low.numbers(node.args[1])
    layout = Layout.LAST if has_layouts(len(x.shape)) else Layout.PLAIN
    if len(x.shape) not in (2, 3, 4) and slopes.size > 1:
        raise unsupported(node, f"its input has {len(x.shape)} dimensions; 2 to 4 can be written")
    ones = (1,) * (2 if layout is Layout.LAST else 0)
    alpha = low.file.constant(np.broadcast_to(slopes, (x.shape[1],)).reshape(*ones, -1).copy())
    source = low.tensor(x, False, layout)
    made = low.output(node, Ending(node), layout)
    low.file.operator("PRELU", [source, alpha], [made])


@rule(*_BINARY)
def binary(low: Lowering, node: fx.Node) -> None:
    """A function of two values; in integers if both are and the result is quantised."""
    name, options = _BINARY[node.target.overloadpacket]
    power = _POWERS.get(node.args[1]) if name == "POW" and _is_number(node.args[1]) else None
    if power is not None and dtype_of(node.meta["val"]) == "float32":
        _call(low, node, power, schema.SquareOptionsT() if power == "SQUARE" else None)
        return
    rounding = node.kwargs.get("rounding_mode")
    if rounding == "trunc":
        raise unsupported(node, "it rounds towards zero")
    sides = [_cast(low, low.value(side), dtype_of(node.meta["val"])) for side in node.args[:2]]
    alpha = argument(node, 2, "alpha", 1)
    if alpha != 1:
        sides[1] = _scaled(low, sides[1], alpha)
    integers = (
        low.values == "int8"
        and name in _WITH_INTEGERS
        and all(side.grid is not None and side.array is None for side in sides)
    )
    ending = Ending(node)
    if name in _FUSING and rounding is None and dtype_of(node.meta["val"]) == "float32":
        ending = low.ending(node, quantised=integers)
    layout, tensors = _operands(low, node, sides, integers=ending.grid is not None)
    made = low.output(node, ending, layout)
    call = options()
    if name in _FUSING:
        call.fusedActivationFunction = ending.activation
    if rounding is None:
        low.file.operator(name, tensors, [made], call)
        return
    quotient = low.file.like(made, low.file.shape(made))
    low.file.operator(name, tensors, [quotient], call)
    low.file.operator("FLOOR", [quotient], [made])


@rule(*_COMPARISONS)
def compare(low: Lowering, node: fx.Node) -> None:
    """EQUAL and the like, of two values of one type."""
    name, options = _COMPARISONS[node.target.overloadpacket]
    values = [side.meta["val"] if isinstance(side, fx.Node) else side for side in node.args]
    dtype = str(torch.result_type(*values)).removeprefix("torch.")
    sides = [_cast(low, low.value(side), dtype) for side in node.args]
    layout, tensors = _operands(low, node, sides)
    low.file.operator(name, tensors, [low.output(node, Ending(node), layout)], options())


@rule(*_LOGICAL)
def logical(low: Lowering, node: fx.Node) -> None:
    """LOGICAL_AND and LOGICAL_OR."""
    name, options = _LOGICAL[node.target.overloadpacket]
    sides = [_cast(low, low.value(side), "bool") for side in node.args]
    layout, tensors = _operands(low, node, sides)
    low.file.operator(name, tensors, [low.output(node, Ending(node), layout)], options())


@rule(aten.where)
def where(low: Lowering, node: fx.Node) -> None:
    """SELECT_V2."""
    dtype = dtype_of(node.meta["val"])
    sides = [low.value(node.args[0])]
    sides += [_cast(low, low.value(side), dtype) for side in node.args[1:3]]
    layout, tensors = _operands(low, node, sides)
    made = low.output(node, Ending(node), layout)
    low.file.operator("SELECT_V2", tensors, [made], schema.SelectV2OptionsT())


@rule(aten.to, aten._to_copy)
def cast(low: Lowering, node: fx.Node) -> None:
    """CAST."""
    x, dtype = low.value(node.args[0]), dtype_of(node.meta["val"])
    made = _cast(low, x, dtype)
    low.give(node, Value(made.shape, made.grid, dict(made.tensors), made.array, made.padded))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _scaled(low: Lowering, side: Value, factor: float) -> Value:
    if side.array is not None and side.grid is None:
        return Value(side.shape, array=(side.array * factor).astype(side.array.dtype))
    layout = side.layout
    source = low.tensor(side, False, layout)
    made = low.file.like(source, low.file.shape(source))
    number = low.file.constant(np.array(factor, low.file.dtype(source)))
    low.file.operator("MUL", [source, number], [made], schema.MulOptionsT())
    return Value(side.shape, tensors={(False, layout): made})


def _cast(low: Lowering, side: Value, dtype: str) -> Value:
    """A value as numbers of another type."""
    if side.grid is not None and dtype == "float32":
        return side
    if side.array is not None and side.grid is None:
        return Value(side.shape, array=side.array.astype(dtype))
    layout = side.layout
    source = low.tensor(side, False, layout)
    if low.file.dtype(source) == dtype:
        return side
    made = low.file.value(low.file.shape(source), dtype)
    low.file.operator("CAST", [source], [made], schema.CastOptionsT())
    return Value(side.shape, tensors={(False, layout): made})


def _operands(
    low: Lowering, node: fx.Node, sides: Sequence[Value], *, integers: bool = False
) -> tuple[Layout, list[int]]:
    """The tensors of values that are broadcast against each other, all in one layout."""
    rank = len(shape_of(node))
    moving = [side for side in sides if side.array is None and side.shape]
    last = all(len(side.shape) == rank for side in moving) and any(
        side.layout is Layout.LAST for side in moving
    )
    layout = Layout.LAST if last else Layout.PLAIN
    return layout, [_operand(low, side, integers, layout, rank) for side in sides]


def _operand(low: Lowering, side: Value, integers: bool, layout: Layout, rank: int) -> int:
    if side.array is not None and layout is Layout.LAST and 0 < len(side.shape) < rank:
        ones = (1,) * (rank - len(side.shape))
        array = side.array.reshape(*ones, *side.shape)
        grid = side.grid and replace(side.grid, axis=side.grid.axis + len(ones))
        side = Value(array.shape, grid, array=array)
    return low.tensor(side, integers, layout)


@rule(aten.softmax, aten._softmax)
def softmax(low: Lowering, node: fx.Node) -> None:
    """SOFTMAX."""
    _along_channels(low, node, "SOFTMAX", schema.SoftmaxOptionsT(beta=1.0))


@rule(aten.log_softmax, aten._log_softmax)
def log_softmax(low: Lowering, node: fx.Node) -> None:
    """LOG_SOFTMAX."""
    _along_channels(low, node, "LOG_SOFTMAX", schema.LogSoftmaxOptionsT())


def _along_channels(low: Lowering, node: fx.Node, name: str, options: Any) -> None:
    """An operator that TFLite has for the last dimension only."""
    x = low.value(node.args[0])
    rank = len(x.shape)
    axis = argument(node, 1, "dim") % max(rank, 1)
    if has_layouts(rank) and axis == 1 and x.layout is Layout.LAST:
        source = low.tensor(x, False, Layout.LAST)
        made = low.output(node, Ending(node), Layout.LAST)
        low.file.operator(name, [source], [made], options)
        return
    source = low.tensor(x, False, Layout.PLAIN)
    if axis == rank - 1:
        low.file.operator(name, [source], [low.output(node, Ending(node), Layout.PLAIN)], options)
        return
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    turned = low.transposed(source, order, None)
    made = low.file.like(turned, low.file.shape(turned))
    low.file.operator(name, [turned], [made], options)
    back = low.transposed(made, order, None)
    low.give(node, Value(shape_of(node), tensors={(False, Layout.PLAIN): back}))


def _call(low: Lowering, node: fx.Node, name: str, options: Any = None) -> None:
    x = low.value(node.args[0])
    layout = x.layout
    source = low.tensor(x, False, layout)
    made = low.output(node, Ending(node), layout)
    low.file.operator(name, [source], [made], options)
