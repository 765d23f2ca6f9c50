"""Rules for pools, means and other reductions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import fx

from packlight.graph import argument, aten
from packlight.runtimes.tflite.lowering import (
    LAST_ORDER,
    Ending,
    Layout,
    Lowering,
    Padded,
    Value,
    rule,
    shape_of,
    unsupported,
)
from packlight.runtimes.tflite.schema import schema
from packlight.runtimes.tflite.windows import Windows, pair, place

LOWEST = float(np.finfo(np.float32).min)


@rule(aten.max_pool2d)
def max_pool2d(low: Lowering, node: fx.Node) -> None:
    """MAX_POOL_2D; integers stay integers."""
    x = low.value(node.args[0])
    if pair(argument(node, 4, "dilation", 1)) != (1, 1):
        raise unsupported(node, "its windows are dilated")
    _pool(low, node, "MAX_POOL_2D", x, _windows(node, x), LOWEST, integers=x.grid is not None)


@rule(aten.avg_pool2d)
def avg_pool2d(low: Lowering, node: fx.Node) -> None:
    """AVERAGE_POOL_2D, which never counts what SAME pads."""
    x = low.value(node.args[0])
    if argument(node, 6, "divisor_override") is not None:
        raise unsupported(node, "it divides by a number of its own")
    windows = _windows(node, x)
    padding = pair(argument(node, 3, "padding", 0))
    if any(padding) and argument(node, 5, "count_include_pad", True):
        if argument(node, 4, "ceil_mode", False):
            raise unsupported(node, "it counts padding and rounds its size up")
        windows = Windows(schema.Padding.VALID, padding, _overhang(node, x))
    elif windows.written_out:
        raise unsupported(node, "it averages over fewer elements at borders TFLite pads otherwise")
    _pool(low, node, "AVERAGE_POOL_2D", x, windows, 0.0, integers=False)


@rule(aten.adaptive_avg_pool2d)
def adaptive_avg_pool2d(low: Lowering, node: fx.Node) -> None:
    """MEAN over everything, or AVERAGE_POOL_2D where the windows are of one size."""
    x = low.value(node.args[0])
    sizes, outputs = x.shape[2:], shape_of(node)[2:]
    if outputs == (1, 1):
        _reduce(low, node, "MEAN", (2, 3), keep=True)
        return
    if any(size % output for size, output in zip(sizes, outputs, strict=True)):
        raise unsupported(node, f"its windows over {sizes} elements are not of one size")
    kernel = [size // output for size, output in zip(sizes, outputs, strict=True)]
    ending = low.ending(node, quantised=False)
    options = _options(kernel, kernel, schema.Padding.VALID)
    options.fusedActivationFunction = ending.activation
    source = low.tensor(x, False, Layout.LAST)
    low.file.operator("AVERAGE_POOL_2D", [source], [low.output(node, ending, Layout.LAST)], options)


@rule(aten.mean)
def mean(low: Lowering, node: fx.Node) -> None:
    """MEAN; from integers to integers where the result is quantised."""
    _reduce_by_arguments(low, node, "MEAN")


@rule(aten.sum)
def total(low: Lowering, node: fx.Node) -> None:
    """SUM."""
    _reduce_by_arguments(low, node, "SUM")


@rule(aten.amax)
def largest(low: Lowering, node: fx.Node) -> None:
    """REDUCE_MAX."""
    _reduce_by_arguments(low, node, "REDUCE_MAX")


@rule(aten.amin)
def smallest(low: Lowering, node: fx.Node) -> None:
    """REDUCE_MIN."""
    _reduce_by_arguments(low, node, "REDUCE_MIN")


def _reduce_by_arguments(low: Lowering, node: fx.Node, name: str) -> None:
    rank = len(low.value(node.args[0]).shape)
    axes = argument(node, 1, "dim")
    axes = range(rank) if axes is None or axes == [] else axes
    listed = [axes] if isinstance(axes, int) else axes
    _reduce(low, node, name, [axis % rank for axis in listed], argument(node, 2, "keepdim", False))


def _reduce(low: Lowering, node: fx.Node, name: str, axes: Sequence[int], keep: bool) -> None:
    x = low.value(node.args[0])
    # channels last stay last, unless dimensions that vanish leave fewer than four
    layout = x.layout
    kept_last = layout is Layout.LAST and (keep or set(axes) >= {2, 3})
    if not kept_last:
        layout = Layout.PLAIN
    ending = low.ending(node, quantised=name == "MEAN" and x.grid is not None)
    if ending.activation:
        ending = Ending(node)
    source = low.tensor(x, ending.grid is not None, layout)
    stored = sorted(LAST_ORDER.index(axis) for axis in axes) if kept_last else sorted(axes)
    made = low.output(node, ending, layout)
    indices = low.file.constant(np.array(stored, np.int32))
    low.file.operator(name, [source, indices], [made], schema.ReducerOptionsT(keepDims=keep))


def _windows(node: fx.Node, x: Value) -> Windows:
    kernel = pair(node.args[1])
    stride = pair(argument(node, 2, "stride") or kernel)
    before = pair(argument(node, 3, "padding", 0))
    return place(x.shape[2:], shape_of(node)[2:], kernel, stride, (1, 1), before)


def _overhang(node: fx.Node, x: Value) -> tuple[int, int]:
    """How far the last windows reach behind the input."""
    kernel = pair(node.args[1])
    stride = pair(argument(node, 2, "stride") or kernel)
    before = pair(argument(node, 3, "padding", 0))
    ends = [
        max((output - 1) * step + taps - size - begin, 0)
        for output, step, taps, size, begin in zip(
            shape_of(node)[2:], stride, kernel, x.shape[2:], before, strict=True
        )
    ]
    return (ends[0], ends[1])


def _pool(
    low: Lowering,
    node: fx.Node,
    name: str,
    x: Value,
    windows: Windows,
    border: float,
    *,
    integers: bool,
) -> None:
    kernel = pair(node.args[1])
    options = _options(kernel, pair(argument(node, 2, "stride") or kernel), windows.padding)
    grid = x.grid if integers else None
    source = low.tensor(x, integers, Layout.LAST)
    if windows.written_out:
        around = (0, 0, *windows.before), (0, 0, *windows.after)
        source = low.pad(source, Padded(x, *around, border), grid, Layout.LAST)
    ending = low.ending(node, quantised=False)
    if integers:
        ending = Ending(node, grid=grid)
    options.fusedActivationFunction = ending.activation
    made = low.output(node, ending, Layout.LAST)
    low.file.operator(name, [source], [made], options)


def _options(kernel: Sequence[int], stride: Sequence[int], padding: int) -> schema.Pool2DOptionsT:
    return schema.Pool2DOptionsT(
        padding=padding,
        strideH=stride[0],
        strideW=stride[1],
        filterHeight=kernel[0],
        filterWidth=kernel[1],
    )
