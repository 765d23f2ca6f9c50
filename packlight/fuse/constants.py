"""Compute once what depends on no input.

1. A call whose tensors are all weights or constants becomes a weight; of a call with several
   results, as of a weight cut into its gates, each becomes one.
2. What is made of one weight alone keeps its name, so that a transposed `fc.weight` is still called
   `fc.weight`; of several that are, the first does.
3. What several places compute alike is one weight: steps of a loop share theirs.

Left alone: random operators, values that would grow the file (an expanded or tiled weight), and
dequantisations, whose integers are the point.
"""

from __future__ import annotations

import operator
from typing import Any

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
    twins: set[fx.Node] = set()
    origins: dict[str, set[str]] = {}  # names of what is folded, of the weights that it is made of
    for node in list(module.graph.nodes):
        call = node.args[0] if is_call(node, operator.getitem) else node
        if node in twins or not isinstance(call, fx.Node) or not _is_constant(call):
            continue
        for twin in _twins(node):
            twin.replace_all_uses_with(node)
            module.graph.erase_node(twin)
            twins.add(twin)
            count += 1
        results = _results(module, call)
        value = results if call is node else results[node.args[1]]
        weights = [source for source in call.all_input_nodes if is_weight(source)]
        if not isinstance(value, Tensor) or value.numel() > max(
            _SMALL, sum(value_of(module, weight).numel() for weight in weights)
        ):
            continue
        trainable = any(value_of(module, weight).requires_grad for weight in weights)
        name = free_name(module, f"constant_{node.name}")
        made_of = (origins.get(str(weight.target), {str(weight.target)}) for weight in weights)
        origins[name] = set().union(*made_of)
        folded = add_weight(module, node, name, value.contiguous(), trainable=trainable)
        node.replace_all_uses_with(folded)
        for gone in dict.fromkeys([node, call, *weights]):
            if not gone.users:
                module.graph.erase_node(gone)
        count += 1
    _name(module, origins)
    return count


def _name(module: fx.GraphModule, origins: dict[str, set[str]]) -> None:
    """Name what is made of one weight alone after it."""
    read = {str(node.target) for node in module.graph.nodes if is_weight(node)}
    for node in [node for node in module.graph.nodes if is_weight(node)]:
        made_of = origins.get(str(node.target), set())
        if len(made_of) != 1:
            continue
        (name,) = made_of
        if name in read:
            name = free_name(module, name)
        read.add(name)
        value = value_of(module, node)
        named = add_weight(module, node, name, value, trainable=value.requires_grad)
        node.replace_all_uses_with(named)
        module.graph.erase_node(node)


def _is_constant(node: fx.Node) -> bool:
    called = node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)
    if not called or is_call(node, *_KEPT):
        return False
    if not all(is_weight(source) for source in node.all_input_nodes):
        return False
    schema = node.target._schema
    return torch.Tag.nondeterministic_seeded not in node.target.tags and not schema.is_mutable


def _twins(node: fx.Node) -> list[fx.Node]:
    """The calls that compute the same; they all come later."""
    readers = list(node.all_input_nodes[0].users) if node.all_input_nodes else []
    does = node.target, node.args, node.kwargs
    return [
        one for one in readers if one is not node and (one.target, one.args, one.kwargs) == does
    ]


def _results(module: fx.GraphModule, node: fx.Node) -> Any:
    args, kwargs = fx.node.map_arg(
        (node.args, node.kwargs), lambda source: value_of(module, source)
    )
    with torch.no_grad():
        return node.target(*args, **kwargs)
