"""view, transpose, view: a shuffle of channels, which images with channels last take in one step.

(n, g c, ...) -> (n, g, c, ...) -> (n, c, g, ...) -> (n, c g, ...)

Source: Zhang et al., ShuffleNet, arXiv:1707.01083, sec. 3.1.
"""

from __future__ import annotations

from torch import fx

from packlight.graph import IDENTITIES, aten, is_call
from packlight.network import Network

_VIEWS = (aten.view, aten.reshape, aten._unsafe_view)


def with_shuffles(network: Network) -> Network:
    """A network with each such triple of calls as one call of channel_shuffle.

    Returns:
        The network itself where it holds none.
    """
    if not any(_shuffled(node) for node in network.module.graph.nodes):
        return network
    made = network.copy()
    graph = made.module.graph
    for last in list(graph.nodes):
        found = _shuffled(last)
        if found is None:
            continue
        source, groups = found
        with graph.inserting_before(last):
            shuffle = graph.call_function(aten.channel_shuffle.default, (source, groups))
        shuffle.meta = dict(last.meta)
        last.replace_all_uses_with(shuffle)
    graph.eliminate_dead_code()
    made.module.recompile()
    return made


def _shuffled(last: fx.Node) -> tuple[fx.Node, int] | None:
    """What is shuffled, and of how many groups, where a node ends such a triple."""
    if not is_call(last, *_VIEWS):
        return None
    turned = _source(last)
    if not is_call(turned, aten.transpose, aten.permute):
        return None
    first = _source(turned)
    if not is_call(first, *_VIEWS):
        return None
    source = first.all_input_nodes[0]
    shape, split = source.meta["val"].shape, first.meta["val"].shape
    rank = len(split)
    order = list(range(rank))
    order[1:3] = [2, 1]
    if rank not in (4, 5) or _order(turned, rank) != order or last.meta["val"].shape != shape:
        return None
    if (split[0], split[1] * split[2], *split[3:]) != tuple(shape):
        return None
    return source, int(split[1])


def _source(node: fx.Node) -> fx.Node:
    """What a node reads first, past copies."""
    source = node.all_input_nodes[0]
    while is_call(source, *IDENTITIES):
        source = source.all_input_nodes[0]
    return source


def _order(turned: fx.Node, rank: int) -> list[int]:
    if is_call(turned, aten.permute):
        axes = turned.args[1]
        assert isinstance(axes, (list, tuple))
        return [int(str(axis)) % rank for axis in axes]
    order = list(range(rank))
    one, other = (int(str(axis)) % rank for axis in turned.args[1:])
    order[one], order[other] = other, one
    return order
