"""Bytes at the same accuracy: which of our networks stands against which of a peer's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.same_accuracy import LOWEST, Point, frontier, ladder, match, score, worth_having


def point(size: int, agreement: float, tool: str = "peer") -> Point:
    return Point(tool, str(size), size, {"agreement": agreement})


def sizes(points: list[Point]) -> list[int]:
    return [each.size for each in points]


def test_a_point_that_a_smaller_one_equals_is_not_on_the_frontier() -> None:
    points = [point(100, 0.9), point(90, 0.9), point(80, 0.8), point(120, 0.95), point(110, 0.7)]
    assert sizes(frontier(points, "agreement", 1.0)) == [80, 90, 120]


def test_the_frontier_is_what_comparing_all_pairs_leaves() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        points = [
            point(int(size), round(float(value), 1))
            for size, value in zip(
                generator.permutation(30)[:12], generator.random(12), strict=True
            )
        ]
        alone = [
            each
            for each in points
            if not any(
                other.size < each.size and other.scores["agreement"] >= each.scores["agreement"]
                for other in points
            )
        ]
        assert frontier(points, "agreement", 1.0) == sorted(alone, key=lambda each: each.size)


def test_accuracy_above_the_original_is_not_asked_for() -> None:
    lucky, plain = point(100, 0.78), point(60, 0.76)
    assert score(lucky, "agreement", 0.75) == 0.75
    assert sizes(frontier([lucky, plain], "agreement", 0.75)) == [60]


def test_networks_that_lost_too_much_are_not_compared() -> None:
    assert sizes(worth_having([point(10, 0.5), point(50, 0.97)], "agreement", 1.0)) == [50]


def test_ours_is_the_smallest_that_is_at_least_as_accurate() -> None:
    ours = [point(30, 0.89, "ours"), point(40, 0.93, "ours"), point(60, 0.99, "ours")]
    peers = [point(100, 0.92), point(120, 0.98), point(200, 0.995)]
    found = match(peers, ours, "agreement", 1.0)
    assert [each.peer.size for each in found] == [100, 120, 200]
    assert [each.ratio for each in found] == [0.4, 0.5, None]
    assert found[2].ours is None


def test_against_all_peers_only_the_best_at_each_accuracy_stand() -> None:
    peers = [point(100, 0.95, "a"), point(90, 0.96, "b"), point(70, 0.9, "a")]
    ours = [point(45, 0.97, "ours")]
    found = match(peers, ours, "agreement", 1.0)
    assert [(each.peer.tool, each.ratio) for each in found] == [("a", 45 / 70), ("b", 0.5)]


@pytest.mark.parametrize("step", [0.5, 0.87])
def test_sizes_asked_of_ours_cover_the_peers(step: float) -> None:
    asked = ladder([point(1000, 0.99), point(300, 0.9), point(20, 0.1)], {"agreement": 1.0}, step)
    assert asked[-1] == 1000
    assert LOWEST * 300 <= asked[0] <= LOWEST * 300 / step
    assert all(np.isclose(a / b, step, atol=0.01) for a, b in pairwise(asked))


def test_without_a_peer_nothing_is_asked_of_ours() -> None:
    assert ladder([], {"agreement": 1.0}, 0.5) == []
    assert match([], [point(10, 1.0)], "agreement", 1.0) == []
