"""Narrower until the clock is content; here the clock counts multiplications."""

from __future__ import annotations

import pytest

from packlight.errors import BudgetNotMet
from packlight.fuse import fuse
from packlight.network import Network
from packlight.shrink import curvature, speeding, thinning
from packlight.shrink.layers import find_layers
from packlight.weighing import weigh
from tests.networks import images, wide


@pytest.fixture(scope="module")
def network() -> Network:
    return fuse(wide()).network


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
    narrower = thinning.without(network, curvatures, found.keep)
    assert _clock(network)(narrower) == pytest.approx(found.speedup)
    # one step of widths narrower in one of the groups is all that may be too much
    assert found.speedup <= 2.0 * speedup


def test_a_speed_that_no_width_reaches_is_refused_with_the_best_there_is(network, curvatures):
    with pytest.raises(BudgetNotMet, match=r"of 50 can not be reached.* 1\.50 times as fast"):
        speeding.narrow(network, curvatures, 50.0, time=lambda _: 1.5)
