"""Rules for operators with weights: convolutions and linear layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import fx

from packlight.graph import argument, aten
from packlight.runtimes.tflite.flatfile import Grid
from packlight.runtimes.tflite.lowering import (
    Ending,
    Layout,
    Levels,
    Lowering,
    Padded,
    Value,
    rule,
    shape_of,
    unsupported,
)
from packlight.runtimes.tflite.schema import schema
from packlight.runtimes.tflite.windows import pair, place
from packlight.types import Array

KERNEL_ORDER = (0, 2, 3, 1)  # (out, in, h, w) -> (out, h, w, in)
DEPTHWISE_ORDER = (1, 2, 3, 0)  # (channels, 1, h, w) -> (1, h, w, channels)
TRANSPOSED_ORDER = (1, 2, 3, 0)  # (in, out, h, w) -> (out, h, w, in)


@rule(aten.conv2d)
def conv2d(low: Lowering, node: fx.Node) -> None:
    """CONV_2D, or DEPTHWISE_CONV_2D where every group has one channel."""
    x, weight = low.value(node.args[0]), _weight_node(node)
    stride = pair(argument(node, 3, "stride", 1))
    padding = argument(node, 4, "padding", 0)
    dilation = pair(argument(node, 5, "dilation", 1))
    groups = argument(node, 6, "groups", 1)
    out, inside, *kernel = shape_of(weight)
    if isinstance(padding, str):
        raise unsupported(node, f"its padding is {padding!r}, not numbers")
    depthwise = groups > 1 and inside == 1
    before = pair(padding)
    if depthwise and stride[0] != stride[1]:
        raise unsupported(node, "a depthwise convolution has strides that differ by dimension")
    source = x
    if _pads_with_zeros(x):
        # a pad and the convolution's own borders are one
        assert x.padded is not None
        source = x.padded.source
        before = (before[0] + x.padded.before[2], before[1] + x.padded.before[3])
    windows = place(source.shape[2:], shape_of(node)[2:], kernel, stride, dilation, before)
    if windows.written_out:
        around = (0, 0, *windows.before), (0, 0, *windows.after)
        shape = (*source.shape[:2], *windows.size(source.shape[2:]))
        source = Value(shape, source.grid, padded=Padded(source, *around, 0.0))
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
    _write(low, node, name, source, Layout.LAST, order, axis, options)


@rule(aten.linear)
def linear(low: Lowering, node: fx.Node) -> None:
    """FULLY_CONNECTED."""
    x = low.value(node.args[0])
    options = schema.FullyConnectedOptionsT(keepNumDims=len(x.shape) > 2)
    _write(low, node, "FULLY_CONNECTED", x, Layout.PLAIN, (0, 1), 0, options)


@rule(aten.matmul, aten.mm)
def matmul(low: Lowering, node: fx.Node) -> None:
    """FULLY_CONNECTED if the right side is a constant matrix, otherwise BATCH_MATMUL."""
    left, right = (low.value(source) for source in node.args[:2])
    if low.is_constant(node.args[1]) and len(right.shape) == 2:
        options = schema.FullyConnectedOptionsT(keepNumDims=len(left.shape) > 2)
        _write(low, node, "FULLY_CONNECTED", left, Layout.PLAIN, (1, 0), 0, options)
        return
    if min(len(left.shape), len(right.shape)) < 2:
        raise unsupported(node, "a side of it is a vector")
    tensors = [low.tensor(side, False, Layout.PLAIN) for side in (left, right)]
    made = low.output(node, Ending(node), Layout.PLAIN)
    low.file.operator("BATCH_MATMUL", tensors, [made], schema.BatchMatMulOptionsT())


def _write(
    low: Lowering,
    node: fx.Node,
    name: str,
    x: Value,
    layout: Layout,
    order: tuple[int, ...],
    axis: int,
    options: Any,
) -> None:
    """One operator with a weight and a bias, by the rules of `lowering`.

    Args:
        x: its input.
        order: the weight's dimensions as TFLite has them.
        axis: that of the output channels, there.
    """
    weight = _weight_node(node)
    found = low.levels(weight)
    channels = shape_of(weight)[order[axis]]
    bias = argument(node, 2, "bias") if len(node.args) > 2 or "bias" in node.kwargs else None
    if found is not None and not found.is_symmetric:
        found = None  # no kernel multiplies by such integers; they are made float where they run
    if found is not None and len(found.scale) > 1 and found.axis != order[axis]:
        found = None
    ending = low.ending(node, quantised=x.grid is not None and found is not None)
    integers = ending.grid is not None
    if found is not None and not integers:
        # hybrid kernels want a scale for every channel
        hybrid = low.values == "float"
        found = replace(found, scale=found.per_slice(channels)) if hybrid else None
    filters = _filters(low, weight, found, order, axis)
    if integers:
        assert x.grid is not None
        assert found is not None
        biases = _integer_bias(low, bias, channels, x.grid.scale[0], found.scale)
    else:
        numbers = np.zeros(channels, np.float32) if bias is None else low.numbers(bias)
        biases = low.file.constant(numbers.astype(np.float32))
    options.fusedActivationFunction = ending.activation
    source = low.tensor(x, integers, layout)
    made = low.output(node, ending, layout)
    low.file.operator(name, [source, filters, biases], [made], options)


def _filters(
    low: Lowering,
    weight: fx.Node,
    found: Levels | None,
    order: tuple[int, ...],
    axis: int,
) -> int:
    if found is not None:
        levels: Array = np.ascontiguousarray(found.levels.transpose(order))
        return low.file.constant(levels, Grid(found.scale, 0, axis), str(weight.name))
    value = low.value(weight)
    if value.grid is None:
        assert value.array is not None
        return low.file.constant(np.ascontiguousarray(value.array.transpose(order)))
    assert value.array is not None
    grid = Grid(value.grid.scale, value.grid.zero, order.index(value.grid.axis))
    turned = Value(
        tuple(value.array.shape[at] for at in order), grid, array=value.array.transpose(order)
    )
    return low.tensor(turned, False, Layout.PLAIN)


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
