"""Fold batch normalisation into the layer before it.

y = gamma (W x + b - mean) / sqrt(var + eps) + beta is again a layer of the same kind, with
W' = W f and b' = (b - mean) f + beta, where f = gamma / sqrt(var + eps) per output channel.

1. The layer can take a factor and an offset (see `affine`);
2. the statistics are constants, as they are in inference.
"""

from __future__ import annotations

import torch
from torch import fx

from packlight.fuse.affine import foldable, put
from packlight.graph import aten, is_call, is_weight, value_of
from packlight.network import Network

_BATCH_NORMS = (
    aten.batch_norm,
    aten._native_batch_norm_legit_no_training,
    aten.native_batch_norm,
    aten.cudnn_batch_norm,
)


def fold_batch_norm(network: Network) -> int:
    """Apply the rules; returns how many batch norms went away."""
    module = network.module
    count = 0
    for node in list(module.graph.nodes):
        if not is_call(node, *_BATCH_NORMS):
            continue
        layer = node.args[0]
        if not foldable(module, layer) or not all(
            value is None or is_weight(value) for value in node.args[1:5]
        ):
            continue
        _fold(module, layer, node)
        count += 1
    return count


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

    put(module, layer, factor, shift)

    output = norm
    if norm.target not in (aten.batch_norm.default, aten.cudnn_batch_norm.default):
        (output,) = [user for user in norm.users if user.args[1:] == (0,)] or [norm]
    output.replace_all_uses_with(layer)
    for user in [*norm.users]:
        if not user.users:
            module.graph.erase_node(user)
    module.graph.erase_node(norm)
