"""Resizing: nearest, linear and cubic, with every way ONNX knows to place the samples.

Where torch's `interpolate` computes the same it is called, because runtimes have a kernel for it.
The rest is what resizing always is, one small matrix per axis: row i holds the weights with which
the input's elements enter output element i.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from packlight.readers.onnx.graph import Node
from packlight.readers.onnx.registry import op
from packlight.readers.onnx.values import Array, constant, is_integer, numbers

MAX_SIZE = 1 << 16  # of one dimension of the output


@dataclass(frozen=True)
class _Axis:
    """How one dimension is resized: sizes, the factor, and the part of the input (0..1) shown."""

    axis: int
    old: int
    new: int
    scale: float
    roi: tuple[float, float]


@op("Resize", known=[1, 2, 3])
def resize(
    node: Node,
    x: Tensor,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
) -> Tensor:
    """Resize some dimensions; opset 10 has the scales second and places samples as Upsample."""
    if node.opset < 11:
        return upsample(node, x, roi)
    policy = node.get("keep_aspect_ratio_policy") or "stretch"
    axes = node.get("axes")
    chosen = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes]
    plan = _plan(node, x, chosen, scales, sizes, roi, policy)
    return _resized(
        node,
        x,
        plan,
        node.get("coordinate_transformation_mode"),
        node.get("nearest_mode"),
        node.get("extrapolation_value", 0.0),
    )


@op("Upsample", known=[1])
def upsample(node: Node, x: Tensor, scales: Array | None = None) -> Tensor:
    """The older Resize: sample i of the output lies at i / scale."""
    factors = np.array(node.get("scales"), np.float64) if scales is None else scales
    plan = _plan(node, x, list(range(x.ndim)), factors, None, None, "stretch")
    return _resized(node, x, plan, "asymmetric", "floor", 0.0)


def _plan(
    node: Node,
    x: Tensor,
    chosen: list[int],
    scales: Array | None,
    sizes: Array | None,
    roi: Array | None,
    policy: str,
) -> list[_Axis]:
    if sizes is not None and sizes.size:
        wanted = numbers(sizes)
        factors: list[Any] = [None] * len(wanted)
        if policy in ("not_larger", "not_smaller"):
            ratios = [n / int(x.shape[axis]) for n, axis in zip(wanted, chosen, strict=True)]
            factor = min(ratios) if policy == "not_larger" else max(ratios)
            wanted = [math.floor(factor * int(x.shape[axis]) + 0.5) for axis in chosen]
            factors = [factor] * len(wanted)
    elif scales is not None and scales.size:
        factors = [item if math.isfinite(item) else 0.0 for item in map(float, scales.reshape(-1))]
        wanted = [None] * len(factors)
    else:
        raise node.bad("it has neither scales nor sizes")
    if len(wanted) != len(chosen):
        raise node.bad(f"{len(wanted)} sizes or scales for {len(chosen)} dimensions")
    plan = []
    for position, (axis, new, factor) in enumerate(zip(chosen, wanted, factors, strict=True)):
        extent = x.shape[axis]
        if new is extent or (factor == 1.0 and new is None) or not is_integer(extent):
            if not is_integer(extent) and new is not None and is_integer(new):
                raise node.unsupported("it sets the batch to a constant")
            continue  # the batch, which stays as it is
        if factor is not None and not factor > 0:
            raise node.bad(f"a scale of {factor}")
        # in float32, in which 10 * 1.4 is 14
        new = math.floor(np.float32(extent) * np.float32(factor)) if new is None else int(new)
        if not 0 < new <= MAX_SIZE or extent == 0:
            raise node.bad(f"dimension {axis} goes from {extent} to {new} elements")
        window = (0.0, 1.0)
        if roi is not None and roi.size == 2 * len(chosen):
            flat = roi.reshape(-1)
            window = (float(flat[position]), float(flat[position + len(chosen)]))
        plan.append(_Axis(axis, extent, new, new / extent if factor is None else factor, window))
    crops = node.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    return [part for part in plan if crops or part.old != part.new or part.scale != 1.0]


def _resized(
    node: Node, x: Tensor, plan: list[_Axis], place: str, rounding: str, outside: float
) -> Tensor:
    if place == "align_corners" and any(
        abs(part.scale * part.old - part.new) > 1e-4 for part in plan
    ):
        raise node.unsupported(
            "align_corners with a scale that gives no whole size, on which runtimes disagree"
        )
    mode = node.get("mode") or "nearest"
    mode = {"bilinear": "linear", "trilinear": "linear"}.get(mode, mode)
    if mode not in ("nearest", "linear", "cubic"):
        raise node.bad(f"mode {mode!r}")
    if not plan:
        return x
    antialias = bool(node.get("antialias", 0)) and mode != "nearest"
    if not antialias and not node.get("exclude_outside", 0):
        same = _by_torch(node, x, plan, mode, place, rounding)
        if same is not None:
            return same
    dtype = x.dtype
    wide = x if x.is_floating_point() else x.float()
    inside: Array = np.ones((), bool)
    for part in sorted(plan, key=lambda part: part.axis):
        where = _positions(part, place)
        if mode == "nearest":
            index = constant(_nearest(where, part.old, rounding))
            x = torch.index_select(x, part.axis, index)
            wide = x
        else:
            weights = constant(_weights(node, part, where, mode, antialias).astype(np.float32))
            moved = wide.movedim(part.axis, -1)
            wide = F.linear(moved, weights.to(moved.dtype)).movedim(-1, part.axis)
        if place == "tf_crop_and_resize":
            ok = (where >= 0) & (where <= part.old - 1)
            inside = inside & ok.reshape([-1] + [1] * (x.ndim - 1 - part.axis))
    if not dtype.is_floating_point and mode != "nearest":
        info = torch.iinfo(dtype)
        wide = wide.round().clamp(info.min, info.max)
    y = wide.to(dtype)
    if inside.size > 1 and not inside.all():
        y = torch.where(constant(inside), y, outside)
    return y


def _positions(part: _Axis, place: str) -> Array:
    """Where in the input each element of the output lies."""
    i = np.arange(part.new, dtype=np.float64)
    scale, old, new = part.scale, part.old, part.new
    if place == "half_pixel":
        return (i + 0.5) / scale - 0.5
    if place == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if new > 1 else np.zeros(1)
    if place == "align_corners":
        return i * (old - 1) / (new - 1) if new > 1 else np.zeros(1)
    if place == "asymmetric":
        return i / scale
    if place == "half_pixel_symmetric":
        adjustment = new / (scale * old)
        return old / 2 * (1 - adjustment) + (i + 0.5) / scale - 0.5
    if place == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if place == "tf_crop_and_resize":
        start, end = part.roi
        if new > 1:
            return start * (old - 1) + i * (end - start) * (old - 1) / (new - 1)
        return np.full(1, 0.5 * (start + end) * (old - 1))
    raise ValueError(f"unsupported coordinate_transformation_mode {place!r}")


_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
}


def _nearest(where: Array, old: int, rounding: str) -> Array:
    # positions that are whole or halves in exact arithmetic must not fall to either side
    where = np.round(where * (1 << 20)) / (1 << 20)
    return np.clip(_ROUNDINGS[rounding](where), 0, old - 1).astype(np.int64)


def _weights(node: Node, part: _Axis, where: Array, mode: str, antialias: bool) -> Array:
    """(new, old) matrix of the weights of each input element in each output element."""
    a = float(node.get("cubic_coeff_a", -0.75))
    # when shrinking, antialiasing widens the kernel to cover the input
    squeeze = min(1.0, part.scale) if antialias else 1.0
    reach = math.ceil((2 if mode == "cubic" else 1) / squeeze)
    base = np.floor(where)
    taps = base[:, None] + np.arange(1 - reach, reach + 1)
    distance = np.abs(where[:, None] - taps) * squeeze
    if mode == "linear":
        weights = np.maximum(0.0, 1.0 - distance)
    else:
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    valid = (taps >= 0) & (taps <= part.old - 1)
    if node.get("exclude_outside", 0):
        weights = weights * valid
    weights = weights / weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((part.new, part.old))
    rows = np.broadcast_to(np.arange(part.new)[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, part.old - 1).astype(np.int64)), weights)
    return matrix


_MODES = {
    ("linear", 1): "linear",
    ("linear", 2): "bilinear",
    ("linear", 3): "trilinear",
    ("cubic", 2): "bicubic",
}


def _by_torch(
    node: Node, x: Tensor, plan: list[_Axis], mode: str, place: str, rounding: str
) -> Tensor | None:
    """The same by `interpolate`, or None where that computes something else."""
    rank = x.ndim - 2
    if rank not in (1, 2, 3) or any(part.axis < 2 for part in plan) or not x.is_floating_point():
        return None
    exact = all(math.isclose(part.scale, part.new / part.old, rel_tol=1e-6) for part in plan)
    size = [int(extent) for extent in x.shape[2:]]
    for part in plan:
        size[part.axis - 2] = part.new
    if mode == "nearest":
        for part in plan:
            ours = _nearest(_positions(part, place), part.old, rounding)
            torchs = np.arange(part.new) * part.old // part.new
            if not np.array_equal(ours, torchs):
                return None
        return F.interpolate(x, size, mode="nearest")
    name = _MODES.get((mode, rank))
    if name is None or (mode == "cubic" and node.get("cubic_coeff_a", -0.75) != -0.75):
        return None
    if place == "align_corners":
        return F.interpolate(x, size, mode=name, align_corners=True)
    halves = place == "half_pixel" or (
        place == "pytorch_half_pixel" and all(part.new > 1 for part in plan)
    )
    if not (halves and exact):
        return None
    return F.interpolate(x, size, mode=name, align_corners=False)


@op("GridSample")
def grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    """Samples at given places; opset 20 renamed the modes."""
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(node.get("mode"), node.get("mode"))
    padding = node.get("padding_mode", "zeros")
    corners = bool(node.get("align_corners", 0))
    return F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=corners)


@op("AffineGrid", known=[1])
def affine_grid(node: Node, theta: Tensor, size: Array) -> Tensor:
    """The places that an affine map takes an output's pixels to."""
    return F.affine_grid(theta, numbers(size), align_corners=bool(node.get("align_corners", 0)))


@op("Col2Im", known=[1, 2])
def col2im(node: Node, x: Tensor, image: Array, block: Array) -> Tensor:
    """Sum overlapping blocks back into an image."""
    rank = image.size
    dilation, stride = node.get("dilations") or [1] * rank, node.get("strides") or [1] * rank
    pads = node.get("pads") or [0] * (2 * rank)
    if rank != 2:
        raise node.unsupported(f"{rank} spatial dimensions; 2 can be read")
    if pads[:rank] != pads[rank:]:
        raise node.unsupported("padding that differs by side")
    return F.fold(x, numbers(image), numbers(block), dilation, pads[:rank], stride)
