"""Rules for operators that only move values, and for quantisation: integers stay integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import fx

from packlight.graph import IDENTITIES, argument, aten, is_call, quantized
from packlight.runtimes.tflite.flatfile import Grid
from packlight.runtimes.tflite.layouts import (
    LAST_ORDER,
    PLAIN_ORDER,
    SIGNAL_ORDER,
    Layout,
    as_image,
    has_layouts,
    stored_axis,
    stored_shape,
)
from packlight.runtimes.tflite.lowering import (
    Ending,
    Lowering,
    Padded,
    Value,
    grid_of,
    rule,
    shape_of,
    starts_at_zero,
    unsupported,
)
from packlight.runtimes.tflite.picking import gathered
from packlight.runtimes.tflite.schema import schema
from packlight.types import Array

_KEEPING_SIGNS = (
    aten.adaptive_avg_pool2d,
    aten.avg_pool2d,
    aten.cat,
    aten.constant_pad_nd,
    aten.flatten,
    aten.max_pool2d,
    aten.mean,
    aten.pad,
    aten.permute,
    aten.reshape,
    aten.slice,
    aten.transpose,
    aten.view,
    quantized.dequantize_per_tensor,
)


@rule(quantized.quantize_per_tensor)
def quantize(low: Lowering, node: fx.Node) -> None:
    """Nothing where the value is on the grid already, otherwise QUANTIZE."""
    x, grid = low.value(node.args[0]), grid_of(node)
    if grid is None:
        raise unsupported(node, "its levels are not all of int8 or uint8")
    if x.grid == grid:
        low.give(node, x)
        return
    if low.values == "float":
        if starts_at_zero(node) and not _is_positive(node.args[0]):
            tensor = low.tensor(x, False, x.layout)
            made = low.file.value(low.file.shape(tensor), "float32")
            low.file.operator("RELU", [tensor], [made])
            low.give(node, Value(x.shape, tensors={(False, x.layout): made}))
        else:
            low.give(node, x)
        return
    if x.padded is not None and not x.tensors and grid.holds(x.padded.number):
        # padded after rounding, it is left to the convolution that reads it
        inside = _rounded(low, x.padded.source, grid)
        low.give(node, Value(x.shape, grid, padded=replace(x.padded, source=inside)))
        return
    value = _rounded(low, x, grid)
    low.give(node, value)
    low.made.append((node, low.tensor(value, True, value.layout), value.layout))


def _is_positive(node: Any) -> bool:
    """Whether a value can be seen to hold no negative number."""
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return False
    if starts_at_zero(node) or is_call(node, aten.relu, aten.relu_, aten.relu6, aten.relu6_):
        return True
    return is_call(node, *_KEEPING_SIGNS) and all(map(_is_positive, node.all_input_nodes))


def _rounded(low: Lowering, x: Value, grid: Grid) -> Value:
    if x.grid == grid:
        return x
    layout = x.layout
    source = low.tensor(x, x.grid is not None, layout)
    made = low.file.value(low.file.shape(source), "int8", grid)
    low.file.operator("QUANTIZE", [source], [made], schema.QuantizeOptionsT())
    return Value(x.shape, grid, {(True, layout): made})


@rule(quantized.dequantize_per_tensor, *IDENTITIES)
def passed_on(low: Lowering, node: fx.Node) -> None:
    """The same value; whether it is needed as float shows later."""
    low.give(node, low.value(node.args[0]))


@rule(aten.view, aten.reshape, aten.flatten, aten.squeeze, aten.unsqueeze, aten.unflatten)
def reshape(low: Lowering, node: fx.Node) -> None:
    """RESHAPE."""
    x = low.value(node.args[0])
    integers = x.grid is not None
    shapes = sorted((x.shape, shape_of(node)), key=len)
    signal, image = shapes[0], shapes[1]
    if x.layout is Layout.LAST and len(signal) == 3 and image == as_image(signal):
        # a signal becomes an image of one row, or the other way round: the tensor stays
        tensor = low.tensor(x, integers, Layout.LAST)
        low.give(node, Value(shape_of(node), x.grid, {(integers, Layout.LAST): tensor}))
        return
    if has_layouts(len(x.shape)) and (x.shape[1] == 1 or math.prod(x.shape[2:]) == 1):
        source = low.tensor(x, integers, x.layout)  # either layout has the same order in memory
    else:
        source = low.tensor(x, integers, Layout.PLAIN)
    made = low.output(node, Ending(node, grid=x.grid), Layout.PLAIN)
    low.reshape(source, made)


@rule(aten.permute, aten.transpose, aten.t)
def permute(low: Lowering, node: fx.Node) -> None:
    """TRANSPOSE; nothing where it turns one layout into the other."""
    x = low.value(node.args[0])
    rank, integers = len(x.shape), x.grid is not None
    order = list(range(rank))
    if node.target in (aten.permute.default,):
        order = [axis % rank for axis in argument(node, 1, "dims")]
    elif rank > 1:
        a, b = (argument(node, at, f"dim{at - 1}", at - 1) % rank for at in (1, 2))
        order[a], order[b] = order[b], order[a]
    if tuple(order) in (LAST_ORDER, SIGNAL_ORDER) and x.layout is Layout.LAST:
        tensor = low.reshaped(low.tensor(x, integers, Layout.LAST), shape_of(node))
        value = Value(shape_of(node), x.grid, {(integers, Layout.PLAIN): tensor})
        low.give(node, value)
        return
    source = low.tensor(x, integers, Layout.PLAIN)
    if tuple(order) == PLAIN_ORDER or (tuple(order) == SIGNAL_ORDER and _meets_signal(node)):
        source = low.reshaped(source, stored_shape(shape_of(node), Layout.LAST))
        value = Value(shape_of(node), x.grid, {(integers, Layout.LAST): source})
        low.give(node, value)
        return
    tensor = low.transposed(source, order, x.grid)
    low.give(node, Value(shape_of(node), x.grid, {(integers, Layout.PLAIN): tensor}))


def _meets_signal(node: fx.Node) -> bool:
    """Whether a convolution over a signal reads a value next."""
    past = (quantized.quantize_per_tensor, quantized.dequantize_per_tensor)
    return any(
        is_call(user, aten.conv1d) or (is_call(user, *past) and _meets_signal(user))
        for user in node.users
    )


@rule(aten.cat)
def cat(low: Lowering, node: fx.Node) -> None:
    """CONCATENATION; of integers if all are on one grid, or the result is quantised."""
    sources = argument(node, 0, "tensors")
    parts = [low.value(source) for source in sources]
    rank = len(shape_of(node))
    axis = argument(node, 1, "dim", 0) % rank
    moving = [part for part in parts if part.array is None]
    layout = Layout.LAST if any(part.layout is Layout.LAST for part in moving) else Layout.PLAIN
    grids = {part.grid for part in parts}
    grid: Grid | None = None
    ending = Ending(node)
    if None not in grids and all(part.array is None for part in parts):
        grid = grids.pop() if len(grids) == 1 else None
        ending = Ending(node, grid=grid)
        if grid is None:
            ending = low.ending(node, quantised=True)
            ending = Ending(node) if ending.activation else ending
            grid = ending.grid
    tensors = []
    for part in parts:
        if grid is None:
            tensor = low.tensor(part, False, layout)
        else:
            tensor = low.tensor(_rounded(low, part, grid), True, layout)
        tensors.append(tensor)
    made = low.output(node, ending, layout)
    stored = stored_axis(axis, rank, layout)
    low.file.operator("CONCATENATION", tensors, [made], schema.ConcatenationOptionsT(axis=stored))


@rule(aten.slice)
def cut(low: Lowering, node: fx.Node) -> None:
    """STRIDED_SLICE along one dimension."""
    x = low.value(node.args[0])
    axis = argument(node, 1, "dim", 0) % len(x.shape)
    start, step = argument(node, 2, "start") or 0, argument(node, 4, "step", 1)
    size = x.shape[axis]
    start = min(start + size if start < 0 else start, size)
    count = shape_of(node)[axis]
    _strided(low, node, x, axis, start, start + (count - 1) * step + 1, step, x.layout)


@rule(aten.select)
def select(low: Lowering, node: fx.Node) -> None:
    """STRIDED_SLICE of one element, whose dimension goes."""
    x = low.value(node.args[0])
    axis = argument(node, 1, "dim") % len(x.shape)
    index = argument(node, 2, "index") % x.shape[axis]
    integers = x.grid is not None
    source = low.tensor(x, integers, Layout.PLAIN)
    made = low.output(node, Ending(node, grid=x.grid), Layout.PLAIN)
    ends = [(0, size, 1) for size in x.shape]
    ends[axis] = (index, index + 1, 1)
    strided_slice(low, source, made, ends, shrink=1 << axis)


def _strided(
    low: Lowering,
    node: fx.Node,
    x: Value,
    axis: int,
    start: int,
    stop: int,
    step: int,
    layout: Layout,
) -> None:
    source = low.tensor(x, x.grid is not None, layout)
    made = low.output(node, Ending(node, grid=x.grid), layout)
    ends = [(0, size, 1) for size in low.file.shape(source)]
    ends[stored_axis(axis, len(x.shape), layout)] = (start, stop, step)
    strided_slice(low, source, made, ends)


def strided_slice(
    low: Lowering, source: int, made: int, ends: Sequence[tuple[int, int, int]], shrink: int = 0
) -> None:
    """STRIDED_SLICE: (first, behind the last, step) per dimension."""
    parts = [low.file.constant(np.array(part, np.int32)) for part in zip(*ends, strict=True)]
    options = schema.StridedSliceOptionsT(shrinkAxisMask=shrink)
    low.file.operator("STRIDED_SLICE", [source, *parts], [made], options)


@rule(aten.pad, aten.constant_pad_nd)
def pad(low: Lowering, node: fx.Node) -> None:
    """Left to the convolution that reads it; PAD or PADV2 for anyone else."""
    x = low.value(node.args[0])
    amounts = argument(node, 1, "pad")
    if node.target is aten.pad.default:
        mode, number = argument(node, 2, "mode", "constant"), argument(node, 3, "value") or 0.0
    else:
        mode, number = "constant", argument(node, 2, "value", 0.0)
    rank = len(x.shape)
    if mode != "constant" or min(amounts, default=0) < 0:
        if mode == "constant" and max(amounts) > 0:
            raise unsupported(node, "it cuts some borders and pads others")
        for at, ends in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
            axis = rank - 1 - at
            if any(ends):
                x = gathered(low, x, axis, _repeated(mode, x.shape[axis], ends))
        low.give(node, x)
        return
    before, after = [0] * rank, [0] * rank
    for at, (first, second) in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
        before[rank - 1 - at], after[rank - 1 - at] = int(first), int(second)
    grid = x.grid if x.grid is not None and x.grid.holds(number) else None
    source = x if grid is not None else _float_part(low, x)
    low.give(
        node,
        Value(
            shape_of(node),
            grid,
            padded=Padded(source, tuple(before), tuple(after), float(number)),
        ),
    )


def _repeated(mode: str, size: int, ends: tuple[int, int]) -> Array:
    """Which elements a padding takes, along one dimension."""
    if mode == "constant":  # nothing but cuts
        return np.arange(-ends[0], size + ends[1])
    around = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    padded: Array = np.pad(np.arange(size), ends, mode=around)  # type: ignore[call-overload]
    return padded


def _float_part(low: Lowering, x: Value) -> Value:
    if x.grid is None:
        return x
    layout = x.layout
    return Value(x.shape, tensors={(False, layout): low.tensor(x, False, layout)})


@rule(aten.expand)
def expand(low: Lowering, node: fx.Node) -> None:
    """BROADCAST_TO."""
    x, shape = low.value(node.args[0]), shape_of(node)
    source = low.tensor(x, False, Layout.PLAIN)
    made = low.output(node, Ending(node), Layout.PLAIN)
    if low.file.shape(source) == tuple(shape):
        low.reshape(source, made)
        return
    target = low.file.constant(np.array(shape, np.int32))
    low.file.operator("BROADCAST_TO", [source, target], [made])
