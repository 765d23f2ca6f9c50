"""The treemap: areas are shares, and the rectangles tile the picture."""

from __future__ import annotations

import random
import re

import pytest

from packlight.report.treemap import HEIGHT, Rect, Tile, squarify, treemap
from tests.reference.tiling import faults


def sizes(seed: int, count: int) -> list[float]:
    """From equal to very unequal, largest first."""
    rng = random.Random(seed)
    power = rng.choice([0, 1, 4, 10])
    return sorted((1 + 1000 * rng.random() ** power for _ in range(count)), reverse=True)


@pytest.mark.parametrize("seed", range(12))
def test_rectangles_tile_the_area_in_proportion(seed: int) -> None:
    rng = random.Random(seed)
    area = Rect(0, 0, rng.choice([760, 100, 40]), rng.choice([430, 40, 900]))
    given = sizes(seed, rng.randint(1, 30))
    rects = squarify(given, area)
    assert faults([(r.x, r.y, r.width, r.height) for r in rects], area.width, area.height) == []
    scale = area.width * area.height / sum(given)
    for size, rect in zip(given, rects, strict=True):
        assert rect.width * rect.height == pytest.approx(size * scale)


def test_the_papers_example_is_laid_as_in_the_paper() -> None:
    rects = squarify([6, 6, 4, 3, 2, 2, 1], Rect(0, 0, 6, 4))
    assert [(r.width, r.height) for r in rects[:4]] == [
        pytest.approx(pair) for pair in ((3, 2), (3, 2), (12 / 7, 7 / 3), (9 / 7, 7 / 3))
    ]
    assert squarify([], Rect(0, 0, 6, 4)) == []


def test_equal_sizes_are_nearly_square() -> None:
    for rect in squarify([1.0] * 24, Rect(0, 0, 600, 400)):
        assert max(rect.width / rect.height, rect.height / rect.width) < 2


def test_tiles_have_the_area_of_their_bytes_and_small_ones_share_one() -> None:
    tiles = [Tile("a", 700_000, "dense"), Tile("b", 299_000, "convolution")]
    tiles += [Tile(f"s{index}", 1, "other") for index in range(1000)]
    svg = treemap(tiles)
    assert "1,000 smaller" in svg
    areas = {
        kind: float(width) * float(height)
        for width, height, kind in re.findall(
            r'width="([\d.]+)" height="([\d.]+)" class="tile (\w+)"', svg
        )
    }
    assert areas["dense"] / areas["convolution"] == pytest.approx(700 / 299, rel=0.01)
    assert sum(areas.values()) == pytest.approx(760 * HEIGHT, rel=0.01)


def test_names_can_not_become_markup() -> None:
    svg = treemap([Tile("<script>alert(1)</script>", 10, "dense")])
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
