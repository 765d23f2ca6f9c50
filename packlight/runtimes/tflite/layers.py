"""Rules for operators with weights: convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import fx

from packlight.graph import argument, aten, pair
from packlight.runtimes.tflite.flatfile import Grid
from packlight.runtimes.tflite.layouts import Layout, as_image
from packlight.runtimes.tflite.lowering import (
    Ending,
    Levels,
    Lowering,
    Padded,
    Value,
    rule,
    shape_of,
    unsupported,
)
from packlight.runtimes.tflite.moving import strided_slice
from packlight.runtimes.tflite.schema import schema
from packlight.runtimes.tflite.windows import Windows, place
from packlight.types import Array

KERNEL_ORDER = (0, 2, 3, 1)  # (out, in, h, w) -> (out, h, w, in)
DEPTHWISE_ORDER = (1, 2, 3, 0)  # (channels, 1, h, w) -> (1, h, w, channels)


@rule(aten.conv1d, aten.conv2d)
def convolution(low: Lowering, node: fx.Node) -> None:
    """CONV_2D, or DEPTHWISE_CONV_2D where every group has one channel."""
    x, weight = low.value(node.args[0]), _weight_node(node)
    if len(x.shape) == len(shape_of(weight)) - 1:
        raise unsupported(node, "its input counts no samples")
    stride = pair(argument(node, 3, "stride", 1))
    dilation = pair(argument(node, 5, "dilation", 1))
    groups = argument(node, 6, "groups", 1)
    out, inside, *kernel = as_image(shape_of(weight))
    padding = argument(node, 4, "padding", 0)
    before = _before(padding, kernel, dilation, signal=len(x.shape) == 3)
    depthwise = groups > 1 and inside == 1 and stride[0] == stride[1]
    source = x
    if _pads_with_zeros(x):
        # a pad and the convolution's own borders are one
        assert x.padded is not None
        source = x.padded.source
        around = as_image(x.padded.before, row=0)
        before = (before[0] + around[2], before[1] + around[3])
    sizes, outputs = as_image(source.shape)[2:], as_image(shape_of(node))[2:]
    windows = place(sizes, outputs, kernel, stride, dilation, before)
    if windows.written_out:
        source = _padded(source, windows)
    options: Any
    if depthwise:
        options = schema.DepthwiseConv2DOptionsT(depthMultiplier=out // groups)
    else:
        options = schema.Conv2DOptionsT()
    options.padding = windows.padding
    options.strideH, options.strideW = stride
    options.dilationHFactor, options.dilationWFactor = dilation
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    order, axis = (DEPTHWISE_ORDER, 3) if depthwise else (KERNEL_ORDER, 0)
    write(low, node, Call(name, options), source, Layout.LAST, Kernel(order, axis, _image))


def _before(
    padding: Any, kernel: Sequence[int], dilation: Sequence[int], *, signal: bool
) -> tuple[int, int]:
    """How far the first windows reach ahead of the input; a signal's only row has no borders."""
    if padding == "same":
        rows, columns = (
            step * (taps - 1) // 2 for taps, step in zip(kernel, dilation, strict=True)
        )
    else:
        rows, columns = pair(0 if padding == "valid" else padding)
    return (0 if signal else rows, columns)


def _padded(source: Value, windows: Windows) -> Value:
    first: tuple[int, ...] = windows.before
    last: tuple[int, ...] = windows.after
    if len(source.shape) == 3:
        first, last = first[1:], last[1:]
    sizes = [sum(each) for each in zip(source.shape[2:], first, last, strict=True)]
    around = Padded(source, (0, 0, *first), (0, 0, *last), 0.0)
    return Value((*source.shape[:2], *sizes), source.grid, padded=around)


@rule(aten.linear)
def linear(low: Lowering, node: fx.Node) -> None:
    """FULLY_CONNECTED."""
    x = low.value(node.args[0])
    options = schema.FullyConnectedOptionsT(keepNumDims=len(x.shape) > 2)
    write(low, node, Call("FULLY_CONNECTED", options), x, Layout.PLAIN, Kernel((0, 1), 0))


@rule(aten.matmul, aten.mm, aten.bmm)
def matmul(low: Lowering, node: fx.Node) -> None:
    """FULLY_CONNECTED if the right side is a constant matrix, otherwise BATCH_MATMUL."""
    left, right = (low.value(source) for source in node.args[:2])
    if low.is_constant(node.args[1]) and len(right.shape) == 2 and len(left.shape) > 1:
        options = schema.FullyConnectedOptionsT(keepNumDims=len(left.shape) > 2)
        write(low, node, Call("FULLY_CONNECTED", options), left, Layout.PLAIN, Kernel((1, 0), 0))
        return
    tensors = [low.tensor(side, False, Layout.PLAIN) for side in (left, right)]
    made = low.output(node, Ending(node), Layout.PLAIN)
    matrices = list(shape_of(node))  # with the dimensions that a vector has not
    if len(left.shape) == 1:
        tensors[0] = low.reshaped(tensors[0], (1, *left.shape))
        matrices.insert(len(matrices) - (len(right.shape) > 1), 1)
    if len(right.shape) == 1:
        tensors[1] = low.reshaped(tensors[1], (*right.shape, 1))
        matrices.append(1)
    whole = tuple(matrices) == shape_of(node)
    product = made if whole else low.file.value(matrices, "float32")
    low.file.operator("BATCH_MATMUL", tensors, [product], schema.BatchMatMulOptionsT())
    if not whole:
        low.reshape(product, made)


