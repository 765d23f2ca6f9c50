"""What every converter for phones wants of a graph before it reads it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, fx

from packlight.graph import add_weight, aten, free_name, is_call, is_weight, value_of
from packlight.network import Network


def with_one_sample(network: Network) -> Network:
    """A copy of a network that takes one sample at a time where the batch could vary."""
    examples = tuple(
        value[:1] if varies else value
        for value, varies in zip(network.example_inputs, network.dynamic_batch, strict=True)
    )
    still = (False,) * len(examples)
    return replace(network.copy(), example_inputs=examples, dynamic_batch=still).retraced()


def lookups(module: fx.GraphModule) -> list[fx.Node]:
    """The calls that look shared weights up: rows of a codebook, picked by bytes in the file."""
    return [
        node
        for node in module.graph.nodes
        if is_call(node, aten.embedding)
        and is_weight(node.args[0])
        and isinstance(node.args[1], fx.Node)
        and _computed(node.args[1])
    ]


def spell_out(module: fx.GraphModule, lookup: fx.Node) -> None:
    """Replace a lookup, and what only reshapes its result, by the floats that it gives."""
    last = lookup
    while len(last.users) == 1 and _computed(next(iter(last.users))):
        last = next(iter(last.users))
    name = str(lookup.args[0].target).removesuffix("_codebook")
    weight = add_weight(module, last, free_name(module, name), constant(module, last))
    last.replace_all_uses_with(weight)
    module.graph.eliminate_dead_code()


def constant(module: fx.GraphModule, node: fx.Node) -> Tensor:
    """The value of a node that depends on no input."""
    if is_weight(node):
        return value_of(module, node).detach()
    args, kwargs = fx.node.map_arg(
        (node.args, node.kwargs), lambda source: constant(module, source)
    )
    assert callable(node.target)
    with torch.no_grad():
        value: Tensor = node.target(*args, **kwargs)
    return value.contiguous()


def _computed(node: fx.Node) -> bool:
    """Whether a node depends on no input."""
    return is_weight(node) or (
        node.op == "call_function" and all(_computed(source) for source in node.all_input_nodes)
    )
