"""Centres on the line against the plain dynamic program, and Lloyd's algorithm for vectors."""

from __future__ import annotations

import numpy as np
import pytest

from packlight.shrink import kmeans
from tests.reference.kmeans import least_error


def error(values: np.ndarray, weights: np.ndarray, centres: np.ndarray) -> float:
    return float((weights[:, None] * np.square(values[:, None] - centres)).min(1).sum())


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_centres_are_the_best_there_are(seed, zero):
    rng = np.random.default_rng(seed)
    count, k = int(rng.integers(1, 22)), int(rng.integers(1, 7))
    # rounding makes duplicates, and some values weigh nothing
    values = np.sort(np.round(3 * rng.normal(size=count), seed % 3))
    weights = rng.uniform(0.1, 2, count) * (rng.random(count) > 0.2 * (seed % 2))
    centres = kmeans.centres_of(values, k, weights, zero=zero)
    told = weights if weights.any() else np.ones(count)
    assert len(centres) <= k
    assert (np.diff(centres) > 0).all()
    assert not zero or 0.0 in centres
    wanted = least_error(values, told, k, zero)
    assert error(values, told, centres) == pytest.approx(wanted, abs=1e-9)


def test_more_centres_than_values_give_the_values():
    values = np.array([3.0, -1.0, 3.0, 0.5])
    np.testing.assert_array_equal(kmeans.centres_of(values, 9), [-1.0, 0.5, 3.0])
    np.testing.assert_array_equal(kmeans.centres_of(values, 9, zero=True), [-1.0, 0, 0.5, 3.0])


def test_one_value_is_its_own_centre():
    np.testing.assert_array_equal(kmeans.centres_of(np.full((3, 4), 0.25), 4), [0.25])


def test_large_offsets_do_not_drown_the_spread():
    values = 1e6 + np.repeat([0.0, 1.0, 5.0, 6.0], 10) + np.tile(np.linspace(0, 0.1, 10), 4)
    centres = kmeans.centres_of(values, 4)
    np.testing.assert_allclose(centres - 1e6, [0.05, 1.05, 5.05, 6.05], atol=1e-6)


def test_weights_pull_the_centres():
    values = np.array([0.0, 1.0, 2.0])
    assert kmeans.centres_of(values, 1, np.array([1.0, 1.0, 100.0]))[0] > 1.9


def test_ties_fall_the_same_way_every_time():
    values = np.array([-1.0, 0.0, 1.0])  # {-1} {0, 1} is as good as {-1, 0} {1}
    first = kmeans.centres_of(values, 2)
    for order in ([2, 1, 0], [1, 0, 2]):
        np.testing.assert_array_equal(kmeans.centres_of(values[order], 2), first)


def test_too_many_values_are_joined_and_settle_nearly_as_well(monkeypatch):
    values = np.random.default_rng(0).laplace(size=3000)
    ones = np.ones(3000)
    exact = error(values, ones, kmeans.centres_of(values, 8))
    monkeypatch.setattr(kmeans, "MAX_DISTINCT", 200)
    joined = error(values, ones, kmeans.centres_of(values, 8))
    assert exact <= joined < 1.01 * exact


def test_a_price_on_bits_buys_entropy_with_error():
    values = np.random.default_rng(1).laplace(size=5000)
    plain = kmeans.centres_of(values, 16)
    priced = kmeans.settled(values, plain, price=0.1)

    def measures(centres, price):
        counts = np.bincount(kmeans.nearest(values, plain), minlength=16)
        chosen = kmeans.nearest(values, plain)
        if price:
            counts = np.bincount(kmeans.nearest(values, centres), minlength=len(centres))
            chosen = kmeans.nearest(values, centres, 1.0, price * kmeans.bits_of(counts))
            counts = np.bincount(chosen, minlength=len(centres))
        share = counts[counts > 0] / len(values)
        lost = np.square(values - centres[chosen]).mean()
        return lost + 0.1 * float(-(share * np.log2(share)).sum())

    assert len(priced) < 16
    assert measures(priced, 0.1) < measures(plain, 0.0)


def test_vector_centres_beat_centres_of_single_numbers_on_correlated_pairs():
    rng = np.random.default_rng(2)
    base = rng.normal(size=2000)
    pairs = np.stack([base, base + 0.1 * rng.normal(size=2000)], 1)
    _, by_pairs = kmeans.nearest_vectors(pairs, kmeans.vector_centres(pairs, 16))
    single = kmeans.centres_of(pairs, 4)  # 4 x 4 combinations: as many bits
    assert by_pairs.sum() < 0.5 * error(pairs.ravel(), np.ones(4000), single)


def test_vector_centres_are_the_same_for_the_same_seed_and_few_vectors_are_kept():
    vectors = np.random.default_rng(3).normal(size=(300, 4))
    np.testing.assert_array_equal(
        kmeans.vector_centres(vectors, 8, seed=5), kmeans.vector_centres(vectors, 8, seed=5)
    )
    few = np.tile(vectors[:3], (10, 1))
    assert len(kmeans.vector_centres(few, 8)) == 3


@pytest.mark.parametrize("weights", [None, "random"])
def test_each_vector_goes_to_its_nearest_centre_and_each_centre_to_its_mean(weights):
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(400, 2))
    weight = np.ones(400) if weights is None else rng.uniform(0.5, 2, 400)
    centres = kmeans.vector_centres(vectors, 6, weight)
    chosen, distance = kmeans.nearest_vectors(vectors, centres)
    all_distances = np.square(vectors[:, None] - centres).sum(2)
    np.testing.assert_allclose(distance, all_distances.min(1))
    means = np.stack(
        [np.average(vectors[chosen == c], 0, weight[chosen == c]) for c in range(len(centres))]
    )
    moved = np.square(vectors - means[chosen]).sum(1)
    assert weight @ moved > 0.99 * (weight @ distance)  # nothing much is left to gain
