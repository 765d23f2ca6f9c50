"""Rounding with error feedback against the slow optimal brain surgeon."""

from __future__ import annotations

import numpy as np
import pytest

from packlight.coding import rate, trellis
from packlight.shrink import quantize
from tests.reference import obs
from tests.reference import rows as sharing
from tests.reference import trellis as paths

FLAT = np.zeros(2 * rate.LEVELS + 1)


def correlated(groups: int, columns: int, seed: int) -> np.ndarray:
    """Moments of strongly correlated inputs."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(groups, columns, columns)) + 2 * rng.normal(size=(groups, columns, 1))
    return mixing @ mixing.swapaxes(1, 2) / columns


def damped(moments: np.ndarray) -> np.ndarray:
    """Moments with the ridge that `factorize` adds."""
    mean = np.trace(moments, axis1=1, axis2=2) / moments.shape[1]
    return moments + quantize.DAMPING * mean[:, None, None] * np.eye(moments.shape[1])


@pytest.mark.parametrize(("groups", "rows", "columns"), [(1, 3, 5), (4, 1, 9), (1, 2, 70)])
@pytest.mark.parametrize("price", [0.0, 0.02])
def test_rounding_matches_the_published_elimination(groups, rows, columns, price):
    rng = np.random.default_rng(columns)
    weights = rng.normal(size=(groups, rows, columns))
    moments = correlated(groups, columns, columns)
    step = np.full((groups, rows), 0.3)
    bits = rate.marginal(np.rint(weights / 0.3))
    factor = quantize.factorize(moments)
    levels, errors = quantize.round_columns(weights, factor, step, quantize.on_grid(price, bits))
    lost = weights - levels * step[:, :, None]
    loss = np.einsum("grn,gnm,grm->", lost, damped(moments), lost)
    assert np.square(errors).sum() == pytest.approx(loss)
    for group in range(groups):
        expected = obs.round_columns(
            weights[group], damped(moments)[group], factor.order, step[group], price, bits
        )
        assert (levels[group] == expected).mean() > 0.99  # ties in float64 may fall either way


def test_the_factor_is_the_inverse_of_the_damped_moments():
    moments = correlated(2, 12, 3)
    factor = quantize.factorize(moments)
    inverse = factor.upper.swapaxes(1, 2) @ factor.upper
    H = damped(moments)[:, factor.order][:, :, factor.order]
    np.testing.assert_allclose(inverse @ H, np.broadcast_to(np.eye(12), (2, 12, 12)), atol=1e-8)
    assert (np.tril(factor.upper, -1) == 0).all()
    np.testing.assert_allclose(factor.moments, damped(moments), rtol=1e-8, atol=1e-10)


def test_uncorrelated_inputs_are_rounded_to_nearest():
    weights = np.random.default_rng(0).normal(size=(1, 4, 20))
    factor = quantize.factorize(np.eye(20)[None])
    step = np.full((1, 4), 0.1)
    levels, _ = quantize.round_columns(weights, factor, step, quantize.on_grid(0.0, FLAT))
    np.testing.assert_array_equal(levels, np.rint(weights / 0.1))


def test_feedback_beats_plain_rounding_on_correlated_inputs():
    gains = []
    for seed in range(10):
        weights = np.random.default_rng(seed).normal(size=(1, 8, 40))
        moments = correlated(1, 40, seed)
        step = np.full((1, 8), 0.5)
        solved, _ = quantize.quantize(weights, [quantize.factorize(moments)], step, price=0.0)
        plain = np.rint(weights / 0.5)
        errors = [weights - levels * 0.5 for levels in (solved, plain)]
        damage = [np.einsum("grn,gnm,grm->", e, moments, e) for e in errors]
        gains.append(damage[0] / damage[1])
    assert np.mean(gains) < 0.5


def test_a_price_on_bits_lowers_the_entropy_and_costs_little():
    weights = np.random.default_rng(1).laplace(size=(1, 16, 64))
    factors = [quantize.factorize(correlated(1, 64, 1))]
    step = np.full((1, 16), 1.0)
    free, _ = quantize.quantize(weights, factors, step, price=0.0)
    priced, _ = quantize.quantize(weights, factors, step, price=0.3)
    assert rate.estimate(priced) < rate.estimate(free)


def test_columns_in_blocks_use_one_factor_each():
    weights = np.random.default_rng(2).normal(size=(1, 3, 30))
    parts = [correlated(1, 20, 5), correlated(1, 10, 6)]
    factors = [quantize.factorize(part) for part in parts]
    step = np.full((1, 3), 0.2)
    together, _ = quantize.quantize(weights, factors, step, price=0.0)
    first, _ = quantize.quantize(weights[:, :, :20], factors[:1], step, price=0.0)
    np.testing.assert_array_equal(together[:, :, :20], first)


def test_dead_inputs_do_no_harm():
    moments = np.zeros((1, 6, 6))
    moments[0, 2, 2] = 1.0
    levels, _ = quantize.quantize(
        np.ones((1, 2, 6)), [quantize.factorize(moments)], np.full((1, 2), 0.25), price=0.0
    )
    assert (levels == 4).all()


@pytest.mark.parametrize("price", [0.0, 0.05, 1.0])
def test_the_path_is_the_cheapest_of_all(price):
    generator = np.random.default_rng(4)
    bits = np.abs(np.arange(-quantize.TOP, quantize.TOP + 1)) + np.array([[1.0], [0.5]])
    for _ in range(20):
        targets = generator.normal(size=5) * 1.5
        weights = generator.uniform(0.5, 2, 5)
        found = quantize.on_trellis(price, bits)(targets[None], weights[None])[0]
        _, expected = paths.cheapest(targets, weights, price * bits, 3)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("stay", [0.5, 3.0])
def test_the_path_is_the_cheapest_of_all_also_where_earlier_levels_save_bits(stay):
    generator = np.random.default_rng(7)
    bits = np.abs(np.arange(-quantize.TOP, quantize.TOP + 1)) + np.array([[1.0], [0.5]])
    kept = 0
    for _ in range(20):
        indices = generator.integers(-1, 2, 4)
        earlier = np.array(paths.levels_of(indices.tolist())[0])
        targets = earlier + generator.normal(size=4)
        weights = generator.uniform(0.5, 2, 4)
        choose = quantize.on_trellis(0.2, bits, stay)
        found = choose(targets[None], weights[None], earlier[None])[0]
        _, expected = paths.cheapest(targets, weights, 0.2 * bits, 3, earlier, 0.2 * stay)
        np.testing.assert_array_equal(found, expected)
        kept += (found == earlier).all()
    assert 0 < kept < 20


@pytest.mark.parametrize("price", [0.0, 0.1])
def test_rows_on_a_grid_make_good_what_those_before_them_err(price):
    generator = np.random.default_rng(8)
    bits = rate.marginal(np.rint(generator.laplace(size=500)))
    moved = 0
    for seed in range(20):
        rows = quantize.between_rows([correlated(1, 7, seed)])
        targets, costs = generator.normal(size=(1, 7)) * 2, generator.uniform(0.5, 2, (1, 7))
        found = quantize.on_grid(price, bits, rows=rows)(targets, costs)[0]
        expected = sharing.on_grid(
            targets[0], costs[0], price * bits, rate.LEVELS, rows.moments[0][0]
        )
        np.testing.assert_array_equal(found, expected)
        moved += (found != quantize.on_grid(price, bits)(targets, costs)[0]).any()
    assert moved > 10


def test_rows_along_the_trellis_make_good_what_those_before_them_err_on_their_path():
    generator = np.random.default_rng(9)
    top, bits = 4, np.abs(np.arange(-quantize.TOP, quantize.TOP + 1)) + np.array([[1.0], [0.5]])
    few = 0.2 * bits[:, quantize.TOP - top : quantize.TOP + top + 1]
    for seed in range(10):
        rows = quantize.between_rows([correlated(1, 9, seed)])
        targets, costs = generator.normal(size=(1, 9)) * 1.5, generator.uniform(0.5, 2, (1, 9))
        found = quantize.on_trellis(0.2, bits, rows=rows)(targets, costs)[0]
        expected = sharing.along_trellis(targets[0], costs[0], few, top, rows.moments[0][0])
        np.testing.assert_array_equal(found, expected)


def test_rows_of_two_blocks_and_groups_know_nothing_of_each_other():
    blocks = [correlated(2, 4, 1), correlated(2, 3, 2)]
    scale = np.concatenate([np.diagonal(one, axis1=1, axis2=2) for one in blocks], 1).mean()
    rows = quantize.between_rows(blocks)
    targets = np.random.default_rng(3).normal(size=(2, 7)) * 3
    found = quantize.on_grid(0.0, FLAT, rows=rows)(targets, np.ones(1))
    for group in range(2):
        for start, block in ((0, blocks[0]), (4, blocks[1])):
            stop = start + block.shape[1]
            B = block[group] / scale + quantize.DAMPING * np.eye(stop - start)
            expected = sharing.on_grid(
                targets[group, start:stop], np.ones(stop - start), FLAT, rate.LEVELS, B
            )
            np.testing.assert_array_equal(found[group, start:stop], expected)


@pytest.mark.parametrize("along_trellis", [False, True])
def test_shared_rows_lose_less_of_what_they_are_to_hold(along_trellis):
    weights = np.random.default_rng(0).normal(size=(1, 24, 30))
    H, B = correlated(1, 30, 1), correlated(1, 24, 2)
    factors, step = [quantize.factorize(H)], np.full((1, 24), 0.5)
    losses = []
    for rows in (quantize.between_rows([B]), None):
        levels, _ = quantize.quantize(
            weights, factors, step, price=0.0, along_trellis=along_trellis, rows=rows
        )
        lost = weights - levels * step[:, :, None]
        losses.append(np.einsum("grn,gnm,gqm,grq->", lost, H, lost, B))
    assert losses[0] < 0.7 * losses[1]


def test_rows_of_which_nothing_is_known_stay_by_themselves():
    assert quantize.between_rows([]) is None
    assert quantize.between_rows([np.zeros((1, 3, 3))]) is None


def test_the_trellis_holds_the_same_error_in_fewer_bits():
    weights = np.random.default_rng(5).laplace(size=(1, 256, 48))
    moments = correlated(1, 48, 2)
    factors = [quantize.factorize(moments)]
    ends = []
    for step, along_trellis in ((1.0, False), (0.6, True)):
        steps = np.full((1, 256), step)
        levels, _ = quantize.quantize(
            weights, factors, steps, price=0.05, along_trellis=along_trellis
        )
        error = weights - levels * step
        damage = np.einsum("grn,gnm,grm->", error, damped(moments), error)
        ends.append((damage, rate.estimate(levels[0])))
    (plain_damage, plain_bits), (damage, bits) = ends
    # half a bit halves the error twice: bits at the error of the plain grid
    assert bits + levels.size * 0.5 * np.log2(damage / plain_damage) < 0.98 * plain_bits


def test_levels_along_the_trellis_are_on_it_in_every_group_and_block():
    generator = np.random.default_rng(6)
    weights = generator.normal(size=(3, 8, 30))
    factors = [quantize.factorize(correlated(3, size, size)) for size in (20, 10)]
    levels, _ = quantize.quantize(
        weights, factors, np.full((3, 8), 0.3), price=0.01, along_trellis=True
    )
    assert trellis.indices(levels.reshape(24, 30)) is not None
    assert np.abs(levels).max() > 3


def test_short_steps_are_at_most_a_128th_larger_and_leave_two_bytes_of_a_float_empty():
    step = np.exp(np.random.default_rng(0).uniform(-20, 20, 1000))
    short = quantize.short(step)
    assert (short >= step).all()
    assert (short <= step * (1 + 2**-7)).all()
    assert not (short.astype(np.float32).view(np.uint32) & 0xFFFF).any()
    np.testing.assert_array_equal(quantize.short(short), short)
