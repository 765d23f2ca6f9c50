"""Pruned weights against the slow elimination that tries every candidate."""

from __future__ import annotations

import numpy as np
import pytest

from packlight.errors import BadInput
from packlight.shrink import prune
from packlight.shrink.prune import FREE, Pattern, damped
from tests.reference import prune as reference
from tests.shrink.test_quantize import correlated

PATTERNS = ["free", "2:4", "4:8", "1x4", "4x1", "2x2"]


def random_layer(groups, rows, columns, seed=0):
    weights = np.random.default_rng(seed).normal(size=(groups, rows, columns))
    return weights, correlated(groups, columns, seed)


def missed(weights, pruned, moments):
    lost = weights - pruned
    return float(np.einsum("grn,gnm,grm->", lost, damped(moments), lost))


@pytest.mark.parametrize(("pattern", "count"), [("free", 9), ("1x2", 5), ("3x1", 4), ("3x2", 2)])
def test_obs_takes_the_same_weights_as_trying_them_all(pattern, count):
    weights, moments = random_layer(1, 3, 8, seed=3)
    shape = Pattern.parse(pattern)
    blocks = weights.size // (shape.rows * shape.columns)
    found = prune.obs(weights, moments, count / blocks, shape)
    expected, _ = reference.greedy(weights[0], damped(moments)[0], count, shape.rows, shape.columns)
    np.testing.assert_array_equal(found[0] == 0, expected == 0)
    np.testing.assert_allclose(found[0], expected, atol=1e-7)


def test_one_more_weight_each_time_is_the_next_of_the_slow_elimination():
    weights, moments = random_layer(1, 2, 6, seed=1)
    _, order = reference.greedy(weights[0], damped(moments)[0], 8)
    for count in range(1, 9):
        gone = np.argwhere(prune.obs(weights, moments, count / 12)[0] == 0)
        assert {tuple(place) for place in gone} == set(order[:count])


def test_refitting_is_least_squares_over_the_weights_that_stay():
    weights, moments = random_layer(2, 4, 20)
    stays = np.random.default_rng(1).random(weights.shape) < 0.5
    H = damped(moments)
    found = prune.refit(weights, H, stays)
    for group in range(2):
        expected = reference.refit(weights[group], H[group], stays[group])
        np.testing.assert_allclose(found[group], expected, atol=1e-6)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_pattern_holds_and_zeros_are_exact(pattern, exact, monkeypatch):
    monkeypatch.setattr(prune, "EXACT", 1e12 if exact else 0)
    weights, moments = random_layer(2, 8, 32)
    shape = Pattern.parse(pattern)
    stays = prune.obs(weights, moments, 0.5, shape) != 0
    assert stays.sum() == stays.size // 2
    if shape.of:
        assert (stays.reshape(2, 8, -1, shape.of).sum(3) == shape.keep).all()
    else:
        blocks = stays.reshape(2, 8 // shape.rows, shape.rows, -1, shape.columns)
        sums = blocks.sum((2, 4))
        assert np.isin(sums, [0, shape.rows * shape.columns]).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_obs_misses_less_than_magnitude_on_correlated_inputs(pattern, monkeypatch):
    shape = Pattern.parse(pattern)
    ends = {"exact": [], "rounds": []}
    for seed in range(5):
        weights, moments = random_layer(1, 8, 32, seed)
        plain = weights * prune.kept(prune.magnitude(weights), 0.5, shape)
        for name, limit in (("exact", 1e12), ("rounds", 0)):
            monkeypatch.setattr(prune, "EXACT", limit)
            found = prune.obs(weights, moments, 0.5, shape)
            ends[name].append(missed(weights, found, moments) / missed(weights, plain, moments))
    assert np.mean(ends["exact"]) < 0.5
    assert np.mean(ends["exact"]) <= np.mean(ends["rounds"]) < 0.6


def test_rows_share_their_budget_by_what_it_costs():
    weights, moments = random_layer(1, 2, 16)
    weights[0, 1] *= 100
    stays = prune.obs(weights, moments, 0.4) != 0
    assert stays[0].sum(1).tolist() == [3, 16]


def test_saliency_is_the_rise_of_the_loss():
    weights, moments = random_layer(1, 2, 5)
    found = prune.saliency(weights, np.diagonal(moments, axis1=1, axis2=2), sensitivity=3.0)
    for row, column in np.ndindex(2, 5):
        lost = np.zeros(5)
        lost[column] = weights[0, row, column]
        assert found[0, row, column] == pytest.approx(0.5 * 3.0 * lost @ moments[0] @ lost)


def test_uncorrelated_inputs_are_pruned_by_saliency_and_nothing_moves():
    weights, _ = random_layer(1, 4, 16)
    moments = np.diag(np.linspace(1, 4, 16))[None]
    found = prune.obs(weights, moments, 0.5)
    scores = prune.saliency(weights, np.diagonal(damped(moments), axis1=1, axis2=2))
    np.testing.assert_allclose(found, weights * prune.kept(scores, 0.5), atol=1e-9)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_or_everything_goes(share, exact, monkeypatch):
    monkeypatch.setattr(prune, "EXACT", 1e12 if exact else 0)
    weights, moments = random_layer(2, 3, 7)
    found = prune.obs(weights, moments, share)
    np.testing.assert_array_equal(found, weights if share == 0 else 0 * weights)


def test_inputs_that_are_always_zero_go_by_size():
    weights, _ = random_layer(1, 3, 8)
    found = prune.obs(weights, np.zeros((1, 8, 8)), 0.5)
    np.testing.assert_allclose(found, weights * prune.kept(np.abs(weights), 0.5), atol=1e-9)


def test_one_column_is_kept_where_it_matters():
    weights = np.array([[[1.0], [3.0]], [[2.0], [0.5]]])
    found = prune.obs(weights, np.ones((2, 1, 1)), 0.5)
    np.testing.assert_allclose(found[:, :, 0], [[0, 3], [2, 0]])


@pytest.mark.parametrize("text", ["", "4:2", "2:2", "0:4", "x4", "1x0", "dense", "2:4:8"])
def test_a_pattern_that_is_none_is_refused(text):
    with pytest.raises(BadInput, match="not known"):
        Pattern.parse(text)


def test_shapes_and_shares_that_do_not_fit_are_refused():
    weights, moments = random_layer(1, 3, 6)
    with pytest.raises(BadInput, match="3 outputs x 6 inputs can not be cut into 1 x 4"):
        prune.obs(weights, moments, 0.5, Pattern.parse("2:4"))
    with pytest.raises(BadInput, match="can not be cut into 2 x 1"):
        prune.kept(weights, 0.5, Pattern.parse("2x1"))
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(BadInput, match="between 0 and 1"):
            prune.obs(weights, moments, share, FREE)
