"""Narrower until the clock is content; here the clock counts multiplications."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from packlight.errors import BudgetNotMet
from packlight.fuse import fuse
from packlight.network import Network
from packlight.shrink import curvature, speeding
from packlight.shrink.layers import find_layers
from packlight.weighing import weigh
from tests.networks import images, settled


class Wide(nn.Module):
    """Three convolutions of 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 64, 3, padding=1)
        self.b = nn.Conv2d(64, 64, 3, padding=1)
        self.c = nn.Conv2d(64, 64, 3, padding=1)
        self.head = nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.a, self.b, self.c):
            x = torch.relu(layer(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def network() -> Network:
    return fuse(Network.from_module(settled(Wide()), (images(2),))).network


@pytest.fixture(scope="module")
def curvatures(network):
    watched = network.copy()
    layers = find_layers(watched)
    curvature.require_gradients(watched, layers)
    singles = [(x[None],) for x in images(24, seed=1)]
    return curvature.collect(watched, layers, singles, curvature.classifier_loss(False))


def _clock(network: Network):
    whole = weigh(network).totals.macs
    return lambda narrower: whole / weigh(narrower).totals.macs


@pytest.mark.parametrize("speedup", [1.2, 2.0, 4.0])
def test_the_speed_asked_for_is_reached_with_little_to_spare(network, curvatures, speedup):
    found = speeding.narrow(network, curvatures, speedup, time=_clock(network))
    assert found.speedup >= speedup
    narrower = speeding.narrowed(network, curvatures, found.keep)
    assert _clock(network)(narrower) == pytest.approx(found.speedup)
    # one step of widths narrower in one of the groups is all that may be too much
    assert found.speedup <= 2.0 * speedup


def test_a_speed_that_no_width_reaches_is_refused_with_the_best_there_is(network, curvatures):
    with pytest.raises(BudgetNotMet, match=r"of 50 can not be reached.* 1\.50 times as fast"):
        speeding.narrow(network, curvatures, 50.0, time=lambda _: 1.5)
