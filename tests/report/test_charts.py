"""The pictures: what is drawn where."""

from __future__ import annotations

import re

import pytest

from packlight.report.charts import Bar, Change, Spot, bars, curve, intervals


def numbers(svg: str, attribute: str, kind: str) -> list[float]:
    """An attribute of every element of a class."""
    found = re.findall(rf'<[^>]*class="{kind}"[^>]*>', svg)
    return [float(re.search(rf' {attribute}="([^"]+)"', tag)[1]) for tag in found]  # type: ignore[index]


def test_bars_are_as_long_as_their_bytes() -> None:
    svg = bars([Bar("a", 1000, 250, 100), Bar("b", 500, 125, 0)])
    assert numbers(svg, "width", "before") == [398, 199]
    assert numbers(svg, "width", "installed") == [99.5, 49.8]
    assert numbers(svg, "width", "packed") == [39.8, 0]


def test_points_to_the_right_are_larger_and_higher_ones_better() -> None:
    spots = [Spot(100, 0.8, False, ""), Spot(300, 0.9, True, ""), Spot(200, 0.85, False, "")]
    svg = curve(spots, budget=310, metric="agreement")
    (x1, x2), (y1, y2) = numbers(svg, "cx", "visited"), numbers(svg, "cy", "visited")
    (x3,), (y3,) = numbers(svg, "cx", "chosen"), numbers(svg, "cy", "chosen")
    assert x1 < x2 < x3 < numbers(svg, "x1", "budget")[0]
    assert y1 > y2 > y3
    assert "chosen: 300 B, 90.0%" in svg


def test_the_line_joins_what_no_other_beats() -> None:
    places = [(100, 0.8), (200, 0.7), (300, 0.9), (300, 0.85), (150, 0.8), (400, 0.95), (50, 0.1)]
    spots = [Spot(x, y, False, "") for x, y in places]
    svg = curve(spots, budget=None, metric="agreement")
    line = re.search(r'points="([^"]+)" class="trail"', svg)
    found = [tuple(map(float, corner.split(","))) for corner in line[1].split()]  # type: ignore[index]
    drawn = zip(numbers(svg, "cx", "visited"), numbers(svg, "cy", "visited"), strict=True)
    at = dict(zip(places, drawn, strict=True))
    beaten = {
        one
        for one in places
        for other in places
        if other != one and other[0] <= one[0] and other[1] >= one[1]
    }
    assert found == [at[place] for place in sorted(set(places) - beaten)]


@pytest.mark.parametrize(
    "spots",
    [
        [Spot(1000, 0.9, True, "")],
        [Spot(1000, 1.0, True, ""), Spot(1000, 1.0, False, "")],
        [Spot(0, 0.0, True, ""), Spot(5e9, 1.0, False, "")],
        [Spot(10, -20.0, True, ""), Spot(20, 1e9, False, "")],
    ],
)
@pytest.mark.parametrize("metric", ["agreement", "sqnr_db", "mine"])
def test_everything_is_drawn_inside_the_picture(spots: list[Spot], metric: str) -> None:
    svg = curve(spots, budget=None, metric=metric)
    for x in re.findall(r' (?:x|x1|x2|cx)="([^"]+)"', svg):
        assert 0 <= float(x) <= 760
    for y in re.findall(r' (?:y|y1|y2|cy)="([^"]+)"', svg):
        assert 0 <= float(y) <= 356


def test_an_interval_holds_its_estimate_and_zero_is_shown() -> None:
    svg = intervals([Change("Top-1", -0.007, -0.03, 0.01)], allowed=0.01)
    (at,) = numbers(svg, "cx", "chosen")
    low, high = numbers(svg, "x1", "whisker")[1:]
    assert low < numbers(svg, "x1", "budget")[0] < at < numbers(svg, "x1", "axis")[0] < high
    assert "Top-1: −0.7 points, 95% interval −3.0 to +1.0." in svg
