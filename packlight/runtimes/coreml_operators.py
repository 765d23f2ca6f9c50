"""Operators of torch that coremltools 9 has not, in terms of those that it has.

Imported in the process that converts, like `coreml_passes`. Resizing by a bicubic or by the exact
nearest is a matrix along each dimension, or a choice of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from coremltools.converters.mil import Builder
from coremltools.converters.mil.frontend.torch.ops import _get_inputs
from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

from packlight.graph import aten
from packlight.runtimes.lowering import matrix_of
from packlight.types import Array

_HEIGHT, _WIDTH = 2, 3  # axes


@register_torch_op
def unsafe_chunk(context: Any, node: Any) -> None:
    """What the cells of recurrent layers cut their gates with."""
    x, count, axis = _get_inputs(context, node, expected=3)
    along = int(axis.val) % x.rank
    each = -(-int(x.shape[along]) // int(count.val))
    sizes = [min(each, int(x.shape[along]) - start) for start in range(0, x.shape[along], each)]
    context.add(Builder.split(x=x, split_sizes=sizes, axis=along), node.name)


@register_torch_op
def movedim(context: Any, node: Any) -> None:
    """Axes taken out and put in elsewhere."""
    x, source, target = _get_inputs(context, node, expected=3)
    taken = [int(axis) % x.rank for axis in np.atleast_1d(source.val)]
    placed = [int(axis) % x.rank for axis in np.atleast_1d(target.val)]
    order = [axis for axis in range(x.rank) if axis not in taken]
    for place, axis in sorted(zip(placed, taken, strict=True)):
        order.insert(place, axis)
    context.add(Builder.transpose(x=x, perm=order, name=node.name))


@register_torch_op
def celu(context: Any, node: Any) -> None:
    """alpha * elu(x / alpha) below zero."""
    x, alpha = _get_inputs(context, node, expected=2)
    scale = np.float32(alpha.val)
    small = Builder.elu(x=Builder.mul(x=x, y=np.float32(1) / scale), alpha=np.float32(1))
    below = Builder.minimum(x=Builder.mul(x=small, y=scale), y=np.float32(0))
    context.add(Builder.add(x=Builder.relu(x=x), y=below, name=node.name))


@register_torch_op(override=True)
def reciprocal(context: Any, node: Any) -> None:
    """1 / x; coremltools takes `inverse`, which adds 1e-4 to x first."""
    (x,) = _get_inputs(context, node, expected=1)
    context.add(Builder.real_div(x=np.float32(1), y=x, name=node.name))


@register_torch_op
def log_sigmoid(context: Any, node: Any) -> None:
    """-softplus(-x)."""
    (x,) = _get_inputs(context, node, expected=1)
    turned = Builder.softplus(x=Builder.mul(x=x, y=np.float32(-1)))
    context.add(Builder.mul(x=turned, y=np.float32(-1), name=node.name))


@register_torch_op
def hardshrink(context: Any, node: Any) -> None:
    """Zero within the bounds."""
    x, bound = _get_inputs(context, node, expected=2)
    outside = Builder.greater(x=Builder.abs(x=x), y=np.float32(bound.val))
    zeros = Builder.mul(x=x, y=np.float32(0))
    context.add(Builder.select(cond=outside, a=x, b=zeros, name=node.name))


@register_torch_op
def softshrink(context: Any, node: Any) -> None:
    """Towards zero by the bound."""
    x, bound = _get_inputs(context, node, expected=2)
    limit = np.float32(bound.val)
    inside = Builder.clip(x=x, alpha=-limit, beta=limit)
    context.add(Builder.sub(x=x, y=inside, name=node.name))


@register_torch_op
def prod(context: Any, node: Any) -> None:
    """Along one axis, or of everything."""
    x, *over = _get_inputs(context, node)[:3]
    axes = {"axes": [int(over[0].val)], "keep_dims": bool(over[1].val)} if len(over) == 2 else {}
    context.add(Builder.reduce_prod(x=x, name=node.name, **axes))


@register_torch_op
def upsample_bicubic2d(context: Any, node: Any) -> None:
    """A product with a matrix along each dimension."""
    x, *settings = _settings(context, node)
    rows, columns = _matrices(x, lambda value: aten.upsample_bicubic2d(value, *settings))
    wide = Builder.matmul(x=x, y=np.ascontiguousarray(columns.T))
    context.add(Builder.matmul(x=rows, y=wide, name=node.name))


@register_torch_op(torch_alias=["_upsample_nearest_exact2d"])
def upsample_nearest_exact2d(context: Any, node: Any) -> None:
    """A choice of rows and of columns."""
    x, *settings = _settings(context, node)
    rows, columns = _matrices(x, lambda value: aten._upsample_nearest_exact2d(value, *settings))
    tall = Builder.gather(x=x, indices=_places(rows), axis=_HEIGHT)
    made = Builder.gather(x=tall, indices=_places(columns), axis=_WIDTH, name=node.name)
    context.add(made)


def _settings(context: Any, node: Any) -> list[Any]:
    """The input, and torch's other arguments as they are."""
    x, *others = _get_inputs(context, node)
    return [x, *(_plain(other) for other in others)]


def _plain(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    found = value.val
    return found.tolist() if isinstance(found, (np.ndarray, np.generic)) else found


def _matrices(x: Any, resize: Callable[[torch.Tensor], torch.Tensor]) -> Sequence[Array]:
    sizes = [int(size) for size in x.shape[_HEIGHT:]]
    return [matrix_of(resize, axis, sizes) for axis in range(len(sizes))]


def _places(matrix: Array) -> Array:
    found: Array = matrix.argmax(1).astype(np.int32)
    return found