def _same(weight: Array) -> Array:
    return weight


def _image(weight: Array) -> Array:
    return weight.reshape(as_image(weight.shape))


@dataclass(frozen=True)
class Kernel:
    """How a weight is laid out.

    Args:
        order: its dimensions as TFLite has them.
        axis: that of the output channels, there.
        form: what is done to it first.
        repeats: how often `form` repeats its channels.
    """

    order: tuple[int, ...]
    axis: int
    form: Callable[[Array], Array] = _same
    repeats: int = 1


@dataclass(frozen=True)
class Call:
    """An operator with a weight.

    Args:
        name, options: as in the schema.
        size: TRANSPOSE_CONV only: the shape that it is told to give.
        cut: and, per dimension, what is kept of it: (first, behind the last, step).
    """

    name: str
    options: Any
    size: tuple[int, ...] | None = None
    cut: tuple[tuple[int, int, int], ...] | None = None


def write(
    low: Lowering, node: fx.Node, call: Call, x: Value, layout: Layout, kernel: Kernel
) -> None:
    """One operator with a weight and a bias, by the rules of `lowering`, of the input `x`."""
    weight = _weight_node(node)
    found = low.levels(weight)
    axis = kernel.order[kernel.axis]
    channels = shape_of(weight)[axis] * kernel.repeats
    bias = argument(node, 2, "bias") if len(node.args) > 2 or "bias" in node.kwargs else None
    if node.target in (aten.bmm.default, aten.mm.default, aten.matmul.default):
        bias = None
    if bias is not None and not low.is_constant(bias):
        raise unsupported(node, "its bias depends on data")
    if not low.is_constant(weight):
        raise unsupported(node, "its weight depends on data")
    if found is not None and not found.is_symmetric:
        found = None  # no kernel multiplies by such integers; they are made float where they run
    if found is not None and len(found.scale) > 1 and found.axis != axis:
        found = None
    ending = low.ending(node, quantised=x.grid is not None and found is not None)
    integers = ending.grid is not None
    if found is not None and not integers:
        # hybrid kernels want a scale for every channel
        hybrid = low.values == "float" and call.size is None
        found = replace(found, scale=found.per_slice(channels)) if hybrid else None
    filters = _filters(low, weight, found, kernel)
    if integers:
        assert x.grid is not None
        assert found is not None
        scale = found.scale if len(found.scale) == 1 else found.scale * kernel.repeats
        biases = _integer_bias(low, bias, channels, x.grid.scale[0], scale)
    else:
        numbers = np.zeros(channels, np.float32) if bias is None else low.numbers(bias)
        biases = low.file.constant(numbers.astype(np.float32))
    source = low.tensor(x, integers, layout)
    made = low.output(node, ending, layout)
    options = call.options
    options.fusedActivationFunction = ending.activation
    if call.size is None:
        low.file.operator(call.name, [source, filters, biases], [made], options)
        return
    whole = made if call.cut is None else low.file.like(made, call.size)
    size = low.file.constant(np.array(call.size, np.int32))
    low.file.operator(call.name, [size, filters, source, biases], [whole], options)
    if call.cut is not None:
        strided_slice(low, whole, made, call.cut)


def _filters(low: Lowering, weight: fx.Node, found: Levels | None, kernel: Kernel) -> int:
    order = kernel.order
    if found is not None:
        levels: Array = np.ascontiguousarray(kernel.form(found.levels).transpose(order))
        scale = found.scale if len(found.scale) == 1 else found.scale * kernel.repeats
        return low.file.constant(levels, Grid(scale, 0, kernel.axis), str(weight.name))
    key = (weight, order)
    if key not in low.turned_weights:
        value = low.value(weight)
        assert value.array is not None
        array: Array = np.ascontiguousarray(kernel.form(value.array).transpose(order))
        grid = value.grid
        if grid is not None:
            many = len(grid.scale) > 1
            scale = grid.scale * kernel.repeats if many else grid.scale
            grid = Grid(scale, grid.zero, order.index(grid.axis))
        low.turned_weights[key] = Value(array.shape, grid, array=array)
    return low.tensor(low.turned_weights[key], False, Layout.PLAIN)


def _integer_bias(
    low: Lowering, bias: fx.Node | None, channels: int, input_scale: float, scale: tuple[float, ...]
) -> int:
    """The bias in steps of input times weight, as integer kernels add it."""
    steps = np.float32(input_scale) * np.array(scale, np.float32)
    found = None if bias is None else low.levels(bias)
    if bias is None:
        levels = np.zeros(channels, np.int32)
    elif (
        found is not None
        and found.levels.dtype == np.int32
        and found.zero == 0
        and len(found.scale) in (1, len(scale))
        and np.allclose(found.scale, steps, rtol=1e-5, atol=0)
    ):
        levels = found.levels
    else:
        exact = np.rint(low.numbers(bias).astype(np.float64) / steps)
        levels = np.clip(exact, -(2**31), 2**31 - 1).astype(np.int32)
    return low.file.constant(levels, Grid(tuple(map(float, steps))))


def _pads_with_zeros(x: Value) -> bool:
    padded = x.padded
    if padded is None or x.tensors or padded.number != 0:
        return False
    return not any((*padded.before[:2], *padded.after[:2]))


def _weight_node(node: fx.Node) -> fx.Node:
    weight = node.args[1]
    assert isinstance(weight, fx.Node)
    return weight
