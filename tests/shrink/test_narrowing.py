"""Narrower until the clock is content; here the clock counts multiplications."""

from __future__ import annotations

import pytest

from packlight.fuse import fuse
from packlight.graph import layer_name
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import curvature, narrowing, thinning
from packlight.shrink.layers import find_layers, value_of_name
from packlight.weighing import weigh
from tests.networks import images, wide


@pytest.fixture(scope="module")
def network() -> Network:
    return fuse(wide()).network


@pytest.fixture(scope="module")
def curvatures(network):
    watched = network.copy()
    layers = find_layers(watched)
    singles = [(x[None],) for x in images(24, seed=1)]
    return curvature.collect(watched, layers, singles, curvature.classifier_loss(False))


def _clock(network: Network):
    whole = weigh(network).totals.macs
    return lambda narrower: whole / weigh(narrower).totals.macs


@pytest.mark.parametrize("speedup", [1.2, 2.0, 4.0])
def test_the_speed_asked_for_is_reached_with_little_to_spare(network, curvatures, speedup):
    clock = _clock(network)
    macs = thinning.macs_by_weight(network)
    found = narrowing.narrow(network, curvatures, macs, lambda n: clock(n) / speedup, 1 / speedup)
    assert found.measured >= 1
    narrower = thinning.without(network, curvatures, found.keep)
    assert clock(narrower) == pytest.approx(found.measured * speedup)
    # one step of widths narrower in one of the groups is all that may be too much
    assert found.measured <= 2.0


def test_no_trial_is_far_narrower_than_what_is_missing(network, curvatures):
    clock, seen = _clock(network), []

    def nearly(narrower):  # a little slower than the share of the multiplications tells
        seen.append(0.97 * clock(narrower) / 1.3)
        return seen[-1]

    macs = thinning.macs_by_weight(network)
    found = narrowing.narrow(network, curvatures, macs, nearly, 1 / 1.3)
    assert 1 <= found.measured < 1.4
    assert max(seen) < 1.8


def test_no_network_is_measured_until_the_clock_is_content(network, curvatures):
    seen = []

    def lucky(narrower):  # each look at the clock sees more than the one before
        seen.append(weigh(narrower).totals.macs)
        return 0.9 + 0.02 * len(seen)

    found = narrowing.narrow(network, curvatures, thinning.macs_by_weight(network), lucky, 0.98)
    assert found.measured >= 1
    assert len(seen) > 4
    assert len(set(seen)) == len(seen)


def test_a_measure_that_no_width_meets_is_refused_with_the_best_there_is(network, curvatures):
    macs = thinning.macs_by_weight(network)
    with pytest.raises(narrowing.NotNarrowEnough) as refused:
        narrowing.narrow(network, curvatures, macs, lambda _: 0.25, 0.1)
    assert refused.value.best == 0.25


def test_ram_is_what_weigh_plans_and_leaves_nothing_behind(network, tmp_path):
    file = onnx_file.write(network, tmp_path / "model.onnx")
    (tmp_path / "folder").mkdir()
    needed = narrowing.ram_of(file.read_bytes(), tmp_path / "folder")
    assert needed == weigh(file).ram_bytes
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize("share", [0.8, 0.5])
def test_a_bound_on_ram_is_met(network, curvatures, tmp_path, share):
    def ram(narrower):
        return narrowing.ram_of(onnx_file.to_bytes(narrower), tmp_path)

    most = share * ram(network)
    cost = narrowing.values_by_weight(network)
    found = narrowing.narrow(network, curvatures, cost, lambda n: most / ram(n), share)
    assert ram(thinning.without(network, curvatures, found.keep)) <= most


def test_values_at_the_peak_count_and_values_far_below_do_not(network):
    counted = narrowing.values_by_weight(network)
    own = {name: value_of_name(network, name).numel() for name in counted}
    layers = {layer.weight: layer_name(layer.node) for layer in find_layers(network)}
    live = weigh(network).memory.timeline
    heights = dict(zip(live.steps, live.live, strict=True))
    extra = {name: counted[name] - own[name] for name in layers}
    highest = max(layers, key=lambda name: heights[layers[name]])
    lowest = min(layers, key=lambda name: heights[layers[name]])
    assert extra[highest] > 10 * extra[lowest] >= 0
    network(images(5))  # any batch still runs
