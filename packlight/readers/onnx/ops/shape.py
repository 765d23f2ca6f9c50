"""Sizes, and views of the same elements: reshape, transpose, split, join, slice, expand.

Each has a twin on the host, so that `Reshape(x, Concat(Shape(x)[0:1], [-1]))` traces to one
reshape with a symbolic batch and no arithmetic in the graph.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from packlight.readers.onnx.graph import Node
from packlight.readers.onnx.registry import host, op
from packlight.readers.onnx.values import (
    HOST_LIMIT,
    Array,
    Known,
    Value,
    is_integer,
    numbers,
    product,
    sizes,
)

_FAR = 2**31 - 1  # a slice end from here on means "to the end"; TensorFlow writes just this


@op("Shape", raw=[0])
def shape(node: Node, x: Value) -> Known:
    """The sizes, or a range of them."""
    found = list(_shape_of(x))
    return Known(sizes(found[slice(node.get("start", 0), node.get("end"))]))


@op("Size", raw=[0])
def size(node: Node, x: Value) -> Known:
    """The number of elements."""
    return Known(sizes([product(_shape_of(x))]).reshape(()))


def _shape_of(x: Value) -> tuple[Any, ...]:
    if isinstance(x, Known) and not x.weight:
        return x.array.shape
    return tuple((x.tensor() if isinstance(x, Known) else x).shape)


def _target(node: Node, old: tuple[Any, ...], wanted: Array) -> list[Any]:
    """Resolve the zeros of a Reshape; -1 is left to torch or numpy."""
    new = numbers(wanted)
    if not node.get("allowzero", 0):
        for axis, extent in enumerate(new):
            if is_integer(extent) and extent == 0:
                if axis >= len(old):
                    raise node.bad(f"its shape {new} copies a dimension that the input lacks")
                new[axis] = old[axis]
    return new


@op("Reshape", known=[1])
def reshape(node: Node, x: Tensor, wanted: Array) -> Tensor:
    """The same elements in another shape."""
    return x.reshape(_target(node, tuple(x.shape), wanted))


@host("Reshape")
def reshape_on_host(node: Node, x: Array, wanted: Array) -> Array:
    """The same elements in another shape."""
    return x.reshape(_target(node, x.shape, wanted))


@op("Flatten")
def flatten(node: Node, x: Tensor) -> Tensor:
    """Two dimensions: those before `axis` and those from it on."""
    axis = node.get("axis")
    if not -x.ndim <= axis <= x.ndim:
        raise node.bad(f"axis {axis} of an input with {x.ndim} dimensions")
    axis += x.ndim if axis < 0 else 0
    if axis == 1 and x.ndim >= 2:
        return x.flatten(1)
    if axis == 0:
        return x.reshape(1, -1)
    return x.reshape(product(x.shape[:axis]), product(x.shape[axis:]))


@op("Squeeze", known=[1])
def squeeze(node: Node, x: Tensor, axes: Array | None = None) -> Tensor:
    """Without dimensions of size 1."""
    chosen = _axes(node, axes, x.ndim)
    if chosen is None:
        chosen = [a for a, n in enumerate(x.shape) if is_integer(n) and n == 1]
    for axis in chosen:
        if is_integer(x.shape[axis]) and x.shape[axis] != 1:
            raise node.bad(f"dimension {axis} has {x.shape[axis]} elements and can not go")
    if len(chosen) == 1:
        return x.squeeze(chosen[0])
    return x.squeeze(tuple(chosen)) if chosen else x


@host("Squeeze")
def squeeze_on_host(node: Node, x: Array, axes: Array | None = None) -> Array:
    """Without dimensions of size 1."""
    chosen = _axes(node, axes, x.ndim)
    return x.squeeze(None if chosen is None else tuple(chosen))


@op("Unsqueeze", known=[1])
def unsqueeze(node: Node, x: Tensor, axes: Array | None = None) -> Tensor:
    """With new dimensions of size 1."""
    for axis in _new_axes(node, axes, x.ndim):
        x = x.unsqueeze(axis)
    return x


@host("Unsqueeze")
def unsqueeze_on_host(node: Node, x: Array, axes: Array | None = None) -> Array:
    """With new dimensions of size 1."""
    for axis in _new_axes(node, axes, x.ndim):
        x = np.expand_dims(x, axis)
    return x


def _axes(node: Node, axes: Array | None, rank: int) -> list[int] | None:
    """Axes given as an attribute (before opset 13) or as an input."""
    chosen = node.get("axes") if axes is None else numbers(axes)
    if chosen is None:
        return None
    if not all(-rank <= axis < rank for axis in chosen):
        raise node.bad(f"axes {chosen} of an input with {rank} dimensions")
    return [axis % rank for axis in chosen]


def _new_axes(node: Node, axes: Array | None, rank: int) -> list[int]:
    chosen = (node.get("axes") or []) if axes is None else numbers(axes)
    total = rank + len(chosen)
    if not all(-total <= axis < total for axis in chosen) or total > 64:
        raise node.bad(f"axes {chosen} of an output with {total} dimensions")
    return sorted(axis % total for axis in chosen)


@op("Transpose")
def transpose(node: Node, x: Tensor) -> Tensor:
    """The dimensions in another order."""
    order = node.get("perm") or list(range(x.ndim))[::-1]
    if sorted(order) != list(range(x.ndim)):
        raise node.bad(f"perm {order} of an input with {x.ndim} dimensions")
    return x.permute(order)


@host("Transpose")
def transpose_on_host(node: Node, x: Array) -> Array:
    """The dimensions in another order."""
    return np.transpose(x, node.get("perm") or None)


@op("Concat")
def concat(node: Node, *parts: Tensor) -> Tensor:
    """Join along an axis."""
    return torch.cat(parts, node.axis(parts[0].ndim, 1)) if len(parts) > 1 else parts[0]


@host("Concat")
def concat_on_host(node: Node, *parts: Array) -> Any:
    """Join along an axis."""
    if sum(part.size for part in parts) > HOST_LIMIT:
        return NotImplemented
    return np.concatenate(parts, node.get("axis", 1))


@op("Split", known=[1])
def split(node: Node, x: Tensor, lengths: Array | None = None) -> tuple[Tensor, ...]:
    """Cut along an axis into given or equal lengths."""
    axis = node.axis(x.ndim)
    return torch.split(x, _lengths(node, lengths, int(x.shape[axis])), axis)


@host("Split")
def split_on_host(node: Node, x: Array, lengths: Array | None = None) -> tuple[Array, ...]:
    """Cut along an axis into given or equal lengths."""
    axis = node.axis(x.ndim)
    cuts = np.cumsum(_lengths(node, lengths, x.shape[axis]))[:-1]
    return tuple(np.split(x, cuts, axis))


def _lengths(node: Node, lengths: Array | None, size: int) -> list[int]:
    """What is not said is equal parts; from opset 18 on the last one may be smaller."""
    given = node.get("split") if lengths is None else numbers(lengths)
    count = len(node.outputs)
    if given is None:
        part = -(-size // count)
        given = [max(0, min(part, size - part * index)) for index in range(count)]
    if len(given) != count or sum(given) != size or min(given) < 0:
        raise node.bad(f"{size} elements do not split into {given} for {count} outputs")
    return list(given)


@op("Slice", known=[1, 2, 3, 4])
def slice_(
    node: Node,
    x: Tensor,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Tensor:
    """A range of each axis; negative steps go backwards."""
    for axis, start, end, step in _ranges(node, x.ndim, starts, ends, axes, steps):
        extent = x.shape[axis]
        if step > 0:
            stop = None if is_integer(end) and end >= _FAR else end
            if is_integer(extent) and _plain(start, stop):
                start, stop, _ = slice(start, stop, step).indices(extent)
                stop = max(start, stop)
                if (start, stop, step) == (0, extent, 1):
                    continue
            x = x[(*[slice(None)] * axis, slice(start, stop, step))]
            continue
        picked = range(int(extent))[slice(int(start), None if end <= -_FAR else int(end), step)]
        if not len(picked):
            x = x.narrow(axis, 0, 0)
        else:
            x = x[(*[slice(None)] * axis, slice(picked[-1], picked[0] + 1, -step))].flip(axis)
    return x


@host("Slice")
def slice_on_host(
    node: Node,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    """A range of each axis."""
    for axis, start, end, step in _ranges(node, x.ndim, starts, ends, axes, steps):
        if step < 0 and end < -x.shape[axis]:
            end = None
        x = x[(*[slice(None)] * axis, slice(start, end, step))]
    return x


def _plain(*values: Any) -> bool:
    return all(value is None or is_integer(value) for value in values)


def _ranges(
    node: Node,
    rank: int,
    starts: Array | None,
    ends: Array | None,
    axes: Array | None,
    steps: Array | None,
) -> list[tuple[int, Any, Any, int]]:
    first = node.get("starts") if starts is None else numbers(starts)
    last = node.get("ends") if ends is None else numbers(ends)
    if first is None or last is None:
        raise node.bad("it does not say where to start and to end")
    chosen = _axes(node, axes, rank)
    chosen = list(range(len(first))) if chosen is None else chosen
    strides = [1] * len(first) if steps is None else numbers(steps)
    if not len(first) == len(last) == len(chosen) == len(strides) or 0 in strides:
        raise node.bad("its starts, ends, axes and steps do not go together")
    if any(axis >= rank for axis in chosen):
        raise node.bad(f"axes {chosen} of an input with {rank} dimensions")
    return list(zip(chosen, first, last, strides, strict=True))


@op("Expand", known=[1])
def expand(node: Node, x: Tensor, wanted: Array) -> Tensor:
    """Broadcast with a shape; a 1 there keeps the input's size."""
    target = numbers(wanted)
    rank = max(x.ndim, len(target))
    target = [1] * (rank - len(target)) + target
    old = [1] * (rank - x.ndim) + list(x.shape)
    new = [
        was if is_integer(want) and want == 1 else want
        for was, want in zip(old, target, strict=True)
    ]
    return x.expand(new)


