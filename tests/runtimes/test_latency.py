"""Statistics of times, on made-up numbers."""

from __future__ import annotations

import numpy as np
import pytest

from packlight.judge import Interval
from packlight.runtimes.latency import (
    Latency,
    median_interval,
    ratio_interval,
    spread,
    verdict,
)

SAME = Interval(1.0, 0.98, 1.01)


def test_a_latency_is_the_median_and_what_95_percent_do_not_exceed():
    assert Latency.of(np.arange(101.0)) == Latency(50.0, 95.0)


@pytest.mark.parametrize(
    ("n", "low", "high"),
    [
        (1, 1, 1),
        (2, 1, 2),
        (5, 1, 5),  # not even all of them reach 95 %
        (6, 1, 6),
        (8, 1, 8),
        (9, 2, 8),  # tables of the sign test
        (10, 2, 9),
        (12, 3, 10),
        (20, 6, 15),
        (100, 40, 61),
    ],
)
def test_the_interval_ends_at_the_order_statistics_of_the_tables(n, low, high):
    values = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    assert median_interval(values) == Interval((n + 1) / 2, low, high)


def test_thousands_of_turns_have_an_interval_as_well():
    found = median_interval(np.arange(1, 10001.0))
    assert (found.low, found.high) == (4902, 5099)  # n / 2 -+ 1.96 sqrt(n) / 2


@pytest.mark.parametrize("n", [6, 10, 35])
def test_the_interval_holds_the_true_median_at_least_as_often_as_it_says(n):
    generator = np.random.default_rng(0)
    found = [median_interval(generator.exponential(size=n)) for _ in range(2000)]
    held = np.mean([one.low <= np.log(2) <= one.high for one in found])
    assert 0.94 <= held <= 0.99


def test_noise_that_hits_both_in_the_same_turn_cancels():
    noise = np.random.default_rng(0).exponential(size=40) + 1
    ratio = ratio_interval(0.8 * noise, noise)
    assert ratio.value == pytest.approx(0.8)
    assert ratio.high - ratio.low < 1e-12


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (Interval(0.9, 0.88, 0.92), "faster"),
        (Interval(1.1, 1.05, 1.2), "slower"),
        (Interval(1.0, 0.9, 1.1), "unclear"),
        (Interval(0.985, 0.982, 0.988), "unclear"),  # no further from 1 than the same file twice
        (Interval(1.015, 1.012, 1.018), "unclear"),
    ],
)
def test_a_difference_counts_beyond_what_the_same_file_differs_by(ratio, expected):
    assert verdict(ratio, SAME) == expected


def test_a_machine_at_rest_tells_small_differences():
    assert verdict(Interval(0.995, 0.994, 0.996), Interval(1.0, 0.999, 1.001)) == "faster"


def test_spread_is_of_the_middle_half():
    assert spread([1, 1, 1, 1, 50]) == 0
    assert spread([8, 9, 10, 11, 12]) == pytest.approx(0.2)
