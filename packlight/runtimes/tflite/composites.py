"""Operators that TFLite has not, made of those that it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import default_decompositions
from torch.nn import functional

from packlight.graph import aten
from packlight.network import Network, quiet_torch

Composite = Callable[..., Any]
#: spelled out, these would be named by a part of them that has no rule either
_KEPT = (aten.conv3d, aten.conv_transpose3d, aten.cdist)
_COMPOSITES: dict[Any, Composite] = {}


def without_unknown(network: Network, known: set[Any]) -> Network:
    """A network with the operators that have no rule spelled out by others.

    Args:
        known: those that have one: they stay.
    """
    calls = {
        getattr(node.target, "overloadpacket", None)
        for node in network.module.graph.nodes
        if node.op == "call_function"
    }
    if calls - {None} <= known - {aten.elu, aten.elu_}:
        return network
    table = default_decompositions()
    extra = torch._decomp.get_decompositions([aten.native_layer_norm, aten.lstm, aten.gru])
    for operator, composite in {**extra, **_COMPOSITES}.items():
        table[operator] = composite
    for operator in list(table):
        packet = operator.overloadpacket
        if packet in _KEPT or (packet in known and operator not in _COMPOSITES):
            del table[operator]
    with quiet_torch():
        return network.retraced(network.exported().run_decompositions(table))


def _composite(*operators: Any) -> Callable[[Composite], Composite]:
    def register(function: Composite) -> Composite:
        for operator in operators:
            _COMPOSITES[operator] = function
        return function

    return register


# activations


@_composite(aten.hardsigmoid.default)
def _hardsigmoid(x: Tensor) -> Tensor:
    return functional.relu6(x + 3) * (1 / 6)


@_composite(aten.silu.default)
def _silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


@_composite(aten.softplus.default)
def _softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    return torch.relu(x) + torch.log(torch.exp(-torch.abs(x * beta)) + 1) * (1 / beta)


@_composite(aten.mish.default)
def _mish(x: Tensor) -> Tensor:
    return x * torch.tanh(_softplus(x))


@_composite(aten.log_sigmoid_forward.default)
def _log_sigmoid_forward(x: Tensor) -> tuple[Tensor, Tensor]:
    return _log_sigmoid(x), x.new_zeros(0)


@_composite(aten.log_sigmoid.default)
def _log_sigmoid(x: Tensor) -> Tensor:
    return -_softplus(-x)


@_composite(aten.elu.default)
def _elu(x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Any:
    if (alpha, scale, input_scale) == (1, 1, 1):
        return NotImplemented
    below = aten.elu.default(torch.clamp(x, max=0.0) * input_scale)
    return torch.relu(x) * scale + below * (alpha * scale)


@_composite(aten.celu.default)
def _celu(x: Tensor, alpha: float = 1) -> Any:
    return _elu(x, alpha, 1, 1 / alpha) if alpha != 1 else aten.elu.default(x)


@_composite(aten.selu.default)
def _selu(x: Tensor) -> Any:
    return _elu(x, 1.6732632423543772, 1.0507009873554805, 1)


@_composite(aten.erf.default)
def _erf(x: Tensor) -> Tensor:
    """Abramowitz and Stegun, 7.1.26: within 1.5e-7."""
    size = torch.abs(x)
    t = _reciprocal(size * 0.3275911 + 1)
    total = t * 1.061405429 - 1.453152027
    for factor in (1.421413741, -0.284496736, 0.254829592):
        total = total * t + factor
    return torch.sign(x) * (-total * t * torch.exp(-size * size) + 1)


# functions of single values


@_composite(aten.reciprocal.default)
def _reciprocal(x: Tensor) -> Tensor:
    return torch.full((), 1.0) / x


@_composite(aten.log1p.default)
def _log1p(x: Tensor) -> Tensor:
    return torch.log(x + 1)


@_composite(aten.log2.default)
def _log2(x: Tensor) -> Tensor:
    return torch.log(x) * (1 / math.log(2))


@_composite(aten.log10.default)
def _log10(x: Tensor) -> Tensor:
    return torch.log(x) * (1 / math.log(10))


@_composite(aten.expm1.default)
def _expm1(x: Tensor) -> Tensor:
    return torch.exp(x) - 1


@_composite(aten.exp2.default)
def _exp2(x: Tensor) -> Tensor:
    return torch.exp(x * math.log(2))


@_composite(aten.tan.default)
def _tan(x: Tensor) -> Tensor:
    return torch.sin(x) / torch.cos(x)


@_composite(aten.atan.default)
def _atan(x: Tensor) -> Tensor:
    return torch.atan2(x, torch.full(x.shape, 1.0))


@_composite(aten.trunc.default)
def _trunc(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.floor(torch.abs(x))


@_composite(aten.fmod.Tensor, aten.fmod.Scalar)
def _fmod(x: Tensor, y: Any) -> Tensor:
    return x - _trunc(x / y) * y


@_composite(aten.rsub.Tensor, aten.rsub.Scalar)
def _rsub(x: Tensor, other: Any, alpha: float = 1) -> Tensor:
    return torch.neg(x if alpha == 1 else x * alpha) + other


@_composite(aten.bitwise_not.default)
def _bitwise_not(x: Tensor) -> Any:
    return torch.logical_not(x) if x.dtype is torch.bool else NotImplemented


@_composite(aten.bitwise_and.Tensor)
def _bitwise_and(x: Tensor, y: Tensor) -> Any:
    return torch.logical_and(x, y) if x.dtype is torch.bool else NotImplemented


@_composite(aten.bitwise_or.Tensor)
def _bitwise_or(x: Tensor, y: Tensor) -> Any:
    return torch.logical_or(x, y) if x.dtype is torch.bool else NotImplemented


# normalisation


@_composite(aten.native_layer_norm.default)
def _native_layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    dims = list(range(-len(shape), 0))
    made, mean, scale = _normalised(x, dims, eps)
    made = made if weight is None else made * weight
    return (made if bias is None else made + bias), mean, scale


@_composite(aten.layer_norm.default)
def _layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    return _native_layer_norm(x, shape, weight, bias, eps)[0]


@_composite(aten.group_norm.default)
def _group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    channels = x.shape[1]
    if groups == channels:
        made = _normalised(x, list(range(2, x.ndim)), eps)[0]
    elif groups == 1:
        made = _normalised(x, list(range(1, x.ndim)), eps)[0]
    else:
        parts = x.reshape(x.shape[0], groups, -1)
        made = _normalised(parts, [2], eps)[0].reshape(x.shape)
    ones = [1] * (x.ndim - 2)
    made = made if weight is None else made * weight.reshape(-1, *ones)
    return made if bias is None else made + bias.reshape(-1, *ones)


@_composite(aten.instance_norm.default)
def _instance_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    if not use_input_stats:
        return _batch_norm(x, weight, bias, mean, variance, False, momentum, eps, False)
    return _group_norm(x, x.shape[1], weight, bias, eps)


@_composite(aten.batch_norm.default)
def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    if training or mean is None or variance is None:
        return NotImplemented
    scale = torch.rsqrt(variance + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    shift = shift if bias is None else shift + bias
    ones = [1] * (x.ndim - 2)
    return x * scale.reshape(-1, *ones) + shift.reshape(-1, *ones)


@_composite(aten._native_batch_norm_legit_no_training.default)
def _native_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Any, Tensor, Tensor]:
    made = _batch_norm(x, weight, bias, mean, variance, False, momentum, eps, False)
    return made, x.new_zeros(0), x.new_zeros(0)


def _normalised(x: Tensor, dims: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    mean = torch.mean(x, dims, keepdim=True)
    centred = x - mean
    scale = torch.rsqrt(torch.mean(centred * centred, dims, keepdim=True) + eps)
    return centred * scale, mean, scale


def _variance(x: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    dims = list(range(x.ndim)) if dim is None or dim == [] else list(dim)
    count = math.prod(x.shape[axis] for axis in dims)
    centred = x - torch.mean(x, dims, keepdim=True)
    return torch.sum(centred * centred, dims, keepdim=keepdim) * (1 / (count - correction))


@_composite(aten.var.correction)
def _var(
    x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    return _variance(x, dim, 1 if correction is None else correction, keepdim)


@_composite(aten.var.dim)
def _var_dim(x: Tensor, dim: Any, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    return _variance(x, dim, int(unbiased), keepdim)


@_composite(aten.std.correction)
def _std(
    x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    return torch.sqrt(_variance(x, dim, 1 if correction is None else correction, keepdim))


@_composite(aten.std.dim)
def _std_dim(x: Tensor, dim: Any, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    return torch.sqrt(_variance(x, dim, int(unbiased), keepdim))


@_composite(aten.linalg_vector_norm.default)
def _vector_norm(
    x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    dims = list(range(x.ndim)) if dim is None else dim
    if ord == 2:
        return torch.sqrt(torch.sum(x * x, dims, keepdim=keepdim))
    return torch.sum(torch.abs(x), dims, keepdim=keepdim) if ord == 1 else NotImplemented


@_composite(aten.logsumexp.default)
def _logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    top = torch.amax(x, dim, keepdim=True)
    total = torch.log(torch.sum(torch.exp(x - top), dim, keepdim=True)) + top
    return total if keepdim else torch.squeeze(total, dim)


# products


@_composite(aten.addmm.default)
def _addmm(bias: Tensor, x: Tensor, y: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = torch.mm(x, y)
    product = product if alpha == 1 else product * alpha
    return product + (bias if beta == 1 else bias * beta)


@_composite(aten.baddbmm.default)
def _baddbmm(bias: Tensor, x: Tensor, y: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = torch.bmm(x, y)
    product = product if alpha == 1 else product * alpha
    return product + (bias if beta == 1 else bias * beta)


@_composite(aten.scaled_dot_product_attention.default)
def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    if enable_gqa:
        return NotImplemented
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        attn_mask = torch.where(attn_mask, 0.0, -1e30)
    scores = scores if attn_mask is None else scores + attn_mask
    return torch.softmax(scores, -1) @ value


# several values at once


@_composite(aten.split_with_sizes.default)
def _split_with_sizes(x: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    return [
        aten.slice.Tensor(x, dim, start, start + size)
        for start, size in zip(starts, sizes, strict=True)
    ]


@_composite(aten.split.Tensor)
def _split(x: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    length = x.shape[dim]
    return [aten.slice.Tensor(x, dim, at, min(at + size, length)) for at in range(0, length, size)]


@_composite(aten.chunk.default)
def _chunk(x: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    return _split(x, -(-x.shape[dim] // chunks), dim)


@_composite(aten.unbind.int)
def _unbind(x: Tensor, dim: int = 0) -> list[Tensor]:
    return [aten.select.int(x, dim, at) for at in range(x.shape[dim])]


@_composite(aten.max.dim)
def _max_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return torch.amax(x, dim, keepdim), torch.argmax(x, dim, keepdim)


@_composite(aten.min.dim)
def _min_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return torch.amin(x, dim, keepdim), torch.argmin(x, dim, keepdim)


@_composite(aten.max.default)
def _max(x: Tensor) -> Tensor:
    return torch.amax(x, list(range(x.ndim)))


@_composite(aten.min.default)
def _min(x: Tensor) -> Tensor:
    return torch.amin(x, list(range(x.ndim)))


# what only depends on sizes


@_composite(aten.zeros_like.default)
def _zeros_like(x: Tensor, **_: Any) -> Tensor:
    return torch.full(x.shape, 0, dtype=_.get("dtype") or x.dtype)


@_composite(aten.ones_like.default)
def _ones_like(x: Tensor, **_: Any) -> Tensor:
    return torch.full(x.shape, 1, dtype=_.get("dtype") or x.dtype)


@_composite(aten.full_like.default)
def _full_like(x: Tensor, value: Any, **_: Any) -> Tensor:
    return torch.full(x.shape, value, dtype=_.get("dtype") or x.dtype)


@_composite(aten.new_zeros.default)
def _new_zeros(x: Tensor, size: Sequence[int], **_: Any) -> Tensor:
    return torch.full(size, 0, dtype=_.get("dtype") or x.dtype)


@_composite(aten.new_ones.default)
def _new_ones(x: Tensor, size: Sequence[int], **_: Any) -> Tensor:
    return torch.full(size, 1, dtype=_.get("dtype") or x.dtype)
