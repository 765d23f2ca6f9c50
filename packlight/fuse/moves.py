"""Fewer operators that only move numbers about.

1. A permutation of a permutation is one permutation, or none if it puts everything back.
2. A reshape of a reshape is the second one alone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from packlight.graph import aten, is_call
from packlight.network import Network

_PERMUTING = (aten.permute, aten.t, aten.transpose)
_RESHAPING = (aten.flatten, aten.reshape, aten.squeeze, aten.unflatten, aten.unsqueeze, aten.view)


def compose_moves(network: Network) -> int:
    """Apply the rules; returns how many places were changed."""
    graph = network.module.graph
    results = set(network.results())
    count = 0
    for node in list(graph.nodes):
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node):
            continue
        if is_call(node, *_PERMUTING) and is_call(source, *_PERMUTING):
            count += _compose(graph, node, source, results)
        elif is_call(node, aten.reshape, aten.view) and is_call(source, *_RESHAPING):
            node.target = aten.reshape.default  # what comes first may have no view
            node.args = (source.args[0], *node.args[1:])
            count += 1
    return count


def _compose(graph: fx.Graph, node: fx.Node, source: fx.Node, results: set[fx.Node]) -> int:
    first, second = _order(source), _order(node)
    if first is None or second is None:
        return 0
    origin: Any = source.args[0]
    order = [first[axis] for axis in second]
    if order != sorted(order):
        node.target, node.args, node.kwargs = aten.permute.default, (origin, order), {}
        return 1
    if node in results and origin.op != "call_function":
        return 0  # an output that is an input or a weight keeps its copy
    node.replace_all_uses_with(origin)
    graph.erase_node(node)
    return 1


def _order(node: fx.Node) -> list[int] | None:
    """Which axis of its input each axis of a permutation is."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    rank = value.ndim
    if is_call(node, aten.permute):
        axes: Any = node.args[1]
        return [axis % rank for axis in axes]
    order = list(range(rank))
    if rank > 1:
        pair: Any = (0, 1) if is_call(node, aten.t) else node.args[1:3]
        order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    return order
