"""Scores and intervals, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from packlight import judge


def test_a_share_has_wilsons_interval():
    found = judge.proportion(8, 10)  # the textbook case: 0.49 to 0.94
    assert found.value == 0.8
    assert found.low == pytest.approx(0.490, abs=1e-3)
    assert found.high == pytest.approx(0.943, abs=1e-3)
    assert judge.proportion(10, 10).high == pytest.approx(1.0)
    assert judge.proportion(0, 10).low == 0.0


def test_pairing_makes_the_interval_of_a_difference_narrow():
    first = np.arange(1000) < 700
    second = first.copy()
    second[:10] = False  # ten of the same thousand are lost
    paired = judge.paired_difference(first, second)
    assert paired.value == pytest.approx(0.01)
    assert paired.low > 0
    assert paired.high - paired.low < 0.02  # unpaired it would be 0.08


def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        first = rng.random(300) < 0.7
        second = np.where(rng.random(300) < 0.08, ~first, first)
        found = judge.paired_difference(first, second)
        truth = 0.08 * 0.7 - 0.08 * 0.3
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 400 <= 0.985


def test_top5_counts_classes_that_score_higher():
    scores = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]])
    found = judge.compare([scores], [scores], np.array([2]), classifier=True)
    assert found.top1 == (0.0, 0.0)
    assert found.top5 == (1.0, 1.0)
    missed = judge.compare([scores], [scores], np.array([1]), classifier=True)
    assert missed.top5 == (0.0, 0.0)


def test_of_equal_scores_the_first_class_leads():
    """A network that always says the same, or nothing, knows five classes and no more."""
    labels = np.arange(12)
    same = judge.compare([np.zeros((12, 12))], [np.full((12, 12), np.nan)], labels, classifier=True)
    assert same.top1[0] == 1 / 12
    assert same.top5 == (5 / 12, 0.0)
    scores = np.random.default_rng(0).integers(0, 4, (200, 12)).astype(np.float32)
    labels = np.resize(labels, 200)
    ranked = np.argsort(-scores, axis=1, kind="stable")
    found = judge.compare([scores], [scores], labels, classifier=True)
    assert found.top1[0] == (ranked[:, 0] == labels).mean()
    assert found.top5[0] == (ranked[:, :5] == labels[:, None]).any(1).mean()


def test_sqnr_is_in_decibels():
    signal = np.ones((10, 4))
    assert judge.sqnr_db([signal], [signal * 1.1]) == pytest.approx(20.0)
    assert judge.sqnr_db([signal], [signal]) == 200.0
    assert judge.sqnr_db([signal], [signal * np.nan]) == float("-inf")


def test_without_labels_the_drop_is_disagreement():
    a = np.eye(4)
    b = np.eye(4)[[0, 1, 3, 2]]
    found = judge.compare([a], [b], None, classifier=True)
    assert found.agreement.value == 0.5
    assert found.drop == 0.5
    assert found.top1 is None


def test_a_task_is_told_from_the_outputs():
    x = [np.zeros((3, 8), np.float32)]
    soft = np.full((3, 5), 0.2, np.float32)
    logits = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    wide = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    boxes = np.zeros((3, 10, 4), np.float32)
    assert judge.find_task(x, [soft], labelled=False) == judge.Task(True, True, 5)
    assert judge.find_task(x, [logits], labelled=False) == judge.Task(True, False, 5)
    assert judge.find_task(x, [wide], labelled=False) == judge.Task(False)
    assert judge.find_task(x, [boxes], labelled=False) == judge.Task(False)


@pytest.mark.parametrize("labelled", [True, False])
def test_flips_are_the_samples_whose_first_choice_differs(labelled):
    rng = np.random.default_rng(1)
    a = rng.integers(0, 9, (60, 1, 4)).astype(np.float32)  # with ties
    b = np.where(rng.random(a.shape) < 0.3, a + 3, a)
    labels = rng.integers(0, 4, 60) if labelled else None
    expected = []
    for index in range(60):
        first, second = (list(scores[index, 0]) for scores in (a, b))
        before, after = first.index(max(first)), second.index(max(second))
        if before != after:
            label = int(labels[index]) if labelled else None
            expected.append(judge.Flip(index, before, after, label))
    found = judge.flips([a], [b], labels)
    assert found == expected
    assert len(found) > 10
    agreement = judge.compare([a], [b], labels, classifier=True).agreement
    assert agreement.value == pytest.approx(1 - len(found) / 60)
    if labelled:
        drop = judge.compare([a], [b], labels, classifier=True).drop1
        lost, won = sum(flip.lost for flip in found), sum(flip.won for flip in found)
        assert drop.value == pytest.approx((lost - won) / 60)
    else:
        assert not any(flip.lost or flip.won for flip in found)
