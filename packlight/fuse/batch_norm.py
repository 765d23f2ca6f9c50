"""Fold batch normalisation into the layer before it.

y = gamma (W x + b - mean) / sqrt(var + eps) + beta is again a layer of the same kind, with
W' = W f and b' = (b - mean) f + beta, where f = gamma / sqrt(var + eps) per output channel.

1. The layer is a convolution, a transposed convolution or a linear layer with weights of its own;
2. nothing else reads its output;
3. the statistics are constants, as they are in inference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from packlight.graph import add_weight, argument, aten, free_name, is_call, is_weight, value_of
from packlight.network import Network

_BATCH_NORMS = (
    aten.batch_norm,
    aten._native_batch_norm_legit_no_training,
    aten.native_batch_norm,
    aten.cudnn_batch_norm,
)
_LAYERS = (aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution, aten.linear)
_TRANSPOSED = (aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)


def fold_batch_norm(network: Network) -> int:
    """Apply the rules; returns how many batch norms went away."""
    module = network.module
    count = 0
    for node in list(module.graph.nodes):
        if not is_call(node, *_BATCH_NORMS):
            continue
        layer = node.args[0]
        if not _foldable(module, layer) or not all(
            value is None or is_weight(value) for value in node.args[1:5]
        ):
            continue
        _fold(module, layer, node)
        count += 1
    return count


def _foldable(module: fx.GraphModule, layer: Any) -> bool:
    return (
        is_call(layer, *_LAYERS, *_TRANSPOSED)
        and len(layer.users) == 1
        and is_weight(layer.args[1])
        and len(layer.args[1].users) == 1
        and (argument(layer, 2, "bias") is None or is_weight(argument(layer, 2, "bias")))
    )


def _fold(module: fx.GraphModule, layer: fx.Node, norm: fx.Node) -> None:
    gamma, beta, mean, var = (
        None if value is None else value_of(module, value).detach().double()
        for value in norm.args[1:5]
    )
    assert mean is not None
    assert var is not None
    # batch_norm(x, gamma, beta, mean, var, training, momentum, eps, cudnn); the functional form
    # without `training` has its epsilon one place earlier
    no_training = is_call(norm, aten._native_batch_norm_legit_no_training)
    eps = float(norm.args[6 if no_training else 7])
    factor = (1.0 if gamma is None else gamma) / torch.sqrt(var + eps)
    shift = -mean * factor + (0.0 if beta is None else beta)

    weight_node = layer.args[1]
    weight = value_of(module, weight_node)
    folded = _scale_outputs(layer, weight.detach().double(), factor)
    bias_node = argument(layer, 2, "bias")
    if bias_node is not None:
        shift = shift + value_of(module, bias_node).detach().double() * factor
    bias = shift.to(weight.dtype)

    name = str(weight_node.target)
    new_weight = add_weight(module, layer, name, folded.to(weight.dtype))
    if bias_node is not None and len(bias_node.users) == 1:
        bias_name = str(bias_node.target)
    else:
        bias_name = free_name(module, _bias_name(name))
    new_bias = add_weight(module, layer, bias_name, bias)
    args = list(layer.args) + [None] * (3 - len(layer.args))
    args[1], args[2] = new_weight, new_bias
    layer.args = tuple(args)
    layer.kwargs = {key: value for key, value in layer.kwargs.items() if key != "bias"}

    output = norm
    if norm.target not in (aten.batch_norm.default, aten.cudnn_batch_norm.default):
        (output,) = [user for user in norm.users if user.args[1:] == (0,)] or [norm]
    output.replace_all_uses_with(layer)
    for user in [*norm.users]:
        if not user.users:
            module.graph.erase_node(user)
    module.graph.erase_node(norm)
    for stale in (weight_node, bias_node):
        if stale is not None and not stale.users:
            module.graph.erase_node(stale)


def _scale_outputs(layer: fx.Node, weight: Tensor, factor: Tensor) -> Tensor:
    transposed = is_call(layer, *_TRANSPOSED) or (
        is_call(layer, aten.convolution) and bool(argument(layer, 6, "transposed", False))
    )
    if not transposed:
        return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    # weight (in, out / groups, *kernel); group g makes the outputs [g * out / groups, ...)
    groups = int(argument(layer, 8 if is_call(layer, aten.convolution) else 6, "groups", 1))
    per_group = factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return (split * per_group).reshape(weight.shape)


def _bias_name(weight: str) -> str:
    owner, _, leaf = weight.rpartition(".")
    if leaf == "weight":
        return f"{owner}.bias" if owner else "bias"
    return f"{weight}_bias"
