"""Dead channels leave the graph, and the answers stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from packlight.network import Network
from packlight.shrink.layers import find_layers, value_of_name
from packlight.shrink.sweeping import sweep


class Residual(nn.Module):
    """Two convolutions around a sum, then a head; an odd function or a padding on request."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.c = nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.a(x))
        x = self.act(x + self.b(x))
        return self.head(self.act(self.c(x)).mean((2, 3)))


@pytest.fixture
def network() -> Network:
    return _network(nn.ReLU())


def _network(act: nn.Module) -> Network:
    torch.manual_seed(0)
    return Network.from_module(Residual(act), [torch.randn(2, 3, 8, 8)])


def _kill(network: Network, name: str, rows: list[int], *, bias: bool = True) -> None:
    with torch.no_grad():
        value_of_name(network, f"{name}.weight")[rows] = 0
        if bias:
            value_of_name(network, f"{name}.bias")[rows] = 0


def _same(first: Network, second: Network) -> bool:
    x = torch.randn(5, 3, 8, 8)
    return torch.allclose(first(x)[0], second(x)[0], atol=1e-5)


def _shapes(network: Network) -> dict[str, tuple[int, ...]]:
    return {layer.name: layer.shape for layer in find_layers(network)}


def _samples() -> list[tuple[torch.Tensor, ...]]:
    return [(torch.randn(4, 3, 8, 8),)]


def test_a_network_that_is_alive_stays_as_it_is(network):
    assert _shapes(sweep(network, _samples()).network) == _shapes(network)


def test_channels_without_weights_and_bias_are_taken_out(network):
    _kill(network, "c", [1, 4])
    swept = sweep(network, _samples()).network
    assert _shapes(swept)["c"] == (4, 8, 3, 3)
    assert _shapes(swept)["head"] == (4, 4)
    assert _same(network, swept)


def test_a_channel_of_a_sum_goes_only_when_all_its_makers_are_dead(network):
    _kill(network, "a", [2, 5])
    _kill(network, "b", [2])
    swept = sweep(network, _samples()).network
    assert _shapes(swept)["a"] == (7, 3, 3, 3)
    assert _same(network, swept)


def test_a_channel_that_nothing_reads_goes_with_the_layers_behind_it(network):
    with torch.no_grad():
        value_of_name(network, "head.weight")[:, 3] = 0
    swept = sweep(network, _samples()).network
    assert _shapes(swept)["c"] == (5, 8, 3, 3)
    assert _same(network, swept)


def test_a_bias_alone_keeps_a_channel(network):
    _kill(network, "c", [1], bias=False)
    assert _shapes(sweep(network, _samples()).network) == _shapes(network)


def test_a_function_that_makes_something_of_zero_keeps_its_channels():
    network = _network(nn.Sigmoid())
    _kill(network, "c", [1])
    swept = sweep(network, _samples()).network
    assert _shapes(swept) == _shapes(network)
    assert _same(network, swept)


def test_something_is_left_of_a_layer_that_is_all_zero(network):
    _kill(network, "c", list(range(6)))
    swept = sweep(network, _samples()).network
    assert _shapes(swept)["c"][0] == 1
    assert _same(network, swept)
