"""The estimate of a tensor's packed size, against the packed size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packlight.coding import rate
from packlight.coding.packing import compress
from tests.coding.samples import npy, weights
from tests.reference import rate as reference


def smooth_kernels(rows: int, channels: int, spread: float, seed: int = 0):
    """Levels of 3x3 kernels whose taps are alike, as trained ones are."""
    generator = np.random.default_rng(seed)
    base = generator.laplace(size=(rows, channels, 1, 1))
    values = base * 1.5 + generator.laplace(size=(rows, channels, 3, 3))
    values *= np.exp(generator.normal(size=(1, channels, 1, 1)) * 0.4)
    return np.clip(np.rint(values * spread), -127, 127).astype(np.int8)


def rounded(shape, spread: float):
    values = weights(shape) / 0.05
    return np.clip(np.rint(values * spread), -127, 127).astype(np.int8)


CASES = {
    "fine kernels": smooth_kernels(128, 64, 2.0),
    "coarse kernels": smooth_kernels(256, 64, 0.5),
    "fine matrix": rounded((500, 256), 2.0),
    "coarse matrix": rounded((500, 256), 0.6),
    "very coarse matrix": rounded((256, 512), 0.2),
}


@pytest.mark.parametrize("levels", CASES.values(), ids=CASES.keys())
def test_the_estimate_is_near_what_packing_makes_of_it(levels):
    packed = (
        len(compress(npy(levels), "max", verify=False)) - 160
    )  # the container and NumPy's header
    assert rate.estimate(levels) / 8 == pytest.approx(packed, rel=0.04)


def test_all_of_a_network_together_is_within_two_percent():
    estimate = sum(rate.estimate(levels) for levels in CASES.values()) / 8
    packed = sum(len(compress(npy(levels), "max", verify=False)) - 160 for levels in CASES.values())
    assert estimate == pytest.approx(packed, rel=0.02)


@pytest.mark.parametrize("shape", [(5,), (4, 7), (3, 4, 3, 3), (2, 3, 5), (1, 1, 1, 1)])
def test_the_estimate_is_what_coding_symbol_by_symbol_would_cost(shape):
    levels = np.random.default_rng(1).integers(-3, 4, shape).astype(np.int8)
    assert rate.estimate(levels) == pytest.approx(reference.estimate(levels), rel=1e-5)


def test_nothing_and_zeros_cost_next_to_nothing():
    assert rate.estimate(np.zeros((0, 4), np.int8)) == 0
    assert rate.estimate(np.zeros((100, 100), np.int8)) < 100


@given(st.lists(st.integers(-127, 127), min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_every_level_has_a_price_and_the_prices_are_probabilities(levels):
    bits = rate.marginal(np.array(levels))
    assert np.isfinite(bits).all()
    assert np.exp2(-bits).sum() == pytest.approx(1.0, abs=1e-6)


def test_what_is_frequent_is_cheap():
    bits = rate.marginal(np.array([0] * 90 + [1] * 9 + [-1]))
    assert bits[127] < bits[128] < bits[126] < bits[130]
