"""Levels that lie on the trellis, and those that do not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from packlight.coding import rate, trellis
from tests.reference import trellis as reference

COLUMNS = st.lists(st.lists(st.integers(-63, 63), min_size=7, max_size=7), min_size=1, max_size=5)


@given(COLUMNS)
@settings(max_examples=100, deadline=None)
def test_indices_come_back_from_the_levels_they_stand_for(columns):
    pairs = [reference.levels_of(indices) for indices in columns]
    found = trellis.indices(np.array([levels for levels, _ in pairs]).T)
    assert found is not None
    np.testing.assert_array_equal(found[0].T, columns)
    np.testing.assert_array_equal(found[1].T, [grids for _, grids in pairs])


def test_one_level_off_its_grid_is_seen():
    generator = np.random.default_rng(0)
    for _ in range(50):
        indices = generator.integers(-5, 6, 9).tolist()
        levels, grids = reference.levels_of(indices)
        place = int(generator.integers(9))
        levels[place] = 4 if grids[place] else 5
        wrong = np.array(levels)[:, None]
        assert trellis.indices(wrong) is None


def test_random_levels_are_on_no_trellis():
    levels = np.random.default_rng(1).integers(-3, 4, (64, 8))
    assert trellis.indices(levels) is None


def test_what_half_the_levels_are_left_out_for_is_not_paid_twice():
    generator = np.random.default_rng(2)
    indices = np.rint(generator.laplace(size=(400, 30))).astype(int)
    levels = np.array([reference.levels_of(column.tolist())[0] for column in indices.T]).T
    shares = np.unique(indices, return_counts=True)[1] / indices.size
    entropy = -(shares * np.log2(shares)).sum()
    assert rate.estimate(levels.astype(np.int8)) < 1.03 * entropy * indices.size
