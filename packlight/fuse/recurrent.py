"""One call for each layer of a recurrent network.

torch runs all layers of an LSTM, a GRU or an RNN in one call. Apart, what each of them reads and
gives is a value of the graph, so that its weights are solved for the inputs that they get.
"""

from __future__ import annotations

import operator
from typing import Any

from torch import fx

from packlight.graph import RECURRENT, aten, is_call
from packlight.network import Network


def separate_layers(network: Network) -> int:
    """Apply the rule; returns how many calls were taken apart."""
    deep = [node for node in network.module.graph.nodes if is_call(node, *RECURRENT)]
    deep = [node for node in deep if node.args[4] > 1]
    for node in deep:
        with network.module.graph.inserting_before(node):
            results = _separated(network.module.graph, node)
        for user in list(node.users):
            user.replace_all_uses_with(results[user.args[1]])
            network.module.graph.erase_node(user)
        network.module.graph.erase_node(node)
    if deep:
        network.refreshed()
    return len(deep)


def _separated(graph: fx.Graph, node: fx.Node) -> list[fx.Node]:
    """The layers of a call, one after the other; their outputs and their last states."""
    x, first, parameters, biases, layers, *flags = node.args
    directions = 2 if flags[2] else 1
    each = len(parameters) // layers
    states = list(first) if isinstance(first, (list, tuple)) else [first]
    last: list[list[fx.Node]] = [[] for _ in states]
    for layer in range(layers):
        start, end = layer * directions, (layer + 1) * directions
        own: Any = [
            graph.call_function(aten.slice.Tensor, (state, 0, start, end)) for state in states
        ]
        weights = parameters[layer * each : (layer + 1) * each]
        given = own if isinstance(first, (list, tuple)) else own[0]
        call = graph.call_function(node.target, (x, given, weights, biases, 1, *flags))
        x, *left = (graph.call_function(operator.getitem, (call, i)) for i in range(1 + len(own)))
        for found, state in zip(last, left, strict=True):
            found.append(state)
    return [x, *(graph.call_function(aten.cat.default, (found, 0)) for found in last)]
