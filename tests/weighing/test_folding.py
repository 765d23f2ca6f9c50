"""Blocks that repeat are shown once, and nothing is lost."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from packlight.weighing import LayerRow, LayerTable
from packlight.weighing.folding import fold, span
from packlight.weighing.walk import rows_of
from tests.weighing.classics import resnet18, squeezenet, traced

CONV = LayerRow("conv", "Conv2D", "ReLU", (8, 8, 8), 512, 2048, "3x3x8x8+8", 584, 36864, 2336)
POOL = LayerRow("pool", "MaxPool2D", "", (4, 4, 8), 128, 512, "", 0, 0, 0)
NORM = LayerRow("norm", "BatchNormalization", "", (8, 8, 8), 512, 2048, "4x8", 32, 0, 128)


def rows(seed: int) -> list[LayerRow]:
    """Random runs of blocks of random rows."""
    rng = random.Random(seed)
    found: list[LayerRow] = []
    for _ in range(rng.randint(1, 5)):
        block = [
            replace(rng.choice([CONV, POOL, NORM]), shape=(rng.choice([4, 8]), 8))
            for _ in range(rng.randint(1, 5))
        ]
        found += block * rng.randint(1, 5)
    return [
        replace(row, layer=f"l{index}", read_bytes=index, zeros=index, tensors=(f"t{index}",))
        for index, row in enumerate(found)
    ]


@pytest.mark.parametrize("seed", range(40))
def test_folding_loses_no_row_and_keeps_every_total(seed: int) -> None:
    given = rows(seed)
    folded = fold(given)
    assert sum(each.times for each in folded) == len(given)
    assert sorted(row.layer for each in folded for row in each.rows) == sorted(
        row.layer for row in given
    )
    shown = LayerTable(tuple(each.row for each in folded)).totals
    assert replace(shown, layers=len(given)) == LayerTable(tuple(given)).totals
    assert sum(each.row.zeros for each in folded) == sum(row.zeros for row in given)
    assert sum(len(each.row.tensors) for each in folded) == len(given)


def test_a_run_of_blocks_becomes_one_block() -> None:
    block = [CONV, NORM, POOL]
    assert [each.times for each in fold(block * 7)] == [7, 7, 7]
    assert [each.times for each in fold([POOL, *block * 3, CONV])] == [1, 3, 3, 3, 1]
    assert fold([]) == []


def test_single_rows_and_blocks_that_differ_stay() -> None:
    assert [each.times for each in fold([CONV] * 1 + [POOL])] == [1, 1]
    other = replace(CONV, activation="")
    assert all(each.times == 1 for each in fold([CONV, NORM, POOL, other, NORM, POOL]))
    kernel = replace(CONV, parameters="5x5x8x8+8")
    assert all(each.times == 1 for each in fold([CONV, NORM, POOL, kernel, NORM, POOL]))


def test_a_block_begins_with_arithmetic() -> None:
    found = fold([NORM, CONV, NORM, CONV, NORM, CONV, NORM])
    assert [(each.row.type, each.times) for each in found] == [
        ("BatchNormalization", 1),
        ("Conv2D", 3),
        ("BatchNormalization", 3),
    ]


def test_fire_and_residual_blocks_fold() -> None:
    fires = fold(rows_of(traced(squeezenet(), 64))[0])
    assert [each.times for each in fires if each.row.type == "Concatenate"] == [2, 2, 2, 2]
    squeeze = next(each.row for each in fires if "–" in each.row.parameters)
    assert squeeze.parameters == "1x1x64–128x16+16"
    residual = fold(rows_of(traced(resnet18(), 64))[0])
    assert max(each.times for each in residual) == 2


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["fire2/a", "fire3/a"], "fire2–3/a"),
        (["l.10.q", "l.9.q", "l.11.q"], "l.9–11.q"),
        (["same", "same"], "same"),
        (["cat", "cat_1"], "cat …"),
        (["left1", "right1"], "left1 …"),
    ],
)
def test_names_become_a_span(names: list[str], text: str) -> None:
    assert span(names) == text
