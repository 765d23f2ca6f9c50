"""The search over coarseness, on a made-up network whose sizes are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from packlight.errors import BadInput
from packlight.judge import Verdict
from packlight.shrink.budget import Budget
from packlight.shrink.search import Point, Visit, search

FLOOR, FINEST = 900, 100_000


class Made:
    """Packs to FINEST / (1 + c) + FLOOR bytes and loses c / 100 of its accuracy."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def build(self, coarseness: float) -> Point:
        self.asked.append(coarseness)
        packed = int(FINEST / (1 + coarseness)) + FLOOR
        verdict = Verdict(1, None, None, None, None, None, 0.0)
        return Point(Visit(coarseness, 200_000, packed, verdict), b"", b"", None)

    @staticmethod
    def drop(point: Point) -> float:
        return point.visit.coarseness / 100


@pytest.mark.parametrize("start", [0.01, 50.0])
@pytest.mark.parametrize("target", [1_500, 5_000, 40_000, 80_000])
def test_a_size_gets_the_finest_grid_that_meets_it(target, start):
    made = Made()
    found = search(made.build, made.drop, Budget(target_size=target), start)
    assert 0.98 * target <= found.point.visit.packed_bytes <= target
    assert found.binding == "target_size"
    assert len(made.asked) <= 32


@pytest.mark.parametrize("start", [0.3, 2.0, 9.0])
def test_a_size_is_foretold_from_those_before(start):
    made = Made()
    search(made.build, made.drop, Budget(target_size=20_000), start)
    assert len(made.asked) <= 8


def test_layers_that_are_at_their_finest_long_before_others_do_not_delay_it():
    class Uneven(Made):
        """Half of it is as fine as it gets at 1, the rest a little at a time from there on."""

        def build(self, coarseness: float) -> Point:
            point = super().build(coarseness)
            packed = 100_000 - int(50_000 * min(coarseness, 1.0))
            packed -= int(20_000 * np.clip(1 + np.log2(max(coarseness, 1e-9)) / 14, 0, 1))
            return replace(point, visit=replace(point.visit, packed_bytes=packed))

    made = Uneven()
    found = search(made.build, made.drop, Budget(target_size=95_000), start=1.0)
    assert 0.99 * 95_000 <= found.point.visit.packed_bytes <= 95_000
    assert len(made.asked) <= 9


def test_a_generous_size_gets_the_finest_grid_at_once():
    made = Made()
    found = search(made.build, made.drop, Budget(target_size=10**6), start=0.01)
    assert made.asked == [0.0]
    assert found.binding == "none"


def test_an_impossible_size_ends_at_the_smallest_there_is():
    made = Made()
    found = search(made.build, made.drop, Budget(target_size=FLOOR - 1), start=0.01)
    assert found.point.visit.packed_bytes < FLOOR + 1_000
    assert len(made.asked) <= 32


@pytest.mark.parametrize("start", [0.01, 50.0])
@pytest.mark.parametrize("allowed", [0.02, 0.3])
def test_a_drop_gets_the_coarsest_grid_that_keeps_it(allowed, start):
    made = Made()
    found = search(made.build, made.drop, Budget(max_drop=allowed), start)
    assert 0.95 * allowed <= made.drop(found.point) <= allowed
    assert found.binding == "max_drop"


def test_an_impossible_drop_gets_the_finest_grid():
    made = Made()
    found = search(made.build, lambda point: 0.5, Budget(max_drop=0.01), start=0.01)
    assert found.point.visit.coarseness == 0.0


def test_everything_visited_is_on_record_once():
    made = Made()
    found = search(made.build, made.drop, Budget(target_size=5_000), start=0.01)
    assert [visit.coarseness for visit in found.visited] == made.asked
    assert len(set(made.asked)) == len(made.asked)


def test_budgets_are_read_and_none_is_refused():
    budget = Budget.parse("700KB", "2 MiB", "1%")
    assert budget == Budget(700_000, 2_097_152, 0.01)
    with pytest.raises(BadInput, match="no budget"):
        Budget.parse(None, None, None)


def test_a_broken_size_is_told_in_bytes():
    budget = Budget(target_size=1000, target_installed_size=2000)
    assert budget.broken_size(900, 1900) is None
    assert "1,100" in str(budget.broken_size(1100, 1900))
    assert "target-installed-size" in str(budget.broken_size(900, 2100))
