"""Remove operators that return what they were given.

1. dropout, alias, detach, contiguous, clone;
2. casts to the dtype the value has;
3. views, reshapes, expands and pads that keep the shape;
4. assertions that tracing wrote down: what they assert is now part of the graph.

Views become reshapes first: a view insists on the memory layout that a copy before it made.
"""

from __future__ import annotations

from torch import fx

from packlight.graph import IDENTITIES, argument, aten, is_call
from packlight.network import Network

_ASSERTIONS = (aten._assert_tensor_metadata, aten._assert_async, aten._assert_scalar)
_CASTS = (aten._to_copy, aten.to)
_RESHAPES = (aten.view, aten.reshape, aten.flatten, aten.expand, aten.squeeze, aten.unsqueeze)


def remove_identities(network: Network) -> int:
    """Apply the rules; returns how many nodes went away."""
    graph = network.module.graph
    kept = set(network.results())
    count = 0
    for node in list(graph.nodes):
        if node.target is aten.view.default:
            node.target = aten.reshape.default
        if is_call(node, *_ASSERTIONS) and not node.users:
            graph.erase_node(node)
            count += 1
            continue
        if not _is_identity(node):
            continue
        source = node.args[0]
        if node in kept and source.op != "call_function":
            continue  # an output that is an input or a weight keeps its copy
        node.replace_all_uses_with(source)
        graph.erase_node(node)
        count += 1
    return count


def _is_identity(node: fx.Node) -> bool:
    if is_call(node, *IDENTITIES):
        return True
    if not is_call(node, *_CASTS, *_RESHAPES, aten.constant_pad_nd):
        return False
    source = node.args[0]
    if not isinstance(source, fx.Node) or "val" not in source.meta or "val" not in node.meta:
        return False
    before, after = source.meta["val"], node.meta["val"]
    if is_call(node, aten.constant_pad_nd) and any(argument(node, 1, "pad")):
        return False
    same_shape = len(before.shape) == len(after.shape) and all(
        str(a) == str(b) for a, b in zip(before.shape, after.shape, strict=True)
    )
    return same_shape and before.dtype == after.dtype and before.device == after.device
