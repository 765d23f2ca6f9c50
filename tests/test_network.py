"""A graph that was rewritten knows its shapes as if it had been traced anew."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from packlight.fuse import fuse
from packlight.graph import aten
from packlight.network import Network
from tests.networks import Headed, blocks, images, plain, settled


class Padded(nn.Module):
    """Pads, pools, reshapes and counts what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, image):
        x = nn.functional.pad(self.conv(image), (0, 1, 0, 1))
        x = nn.functional.max_pool2d(x, 2).reshape(image.shape[0], 2, -1)
        return x.softmax(2), x.argmax(2), image.mean((1, 2, 3))


NETWORKS = {
    "plain": plain,
    "fused": lambda: fuse(plain()).network,
    "blocks": blocks,
    "headed": lambda: Network.from_module(settled(Headed()), (images(2),)),
    "padded": lambda: Network.from_module(settled(Padded()), (images(2),)),
    "of one batch": lambda: Network.from_module(
        settled(Padded()), (images(2),), dynamic_batch=False
    ),
}


def _values(network: Network) -> list[tuple[str, tuple[int | None, ...], torch.dtype]]:
    """Every call, with the shape and type of its value; None for a size that varies."""
    found = []
    for node in network.module.graph.find_nodes(op="placeholder"):
        found.append((node.name, *_told(node.meta["val"])))
    for node in network.module.graph.nodes:
        if node.op == "call_function" and torch.is_tensor(node.meta["val"]):
            found.append((str(node.target), *_told(node.meta["val"])))
    return found


def _told(value: torch.Tensor) -> tuple[tuple[int | None, ...], torch.dtype]:
    return tuple(size if type(size) is int else None for size in value.shape), value.dtype


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_are_those_that_tracing_finds(name):
    network = NETWORKS[name]()
    traced = _values(network.retraced())
    for node in network.module.graph.nodes:
        if node.op == "call_function":
            node.meta.pop("val", None)
    assert network.refreshed() is network
    assert _values(network) == traced
    assert (traced[0][1][0] is None) == (name != "of one batch")


def test_what_nothing_reads_is_gone():
    network = plain()
    graph = network.module.graph
    network.module.idle = nn.Parameter(torch.ones(3))
    (output,) = graph.find_nodes(op="output")
    with graph.inserting_before(output):
        graph.call_function(aten.relu.default, (graph.get_attr("idle"),))
    before = [node.name for node in plain().module.graph.nodes]
    assert [node.name for node in network.refreshed().module.graph.nodes] == before
    assert "idle" not in dict(network.module.named_parameters())
