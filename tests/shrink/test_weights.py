"""What the graph holds of a solution: integers, scales, and biases no finer than they matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from packlight.fuse import fuse
from packlight.shrink import curvature, float_moves, grid_search
from packlight.shrink.grid_search import Solved
from packlight.shrink.layers import find_layers, value_of_name, weight_array
from packlight.shrink.weights import Slot, quantized_name, scale_of
from tests.networks import images, plain


@pytest.fixture(scope="module")
def network():
    return fuse(plain()).network


def slot_of(network, *, integer: bool) -> tuple[Slot, Solved]:
    layer = find_layers(network)[1]
    rng = np.random.default_rng(0)
    channels = layer.shape[layer.axis]
    levels = rng.integers(-9, 10, layer.shape).astype(np.int8)
    scale = rng.uniform(0.01, 0.02, channels).astype(np.float32)
    solved = Solved(levels, scale, rng.normal(size=channels), 0.0)
    return Slot(layer, 0.05 if integer else None, integer), solved


def written(slot: Slot, solved: Solved) -> np.ndarray:
    """The bias as the network will read it."""
    values = slot.values(solved)
    name = slot.layer.bias
    assert name is not None
    if not slot.integer_bias:
        return values[name].astype(np.float64)
    return values[quantized_name(name)] * values[scale_of(name)].astype(np.float64)


@pytest.mark.parametrize("integer", [True, False])
def test_biases_are_as_coarse_as_they_may_be_and_no_coarser(network, integer):
    slot, solved = slot_of(network, integer=integer)
    exact, step = written(slot, solved), 0.3
    assert np.abs(exact - solved.bias).max() <= (0.05 * solved.scale.max() / 2 if integer else 1e-6)
    coarse = written(slot, replace(solved, bias_step=step))
    assert np.abs(coarse - solved.bias).max() <= step / 2 + 1e-6
    grid = slot.input_scale * solved.scale if integer else 1.0  # of each channel
    found = coarse / grid
    most = step / np.max(grid)
    power = 2.0 ** np.floor(np.log2(most))
    np.testing.assert_allclose(found, power * np.rint(found / power), atol=1e-3 * power)
    assert most / 2 < power <= most
    assert len(np.unique(found)) < len(np.unique(exact / grid))


@pytest.fixture(scope="module")
def prepared(network):
    layers = find_layers(network)
    samples = [(one[None],) for one in images(64, seed=3)]
    found = curvature.collect(network.copy(), layers, samples, curvature.classifier_loss(False))
    return grid_search.prepare(network, layers, found)


def test_rounded_biases_do_less_harm_than_rounded_weights(network, prepared):
    """Measured by the answers: there are fewer of them, and each may do as much as a weight."""
    layers, samples = find_layers(network), images(64, seed=3)
    coarseness = 8 * float(np.median([one.finest for one in prepared]))

    def harm(of: str) -> float:
        changed = network.copy()
        for one, layer in zip(prepared, layers, strict=True):
            solved = grid_search.solve(one, coarseness)
            assert layer.bias is not None
            if of == "weights":
                kept = solved.levels * solved.scale.reshape(-1, *[1] * (solved.levels.ndim - 1))
                name = layer.weight
            else:
                exact = replace(solved, bias=weight_array(network, layer.bias))
                name, kept = layer.bias, written(Slot(layer, None, False), exact)
                assert (kept != weight_array(network, name)).any()
            with torch.no_grad():
                value_of_name(changed, name).copy_(torch.from_numpy(kept))
        with torch.no_grad():
            return float((changed(samples)[0] - network(samples)[0]).square().mean())

    assert 0 < harm("biases") < harm("weights")


def test_centres_say_no_more_than_matters(prepared, monkeypatch):
    one = max(prepared, key=lambda each: each.weights.size)
    coarseness = 4 * one.finest
    short = float_moves.share(one, coarseness)
    centres = short.codebook.centres.ravel().astype(np.float64)
    least = float_moves.CENTRE_STEP * coarseness * one.unit / 2
    steps = np.diff(np.unique(centres))
    assert len(steps) > 3
    assert steps.min() >= least
    monkeypatch.setattr(float_moves, "CENTRE_STEP", 0.0)
    exact = float_moves.share(one, coarseness)
    assert short.damage < 1.05 * exact.damage
    assert len(np.unique(np.frexp(centres)[0])) < len(
        np.unique(np.frexp(exact.codebook.centres)[0])
    )
