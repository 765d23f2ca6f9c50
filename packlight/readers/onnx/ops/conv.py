"""Convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from packlight.readers.onnx.graph import Node
from packlight.readers.onnx.ops.spatial import MAX_EXTENT, pad_sides, window_of
from packlight.readers.onnx.registry import op

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@op("Conv")
def conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution in 1, 2 or 3 dimensions; padding that differs by side is a pad of its own."""
    rank = weight.ndim - 2
    if rank not in _CONV or x.ndim != weight.ndim:
        raise node.unsupported(f"{rank} spatial dimensions; 1, 2 and 3 can be read")
    kernel = _kernel(node, weight)
    window = window_of(node, x, kernel)
    padding = window.symmetric
    if padding is None:
        x, padding = pad_sides(x, window.begin, window.end), [0] * rank
    groups = _groups(node)
    return _CONV[rank](x, weight, bias, window.stride, padding, window.dilation, groups)


@op("ConvTranspose")
def conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Transposed convolution.

    The full output has (size - 1) * stride + extent elements; ONNX crops `begin` and `end` of it
    and appends `output_padding`. torch crops both sides alike, so the rest is cropped afterwards.
    """
    rank = weight.ndim - 2
    if rank not in _TRANSPOSED or x.ndim != weight.ndim:
        raise node.unsupported(f"{rank} spatial dimensions; 1, 2 and 3 can be read")
    window = window_of(node, x, _kernel(node, weight))
    extra = node.get("output_padding") or [0] * rank
    if len(extra) != rank or not all(0 <= value <= MAX_EXTENT for value in extra):
        raise node.bad(f"output_padding is {extra}")
    begin, end = list(window.begin), list(window.end)
    rule = node.get("auto_pad")
    shape = node.get("output_shape")
    if shape is None and rule in ("SAME_UPPER", "SAME_LOWER"):
        shape = [int(x.shape[2 + axis]) * window.stride[axis] for axis in range(rank)]
    if shape is not None:
        shape = shape[-rank:]
        for axis in range(rank):
            full = (int(x.shape[2 + axis]) - 1) * window.stride[axis] + window.extent(axis)
            total = full + extra[axis] - shape[axis]
            half = total // 2
            # the odd element goes to the end for SAME_UPPER, to the beginning otherwise
            begin[axis] = half if rule == "SAME_UPPER" else total - half
            end[axis] = total - begin[axis]
    groups = _groups(node)
    run = _TRANSPOSED[rank]
    fits = all(e < max(s, d) for e, s, d in zip(extra, window.stride, window.dilation, strict=True))
    if begin == end and min(begin) >= 0 and fits:
        return run(x, weight, bias, window.stride, begin, extra, groups, window.dilation)
    full_output = run(x, weight, None, window.stride, 0, 0, groups, window.dilation)
    crop_end = [value - more for value, more in zip(end, extra, strict=True)]
    y = pad_sides(full_output, [-value for value in begin], [-value for value in crop_end])
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


@op("ConvInteger")
def conv_integer(
    node: Node,
    x: Tensor,
    weight: Tensor,
    x_zero: Tensor | None = None,
    weight_zero: Tensor | None = None,
) -> Tensor:
    """Convolution of integers, summed in 32 bits; float64 holds such sums exactly."""
    shifted = x.double() if x_zero is None else x.double() - x_zero.double()
    centred = weight.double()
    if weight_zero is not None:
        centred = centred - weight_zero.double().reshape(-1, *[1] * (weight.ndim - 1))
    return conv(node, shifted, centred).to(torch.int32)


def _kernel(node: Node, weight: Tensor) -> list[int]:
    found = [int(size) for size in weight.shape[2:]]
    named = node.get("kernel_shape") or found
    if named != found:
        raise node.bad(f"kernel_shape is {named}, the weight has {found}")
    return found


def _groups(node: Node) -> int:
    groups: int = node.get("group", 1)
    if groups < 1:
        raise node.bad(f"group is {groups}")
    return groups
