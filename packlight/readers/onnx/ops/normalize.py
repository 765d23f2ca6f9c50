"""Normalisations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from packlight.readers.onnx.graph import TORCH_TYPES, Node
from packlight.readers.onnx.registry import op


@op("BatchNormalization")
def batch_normalization(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor
) -> Tensor:
    """Batch normalisation with fixed statistics."""
    if node.get("training_mode", 0) or (node.opset >= 14 and any(node.outputs[1:])):
        raise node.unsupported("training_mode; export the model for inference")
    if node.get("spatial", 1) == 0:
        raise node.unsupported("spatial=0, statistics per position")
    momentum, epsilon = node.get("momentum"), node.get("epsilon")
    return F.batch_norm(x, mean, var, scale, bias, False, 1.0 - momentum, epsilon)


@op("InstanceNormalization")
def instance_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Each channel of each sample by its own mean and variance."""
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon"))


@op("GroupNormalization")
def group_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Groups of channels of each sample by their mean and variance.

    Before opset 21 scale and bias have one element per group, from then on one per channel.
    """
    groups = node.get("num_groups")
    if node.opset < 21:
        per_group = int(x.shape[1]) // groups
        scale, bias = scale.repeat_interleave(per_group), bias.repeat_interleave(per_group)
    return F.group_norm(x, groups, scale, bias, node.get("epsilon"))


@op("LayerNormalization")
def layer_normalization(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> tuple[Any, ...]:
    """The dimensions from `axis` on by their mean and variance."""
    axis = node.axis(x.ndim, -1)
    shape = [int(size) for size in x.shape[axis:]]
    if node.has(1) or node.has(2):
        wide = x.to(TORCH_TYPES.get(node.get("stash_type"), torch.float32))
        axes = list(range(axis, x.ndim))
        mean = wide.mean(axes, keepdim=True)
        inverse = torch.rsqrt((wide - mean).square().mean(axes, keepdim=True) + node.get("epsilon"))
    else:
        mean = inverse = None
    if list(scale.shape) == shape and (bias is None or list(bias.shape) == shape):
        y = F.layer_norm(x, shape, scale, bias, node.get("epsilon"))
    else:
        y = F.layer_norm(x, shape, None, None, node.get("epsilon")) * scale
        y = y if bias is None else y + bias
    return y, mean, inverse


@op("RMSNormalization")
def rms_normalization(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    """The dimensions from `axis` on by their root mean square."""
    axis = node.axis(x.ndim, -1)
    shape = [int(size) for size in x.shape[axis:]]
    if list(scale.shape) == shape:
        return F.rms_norm(x, shape, scale, node.get("epsilon"))
    return F.rms_norm(x, shape, None, node.get("epsilon")) * scale


@op("LRN")
def local_response_normalization(node: Node, x: Tensor) -> Tensor:
    """x / (bias + alpha / size * sum of squares over neighbouring channels) ** beta.

    torch's own looks size // 2 channels back, ONNX (size - 1) // 2; they differ for even sizes.
    """
    size, alpha, beta, bias = (node.get(key) for key in ("size", "alpha", "beta", "bias"))
    if size < 1:
        raise node.bad(f"size is {size}")
    if size % 2:
        return F.local_response_norm(x, size, alpha, beta, bias)
    squares = F.pad(x.square().flatten(2).unsqueeze(1), (0, 0, (size - 1) // 2, size // 2))
    mean = F.avg_pool2d(squares, (size, 1), 1).squeeze(1).reshape(x.shape)
    return x / (bias + alpha * mean).pow(beta)


@op("LpNormalization")
def lp_normalization(node: Node, x: Tensor) -> Tensor:
    """By the 1- or 2-norm along an axis; nothing where that is zero."""
    axis, p = node.axis(x.ndim, -1), node.get("p")
    norm = x.norm(p=p, dim=axis, keepdim=True)
    return x / torch.where(norm == 0, 1.0, norm)


@op("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, x: Tensor) -> Tensor:
    """By mean and standard deviation over some axes."""
    axes = node.get("axes") or [0, 2, 3]
    centred = x - x.mean(axes, keepdim=True)
    deviation = centred.square().mean(axes, keepdim=True).sqrt()
    return centred / (deviation + 1e-9)
