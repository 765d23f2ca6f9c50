"""Rules for pools, means and other reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import fx

from packlight.graph import argument, aten, pair
from packlight.runtimes.lowering import matrix_of
from packlight.runtimes.tflite.layouts import Layout, as_image, stored_axis
from packlight.runtimes.tflite.lowering import (
    Ending,
    Lowering,
    Padded,
    Value,
    rule,
    shape_of,
    unsupported,
)
from packlight.runtimes.tflite.resizing import multiplied
from packlight.runtimes.tflite.schema import schema
from packlight.runtimes.tflite.windows import Windows, place
from packlight.types import Array

LOWEST = float(np.finfo(np.float32).min)


@rule(aten.max_pool1d, aten.max_pool2d)
def max_pool(low: Lowering, node: fx.Node) -> None:
    """MAX_POOL_2D; integers stay integers."""
    x = low.value(node.args[0])
    if pair(argument(node, 4, "dilation", 1)) != (1, 1):
        raise unsupported(node, "its windows are dilated")
    _pool(low, node, "MAX_POOL_2D", x, _windows(node, x), LOWEST, integers=x.grid is not None)


@rule(aten.avg_pool1d, aten.avg_pool2d)
def avg_pool(low: Lowering, node: fx.Node) -> None:
    """AVERAGE_POOL_2D, which never counts what SAME pads."""
    x = low.value(node.args[0])
    if argument(node, 6, "divisor_override") is not None:
        raise unsupported(node, "it divides by a number of its own")
    windows = _windows(node, x)
    padding = _pair(x, argument(node, 3, "padding", 0), 0)
    if any(padding) and argument(node, 5, "count_include_pad", True):
        windows = Windows(schema.Padding.VALID, padding, _overhang(node, x))
    elif windows.written_out:
        sizes = x.shape[2:]
        multiplied(low, node, x, [_matrix(node, sizes, axis) for axis in range(len(sizes))])
        return
    _pool(low, node, "AVERAGE_POOL_2D", x, windows, 0.0, integers=False)


@rule(aten.adaptive_avg_pool2d)
def adaptive_avg_pool2d(low: Lowering, node: fx.Node) -> None:
    """MEAN over everything, or AVERAGE_POOL_2D where the windows are of one size."""
    x = low.value(node.args[0])
    if len(x.shape) != 4:
        raise unsupported(node, "its input counts no samples")
    sizes, outputs = x.shape[2:], shape_of(node)[2:]
    if outputs == (1, 1):
        _reduce(low, node, "MEAN", (2, 3), keep=True)
        return
    if any(size % output for size, output in zip(sizes, outputs, strict=True)):
        matrices = [_matrix(node, sizes, axis) for axis in range(2)]
        multiplied(low, node, x, matrices)
        return
    kernel = [size // output for size, output in zip(sizes, outputs, strict=True)]
    ending = low.ending(node, quantised=False)
    options = _options(kernel, kernel, schema.Padding.VALID)
    options.fusedActivationFunction = ending.activation
    source = low.tensor(x, False, Layout.LAST)
    low.file.operator("AVERAGE_POOL_2D", [source], [low.output(node, ending, Layout.LAST)], options)


@rule(aten.adaptive_max_pool2d)
def adaptive_max_pool2d(low: Lowering, node: fx.Node) -> None:
    """MAX_POOL_2D where the windows are of one size; nothing tells where the maxima were."""
    x = low.value(node.args[0])
    sizes, outputs = x.shape[2:], argument(node, 1, "output_size")
    if any(size % output for size, output in zip(sizes, outputs, strict=True)):
        raise unsupported(node, f"its windows over {sizes} elements are not of one size")
    kernel = [size // output for size, output in zip(sizes, outputs, strict=True)]
    integers = x.grid is not None
    source = low.tensor(x, integers, Layout.LAST)
    made = low.file.like(source, (x.shape[0], *outputs, x.shape[1]))
    options = _options(kernel, kernel, schema.Padding.VALID)
    low.file.operator("MAX_POOL_2D", [source], [made], options)
    shape = (*x.shape[:2], *outputs)
    low.parts[node] = [Value(shape, x.grid, {(integers, Layout.LAST): made})]


@rule(aten.avg_pool3d)
def avg_pool3d(low: Lowering, node: fx.Node) -> None:
    """A matrix along each dimension."""
    x = low.value(node.args[0])
    sizes = x.shape[2:]
    multiplied(low, node, x, [_matrix(node, sizes, axis) for axis in range(len(sizes))])


@rule(aten.mean)
def mean(low: Lowering, node: fx.Node) -> None:
    """MEAN; from integers to integers where the result is quantised."""
    _reduce_by_arguments(low, node, "MEAN")


@rule(aten.sum)
def total(low: Lowering, node: fx.Node) -> None:
    """SUM."""
    _reduce_by_arguments(low, node, "SUM")


@rule(aten.prod)
def product(low: Lowering, node: fx.Node) -> None:
    """REDUCE_PROD."""
    _reduce_by_arguments(low, node, "REDUCE_PROD")


@rule(aten.any)
def whether_any(low: Lowering, node: fx.Node) -> None:
    """REDUCE_ANY."""
    _reduce_by_arguments(low, node, "REDUCE_ANY")


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
    rank = len(x.shape)
    if layout is Layout.LAST and (keep or set(axes) >= set(range(2, rank))):
        keep_row = rank == 3 and not keep
    else:
        layout, keep_row = Layout.PLAIN, False
    ending = low.ending(node, quantised=name == "MEAN" and x.grid is not None)
    if ending.activation:
        ending = Ending(node)
    source = low.tensor(x, ending.grid is not None, layout)
    stored = sorted(stored_axis(axis, rank, layout) for axis in axes)
    if keep_row:
        stored = sorted({1, *stored})  # the row goes as well
    made = low.output(node, ending, layout)
    indices = low.file.constant(np.array(stored, np.int32))
    low.file.operator(name, [source, indices], [made], schema.ReducerOptionsT(keepDims=keep))


def _matrix(node: fx.Node, sizes: Sequence[int], axis: int) -> Array:
    """What an average does along one dimension."""
    assert callable(node.target)
    target = node.target
    return matrix_of(lambda x: target(x, *node.args[1:], **node.kwargs), axis, sizes)


def _windows(node: fx.Node, x: Value) -> Windows:
    kernel, stride = _steps(node, x)
    before = _pair(x, argument(node, 3, "padding", 0), 0)
    sizes, outputs = as_image(x.shape)[2:], as_image(shape_of(node))[2:]
    return place(sizes, outputs, kernel, stride, (1, 1), before)


def _steps(node: fx.Node, x: Value) -> tuple[tuple[int, int], tuple[int, int]]:
    """Kernel and stride; a signal's windows have one row."""
    if len(x.shape) not in (3, 4) or len(as_image(x.shape)) - len(as_image(shape_of(node))):
        raise unsupported(node, "its input counts no samples")
    kernel = _pair(x, node.args[1], 1)
    return kernel, _pair(x, argument(node, 2, "stride") or node.args[1], 1)


def _pair(x: Value, value: Any, row: int) -> tuple[int, int]:
    rows, columns = pair(value)
    return (row if len(x.shape) == 3 else rows, columns)


def _overhang(node: fx.Node, x: Value) -> tuple[int, int]:
    """How far the last windows reach behind the input."""
    kernel, stride = _steps(node, x)
    before = _pair(x, argument(node, 3, "padding", 0), 0)
    ends = [
        max((output - 1) * step + taps - size - begin, 0)
        for output, step, taps, size, begin in zip(
            as_image(shape_of(node))[2:],
            stride,
            kernel,
            as_image(x.shape)[2:],
            before,
            strict=True,
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
    kernel, stride = _steps(node, x)
    options = _options(kernel, stride, windows.padding)
    grid = x.grid if integers else None
    source = low.tensor(x, integers, Layout.LAST)
    if windows.written_out:
        first: tuple[int, ...] = windows.before
        last: tuple[int, ...] = windows.after
        if len(x.shape) == 3:
            first, last = first[1:], last[1:]
        around = (0, 0, *first), (0, 0, *last)
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
