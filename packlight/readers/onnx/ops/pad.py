"""Padding and cropping."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from packlight.readers.onnx.graph import Node
from packlight.readers.onnx.ops.spatial import MAX_EXTENT
from packlight.readers.onnx.registry import op
from packlight.readers.onnx.values import Array, constant, numbers

_TORCH_MODE = {"reflect": "reflect", "edge": "replicate"}


@op("Pad", known=[1, 3], either=[2])
def pad(
    node: Node,
    x: Tensor,
    pads: Array | None = None,
    value: Tensor | Array | None = None,
    axes: Array | None = None,
) -> Tensor:
    """Pad each end of each dimension; a negative number crops."""
    given = node.get("pads") if pads is None else numbers(pads)
    chosen = list(range(x.ndim)) if axes is None else [a % x.ndim for a in numbers(axes)]
    if given is None or len(given) != 2 * len(chosen):
        raise node.bad(f"its pads are {given} for {len(chosen)} dimensions")
    if not all(abs(amount) <= MAX_EXTENT for amount in given):
        raise node.bad(f"its pads are {given}")
    begin, end = [0] * x.ndim, [0] * x.ndim
    for axis, before, after in zip(chosen, given, given[len(chosen) :], strict=False):
        begin[axis], end[axis] = before, after
    mode = node.get("mode", "constant") or "constant"
    if mode == "constant":
        fill = _fill(node, value)
        if not isinstance(fill, Tensor):
            return _constant_pad(x, begin, end, fill)
        inside = torch.ones([int(n) for n in x.shape], dtype=torch.bool)
        return torch.where(
            _constant_pad(inside, begin, end, False), _constant_pad(x, begin, end, 0), fill
        )
    if _torch_can(x, begin, end, mode):
        return F.pad(x, _last_first(begin, end, x.ndim - _spatial(x)), mode=_TORCH_MODE[mode])
    for axis in range(x.ndim):
        if begin[axis] or end[axis]:
            x = torch.index_select(
                x, axis, constant(_places(node, int(x.shape[axis]), begin[axis], end[axis], mode))
            )
    return x


def _fill(node: Node, value: Tensor | Array | None) -> Any:
    if isinstance(value, np.ndarray):
        return value.reshape(-1)[0].item() if value.size else 0.0
    if value is None:
        return node.get("value", 0.0)
    return value.reshape(())


def _constant_pad(x: Tensor, begin: list[int], end: list[int], fill: Any) -> Tensor:
    sides = _last_first(begin, end, 0)
    return F.pad(x, sides, value=fill) if any(sides) else x


def _last_first(begin: list[int], end: list[int], skip: int) -> list[int]:
    """torch's order: both sides of the last dimension, then of the one before."""
    pairs = list(zip(begin, end, strict=True))[skip:]
    sides = [side for pair in reversed(pairs) for side in pair]
    while len(sides) > 2 and sides[-2:] == [0, 0] and skip == 0:
        del sides[-2:]
    return sides


def _spatial(x: Tensor) -> int:
    return max(1, x.ndim - 2)


def _torch_can(x: Tensor, begin: list[int], end: list[int], mode: str) -> bool:
    if mode not in _TORCH_MODE or not 2 <= x.ndim <= 5 or not x.is_floating_point():
        return False
    first = x.ndim - _spatial(x)
    if any(begin[:first]) or any(end[:first]):
        return False
    return all(
        0 <= amount < int(x.shape[axis])
        for axis in range(first, x.ndim)
        for amount in (begin[axis], end[axis])
    )


def _places(node: Node, size: int, before: int, after: int, mode: str) -> Array:
    """Which element of the input each element of the output is."""
    places = np.arange(max(0, -before), size - max(0, -after))
    if not places.size or mode not in ("reflect", "edge", "wrap"):
        raise node.bad(f"mode {mode!r} of {size} elements")
    widths = (max(0, before), max(0, after))
    padded: Array = np.pad(places, widths, mode=cast(Any, mode))
    return padded


@op("CenterCropPad", known=[1])
def center_crop_pad(node: Node, x: Tensor, shape: Array) -> Tensor:
    """Crop or pad both ends alike to a given size."""
    axes = node.get("axes") or list(range(x.ndim))
    begin, end = [0] * x.ndim, [0] * x.ndim
    for axis, wanted in zip(axes, numbers(shape), strict=True):
        more = wanted - int(x.shape[axis])
        # the odd element is padded at the end, and cropped at the end as well
        begin[axis] = more // 2 if more >= 0 else -(-more // 2)
        end[axis] = more - begin[axis]
    return _constant_pad(x, begin, end, 0)
