"""Activations."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from packlight.readers.onnx.graph import Node
from packlight.readers.onnx.registry import op
from packlight.readers.onnx.values import Array


@op("Relu")
def relu(node: Node, x: Tensor) -> Tensor:
    """max(x, 0)."""
    return torch.relu(x)


@op("Sigmoid")
def sigmoid(node: Node, x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


@op("Tanh")
def tanh(node: Node, x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


@op("LeakyRelu")
def leaky_relu(node: Node, x: Tensor) -> Tensor:
    """x, or alpha x where x < 0."""
    return F.leaky_relu(x, node.get("alpha"))


@op("PRelu")
def prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    """x, or slope x where x < 0; one slope per channel is aten.prelu, others broadcast."""
    per_channel = (
        x.ndim >= 2
        and x.is_floating_point()
        and slope.ndim == x.ndim - 1
        and all(size == 1 for size in slope.shape[1:])
        and (slope.shape[0] == x.shape[1] or slope.shape[0] == 1)
    )
    if per_channel and (slope.shape[0] == 1 or x.ndim > 2):
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


@op("Elu")
def elu(node: Node, x: Tensor) -> Tensor:
    """x, or alpha (exp(x) - 1) where x < 0."""
    return F.elu(x, node.get("alpha"))


@op("Selu")
def selu(node: Node, x: Tensor) -> Tensor:
    """A scaled Elu; torch's own when the factors are the published ones."""
    alpha, gamma = node.get("alpha"), node.get("gamma")
    if math.isclose(alpha, 1.6732632, rel_tol=1e-6) and math.isclose(
        gamma, 1.0507010, rel_tol=1e-6
    ):
        return F.selu(x)
    return gamma * F.elu(x, alpha)


@op("Celu")
def celu(node: Node, x: Tensor) -> Tensor:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return F.celu(x, node.get("alpha"))


@op("ThresholdedRelu")
def thresholded_relu(node: Node, x: Tensor) -> Tensor:
    """x where x > alpha, otherwise 0."""
    return F.threshold(x, node.get("alpha"), 0.0)


@op("Shrink")
def shrink(node: Node, x: Tensor) -> Tensor:
    """Values beyond lambda move towards 0 by bias, the others become 0."""
    bias, edge = node.get("bias"), node.get("lambd")
    zero = torch.zeros_like(x)
    return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, zero)).to(x.dtype)


@op("HardSigmoid")
def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    """clamp(alpha x + beta, 0, 1); torch's own when alpha is 1/6 and beta 1/2."""
    alpha, beta = node.get("alpha"), node.get("beta")
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


@op("HardSwish")
def hard_swish(node: Node, x: Tensor) -> Tensor:
    """x clamp(x / 6 + 1/2, 0, 1)."""
    return F.hardswish(x)


@op("Mish")
def mish(node: Node, x: Tensor) -> Tensor:
    """x tanh(softplus(x))."""
    return F.mish(x)


@op("Swish")
def swish(node: Node, x: Tensor) -> Tensor:
    """x sigmoid(alpha x)."""
    alpha = node.get("alpha", 1.0)
    return F.silu(x) if alpha == 1.0 else x * torch.sigmoid(alpha * x)


@op("Gelu")
def gelu(node: Node, x: Tensor) -> Tensor:
    """x times the normal distribution's cumulative function, exact or by tanh."""
    return F.gelu(x, approximate=node.get("approximate", "none"))


@op("Softplus")
def softplus(node: Node, x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return F.softplus(x)


@op("Softsign")
def softsign(node: Node, x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return F.softsign(x)


_SOFT: dict[str, Any] = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax}


@op(*_SOFT)
def softmax(node: Node, x: Tensor) -> Tensor:
    """Softmax along an axis; before opset 13 over all axes from `axis` on, taken as one."""
    run = _SOFT[node.op]
    axis = node.axis(x.ndim, -1)
    if node.opset >= 13 or axis == x.ndim - 1 or _trailing_ones(x, axis):
        return run(x, axis)
    return run(x.flatten(axis), -1).reshape(x.shape)


@op("Hardmax")
def hardmax(node: Node, x: Tensor) -> Tensor:
    """1 at the first largest element along an axis, 0 elsewhere."""
    axis = node.axis(x.ndim, -1)
    shape = x.shape
    if node.opset < 13:
        x = x.flatten(axis)
        axis = -1
    first = torch.argmax(x, dim=axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, first, 1.0).reshape(shape)


def _trailing_ones(x: Tensor, axis: int) -> bool:
    return all(isinstance(size, int) and size == 1 for size in x.shape[axis + 1 :])


@op("Dropout", raw=[1], known=[2])
def dropout(
    node: Node, x: Tensor, ratio: Any = None, training: Array | None = None
) -> tuple[Tensor, Tensor | None]:
    """Nothing, as it is in inference."""
    if training is not None and training.any():
        raise node.unsupported("training_mode; export the model for inference")
    mask = None
    if node.has(1):
        mask = torch.ones_like(x, dtype=torch.bool if node.opset >= 10 else x.dtype)
    return x, mask


@op("Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
def random(node: Node, *inputs: Tensor) -> Tensor:
    """Refused: a network that answers differently each time can not be checked."""
    raise node.unsupported("its result is random")
