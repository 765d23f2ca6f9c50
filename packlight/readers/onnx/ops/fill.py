"""Tensors made from sizes and numbers alone, and triangles of others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from packlight.readers.onnx.graph import TORCH_TYPES, Node
from packlight.readers.onnx.ops.shape import is_small
from packlight.readers.onnx.registry import host, op
from packlight.readers.onnx.values import (
    HOST_LIMIT,
    SYMBOLIC,
    Array,
    constant,
    numbers,
    to_torch,
)


@op("ConstantOfShape", known=[0])
def constant_of_shape(node: Node, wanted: Array) -> Tensor:
    """One number everywhere."""
    value = node.get("value")
    fill = np.zeros((), np.float32) if value is None else value
    return torch.full(numbers(wanted), fill.reshape(()).item(), dtype=to_torch(fill).dtype)


@host("ConstantOfShape")
def constant_of_shape_on_host(node: Node, wanted: Array) -> Any:
    """One number everywhere."""
    if not is_small(numbers(wanted)):
        return NotImplemented
    value = node.get("value")
    fill = np.zeros((), np.float32) if value is None else value
    return np.full(numbers(wanted), fill.reshape(()))


@op("Range", known=[0, 1, 2])
def range_(node: Node, start: Array, limit: Array, delta: Array) -> Tensor:
    """Numbers from start up to limit in steps of delta."""
    first, last, step = (value.reshape(()).item() for value in (start, limit, delta))
    return torch.arange(first, last, step, dtype=constant(start).dtype)


@host("Range")
def range_on_host(node: Node, start: Array, limit: Array, delta: Array) -> Any:
    """Numbers from start up to limit in steps of delta."""
    first, last, step = (value.reshape(()).item() for value in (start, limit, delta))
    if any(isinstance(value, SYMBOLIC) for value in (first, last, step)):
        return NotImplemented
    count = max(0, math.ceil((last - first) / step))
    if count > HOST_LIMIT:
        return NotImplemented
    return (first + step * np.arange(count)).astype(start.dtype)


@op("EyeLike")
def eye_like(node: Node, x: Tensor) -> Tensor:
    """Ones on a diagonal, in the shape of the input."""
    dtype = TORCH_TYPES.get(node.get("dtype"), x.dtype)
    rows = torch.arange(x.shape[0]).unsqueeze(1)
    columns = torch.arange(x.shape[1]).unsqueeze(0)
    return (columns - rows == node.get("k", 0)).to(dtype)


@op("Trilu", known=[1])
def trilu(node: Node, x: Tensor, k: Array | None = None) -> Tensor:
    """The part above or below a diagonal."""
    diagonal = 0 if k is None else int(k.reshape(()))
    return torch.triu(x, diagonal) if node.get("upper", 1) else torch.tril(x, diagonal)
