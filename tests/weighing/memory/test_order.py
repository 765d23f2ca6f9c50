"""Orders: valid, never worse than the one given, as good as the best of all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from packlight.weighing.memory import best_order, lower_bound, memory_of
from packlight.weighing.memory.lifetimes import in_order, lifetimes
from packlight.weighing.memory.order import peak_of
from tests.reference.memory import orders, overlaps, peak_of_order
from tests.weighing.memory.graphs import concatenating_cell, randomly_wired
from tests.weighing.memory.strategies import programs


@given(programs(most=6))
@settings(deadline=None, max_examples=150)
def test_the_best_order_is_as_good_as_the_best_of_all_orders(program):
    found = best_order(program, seconds=20, alignment=1)
    assert found.steps in orders(program)
    assert found.peak == peak_of_order(program, found.steps, 1)
    assert found.peak == min(peak_of_order(program, order, 1) for order in orders(program))
    assert found.proved


@given(programs(most=8))
@settings(deadline=None, max_examples=200)
def test_lifetimes_hold_what_has_to_be_in_memory(program):
    given_order = range(len(program.steps))
    buffers = lifetimes(program, alignment=1).buffers
    assert lower_bound(buffers) == peak_of_order(program, given_order, 1) == peak_of(program, 1)


@pytest.mark.parametrize("seconds", [0.0, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_an_order_is_never_worse_than_the_one_given(seed, seconds):
    program = randomly_wired(40, seed)
    found = best_order(program, seconds=seconds)
    assert sorted(found.steps) == list(range(len(program.steps)))
    assert found.peak == peak_of_order(program, found.steps, 64)
    assert found.peak <= peak_of(program)
    lifetimes(in_order(program, found.steps))  # raises if a step came too early


def test_a_cell_written_level_by_level_needs_far_less_branch_by_branch():
    program = concatenating_cell()
    memory = memory_of(program)
    assert memory.reordered is not None
    assert memory.reordered.proved
    assert memory.peak >= 1.3 * memory.reordered.plan.peak
    after = lifetimes(in_order(program, memory.reordered.order))
    assert not overlaps(after.buffers, memory.reordered.plan.offsets)


def test_a_randomly_wired_network_written_level_by_level_needs_less():
    ratios = []
    for seed in range(4):
        memory = memory_of(randomly_wired(32, seed, by_level=True), seconds=20)
        assert memory.reordered is not None
        ratios.append(memory.peak / memory.reordered.plan.peak)
    assert max(ratios) >= 1.3
    assert min(ratios) > 1.0
