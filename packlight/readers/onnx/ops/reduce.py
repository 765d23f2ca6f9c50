"""Reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from packlight.readers.onnx.graph import Node
from packlight.readers.onnx.registry import host, op
from packlight.readers.onnx.values import SYMBOLIC, Array, is_integer, numbers

Axes = list[int]


def _extreme(x: Tensor, axes: Axes, keep: bool, largest: bool) -> Tensor:
    if x.dtype == torch.bool:
        return _extreme(x.to(torch.uint8), axes, keep, largest).bool()
    if any(is_integer(x.shape[axis]) and x.shape[axis] == 0 for axis in axes):
        # of nothing: the number that every other one beats
        info: Any = torch.finfo if x.is_floating_point() else torch.iinfo
        limit = info(x.dtype).min if largest else info(x.dtype).max
        if x.is_floating_point():
            limit = -math.inf if largest else math.inf
        return torch.full_like(x.sum(axes, keepdim=keep, dtype=x.dtype), limit)
    run = torch.amax if largest else torch.amin
    return run(x, axes, keep)


def _mean(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    return x.double().mean(axes, keepdim=keep).trunc().to(x.dtype)


def _product(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
    return x


def _log_sum_exp(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if any(is_integer(x.shape[axis]) and x.shape[axis] == 0 for axis in axes):
        return _sum(x, axes, keep).log()
    return torch.logsumexp(x, axes, keep)


def _sum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep, dtype=x.dtype)


_REDUCTIONS: dict[str, Callable[[Tensor, Axes, bool], Tensor]] = {
    "ReduceL1": lambda x, axes, keep: _sum(x.abs(), axes, keep),
    "ReduceL2": lambda x, axes, keep: _sum(x * x, axes, keep).sqrt().to(x.dtype),
    "ReduceLogSum": lambda x, axes, keep: _sum(x, axes, keep).log().to(x.dtype),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": lambda x, axes, keep: _extreme(x, axes, keep, True),
    "ReduceMean": _mean,
    "ReduceMin": lambda x, axes, keep: _extreme(x, axes, keep, False),
    "ReduceProd": _product,
    "ReduceSum": _sum,
    "ReduceSumSquare": lambda x, axes, keep: _sum(x * x, axes, keep),
}


@op(*_REDUCTIONS, known=[1])
def reduce(node: Node, x: Tensor, axes: Array | None = None) -> Tensor:
    """A reduction over some axes, or over all if none are named."""
    chosen = _axes(node, x.ndim, axes)
    if chosen is None:
        # as the last step of L2, LogSum and so on is still asked for
        return _REDUCTIONS[node.op](x.unsqueeze(-1), [-1], False) if _changes(node) else x
    if not chosen:
        return _REDUCTIONS[node.op](x.reshape(1), [0], False).reshape(())
    return _REDUCTIONS[node.op](x, chosen, bool(node.get("keepdims", 1)))


def _changes(node: Node) -> bool:
    return node.op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceSumSquare")


def _axes(node: Node, rank: int, axes: Array | None) -> list[int] | None:
    """Which axes, sorted; None when nothing is to be reduced."""
    chosen = node.get("axes") if axes is None else numbers(axes)
    if not chosen:
        return None if node.get("noop_with_empty_axes", 0) else list(range(rank))
    if not all(-rank <= axis < rank for axis in chosen):
        raise node.bad(f"axes {chosen} of an input with {rank} dimensions")
    return sorted({axis % rank for axis in chosen})


_ON_HOST: dict[str, Any] = {
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
}


@host(*_ON_HOST)
def reduce_on_host(node: Node, x: Array, axes: Array | None = None) -> Any:
    """A reduction of sizes."""
    chosen = _axes(node, x.ndim, axes)
    if chosen is None:
        return x
    if node.op in ("ReduceMax", "ReduceMin") and (x.dtype == object or not x.size):
        return NotImplemented
    result = _ON_HOST[node.op](x, axis=tuple(chosen), keepdims=bool(node.get("keepdims", 1)))
    if isinstance(result, SYMBOLIC):
        return result
    return np.asarray(result, dtype=object if x.dtype == object else x.dtype)


@op("ArgMax", "ArgMin")
def arg_extreme(node: Node, x: Tensor) -> Tensor:
    """Where the largest or smallest element is, the first or the last of equals."""
    axis, keep = node.axis(x.ndim), bool(node.get("keepdims"))
    run = torch.argmax if node.op == "ArgMax" else torch.argmin
    if not node.get("select_last_index", 0):
        return run(x, axis, keep)
    return int(x.shape[axis]) - 1 - run(x.flip(axis), axis, keep)


@op("CumSum", known=[1])
def cum_sum(node: Node, x: Tensor, axis: Array) -> Tensor:
    """Running sum, forwards or backwards, with or without the element itself."""
    along = int(axis.reshape(()))
    if node.get("reverse", 0):
        x = x.flip(along)
    y = torch.cumsum(x, along, dtype=x.dtype)
    if node.get("exclusive", 0):
        y = y - x
    return y.flip(along) if node.get("reverse", 0) else y


@op("CumProd", known=[1])
def cum_prod(node: Node, x: Tensor, axis: Array) -> Tensor:
    """Running product, forwards or backwards, with or without the element itself."""
    along = int(axis.reshape(()))
    if node.get("reverse", 0):
        x = x.flip(along)
    if node.get("exclusive", 0):
        first = torch.ones_like(x.narrow(along, 0, 1))
        x = torch.cat([first, x.narrow(along, 0, int(x.shape[along]) - 1)], along)
    y = torch.cumprod(x, along, dtype=x.dtype)
    return y.flip(along) if node.get("reverse", 0) else y
