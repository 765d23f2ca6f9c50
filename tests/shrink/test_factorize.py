"""Factors of weights against the textbook, in the whitened norm."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from packlight.shrink import factorize
from packlight.shrink.factorize import Norm
from tests.reference import lowrank

CONV = (7, 5, 3, 2)  # outputs, inputs, height, width: no two alike


def moments(columns: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(columns, 2 * columns)) + rng.normal(size=(columns, 1))
    return mixing @ mixing.T / columns


def weight(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


FORMS = {
    "svd": (factorize.svd, [1, 2, 4, 6, 7]),
    "channel": (factorize.channel, [1, 2, 3, 4, 5]),
    "tucker": (factorize.tucker, [(1, 2), (2, 3), (3, 5), (4, 6), (5, 7)]),
    "spatial": (factorize.spatial, [1, 4, 8, 12, 14]),
    "cp": (factorize.cp, [1, 4, 10, 20, 35]),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_error_falls_with_the_rank_and_ends_at_nothing(name):
    form, ranks = FORMS[name]
    w, norm = weight(*CONV), Norm((moments(30),))
    errors = [factors.error for factors in form(w, norm, ranks)]
    whole = norm.squared(w.reshape(7, -1))
    assert all(later < earlier for earlier, later in pairwise([whole, *errors]))
    assert errors[-1] < 1e-6 * whole


@pytest.mark.parametrize("name", FORMS)
def test_the_error_told_is_that_of_the_weight_that_the_stages_make(name):
    form, ranks = FORMS[name]
    w, H = weight(*CONV, seed=1), moments(30, 1)
    for factors in form(w, Norm((H,)), ranks[1:3]):
        whole = factors.stages[0]
        for stage in factors.stages[1:]:
            whole = lowrank.convolved(stage, whole)
        assert whole.shape == CONV
        np.testing.assert_allclose(factors.composed(), whole, atol=1e-10)
        lost = (w - whole).reshape(7, -1)
        assert factors.error == pytest.approx(np.trace(lost @ H @ lost.T))
        assert factors.parameters == sum(stage.size for stage in factors.stages)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (4, 3, 3), CONV])
def test_svd_errs_by_the_tail_of_the_whitened_spectrum(shape):
    w = weight(*shape)
    H = moments(w[0].size)
    ranks = range(1, min(len(w), w[0].size) + 1)
    for rank, factors in zip(ranks, factorize.svd(w, Norm((H,)), ranks), strict=True):
        wanted = lowrank.svd_error(w.reshape(len(w), -1), H, rank)
        assert factors.error == pytest.approx(wanted, abs=1e-9)
        assert factors.rank == (rank,)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_svd_of_full_rank_is_the_layer(shape):
    w = weight(*shape)
    (factors,) = factorize.svd(w, Norm((moments(shape[1]),)), [6])
    np.testing.assert_allclose(factors.composed(), w, atol=1e-8)


@pytest.mark.parametrize("name", ["channel", "spatial", "cp"])
def test_the_last_factor_is_the_best_for_those_before_it(name):
    form, ranks = FORMS[name]
    w, H = weight(*CONV, seed=2), moments(30, 2)
    outputs, inputs, height, width = CONV
    (factors,) = form(w, Norm((H,)), ranks[2:3])
    # what the stages before the last make of the inputs, one row per feature that the last reads
    first = factors.stages[0]
    if name == "cp":
        features = (first * factors.stages[1]).reshape(len(first), -1)
    else:
        spread = np.zeros((len(first), *factors.stages[1].shape[2:], inputs, height, width))
        for tap in np.ndindex(factors.stages[1].shape[2:]):
            if name == "channel":
                spread[:, *tap, :, *tap] = first[:, :, 0, 0]
            else:
                spread[:, 0, tap[1], :, :, tap[1]] = first[:, :, :, 0]
        features = spread.reshape(-1, inputs * height * width)
    wanted = lowrank.regression_error(w.reshape(outputs, -1), H, features)
    assert factors.error == pytest.approx(wanted, rel=1e-6)


def test_knowing_the_inputs_beats_not_knowing_them():
    w, H = weight(*CONV, seed=3), moments(30, 3) * np.outer(*[np.geomspace(0.05, 5, 30)] * 2)
    norm, plain = Norm((H,)), Norm((np.eye(30),))
    for name in ("svd", "channel", "tucker", "spatial"):
        form, ranks = FORMS[name]
        (informed,) = form(w, norm, ranks[1:2])
        (blind,) = form(w, plain, ranks[1:2])
        lost = (w - blind.composed()).reshape(7, -1)
        assert informed.error < 0.9 * norm.squared(lost)


@pytest.mark.parametrize("name", FORMS)
def test_moments_in_blocks_are_the_moments_they_make_up(name):
    form, ranks = FORMS[name]
    w = weight(*CONV, seed=4)
    blocks = (moments(13, 1), moments(17, 2))  # the cut goes through a channel's taps
    dense = np.zeros((30, 30))
    dense[:13, :13], dense[13:, 13:] = blocks
    for apart, together in zip(
        form(w, Norm(blocks), ranks[:3]), form(w, Norm((dense,)), ranks[:3]), strict=True
    ):
        assert apart.error == pytest.approx(together.error, rel=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_inputs_that_are_always_zero_or_repeat_do_no_harm(name):
    form, ranks = FORMS[name]
    w, H = weight(*CONV, seed=5), moments(30, 5)
    keep = np.eye(30)
    keep[:4] = 0
    keep[10] = keep[11]
    H = keep @ H @ keep.T
    norm = Norm((H,))
    errors = [factors.error for factors in form(w, norm, ranks)]
    assert np.isfinite(errors).all()
    assert errors[-1] < 1e-6 * norm.squared(w.reshape(7, -1))
    dead = Norm((np.zeros((30, 30)),))
    assert all(factors.error == 0 for factors in form(w, dead, ranks))
    assert all(np.isfinite(factors.composed()).all() for factors in form(w, dead, ranks))


def test_a_sum_of_outer_products_is_found_again():
    rng = np.random.default_rng(6)
    parts = [rng.normal(size=(size, 3)) for size in (8, 6, 9)]
    w = np.einsum("rm,cm,km->rck", *parts).reshape(8, 6, 3, 3)
    norm = Norm((moments(54),))
    (factors,) = factorize.cp(w, norm, [3], seed=1)
    assert factors.error < 1e-3 * norm.squared(w.reshape(8, -1))


def test_the_same_seed_gives_the_same_factors():
    w, norm = weight(*CONV), Norm((moments(30),))
    first, again = (next(factorize.cp(w, norm, [4], seed=3)) for _ in range(2))
    for one, other in zip(first.stages, again.stages, strict=True):
        np.testing.assert_array_equal(one, other)
