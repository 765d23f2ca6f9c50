"""A layer taken over from an earlier version, changed where it pays."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import packlight
from packlight.coding import rate, trellis
from packlight.shrink import grid_search, quantize, revise
from packlight.shrink.curvature import Curvature
from packlight.shrink.layers import find_layers
from tests.reference import revise as reference

STEP = 0.25


def correlated(columns, seed):
    mixed = np.random.default_rng(seed).normal(size=(columns, 2 * columns))
    return mixed @ mixed.T / (2 * columns)


def rounded(rows=6, columns=10, seed=0, price=0.0, along_trellis=False):
    """Weights, their factors, and the levels that `quantize` gives them."""
    weights = np.random.default_rng(seed).normal(size=(1, rows, columns))
    factors = [quantize.factorize(correlated(columns, seed)[None])]
    steps = np.full((1, rows), STEP)
    levels, _ = quantize.quantize(weights, factors, steps, price=price, along_trellis=along_trellis)
    return weights, factors, steps, levels.astype(np.float64)


def damage(weights, factors, levels):
    lost = weights - levels * STEP
    return float(np.einsum("grn,gnm,grm->", lost, factors[0].moments, lost))


@pytest.mark.parametrize("stay", [0.0, 4.0])
def test_each_column_moves_to_where_the_whole_objective_is_least(stay, monkeypatch):
    weights, factors, steps, before = rounded(rows=3, columns=5)
    moved = weights + 0.4 * np.random.default_rng(1).normal(size=weights.shape)
    bits = 1.0 + np.abs(np.arange(-127, 128))  # the larger the dearer: candidates hold the best
    monkeypatch.setattr(quantize, "priced", lambda *_, **__: quantize.on_grid(0.01, bits, stay))
    monkeypatch.setattr(revise, "PASSES", 1)
    found = revise.change(moved, factors, steps, before, price=0.01)
    expected = reference.descended(
        moved[0], factors[0].moments[0], STEP, before[0].astype(int), 0.01, bits, stay
    )
    np.testing.assert_array_equal(found[0], expected)
    assert (found != before).any()


@pytest.mark.parametrize("along_trellis", [False, True])
def test_weights_that_stayed_keep_their_levels(along_trellis):
    weights, factors, steps, before = rounded(32, 24, price=0.01, along_trellis=along_trellis)
    found = revise.change(weights, factors, steps, before, price=0.01, along_trellis=along_trellis)
    assert (found != before).mean() < 0.01


@pytest.mark.parametrize("along_trellis", [False, True])
def test_the_more_a_bit_of_the_update_is_worth_the_less_changes(along_trellis):
    weights, factors, steps, before = rounded(32, 24, price=0.01, along_trellis=along_trellis)
    moved = weights + STEP * np.random.default_rng(1).normal(size=weights.shape)
    ends = []
    for weight in (0.0, 0.1, 1.0):
        found = revise.change(
            *(moved, factors, steps, before),
            price=0.01,
            weight=weight,
            along_trellis=along_trellis,
        )
        if along_trellis:
            assert trellis.indices(found[0].astype(np.int64)) is not None
        ends.append(((found != before).mean(), damage(moved, factors, found)))
    (free, best), (some, middle), (few, worst) = ends
    assert few < some < free
    assert best <= middle <= worst < damage(moved, factors, before)


def test_columns_in_blocks_and_inputs_that_were_never_seen():
    weights, _, steps, before = rounded(4, 12)
    halves = [quantize.factorize(correlated(6, seed)[None]) for seed in (3, 4)]
    together = revise.change(weights, halves, steps, before, price=0.0)
    first = revise.change(weights[:, :, :6], halves[:1], steps, before[:, :, :6], price=0.0)
    np.testing.assert_array_equal(together[:, :, :6], first)
    plain = revise.change(weights, [], steps, before, price=0.0)  # each rounded by itself
    np.testing.assert_array_equal(plain, np.clip(np.rint(weights / STEP), -64, 64))


class Layer:
    """One linear layer, its curvature, and its solution at a coarseness."""

    def __init__(self, coarseness=0.05):
        torch.manual_seed(0)
        module = nn.Linear(24, 32)
        network = packlight.load(module, example_inputs=[torch.zeros(1, 24)])
        layers = find_layers(network)
        generator = np.random.default_rng(0)
        means = generator.normal(size=(1, 24))
        found = Curvature((correlated(24, 0)[None],), means, sensitivity=1.0, of_bias=1.0)
        (self.prepared,) = grid_search.prepare(network, layers, {layers[0].name: found})
        self.solved = grid_search.solve(self.prepared, coarseness)
        self.coarseness = coarseness

    def moved(self, share):
        """As it is after training that moved its weights by a share of their size."""
        change = np.random.default_rng(1).normal(size=self.prepared.weights.shape)
        weights = self.prepared.weights
        return replace(self.prepared, weights=weights + share * weights.std() * change)


def test_the_coarseness_of_an_earlier_version_is_found_in_its_steps():
    layer = Layer()
    found = revise.coarseness_of([layer.prepared], [layer.solved])
    assert found == pytest.approx(layer.coarseness, rel=2**-6)  # steps are short


def test_a_layer_that_moved_little_stays_on_its_steps_and_a_new_one_is_made_anew():
    layer = Layer()
    little = revise.revise(layer.moved(0.01), layer.solved, layer.coarseness)
    np.testing.assert_array_equal(little.scale, layer.solved.scale)
    assert (little.levels != layer.solved.levels).mean() < 0.05
    assert (little.bias == layer.solved.bias).mean() > 0.5
    much = layer.moved(10.0)
    anew = revise.revise(much, layer.solved, layer.coarseness)
    expected = grid_search.solve(much, layer.coarseness)
    np.testing.assert_array_equal(anew.levels, expected.levels)
    np.testing.assert_array_equal(anew.scale, expected.scale)
    assert rate.estimate(anew.levels) == rate.estimate(expected.levels)
