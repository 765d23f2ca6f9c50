"""Means before the last pointwise convolution rather than behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from packlight.fuse import fuse
from packlight.network import Network
from packlight.shrink import channels
from packlight.shrink.pooling import pooled
from packlight.weighing import weigh
from tests.networks import settled
from tests.reference import pooling as reference


class Head(nn.Module):
    """A pointwise convolution, an activation and a mean, for (n, 4, height, width)."""

    def __init__(self, activation: nn.Module, padding: int = 0, bias: bool = True) -> None:
        super().__init__()
        self.last = nn.Conv2d(4, 6, 1, padding=padding, bias=bias)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.mean(self.activation(self.last(x)))

    def mean(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Pool(Head):
    """The same, with a pool for the mean."""

    def mean(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)


def read(module: nn.Module, *sizes: int) -> Network:
    return fuse(Network.from_module(settled(module), (torch.randn(2, 4, *sizes),))).network


def answers(network: Network, x: Tensor) -> Tensor:
    with torch.no_grad():
        return network(x)[0]


@pytest.mark.parametrize(
    "head",
    [
        Head(nn.ReLU()),
        Head(nn.Hardswish(), padding=2),
        Pool(nn.ReLU(), padding=1),
        Pool(nn.ReLU6(), bias=False),
    ],
)
def test_every_window_computes_what_the_reference_does(head):
    network = read(head, 4, 6)
    x = torch.randn(3, 4, 4, 6)
    found = pooled(network)
    padding = head.last.padding[0]
    windows = [(1, 1)] if padding else []
    assert [one.window for one in found] == [*windows, (2, 2), (4, 6)]
    weight = head.last.weight.detach().double().numpy()[:, :, 0, 0]
    bias = np.zeros(6) if head.last.bias is None else head.last.bias.detach().double().numpy()

    def activation(value):
        return head.activation(torch.from_numpy(value)).numpy()

    for one in found:
        assert one.layer == "last"
        wanted = [
            reference.head(sample, weight, bias, activation, one.window, padding)
            for sample in x.double().numpy()
        ]
        np.testing.assert_allclose(answers(one.network, x), wanted, atol=1e-5)


def test_what_padding_adds_is_known_without_computing_it():
    network = read(Pool(nn.ReLU(), padding=1), 4, 4)
    first = pooled(network)[0]
    x = torch.randn(3, 4, 4, 4)
    assert first.window == (1, 1)
    torch.testing.assert_close(answers(first.network, x), answers(network, x))
    macs = [weigh(one).totals.macs for one in (network, first.network)]
    assert macs == [24 * 36, 24 * 16]


def test_windows_that_hold_one_value_lose_nothing():
    network = read(Head(nn.ReLU()), 4, 4)
    x = torch.randn(3, 4, 2, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    halved = pooled(network)[0]
    assert halved.window == (2, 2)
    torch.testing.assert_close(answers(halved.network, x), answers(network, x))
    assert 4 * weigh(halved.network).totals.macs == weigh(network).totals.macs


def test_channels_behind_the_mean_can_still_go():
    head = nn.Sequential(Pool(nn.ReLU(), padding=1), nn.Linear(6, 3))
    network = pooled(read(head, 4, 4))[1].network
    keep = {"0.last": np.arange(6) != 2}
    narrow = channels.remove(network, keep)
    x = torch.randn(3, 4, 4, 4)
    with torch.no_grad():
        network.module.get_parameter("1.weight")[:, 2] = 0
    torch.testing.assert_close(answers(narrow, x), answers(network, x))


class Twice(Head):
    """What the convolution makes is read by others as well."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(x)
        return self.mean(self.activation(y)) + y.amax((2, 3))


class Spatial(Head):
    """The convolution sees more than a position."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU())
        self.last = nn.Conv2d(4, 6, 3)


class Strided(Head):
    """The convolution leaves positions out."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU())
        self.last = nn.Conv2d(4, 6, 1, stride=2)


@pytest.mark.parametrize(
    "module",
    [Twice(nn.ReLU()), Spatial(), Strided(), Head(nn.Softmax(1)), Head(nn.MaxPool2d(2))],
)
def test_other_heads_stay(module):
    assert pooled(read(module, 4, 4)) == []
