"""What is fitted on never judges."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from packlight.data import Dataset, open_data, split
from packlight.errors import BadInput
from packlight.specs import TensorSpec

SPEC = [TensorSpec("x", (None, 2), "float32")]


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


def test_judges_that_equal_a_fitted_sample_are_left_out():
    repeated = np.concatenate([numbered(400).arrays()[0], numbered(100).arrays()[0]])
    found = split(Dataset(None, open_data(repeated, SPEC).test), calibrate=300)
    assert not values(found.fit) & values(found.judge)
    assert len(found.judge) < 200
    assert f"({200 - len(found.judge)} that equal a fitted one left out)" in found.description


def test_test_samples_that_the_search_saw_in_training_are_left_out():
    found = split(Dataset(numbered(400), numbered(100, 350)), calibrate=300, steer=100)
    assert values(found.judge) == {float(n) for n in range(400, 450)}


def test_nothing_but_repeats_is_told():
    same = open_data(np.ones((400, 2), np.float32), SPEC).test
    with pytest.raises(BadInput, match="equals one that is fitted on"):
        split(Dataset(None, same), calibrate=300)


def test_pictures_that_repeat_are_left_out(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(60):
        pixels = generator.integers(0, 256, (4, 4), dtype=np.uint8)
        for copy in "ab":
            Image.fromarray(pixels).save(tmp_path / f"{number:02}{copy}.png")
    pictures = open_data(tmp_path, [TensorSpec("x", (None, 1, 4, 4), "float32")])
    found = split(pictures, calibrate=30)
    assert len(found.judge) < 90
    names = [{name[:2] for name in part.names} for part in (found.fit, found.judge)]
    assert not names[0] & names[1]
