"""Rules for sums, products and functions of single values."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx

from packlight.graph import argument, aten
from packlight.runtimes.tflite.lowering import (
    LAST_ORDER,
    Activation,
    Ending,
    Layout,
    Lowering,
    Value,
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
    aten.round: ("ROUND", None),
    aten.rsqrt: ("RSQRT", None),
    aten.sigmoid: ("LOGISTIC", None),
    aten.sigmoid_: ("LOGISTIC", None),
    aten.sin: ("SIN", None),
    aten.sqrt: ("SQRT", None),
    aten.square: ("SQUARE", schema.SquareOptionsT),
    aten.tanh: ("TANH", None),
    aten.tanh_: ("TANH", None),
}
_BINARY: dict[Any, tuple[str, Any]] = {
    aten.add: ("ADD", schema.AddOptionsT),
    aten.add_: ("ADD", schema.AddOptionsT),
    aten.div: ("DIV", schema.DivOptionsT),
    aten.maximum: ("MAXIMUM", schema.MaximumMinimumOptionsT),
    aten.minimum: ("MINIMUM", schema.MaximumMinimumOptionsT),
    aten.mul: ("MUL", schema.MulOptionsT),
    aten.mul_: ("MUL", schema.MulOptionsT),
    aten.pow: ("POW", schema.PowOptionsT),
    aten.sub: ("SUB", schema.SubOptionsT),
}
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
    if any(isinstance(end, fx.Node) for end in (low_end, high_end)):
        raise unsupported(node, "its ends depend on data")
    x = low.value(node.args[0])
    layout = x.layout
    tensor = low.tensor(x, False, layout)
    steps = [("MAXIMUM", low_end), ("MINIMUM", high_end)]
    given = [(step, end) for step, end in steps if end is not None]
    for step, end in given:
        number = low.file.constant(np.array(end, np.float32))
        last = (step, end) == given[-1]
        made = (
            low.output(node, Ending(node), layout)
            if last
            else low.file.value(low.file.shape(tensor), "float32")
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
    layout = Layout.LAST if len(x.shape) == 4 else Layout.PLAIN
    if len(x.shape) not in (2, 4) and slopes.size > 1:
        raise unsupported(node, f"its input has {len(x.shape)} dimensions; 2 and 4 can be written")
    ones = (1,) * (len(x.shape) - 2)
    alpha = low.file.constant(np.broadcast_to(slopes, (x.shape[1],)).reshape(*ones, -1).copy())
    source = low.tensor(x, False, layout)
    made = low.output(node, Ending(node), layout)
    low.file.operator("PRELU", [source, alpha], [made])


@rule(*_BINARY)
def binary(low: Lowering, node: fx.Node) -> None:
    """A function of two values; in integers if both are and the result is quantised."""
    name, options = _BINARY[node.target.overloadpacket]
    if argument(node, 2, "alpha", 1) != 1 or node.kwargs.get("rounding_mode") is not None:
        raise unsupported(node, "it scales one side, or rounds")
    if any(dtype != "float32" for dtype in map(_dtype, node.all_input_nodes)):
        raise unsupported(node, "its numbers are not float32")
    sides = [low.value(side) for side in node.args[:2]]
    integers = (
        low.values == "int8"
        and name in _WITH_INTEGERS
        and all(side.grid is not None and side.array is None for side in sides)
    )
    ending = Ending(node)
    if name in _FUSING:
        ending = low.ending(node, quantised=integers)
    layout = _shared_layout(sides)
    tensors = [
        _operand(low, side, ending.grid is not None, layout, len(shape_of(node))) for side in sides
    ]
    made = low.output(node, ending, layout)
    call = options()
    if name in _FUSING:
        call.fusedActivationFunction = ending.activation
    low.file.operator(name, tensors, [made], call)


def _dtype(node: fx.Node) -> str:
    value = node.meta.get("val")
    return "float32" if value is None else str(value.dtype).removeprefix("torch.")


def _shared_layout(sides: list[Value]) -> Layout:
    """Channels last if one side has them there and the other can follow."""
    moving = [side for side in sides if side.array is None]
    if all(len(side.shape) == 4 for side in moving) and any(
        side.layout is Layout.LAST for side in moving
    ):
        return Layout.LAST
    return Layout.PLAIN


def _operand(low: Lowering, side: Value, integers: bool, layout: Layout, rank: int) -> int:
    if side.array is not None and layout is Layout.LAST and 0 < len(side.shape) < rank:
        ones = (1,) * (rank - len(side.shape))
        array = side.array.reshape(*ones, *side.shape)
        side = Value(array.shape, side.grid, array=array)
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
    axis = argument(node, 1, "dim") % rank
    if axis == rank - 1:
        layout = Layout.PLAIN
    elif rank == 4 and LAST_ORDER[-1] == axis:
        layout = Layout.LAST
    else:
        raise unsupported(node, f"it runs along dimension {axis} of {rank}")
    source = low.tensor(x, False, layout)
    made = low.output(node, Ending(node), layout)
    low.file.operator(name, [source], [made], options)


def _call(low: Lowering, node: fx.Node, name: str, options: Any = None) -> None:
    x = low.value(node.args[0])
    layout = x.layout
    source = low.tensor(x, False, layout)
    made = low.output(node, Ending(node), layout)
    low.file.operator(name, [source], [made], options)
