"""Samples, run by run."""

from __future__ import annotations

import numpy as np

from packlight.data import runs
from packlight.specs import TensorSpec, batched_inputs

X = np.arange(10, dtype=np.float32).reshape(5, 2)


def test_a_varying_batch_is_one_run():
    spec = [TensorSpec("x", (None, 2), "float32")]
    ((called, count),) = runs([X], spec, None)
    assert count == 5
    np.testing.assert_array_equal(called[0], X)


def test_a_fixed_batch_is_filled_up():
    spec = [TensorSpec("x", (2, 2), "float32")]
    made = list(runs([X], spec, 2))
    assert [count for _, count in made] == [2, 2, 1]
    assert all(called[0].shape == (2, 2) for called, _ in made)
    np.testing.assert_array_equal(made[2][0][0], X[[4, 4]])


def test_a_state_that_comes_with_every_sample_makes_runs_of_one():
    specs = [
        TensorSpec("x", (None, 2), "float32"),
        TensorSpec("state", (3, 1, 4), "float32", batched=False),
        TensorSpec("rate", (), "int64", batched=False, value=16000),
    ]
    states = np.random.default_rng(0).normal(size=(5, 3, 1, 4)).astype(np.float32)
    made = list(runs([X, states, np.full(5, 16000)], specs, None))
    assert len(made) == 5
    x, state, rate = made[3][0]
    np.testing.assert_array_equal(x, X[3:4])
    np.testing.assert_array_equal(state, states[3])
    assert rate.shape == ()
    assert rate == 16000


def test_which_inputs_count_samples():
    assert batched_inputs([(None, 5), (2, None, 128), ()]) == [True, False, False]
    assert batched_inputs([(1, 5), (2, 1, 128), ()]) == [True, False, False]
    assert batched_inputs([(4, 5), (4, 7)]) == [True, True]
