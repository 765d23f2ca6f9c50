"""Quantised tensors.

int8 and uint8, and int32 on its way back to floats, go through the operators that PT2E shares
with every runtime (`quantized_decomposed`), whole tensors with plain numbers, channels with a
scale each. Other integers, blocks and scales that depend on data are arithmetic: round half to
even, then saturate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import Tensor

from packlight.readers.onnx.graph import TORCH_TYPES, Node
from packlight.readers.onnx.ops.conv import conv
from packlight.readers.onnx.registry import op
from packlight.readers.onnx.values import Known, Value, as_tensor

_decomposed = torch.ops.quantized_decomposed
_NARROW = (torch.int8, torch.uint8)
_KEPT = (*_NARROW, torch.int32)  # what stays integers in the graph: weights, values, biases
_PACKED = (21, 22, 25, 26)  # TensorProto.UINT4, INT4, UINT2, INT2


@op("QuantizeLinear", raw=[1, 2])
def quantize_linear(node: Node, x: Tensor, scale: Value, zero: Value | None = None) -> Tensor:
    """round(x / scale) + zero point, saturated."""
    dtype = _target(node, zero)
    numbers = _plain(scale, zero)
    low, high = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    if dtype in _NARROW and x.dtype == torch.float32:
        if numbers is not None:
            return _decomposed.quantize_per_tensor(x, *numbers, low, high, dtype)
        scales = as_tensor(scale)
        if scales.ndim == 1 and isinstance(scale, Known) and not node.get("block_size", 0):
            zeros = _zeros(zero, scales)
            axis = node.get("axis", 1) % x.ndim
            return _decomposed.quantize_per_channel(x, scales, zeros, axis, low, high, dtype)
    factor, shift = _spread(node, x, scale, zero)
    y = torch.round(x.to(factor.dtype) / factor)
    return torch.clamp(y if shift is None else y + shift, low, high).to(dtype)


@op("DequantizeLinear", raw=[1, 2])
def dequantize_linear(node: Node, x: Tensor, scale: Value, zero: Value | None = None) -> Tensor:
    """(x - zero point) * scale."""
    numbers = _plain(scale, zero)
    scales = as_tensor(scale)
    if x.dtype in _KEPT and scales.dtype == torch.float32:
        low, high = torch.iinfo(x.dtype).min, torch.iinfo(x.dtype).max
        if numbers is not None:
            return _decomposed.dequantize_per_tensor(x, *numbers, low, high, x.dtype)
        if scales.ndim == 1 and isinstance(scale, Known) and not node.get("block_size", 0):
            zeros = _zeros(zero, scales)
            axis = node.get("axis", 1) % x.ndim
            return _decomposed.dequantize_per_channel(x, scales, zeros, axis, low, high, x.dtype)
    factor, shift = _spread(node, x, scale, zero)
    wide = x.to(factor.dtype)
    return (wide if shift is None else wide - shift) * factor


@op("DynamicQuantizeLinear")
def dynamic_quantize_linear(node: Node, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """To uint8 with the range of the tensor itself, which always includes zero."""
    high = torch.clamp(x.amax(), min=0.0)
    low = torch.clamp(x.amin(), max=0.0)
    scale = (high - low) / 255.0
    zero = torch.clamp(torch.round(0.0 - low / scale), 0.0, 255.0)
    y = torch.clamp(torch.round(x / scale) + zero, 0.0, 255.0)
    return y.to(torch.uint8), scale, zero.to(torch.uint8)


@op("QLinearMatMul")
def qlinear_matmul(
    node: Node,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
) -> Tensor:
    """Product of two quantised matrices, quantised."""
    left = (a.double() - _column(a_zero)) * _column(a_scale)
    right = (b.double() - b_zero.double()) * b_scale.double()
    y = torch.matmul(left, right) / y_scale.double()
    return _saturated(y, y_zero)


@op("QLinearConv")
def qlinear_conv(
    node: Node,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """Convolution of quantised tensors, quantised; the bias has the scale of x times w."""
    rank = w.ndim - 1
    centred = w.double() - w_zero.double().reshape(-1, *[1] * rank)
    sums = conv(
        node, x.double() - x_zero.double(), centred, None if bias is None else bias.double()
    )
    scale = (x_scale.double() * w_scale.double() / y_scale.double()).reshape(-1, *[1] * (rank - 1))
    return _saturated(sums * scale, y_zero)


def _column(value: Tensor) -> Tensor:
    wide = value.double()
    return wide.unsqueeze(-1) if wide.ndim else wide


def _saturated(y: Tensor, zero: Tensor) -> Tensor:
    info = torch.iinfo(zero.dtype)
    return torch.clamp(torch.round(y) + zero.double(), info.min, info.max).to(zero.dtype)


def _target(node: Node, zero: Value | None) -> torch.dtype:
    named = node.get("output_dtype", 0)
    if named in _PACKED:
        raise node.unsupported("4-bit and 2-bit results")
    dtype = as_tensor(zero).dtype if zero is not None else TORCH_TYPES.get(named, torch.uint8)
    if dtype.is_floating_point:
        raise node.unsupported("quantisation to floating-point numbers")
    return dtype


def _plain(scale: Value, zero: Value | None) -> tuple[float, int] | None:
    """Scale and zero point of a whole tensor as numbers, if they are known."""
    if not isinstance(scale, Known) or scale.array.size != 1 or scale.array.ndim > 1:
        return None
    if zero is None:
        return float(scale.array.reshape(())), 0
    if not isinstance(zero, Known) or zero.array.size != 1:
        return None
    return float(scale.array.reshape(())), int(zero.array.reshape(()))


def _zeros(zero: Value | None, scales: Tensor) -> Tensor:
    if zero is None:
        return torch.zeros(scales.shape, dtype=torch.int64)
    if isinstance(zero, Known):
        return Known(zero.array.astype(np.int64)).tensor()
    return zero.long()


def _spread(
    node: Node, x: Tensor, scale: Value, zero: Value | None
) -> tuple[Tensor, Tensor | None]:
    """Scale and zero point in a shape that broadcasts with x."""
    factor = as_tensor(scale)
    shift: Any = None if zero is None else as_tensor(zero).to(factor.dtype)
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    axis = axis % max(1, x.ndim)

    def spread(value: Tensor) -> Tensor:
        if value.ndim == 1 and value.shape[0] != 1 and x.ndim > 1:
            return value.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        if block and value.ndim == x.ndim:
            return value.repeat_interleave(block, axis).narrow(axis, 0, int(x.shape[axis]))
        return value

    return spread(factor), None if shift is None else spread(shift)
