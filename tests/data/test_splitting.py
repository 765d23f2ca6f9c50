"""What is fitted on never judges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from packlight.data import Dataset, open_data, split
from packlight.errors import BadInput
from packlight.network import TensorSpec

SPEC = [TensorSpec("x", (None, 2), torch.float32)]


def numbered(count: int, start: int = 0):
    x = np.repeat(np.arange(start, start + count, dtype=np.float32)[:, None], 2, axis=1)
    return open_data(x, SPEC).test


def values(samples) -> set[float]:
    return set(samples.arrays()[0][:, 0].tolist())


def test_without_a_training_part_the_rest_judges():
    found = split(Dataset(None, numbered(500)), calibrate=300)
    assert len(found.fit) == 300
    assert len(found.judge) == 200
    assert not values(found.fit) & values(found.judge)
    assert found.steer is None


def test_with_a_training_part_the_test_part_judges():
    found = split(Dataset(numbered(1000), numbered(100, 5000)), calibrate=300, steer=500)
    assert len(found.fit) == 300
    assert len(found.steer) == 500
    assert not values(found.fit) & values(found.steer)
    assert values(found.judge) == {float(n) for n in range(5000, 5100)}


def test_a_seed_settles_the_choice():
    dataset = Dataset(None, numbered(500))
    assert values(split(dataset, seed=1).fit) == values(split(dataset, seed=1).fit)
    assert values(split(dataset, seed=1).fit) != values(split(dataset, seed=2).fit)


def test_nothing_to_calibrate_leaves_all_to_the_judges():
    assert len(split(Dataset(None, numbered(50)), calibrate=0).judge) == 50


@pytest.mark.parametrize(("count", "advice"), [(310, "--calibrate 290"), (10, "more samples")])
def test_too_few_samples_are_told_with_what_to_do(count, advice):
    with pytest.raises(BadInput, match=advice):
        split(Dataset(None, numbered(count)), calibrate=300)
    with pytest.raises(BadInput, match="training samples"):
        split(Dataset(numbered(10), numbered(count)), calibrate=300)
