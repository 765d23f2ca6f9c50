"""Rules that pick elements: by index, or the largest ones."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import fx

from packlight.graph import argument, aten
from packlight.runtimes.tflite.layouts import Layout, stored_axis
from packlight.runtimes.tflite.lowering import (
    Ending,
    Lowering,
    Value,
    dtype_of,
    rule,
    shape_of,
    unsupported,
)
from packlight.runtimes.tflite.schema import schema
from packlight.types import Array


def gathered(
    low: Lowering, x: Value, axis: int, indices: Array, layout: Layout | None = None
) -> Value:
    """The elements of a value at constant places along one dimension; integers stay integers."""
    layout = x.layout if layout is None else layout
    integers = x.grid is not None and x.array is None
    source = low.tensor(x, integers, layout)
    at = stored_axis(axis, len(x.shape), layout)
    shape = [*low.file.shape(source)]
    shape[at] = len(indices)
    made = low.file.like(source, shape)
    places = low.file.constant(np.asarray(indices, np.int32))
    options = schema.GatherOptionsT(axis=at)
    low.file.operator("GATHER", [source, places], [made], options)
    sizes = [*x.shape[:axis], len(indices), *x.shape[axis + 1 :]]
    return Value(tuple(sizes), x.grid if integers else None, {(integers, layout): made})


@rule(aten.embedding)
def embedding(low: Lowering, node: fx.Node) -> None:
    """GATHER of rows."""
    _look_up(low, node, low.value(node.args[0]), 0, node.args[1])


@rule(aten.index_select)
def index_select(low: Lowering, node: fx.Node) -> None:
    """GATHER along one dimension."""
    x = low.value(node.args[0])
    _look_up(low, node, x, node.args[1] % len(x.shape), node.args[2])


@rule(aten.index)
def index(low: Lowering, node: fx.Node) -> None:
    """GATHER along the one dimension that is indexed."""
    x, indices = low.value(node.args[0]), argument(node, 1, "indices")
    given = [axis for axis, one in enumerate(indices) if one is not None]
    if len(given) != 1 or dtype_of(indices[given[0]].meta["val"]) == "bool":
        raise unsupported(node, "it indexes several dimensions at once, or by a mask")
    _look_up(low, node, x, given[0], indices[given[0]])


def _look_up(low: Lowering, node: fx.Node, x: Value, axis: int, places: Any) -> None:
    size = x.shape[axis]
    if low.is_constant(places) and len(shape_of(places)) == 1:
        low.give(node, gathered(low, x, axis, low.numbers(places) % size))
        return
    if low.is_constant(places):
        indices = low.file.constant((low.numbers(places) % size).astype(np.int32))
    else:
        indices = low.tensor(low.value(places), False, Layout.PLAIN)
    integers = x.grid is not None and x.array is None
    source = low.tensor(x, integers, Layout.PLAIN)
    made = low.output(node, Ending(node, grid=x.grid if integers else None), Layout.PLAIN)
    low.file.operator("GATHER", [source, indices], [made], schema.GatherOptionsT(axis=axis))


@rule(aten.argmax, aten.argmin)
def place_of_extreme(low: Lowering, node: fx.Node) -> None:
    """ARG_MAX and ARG_MIN."""
    largest = node.target.overloadpacket is aten.argmax
    name = "ARG_MAX" if largest else "ARG_MIN"
    kind = schema.ArgMaxOptionsT if largest else schema.ArgMinOptionsT
    options = kind(outputType=schema.TensorType.INT64)
    x, dim = low.value(node.args[0]), argument(node, 1, "dim")
    made = low.file.value(shape_of(node), "int64")
    if dim is None:
        source = low.tensor(x, False, Layout.PLAIN)
        source, axis = low.reshaped(source, (int(np.prod(x.shape)),)), 0
    else:
        rank = len(x.shape)
        layout = x.layout if dim % rank == 1 and rank == 4 else Layout.PLAIN
        source = low.tensor(x, False, layout)
        axis = stored_axis(dim % rank, rank, layout)
    given = [size for at, size in enumerate(low.file.shape(source)) if at != axis]
    places = made if tuple(given) == shape_of(node) else low.file.value(given, "int64")
    at = low.file.constant(np.array(axis, np.int32))
    low.file.operator(name, [source, at], [places], options)
    if places != made:
        low.reshape(places, made)
    low.give(node, Value(shape_of(node), tensors={(False, Layout.PLAIN): made}))


@rule(aten.topk)
def topk(low: Lowering, node: fx.Node) -> None:
    """TOPK_V2, of the last dimension."""
    x, count = low.value(node.args[0]), argument(node, 1, "k")
    if argument(node, 2, "dim", -1) % len(x.shape) != len(x.shape) - 1:
        raise unsupported(node, "it runs along another dimension than the last")
    if not argument(node, 3, "largest", True):
        raise unsupported(node, "it takes the smallest")
    source = low.tensor(x, False, Layout.PLAIN)
    shape = (*x.shape[:-1], count)
    values, places = low.file.like(source, shape), low.file.value(shape, "int32")
    number = low.file.constant(np.array(count, np.int32))
    low.file.operator("TOPK_V2", [source, number], [values, places], schema.TopKV2OptionsT())
    wide = low.file.value(shape, "int64")
    low.file.operator("CAST", [places], [wide], schema.CastOptionsT())
    low.parts[node] = [
        Value(shape, tensors={(False, Layout.PLAIN): tensor}) for tensor in (values, wide)
    ]


@rule(operator.getitem)
def part(low: Lowering, node: fx.Node) -> None:
    """One of several values that an operator gives."""
    source: Any = node.args[0]
    at: Any = node.args[1]
    parts: Sequence[Value] = low.parts[source]
    if at >= len(parts):
        raise unsupported(source, "TFLite gives its first result only")
    low.give(node, parts[at])


@rule(aten.flip)
def flip(low: Lowering, node: fx.Node) -> None:
    """REVERSE_V2, one dimension at a time."""
    x = low.value(node.args[0])
    for axis in argument(node, 1, "dims"):
        size = x.shape[axis]
        x = gathered(low, x, axis % len(x.shape), np.arange(size)[::-1])
    low.give(node, x)


@rule(aten.repeat)
def repeat(low: Lowering, node: fx.Node) -> None:
    """TILE."""
    x, times = low.value(node.args[0]), argument(node, 1, "repeats")
    source = low.tensor(x, False, Layout.PLAIN)
    source = low.reshaped(source, (1,) * (len(times) - len(x.shape)) + x.shape)
    made = low.output(node, Ending(node), Layout.PLAIN)
    counts = low.file.constant(np.array(times, np.int32))
    low.file.operator("TILE", [source, counts], [made], schema.TileOptionsT())


@rule(aten.cumsum)
def running_sum(low: Lowering, node: fx.Node) -> None:
    """CUMSUM."""
    x = low.value(node.args[0])
    source = low.tensor(x, False, Layout.PLAIN)
    axis = low.file.constant(np.array(argument(node, 1, "dim") % len(x.shape), np.int32))
    made = low.output(node, Ending(node), Layout.PLAIN)
    low.file.operator("CUMSUM", [source, axis], [made], schema.CumsumOptionsT())
