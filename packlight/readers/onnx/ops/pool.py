"""Pools: the largest, the mean or the p-norm of each window, or of everything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from packlight.readers.onnx.graph import Node
from packlight.readers.onnx.ops.spatial import Window, pad_sides, window_of
from packlight.readers.onnx.registry import op
from packlight.readers.onnx.values import Array, constant

_MAX: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONV: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_WHOLE: dict[int, Any] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}


@op("MaxPool")
def max_pool(node: Node, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """Maximum of each window, and where it was if that is asked for."""
    rank, window, ceil = _window(node, x)
    pool = _MAX[rank]
    if not x.is_floating_point():
        # torch pools only floats; float64 holds the integers that images are made of
        result = max_pool(node, x.double())
        if isinstance(result, tuple):
            return result[0].to(x.dtype), result[1]
        return result.to(x.dtype)
    padding = window.symmetric
    if padding is None or any(2 * pad > window.extent(axis) for axis, pad in enumerate(padding)):
        if node.has(1):
            raise node.unsupported("indices together with padding that differs by side")
        return pool(
            _explicit(x, window, ceil, -math.inf), window.kernel, window.stride, 0, window.dilation
        )
    if not node.has(1):
        return pool(x, window.kernel, window.stride, padding, window.dilation, ceil)
    values, indices = pool(
        x, window.kernel, window.stride, padding, window.dilation, ceil, return_indices=True
    )
    return values, _flat_indices(node, x, indices)


@op("AveragePool")
def average_pool(node: Node, x: Tensor) -> Tensor:
    """Mean of each window, with or without the padding counted."""
    rank, window, ceil = _window(node, x)
    count_padding = bool(node.get("count_include_pad", 0))
    padding = window.symmetric
    plain = (
        padding is not None
        and all(step == 1 for step in window.dilation)
        and all(2 * pad <= window.kernel[axis] for axis, pad in enumerate(padding))
    )
    if plain:
        return _AVERAGE[rank](x, window.kernel, window.stride, padding, ceil, count_padding)
    sums = _sums(_explicit(x, window, ceil, 0.0), window)
    return sums / constant(_counts(window, x, ceil, count_padding)).to(x.dtype)


@op("LpPool")
def lp_pool(node: Node, x: Tensor) -> Tensor:
    """p-norm of each window."""
    _, window, ceil = _window(node, x)
    p = node.get("p", 2)
    total = _sums(_explicit(x.abs().pow(p), window, ceil, 0.0), window)
    return total.pow(1 / p)


@op("GlobalAveragePool")
def global_average_pool(node: Node, x: Tensor) -> Tensor:
    """Mean over all positions."""
    whole = _WHOLE.get(x.ndim - 2)
    if whole is None:
        return x.mean(dim=list(range(2, x.ndim)), keepdim=True)
    result: Tensor = whole(x, 1)
    return result


@op("GlobalMaxPool")
def global_max_pool(node: Node, x: Tensor) -> Tensor:
    """Maximum over all positions."""
    return torch.amax(x, dim=list(range(2, x.ndim)), keepdim=True)


@op("GlobalLpPool")
def global_lp_pool(node: Node, x: Tensor) -> Tensor:
    """p-norm over all positions."""
    p = node.get("p", 2)
    return x.abs().pow(p).sum(dim=list(range(2, x.ndim)), keepdim=True).pow(1 / p)


@op("MaxUnpool", known=[2])
def max_unpool(node: Node, x: Tensor, indices: Tensor, output_shape: Any = None) -> Tensor:
    """The inverse of a MaxPool: each value back where it was, zeros elsewhere."""
    window = window_of(node, x, node.get("kernel_shape"))
    natural = [int(size) for size in x.shape[:2]] + [
        (int(x.shape[2 + axis]) - 1) * window.stride[axis]
        - window.begin[axis]
        - window.end[axis]
        + window.kernel[axis]
        for axis in range(x.ndim - 2)
    ]
    size = math.prod(natural)
    y = x.new_zeros(size).scatter(0, indices.reshape(-1), x.reshape(-1)).reshape(natural)
    if output_shape is not None:
        end = [int(want) - have for want, have in zip(output_shape[2:], natural[2:], strict=True)]
        y = pad_sides(y, [0] * len(end), end)
    return y


def _window(node: Node, x: Tensor) -> tuple[int, Window, bool]:
    rank = x.ndim - 2
    if rank not in _MAX:
        raise node.unsupported(f"{rank} spatial dimensions; 1, 2 and 3 can be read")
    return rank, window_of(node, x, node.get("kernel_shape")), bool(node.get("ceil_mode", 0))


def _explicit(x: Tensor, window: Window, ceil: bool, value: float) -> Tensor:
    """Pad, so that a pool without padding and without ceil_mode sees the same windows."""
    end = []
    for axis in range(len(window.kernel)):
        size = x.shape[2 + axis]
        count = window.positions(size, axis, ceil)
        reach = (count - 1) * window.stride[axis] + window.extent(axis)
        end.append(reach - size - window.begin[axis])
    return pad_sides(x, window.begin, end, value)


def _sums(x: Tensor, window: Window) -> Tensor:
    """The sum of each window, by a convolution with ones."""
    rank = len(window.kernel)
    ones = torch.ones((1, 1, *window.kernel), dtype=x.dtype)
    planes = x.reshape(-1, 1, *x.shape[2:])
    sums = _CONV[rank](planes, ones, None, window.stride, 0, window.dilation)
    return sums.reshape(x.shape[0], x.shape[1], *sums.shape[2:])


def _counts(window: Window, x: Tensor, ceil: bool, count_padding: bool) -> Array:
    """How many elements each window averages over: a product of one count per dimension."""
    counts = np.ones((), np.float32)
    for axis, kernel in enumerate(window.kernel):
        size = int(x.shape[2 + axis])
        starts = np.arange(window.positions(size, axis, ceil)) * window.stride[axis]
        taps = starts[:, None] - window.begin[axis] + np.arange(kernel) * window.dilation[axis]
        low, high = (-window.begin[axis], window.end[axis]) if count_padding else (0, 0)
        valid = (taps >= low) & (taps < size + high)
        counts = counts[..., None] * valid.sum(axis=1)
    return counts.astype(np.float32)


def _flat_indices(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """torch counts within one channel of one sample, ONNX within the whole tensor."""
    plane = math.prod(x.shape[2:])
    if node.get("storage_order", 0):
        if x.ndim != 4:
            raise node.unsupported("storage_order outside of two dimensions")
        height, width = x.shape[2:]
        indices = indices % width * height + indices // width
    channels = torch.arange(x.shape[0] * x.shape[1]).reshape(x.shape[0], x.shape[1])
    return indices + plane * channels.reshape(*x.shape[:2], *[1] * (x.ndim - 2))
