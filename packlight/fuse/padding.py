"""Let convolutions pad what was padded for them.

1. Zeros put around an image, as many on either side, are the padding of the convolution that reads
   it, if nobody else does.

Left alone: numbers other than zero, a padded batch or padded channels, paddings that cut, pools
(the largest of a window would see zeros that were not there, an average would count other
numbers), and sides that differ: no convolution of torch pads those. ONNX's do; see
`packlight.runtimes.onnx_rewrites`.
"""

from __future__ import annotations

from torch import fx

from packlight.graph import argument, aten, is_call, pads_with_zeros, per_dimension
from packlight.network import Network

_DIMENSIONS = {aten.conv1d: 1, aten.conv2d: 2, aten.conv3d: 3}


def fold_padding(network: Network) -> int:
    """Apply the rule; returns how many paddings went away."""
    graph = network.module.graph
    results = set(network.results())
    count = 0
    for pad in list(graph.nodes):
        if pad in results or not pads_with_zeros(pad) or len(pad.users) != 1:
            continue
        (layer,) = pad.users
        amounts = _amounts(pad, layer)
        if amounts is None:
            continue
        rank = len(amounts)
        old = per_dimension(argument(layer, 4, "padding", 0), rank)
        total = [more + own for more, own in zip(amounts, old, strict=True)]
        before = (
            pad.args[0],
            layer.args[1],
            argument(layer, 2, "bias"),
            per_dimension(argument(layer, 3, "stride", 1), rank),
            total,
        )
        layer.args = (*before, *layer.args[5:])
        later = ("dilation", "groups")
        layer.kwargs = {key: value for key, value in layer.kwargs.items() if key in later}
        graph.erase_node(pad)
        count += 1
    return count


def _amounts(pad: fx.Node, layer: fx.Node) -> list[int] | None:
    """How many zeros either side of each dimension of the image gets, first dimension first."""
    if not is_call(layer, *_DIMENSIONS) or layer.args[0] is not pad:
        return None
    if isinstance(argument(layer, 4, "padding", 0), str):
        return None
    given: list[int] = list(pad.args[1])
    rank = _DIMENSIONS[layer.target.overloadpacket]
    before, after = given[::2], given[1::2]
    if before != after or any(before[rank:]):
        return None
    inside = before[:rank] + [0] * (rank - len(before))
    return inside[::-1]
