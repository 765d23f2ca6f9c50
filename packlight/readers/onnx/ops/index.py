"""Elements picked, placed and ordered by index."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from packlight.readers.onnx.graph import Node
from packlight.readers.onnx.registry import host, op
from packlight.readers.onnx.values import (
    HOST_LIMIT,
    Array,
    Known,
    Value,
    as_tensor,
    constant,
    is_integer,
    numbers,
)


@op("Gather", raw=[0], either=[1])
def gather(node: Node, value: Value, indices: Tensor | Array) -> Tensor:
    """Slices of an axis: one is a select, rows of a constant matrix are an embedding."""
    x = as_tensor(value)
    axis = node.axis(x.ndim)
    if isinstance(indices, np.ndarray):
        if indices.ndim == 0:
            return x.select(axis, numbers(indices)[0])
        if indices.ndim == 1 and indices.size == 1:
            at = numbers(indices)[0]
            return x.narrow(axis, at if at >= 0 else x.shape[axis] + at, 1)
        if is_integer(x.shape[axis]) and indices.dtype != object:
            indices = np.where(indices < 0, indices + x.shape[axis], indices)
        indices = constant(indices)
    indices = indices.long()
    if isinstance(value, Known) and x.ndim == 2 and axis == 0 and x.is_floating_point():
        return F.embedding(indices, x)
    return x[(*[slice(None)] * axis, indices)]


@host("Gather")
def gather_on_host(node: Node, x: Array, indices: Array) -> Any:
    """Elements of an axis."""
    if x.size > HOST_LIMIT or indices.size > HOST_LIMIT or indices.dtype == object:
        return NotImplemented
    return np.take(x, indices.astype(np.int64), node.get("axis", 0))


@op("GatherElements")
def gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """One element of an axis for each position."""
    axis = node.axis(x.ndim)
    return torch.gather(x, axis, _positive(indices, x.shape[axis]))


@op("GatherND")
def gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """Slices at full or partial positions, within each batch if there are batch dimensions."""
    batch = node.get("batch_dims", 0)
    depth = int(indices.shape[-1])
    if not 0 <= batch <= x.ndim - depth:
        raise node.bad(f"batch_dims {batch} of an input with {x.ndim} dimensions")
    index: list[Tensor] = []
    spread = indices.ndim - 1 - batch
    for axis in range(batch):
        shape = [1] * (batch + spread)
        shape[axis] = x.shape[axis]
        index.append(torch.arange(x.shape[axis]).reshape(shape))
    index += [part.long() for part in indices.unbind(-1)]
    return x[tuple(index)] if index else x


_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@op("ScatterElements", "Scatter")
def scatter_elements(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Elements put along an axis, or combined with what is there."""
    axis, reduction = node.axis(x.ndim), node.get("reduction", "none")
    index = _positive(indices, x.shape[axis])
    if reduction == "none":
        return torch.scatter(x, axis, index, updates)
    return torch.scatter_reduce(x, axis, index, updates, _REDUCE[reduction])


@op("ScatterND")
def scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Slices put at full or partial positions, or combined with what is there."""
    reduction = node.get("reduction", "none")
    depth = int(indices.shape[-1])
    if reduction in ("none", "add"):
        index = tuple(part.long() for part in indices.unbind(-1))
        return torch.index_put(x, index, updates, accumulate=reduction == "add")
    # one row per position: the leading dimensions as one, the rest as the other
    lead = [int(extent) for extent in x.shape[:depth]]
    rows = torch.zeros_like(indices[..., 0], dtype=torch.int64)
    for part, extent in zip(indices.unbind(-1), lead, strict=True):
        rows = rows * extent + _positive(part, extent)
    flat = x.reshape(math.prod(lead), -1)
    placed = updates.reshape(-1, flat.shape[1])
    index = rows.reshape(-1, 1).expand(placed.shape)
    return torch.scatter_reduce(flat, 0, index, placed, _REDUCE[reduction]).reshape(x.shape)


def _positive(indices: Tensor, extent: Any) -> Tensor:
    indices = indices.long()
    return torch.where(indices < 0, indices + extent, indices)


@op("TopK", known=[1])
def top_k(node: Node, x: Tensor, k: Array | None = None) -> tuple[Tensor, Tensor]:
    """The k largest or smallest along an axis.

    Of equals ONNX wants the first. Equal integers are common, so they are sorted, which torch does
    in that order; equal floats are not, and aten.topk is what runtimes have a kernel for.
    """
    count = node.get("k") if k is None else numbers(k)[0]
    axis, largest = node.axis(x.ndim, -1), bool(node.get("largest", 1))
    if x.is_floating_point():
        return torch.topk(x, count, axis, largest, bool(node.get("sorted", 1)))
    wide = x.to(torch.int64)
    values, indices = torch.sort(wide, dim=axis, descending=largest)
    return values.narrow(axis, 0, count).to(x.dtype), indices.narrow(axis, 0, count)


@op("OneHot", known=[1], either=[2])
def one_hot(node: Node, indices: Tensor, depth: Array, values: Tensor | Array) -> Tensor:
    """`on` at each index along a new axis, `off` elsewhere; indices count from the end if < 0."""
    count = int(depth.reshape(-1)[0])
    axis = node.axis(indices.ndim + 1, -1)
    places = torch.arange(count).reshape([-1] + [1] * (indices.ndim - axis))
    index = indices.long()
    hit = torch.where(index < 0, index + count, index).unsqueeze(axis) == places
    pair = constant(values) if isinstance(values, np.ndarray) else values
    return torch.where(hit, pair[1], pair[0])


@op("ReverseSequence")
def reverse_sequence(node: Node, x: Tensor, lengths: Tensor) -> Tensor:
    """The first elements of each sequence backwards, the rest as they are."""
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)
    steps = torch.arange(x.shape[time]).unsqueeze(1)
    index = torch.where(steps < lengths, lengths - 1 - steps, steps)
    if batch < time:
        index = index.t()
    shape = [x.shape[axis] if axis in (time, batch) else 1 for axis in range(x.ndim)]
    return torch.gather(x, time, index.reshape(shape).expand(x.shape))


@op("Compress", known=[1])
def compress(node: Node, x: Tensor, condition: Array) -> Tensor:
    """The slices of an axis, or the elements, where a constant condition holds."""
    picked = constant(np.flatnonzero(condition))
    if node.get("axis") is None:
        return x.reshape(-1)[picked]
    return torch.index_select(x, node.axis(x.ndim), picked)


@host("NonZero")
def non_zero_on_host(node: Node, x: Array) -> Any:
    """Positions of what is not zero; only of constants, because its size depends on data."""
    return np.stack(np.nonzero(x)) if x.ndim else np.zeros((0, 1), np.int64)


@op("TensorScatter")
def tensor_scatter(
    node: Node, cache: Tensor, update: Tensor, start: Tensor | None = None
) -> Tensor:
    """Write a run of positions into a cache, wrapping around in mode circular."""
    axis = node.axis(cache.ndim, -2)
    length, extent = update.shape[axis], cache.shape[axis]
    steps = torch.arange(length)
    if start is not None:
        steps = start.unsqueeze(-1) + steps
    else:
        steps = steps.expand(cache.shape[0], length)
    if node.get("mode") == "circular":
        steps = steps % extent
    shape = [1] * cache.ndim
    shape[0], shape[axis] = cache.shape[0], length
    return torch.scatter(cache, axis, steps.reshape(shape).expand(update.shape), update)