@host("Expand")
def expand_on_host(node: Node, x: Array, wanted: Array) -> Any:
    """Broadcast with a shape."""
    target = numbers(wanted)
    if not is_small(target) or x.size > HOST_LIMIT:
        return NotImplemented
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(target)))


@op("Tile", known=[1, 2])
def tile(node: Node, x: Tensor, repeats: Array) -> Tensor:
    """Repeat along each axis."""
    times = numbers(repeats)
    if len(times) != x.ndim:
        raise node.bad(f"{len(times)} repeats for {x.ndim} dimensions")
    return x.repeat(times)


@host("Tile")
def tile_on_host(node: Node, x: Array, repeats: Array) -> Any:
    """Repeat along each axis."""
    times = numbers(repeats)
    if not is_small([*times, x.size]):
        return NotImplemented
    return np.tile(x, times)


def is_small(shape: list[Any]) -> bool:
    """Whether a value of this shape may be worked out while reading."""
    return all(is_integer(extent) for extent in shape) and 0 <= math.prod(shape) <= HOST_LIMIT


@op("DepthToSpace")
def depth_to_space(node: Node, x: Tensor) -> Tensor:
    """Channels to blocks of pixels; mode CRD is aten.pixel_shuffle."""
    block = _block(node, x)
    if node.get("mode", "DCR") == "CRD":
        return torch.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    depth = c // (block * block)
    y = x.reshape(n, block, block, depth, h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(n, depth, h * block, w * block)


@op("SpaceToDepth")
def space_to_depth(node: Node, x: Tensor) -> Tensor:
    """Blocks of pixels to channels."""
    block = _block(node, x)
    n, c, h, w = x.shape
    y = x.reshape(n, c, h // block, block, w // block, block)
    order = (0, 1, 3, 5, 2, 4) if node.get("mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    return y.permute(order).reshape(n, c * block * block, h // block, w // block)


def _block(node: Node, x: Tensor) -> int:
    block: int = node.get("blocksize")
    if block < 1 or x.ndim != 4:
        raise node.bad(f"blocks of {block} in an input with {x.ndim} dimensions")
    return block
