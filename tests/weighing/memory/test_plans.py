"""Plans: never an overlap, never below the bound, as low as trying everything goes."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings

from packlight.errors import BadInput
from packlight.weighing.memory import (
    Buffer,
    best_plan,
    greedy_by_size,
    lower_bound,
    read_trace,
    solver,
)
from packlight.weighing.memory.greedy import place_in_order
from packlight.weighing.memory.skyline import Skyline
from tests.reference.memory import height, most_alive, overlaps, smallest_arena
from tests.weighing.memory.strategies import buffers, tiles

# the example of the MiniMalloc project's page: 12 bytes, and greedy by size needs them too
FIVE = [Buffer("b1", 0, 3, 4), Buffer("b2", 3, 9, 4), Buffer("b3", 0, 9, 4)]
FIVE += [Buffer("b4", 9, 21, 4), Buffer("b5", 0, 21, 4)]

complete = pytest.mark.skipif(not solver.is_installed(), reason="OR-Tools is not installed")


def later(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


@given(buffers(most=8))
@settings(deadline=None, max_examples=150)
def test_no_plan_overlaps_and_its_peak_is_its_height(few):
    for plan in (greedy_by_size(few), best_plan(few, seconds=5)):
        assert not overlaps(few, plan.offsets)
        assert plan.peak == height(few, plan.offsets)
        assert plan.lower_bound >= most_alive(few)


@complete
@given(buffers(most=6))
@settings(deadline=None, max_examples=60)
def test_a_plan_proved_optimal_is_as_low_as_the_best_of_all_plans(few):
    plan = best_plan(few, seconds=20)
    assert plan.proved
    assert plan.peak == plan.lower_bound == smallest_arena(few)


@complete
@given(buffers(most=6))
@settings(deadline=None, max_examples=60)
def test_the_complete_search_finds_what_fits_and_refutes_what_does_not(few):
    best = smallest_arena(few)
    for capacity in (best, best + 3):
        offsets = solver.solve(few, capacity, seconds=60)
        assert offsets is not None
        assert offsets is not False
        assert not overlaps(few, offsets)
        assert height(few, offsets) <= capacity
    if best:
        assert solver.solve(few, best - 1, seconds=60) is False


@complete
def test_the_complete_search_repeats_itself_and_ends_with_its_time():
    square = tiles(150, seed=1)
    capacity = lower_bound(square)
    found = solver.solve(square, capacity, seconds=120)
    assert found
    assert solver.solve(square, capacity, seconds=120) == found
    assert solver.solve(square, capacity, seconds=0) is None


@complete
def test_a_plan_above_the_bytes_alive_is_proved_where_alignment_allows_no_lower():
    three = [Buffer(name, 0, 1, 3, 4) for name in "abc"]
    plan = best_plan(three, seconds=20)
    assert most_alive(three) == 9
    assert plan.peak == plan.lower_bound == 11
    assert plan.proved


def test_without_a_complete_search_nothing_above_the_bound_is_called_proved(monkeypatch):
    monkeypatch.setattr(solver, "is_installed", lambda: False)
    three = [Buffer(name, 0, 1, 3, 4) for name in "abc"]
    plan = best_plan(three, seconds=0.2)
    assert (plan.peak, plan.lower_bound, plan.verdict) == (11, 9, "best found")
    assert plan.gap == pytest.approx(2 / 9)


@complete
@pytest.mark.parametrize(("count", "gaps"), [(60, 0.0), (150, 0.0), (180, 0.3)])
def test_tiles_are_put_back_where_greedy_overshoots(count, gaps):
    square = tiles(count, seed=count, gaps=gaps)
    capacity = lower_bound(square)
    assert greedy_by_size(square).peak > 1.05 * capacity
    plan = best_plan(square, seconds=120)
    assert not overlaps(square, plan.offsets)
    assert plan.peak == capacity
    assert plan.proved
    assert plan.verdict == "proved optimal"


def test_a_capacity_ends_the_search_at_the_first_plan_that_fits():
    square = tiles(120, seed=5)
    roomy = int(1.1 * lower_bound(square))
    plan = best_plan(square, capacity=roomy, seconds=60)
    assert plan.peak <= roomy
    assert not overlaps(square, plan.offsets)


def test_without_time_the_plan_is_a_greedy_one_and_says_so():
    square = tiles(150, seed=150)
    plan = best_plan(square, seconds=0)
    assert not overlaps(square, plan.offsets)
    assert lower_bound(square) < plan.peak <= greedy_by_size(square).peak
    assert not plan.proved
    assert plan.verdict == "best found"
    assert plan.gap == pytest.approx(plan.peak / lower_bound(square) - 1)


def test_skylines_never_overlap_nor_rise_above_the_capacity():
    for seed in range(20):
        square = tiles(40, seed=seed, gaps=0.4)
        capacity = lower_bound(square)
        found = Skyline(square, capacity, random.Random(seed)).search(3000, later())
        if found is not None:
            assert not overlaps(square, found)
            assert height(square, found) <= capacity


def test_a_buffer_goes_into_the_smallest_gap_that_takes_it():
    wall = [Buffer("a", 0, 1, 4), Buffer("b", 0, 1, 2), Buffer("c", 0, 1, 2), Buffer("d", 0, 1, 3)]
    plan = place_in_order([*wall, Buffer("x", 0, 1, 2)], [4], {0: 0, 1: 7, 2: 11, 3: 20})
    assert plan.offsets[4] == 9


def test_the_published_example_fits_its_capacity():
    plan = best_plan(FIVE)
    assert plan.peak == 12
    assert not overlaps(FIVE, plan.offsets)


def test_nothing_takes_no_memory():
    assert best_plan([]).to_dict() == {
        "offsets": [],
        "peak": 0,
        "lower_bound": 0,
        "gap": 0.0,
        "verdict": "proved optimal",
    }


def test_a_trace_is_read_with_and_without_alignment(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("id,lower,upper,size\nb1,0,3,4\n\nb2,3,9,5\n")
    assert read_trace(path) == [Buffer("b1", 0, 3, 4), Buffer("b2", 3, 9, 5)]
    path.write_text("alignment,id,size,upper,lower\n8,b1,4,3,0\n,b2,5,9,3\n")
    assert read_trace(path) == [Buffer("b1", 0, 3, 4, 8), Buffer("b2", 3, 9, 5)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "column 'id'"),
        ("id,lower,upper\n", "column 'size'"),
        ("id,lower,upper,size\nb,0,x,4\n", "line 2"),
        ("id,lower,upper,size\nb,0,1,4\nb,0,1\n", "line 3"),
        ("id,lower,upper,size\nb,3,3,4\n", "lower must be below upper"),
        ("id,lower,upper,size,alignment\nb,0,3,4,0\n", "alignment positive"),
    ],
)
def test_a_bad_trace_is_told_by_its_line(tmp_path, text, words):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        read_trace(path)


def test_a_trace_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BadInput, match="can not be read"):
        read_trace(tmp_path / "none.csv")
