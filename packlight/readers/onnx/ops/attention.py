"""Attention, and what comes with it in opsets 23 and later.

Shapes: N samples, h heads, q queries, k keys, d size of a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from packlight.readers.onnx.graph import TORCH_TYPES, Node
from packlight.readers.onnx.registry import op


@op("Attention")
def attention(
    node: Node,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_k: Tensor | None = None,
    past_v: Tensor | None = None,
    valid_keys: Tensor | None = None,
) -> tuple[Any, ...]:
    """Scaled dot-product attention; the plain kind is aten.scaled_dot_product_attention."""
    flat = q.ndim == 3
    if flat:
        heads, kv_heads = node.get("q_num_heads"), node.get("kv_num_heads")
        if not heads or not kv_heads:
            raise node.bad("inputs of three dimensions without q_num_heads and kv_num_heads")
        q, k, v = _heads(q, heads), _heads(k, kv_heads), _heads(v, kv_heads)
    past = 0
    if past_k is not None and past_v is not None:
        past = past_k.shape[2]
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    present_k, present_v = k, v
    groups = int(q.shape[1]) // int(k.shape[1])
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scale = node.get("scale") or 1 / math.sqrt(int(q.shape[3]))
    softcap = node.get("softcap") or 0.0
    precision = TORCH_TYPES.get(node.get("softmax_precision"))
    windowed = node.get("left_window_size", -1) >= 0 or node.get("right_window_size", -1) >= 0
    plain = not softcap and precision in (None, q.dtype) and not node.has(3) and not windowed
    if plain and mask is None and valid_keys is None and not (node.get("is_causal", 0) and past):
        y = F.scaled_dot_product_attention(
            q, k, v, is_causal=bool(node.get("is_causal", 0)), scale=scale
        )
        return _unheads(y) if flat else y, present_k, present_v, None
    allowed, bias = _mask(node, q, k, mask, past, valid_keys)
    # both factors carry half of the scale, which keeps half-precision products in range
    half = math.sqrt(scale)
    scores = (q * half) @ (k * half).transpose(-1, -2)
    exposed = scores
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if node.get("qk_matmul_output_mode", 0) == 1:
        exposed = scores
    if bias is not None:
        scores = scores + bias
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    if node.get("qk_matmul_output_mode", 0) == 2:
        exposed = scores
    weights = torch.softmax(scores if precision is None else scores.to(precision), -1)
    dead = _nothing_allowed(allowed, bias)
    if dead is not None:
        weights = weights.masked_fill(dead, 0.0)
    weights = weights.to(q.dtype)
    if node.get("qk_matmul_output_mode", 0) == 3:
        exposed = weights
    y = weights @ v
    return _unheads(y) if flat else y, present_k, present_v, exposed


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, int(x.shape[2]) // heads)).transpose(1, 2)


def _unheads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _mask(
    node: Node, q: Tensor, k: Tensor, mask: Tensor | None, past: Any, valid_keys: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Which keys a query may see, and what is added to its scores.

    Query i stands at position i + offset, where offset keys came before this block of queries.
    """
    queries, keys = q.shape[2], k.shape[2]
    bias = None
    conditions: list[Tensor] = []
    if mask is not None:
        missing = keys - mask.shape[-1]
        no = False if mask.dtype == torch.bool else -math.inf
        if isinstance(missing, int) and missing > 0:
            mask = F.pad(mask, (0, missing), value=no)
        if mask.dtype == torch.bool:
            conditions.append(mask)
        else:
            bias = mask
    offset: Any = past
    if valid_keys is not None and not past:
        offset = (valid_keys - queries).reshape(-1, 1, 1, 1)
    place = torch.arange(queries).unsqueeze(1) + offset
    key = torch.arange(keys).unsqueeze(0)
    left, right = node.get("left_window_size", -1), node.get("right_window_size", -1)
    if node.get("is_causal", 0):
        conditions.append(key <= place)
    if left >= 0:
        conditions.append(place - key <= left)
    if right >= 0:
        conditions.append(key - place <= right)
    if valid_keys is not None:
        conditions.append(key < valid_keys.reshape(-1, 1, 1, 1))
    allowed = None
    for condition in conditions:
        allowed = condition if allowed is None else allowed & condition
    return allowed, bias


def _nothing_allowed(allowed: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """Queries that may see no key; their answer is zero."""
    open_ = allowed
    if bias is not None:
        finite = bias != -math.inf
        open_ = finite if open_ is None else open_ & finite
    return None if open_ is None else ~open_.any(-1, keepdim=True)


@op("RotaryEmbedding")
def rotary_embedding(
    node: Node, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None
) -> Tensor:
    """Pairs of features turned by an angle that grows with the position."""
    flat = x.ndim == 3
    if flat:
        if not node.get("num_heads"):
            raise node.bad("an input of three dimensions without num_heads")
        x = _heads(x, node.get("num_heads"))
    if positions is not None:
        cos, sin = cos[positions.long()], sin[positions.long()]
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    turned = node.get("rotary_embedding_dim") or int(x.shape[-1])
    part, rest = x[..., :turned], x[..., turned:]
    if node.get("interleaved", 0):
        a, b = part[..., 0::2], part[..., 1::2]
        y = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    else:
        a, b = part.chunk(2, -1)
        y = torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
    if turned < int(x.shape[-1]):
        y = torch.cat([y, rest], -1)
    return _unheads(y) if flat else y


@op("SwiGLU")
def swiglu(node: Node, gate: Tensor, x: Tensor) -> Tensor:
    """Swish of the gate times the value."""
    alpha = node.get("alpha", 1.0)
    return (F.silu(gate) if alpha == 1.0 else gate * torch.sigmoid(alpha * gate)) * x
