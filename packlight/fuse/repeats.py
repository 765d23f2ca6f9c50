"""Drop what has been done already.

1. Of two clamps in a row (ReLU, ReLU6, clamp ...), the one whose interval holds the other's.
2. Rounding numbers that come from the same grid.
3. Rounding a value a second time on the same grid: the readers share the first.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from packlight.graph import CLAMPS, clamp_ends, is_call, quantized
from packlight.network import Network


def drop_repeats(network: Network) -> int:
    """Apply the rules; returns how many places were changed."""
    graph = network.module.graph
    rounded: dict[tuple[Any, ...], fx.Node] = {}
    count = 0
    for node in list(graph.nodes):
        source: Any = node.args[0] if node.args else None
        if is_call(node, *CLAMPS) and is_call(source, *CLAMPS):
            count += _drop_clamp(graph, node, source)
        elif is_call(node, quantized.quantize_per_tensor):
            first = rounded.setdefault(node.args, node)
            if is_call(source, quantized.dequantize_per_tensor):
                levels = source.args[0]
                same = source.args[1:] == node.args[1:] == levels.args[1:]
                if same and is_call(levels, quantized.quantize_per_tensor):
                    first = levels
            if first is not node:
                node.replace_all_uses_with(first)
                graph.erase_node(node)
                count += 1
    return count


def _drop_clamp(graph: fx.Graph, node: fx.Node, source: fx.Node) -> int:
    outer, inner = clamp_ends(node), clamp_ends(source)
    if outer is None or inner is None:
        return 0
    if outer[0] <= inner[0] and inner[1] <= outer[1]:
        node.replace_all_uses_with(source)
        graph.erase_node(node)
        return 1
    if inner[0] <= outer[0] and outer[1] <= inner[1]:
        node.args = (source.args[0], *node.args[1:])
        return 1
    return 0
