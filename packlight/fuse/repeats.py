"""Drop what has been done already.

1. Of two clamps in a row (ReLU, ReLU6, clamp ...), the one whose interval holds the other's.
2. Rounding numbers that come from the same grid.
3. Rounding a value a second time on the same grid: the readers share the first.
"""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from packlight.graph import argument, aten, is_call, quantized
from packlight.network import Network

_CLAMPS = (
    aten.clamp,
    aten.clamp_min,
    aten.hardtanh,
    aten.hardtanh_,
    aten.relu,
    aten.relu_,
    aten.relu6,
    aten.relu6_,
)


def drop_repeats(network: Network) -> int:
    """Apply the rules; returns how many places were changed."""
    graph = network.module.graph
    rounded: dict[tuple[Any, ...], fx.Node] = {}
    count = 0
    for node in list(graph.nodes):
        source: Any = node.args[0] if node.args else None
        if is_call(node, *_CLAMPS) and is_call(source, *_CLAMPS):
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
    outer, inner = _ends(node), _ends(source)
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


def _ends(node: fx.Node) -> tuple[float, float] | None:
    """The interval of a clamp; None where it depends on data, or is empty."""
    if is_call(node, aten.relu, aten.relu_):
        return 0.0, math.inf
    if is_call(node, aten.relu6, aten.relu6_):
        return 0.0, 6.0
    if is_call(node, aten.hardtanh, aten.hardtanh_):
        low, high = argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0)
    else:
        low, high = argument(node, 1, "min"), argument(node, 2, "max")
    ends = (-math.inf if low is None else low), (math.inf if high is None else high)
    numbers = all(isinstance(one, (int, float)) for one in ends)
    return ends if numbers and ends[0] <= ends[1] else None
