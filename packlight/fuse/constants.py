"""Compute once what depends on no input.

1. A call whose tensors are all weights or constants becomes a weight.
2. It keeps the name of its weight when it is that weight's only reader, so that a transposed or
   reshaped `fc.weight` is still called `fc.weight`.

Left alone: random operators, values that would grow the file (an expanded or tiled weight), and
dequantisations, whose integers are the point.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from packlight.graph import add_weight, free_name, is_call, is_weight, quantized, value_of
from packlight.network import Network

_KEPT = (
    quantized.dequantize_per_channel,
    quantized.dequantize_per_tensor,
)
_SMALL = 1024  # elements that may be made from nothing, as by arange or zeros


def fold_constants(network: Network) -> int:
    """Apply the rules; returns how many nodes went away."""
    module = network.module
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not _is_constant(node):
            continue
        value = _value(module, node)
        weights = [source for source in node.all_input_nodes if is_weight(source)]
        if value is None or value.numel() > max(
            _SMALL, sum(value_of(module, weight).numel() for weight in weights)
        ):
            continue
        readers = weights[0].users if len(weights) == 1 else {}
        trainable = any(value_of(module, weight).requires_grad for weight in weights)
        if len(readers) == 1:
            name = str(weights[0].target)
        else:
            name = free_name(module, f"constant_{node.name}")
        folded = add_weight(module, node, name, value, trainable=trainable)
        node.replace_all_uses_with(folded)
        module.graph.erase_node(node)
        for weight in weights:
            if not weight.users:
                module.graph.erase_node(weight)
        count += 1
    return count


def _is_constant(node: fx.Node) -> bool:
    if is_call(node, *_KEPT) or not isinstance(node.target, torch._ops.OpOverload):
        return False
    if not all(is_weight(source) for source in node.all_input_nodes):
        return False
    schema = node.target._schema
    return torch.Tag.nondeterministic_seeded not in node.target.tags and not schema.is_mutable


def _value(module: fx.GraphModule, node: fx.Node) -> Tensor | None:
    args, kwargs = fx.node.map_arg(
        (node.args, node.kwargs), lambda source: value_of(module, source)
    )
    with torch.no_grad():
        value = node.target(*args, **kwargs)
    return value.contiguous() if isinstance(value, Tensor) else None
