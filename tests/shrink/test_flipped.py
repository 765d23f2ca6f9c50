"""What the report says of samples that are answered differently."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from packlight.data import Samples
from packlight.judge import Flip
from packlight.shrink.delivery import delivery_of
from packlight.shrink.flipped import MOST_PAIRS, MOST_SAMPLES, describe, telling
from packlight.weighing.limits import Sizes


def samples(n: int, labels: np.ndarray | None, **given) -> Samples:
    return Samples(lambda indices: (indices,), 1000 + np.arange(n), labels, **given)


def flips(n: int, classes: int, labelled: bool) -> list[Flip]:
    rng = np.random.default_rng(n)
    found = []
    for index in range(n):
        before, after = rng.choice(classes, 2, replace=False)
        label = int(rng.integers(classes)) if labelled else None
        found.append(Flip(index, int(before), int(after), label))
    return found


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(("n", "classes"), [(0, 2), (7, 2), (5000, 40)])
def test_the_report_counts_all_and_tells_few(n, classes, labelled):
    given = flips(n, classes, labelled)
    labels = np.zeros(1000 + n, np.int64) if labelled else None
    found = describe(given, samples(n, labels, classes={1: "one", 99: "never"}))
    assert found["count"] == n
    assert len(found["samples"]) == min(n, MOST_SAMPLES)
    assert len(found["pairs"]) <= MOST_PAIRS
    counts = Counter((flip.before, flip.after) for flip in given)
    expected = sorted(counts.values(), reverse=True)[:MOST_PAIRS]
    assert [pair["count"] for pair in found["pairs"]] == expected
    assert all(counts[pair["from"], pair["to"]] == pair["count"] for pair in found["pairs"])
    assert found["classes"] == ({"1": "one"} if n else {})
    if labelled:
        assert found["lost"] == sum(flip.label == flip.before for flip in given)
        assert found["won"] == sum(flip.label == flip.after for flip in given)
        for pair in found["pairs"]:
            same = [f for f in given if (f.before, f.after) == (pair["from"], pair["to"])]
            assert pair["lost"] == sum(flip.label == flip.before for flip in same)
            assert pair["won"] == sum(flip.label == flip.after for flip in same)
    else:
        assert found["lost"] is found["won"] is None


def test_samples_are_told_by_their_place_in_the_data():
    given = [Flip(2, 0, 1, None)]
    names = [""] * 1002 + ["cat/2.png"]
    (told,) = describe(given, samples(3, None, all_names=names))["samples"]
    assert told == {"index": 1002, "name": "cat/2.png", "from": 0, "to": 1, "label": None}
    (told,) = describe(given, samples(3, None))["samples"]
    assert told["name"] is None


def test_what_users_lose_comes_first_and_one_of_each_kind():
    lost = [Flip(index, 0, 1 + index // 4, 0) for index in range(8)]
    rest = [Flip(10 + index, 2, 3 + index // 2, 3) for index in range(4)]
    order = [flip.sample for flip in telling([*rest, *lost])]
    assert order[:4] == [0, 4, 1, 5]
    assert order[8:] == [10, 12, 11, 13]
    assert sorted(order) == [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13]


def test_delivery_compares_both_networks_with_limits_that_hold():
    found = delivery_of(Sizes(10**9, 10**9, None), Sizes(10**6, 4 * 10**6, 20 * 10**6))
    assert [row["compressed_seconds"] for row in found["downloads"]] == [8, 0.8, 0.16]
    assert [row["original_seconds"] for row in found["downloads"]] == [8000, 800, 160]
    names = [limit["name"] for limit in found["limits"]]
    assert not any("before" in name and "Play" in name for name in names)
    widget = next(limit for limit in found["limits"] if "widget" in limit["name"])
    assert (widget["met"], widget["compressed"], widget["original"]) == (False, 20_000_000, None)
    unknown = delivery_of(Sizes(1, 1), Sizes(1, 1, None))["limits"]
    assert {limit["met"] for limit in unknown if limit["measures"] == "ram"} == {None}
