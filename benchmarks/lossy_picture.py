"""One network's results as a picture: accuracy over bytes (logarithmic), all points, our curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.same_accuracy import FLOOR, Point, frontier
from packlight.report.charts import WIDTH, _Axis, _label, _line, _px
from packlight.report.element import Html, element, join
from packlight.report.words import percent, size

Record = dict[str, Any]

NAMES = {"agreement": "agreement", "top1": "top-1", "sqnr_db": "SQNR"}
FEWEST_SIZES = 3  # at the bottom of a picture
LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 70, WIDTH - 150, 34, 320, 376
STYLE = """
svg { background: #fdfcf9; font-family: sans-serif; }
text { font-size: 12.5px; fill: #1d1d1b; } text.soft { fill: #66645d; }
.grid { stroke: #e2dfd7; } .axis { stroke: #66645d; }
.ours { fill: none; stroke: #0b6b5d; stroke-width: 2; } circle.ours { fill: #0b6b5d; }
"""
# Each tool has a shape of its own; colour only repeats what it tells.
MARKS = (
    ("M-4,-4h8v8h-8z", "#b3541e"),
    ("M0,-5l5,9h-10z", "#6b4fa0"),
    ("M0,-5l5,5l-5,5l-5,-5z", "#2f6fab"),
    ("M-4,-4l8,8M4,-4l-8,8", "#8a7a1f"),
    ("M-5,0h10M0,-5v10", "#a03c5b"),
    ("M0,5l5,-9h-10z", "#55534c"),
)


def picture(name: str, record: Record) -> Html:
    """Every tool's points and our curve, as an SVG file.

    Networks that lost more than twice what a useful one may lose are left out.
    """
    metric = next(iter(record["whole"]))
    least = record["whole"][metric] - 2 * FLOOR[metric]
    theirs, ours = (
        [point for point in record[side] if point["scores"][metric] >= least]
        for side in ("theirs", "ours")
    )
    original = {"size": record["bytes"], "scores": record["whole"]}
    shown = [*theirs, *ours] or [original]
    sizes = [point["size"] for point in shown]
    across = _Axis.around([np.log10(bytes_) for bytes_ in sizes], LEFT, RIGHT)
    up = _Axis.around([point["scores"][metric] for point in shown], BOTTOM, TOP)

    def at(point: Record) -> tuple[float, float]:
        return across.at(np.log10(point["size"])), up.at(point["scores"][metric])

    drawn = [_axes(across, _round_sizes(min(sizes), max(sizes)), up, metric)]
    for row, tool in enumerate(dict.fromkeys(point["tool"] for point in theirs)):
        spots = [
            (at(point), f"{tool}, {point['setting']}") for point in theirs if point["tool"] == tool
        ]
        y = TOP + 20 * (row + 1)
        drawn += [_mark(row, *spot) for spot in (*spots, ((RIGHT + 20, y), tool))]
        drawn.append(_label(RIGHT + 32, y, tool, "start"))
    # one line through the best of ours, whichever way they were made
    best = frontier([Point(**point) for point in ours], metric, record["whole"][metric])
    line = " ".join(f"{_px(x)},{_px(y)}" for x, y in (at(point.to_dict()) for point in best))
    drawn.append(element("polyline", points=line, class_="ours"))
    drawn += [
        element("circle", cx=_px(x), cy=_px(y), r=3, class_="ours")
        for x, y in (*map(at, ours), (RIGHT + 20, TOP))
    ]
    drawn.append(_label(RIGHT + 32, TOP, "packlight", "start"))
    return element(
        "svg",
        element("title", f"{name}: {NAMES[metric]} against bytes"),
        element("style", Html(STYLE)),
        join(drawn),
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
    )


def _round_sizes(least: int, most: int) -> list[int]:
    """1, 2 or 5 and zeros, within a range of bytes; where these are few, every digit and zeros."""
    found: list[int] = []
    for leads in ((1, 2, 5), range(1, 10)):
        steps = [lead * 10**zeros for zeros in range(12) for lead in leads]
        found = [step for step in steps if least <= step <= most]
        if len(found) >= FEWEST_SIZES:
            break
    return found


def _axes(across: _Axis, sizes: list[int], up: _Axis, metric: str) -> Html:
    drawn = []
    for value in up.ticks():
        y = up.at(value)
        words = f"{value:.0f} dB" if metric == "sqnr_db" else percent(value)
        drawn += [_line(LEFT, y, RIGHT, y, "grid"), _label(LEFT - 12, y, words, "end")]
    for value in sizes:
        x = across.at(np.log10(value))
        drawn += [
            _line(x, BOTTOM, x, BOTTOM + 5, "axis"),
            _label(x, BOTTOM + 20, size(value), "middle"),
        ]
    drawn += [
        _line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"),
        _label(RIGHT, BOTTOM + 42, "download", "end", "soft"),
        _label(LEFT, TOP - 18, NAMES[metric], "middle", "soft"),
    ]
    return join(drawn)


def _mark(index: int, at: tuple[float, float], hint: str) -> Html:
    shape, colour = MARKS[index % len(MARKS)]
    return element(
        "path",
        element("title", hint),
        d=shape,
        transform=f"translate({_px(at[0])} {_px(at[1])})",
        fill="none",
        stroke=colour,
        stroke_width="1.5",
    )
