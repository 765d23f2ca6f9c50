"""The zoo's networks: a table for the terminal, and accuracy against size as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from string import ascii_lowercase
from typing import TYPE_CHECKING

from packlight.report.charts import WIDTH, _Axis, _label, _line, _px
from packlight.report.element import Html, element, join
from packlight.report.style import STYLE
from packlight.report.words import count, percent, size
from packlight.units import show_count

if TYPE_CHECKING:
    from rich.table import Table

    from packlight.zoo.measuring import Measured

PICTURED = "ImageNet"  # accuracies on other data can not stand beside these
_CHARACTER, _LINE = 6.6, 11  # user units that a label takes, about
_Box = tuple[float, float, float, float]  # left, top, right, bottom


def table(rows: Sequence[Measured], budget: int | None = None) -> Table:
    """A line per network.

    Args:
        budget: bytes; adds a column telling whether a network fits as fp32, or as int8.
    """
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("network", no_wrap=True)
    for name in ("parameters", "MACs", "fp32", "int8", "peak RAM", "top-1"):
        shown.add_column(name, justify="right", no_wrap=True)
    if budget is not None:
        shown.add_column("fits", no_wrap=True)
    sources: dict[str, str] = {}  # and the letters that stand for them
    for row in rows:
        one = row.published
        said = one.source if one.data == PICTURED else f"{one.data}, {one.source}"
        letter = sources.setdefault(said, ascii_lowercase[len(sources)])
        shown.add_row(
            one.name,
            count(row.parameters),
            show_count(row.macs),
            size(row.fp32_bytes),
            size(row.int8_bytes),
            size(row.peak_bytes),
            f"{percent(one.top1)} {letter}",
            *([] if budget is None else [_fits(row, budget)]),
        )
    notes = [
        "of one image; peak RAM: float32 activations, without weights",
        f"top-1 as published, on {PICTURED} unless told:",
        *(f"{letter} {said}" for said, letter in sources.items()),
    ]
    shown.caption, shown.caption_justify = "\n".join(notes), "left"
    return shown


def _fits(row: Measured, budget: int) -> str:
    if row.fp32_bytes <= budget:
        return "fp32"
    return "int8" if row.int8_bytes <= budget else "no"


def picture(rows: Sequence[Measured], budget: int | None = None) -> str:
    """An SVG file: published top-1 on ImageNet over the bytes in int8, on a logarithmic axis.

    Args:
        rows: at least one of them on ImageNet; others are left out.
        budget: bytes, drawn as a dashed line; networks within it are filled.
    """
    rows = [row for row in rows if row.published.data == PICTURED]
    left, right, top, bottom, height = 70, WIDTH - 24, 34, 440, 496
    reach = [log10(row.int8_bytes) for row in rows] + ([log10(budget)] if budget else [])
    x_axis = _Axis.around(reach, left, right)
    y_axis = _Axis.around([row.published.top1 for row in rows], bottom, top, most=1.0)
    grid = []
    for value in y_axis.ticks():
        y = y_axis.at(value)
        grid.append(_line(left, y, right, y, "grid"))
        grid.append(_label(left - 12, y, percent(value, 0), "end"))
    for bytes_ in _round_sizes(x_axis):
        x = x_axis.at(log10(bytes_))
        grid.append(_line(x, bottom, x, bottom + 5, "axis"))
        grid.append(_label(x, bottom + 20, size(bytes_), "middle"))
    grid.append(_line(left, bottom, right, bottom, "axis"))
    grid.append(_label(right, bottom + 44, "bytes in int8", "end", "soft"))
    grid.append(_label(left, top - 18, "published top-1", "middle", "soft"))
    if budget:
        x = x_axis.at(log10(budget))
        side, shift = ("end", -8) if x > (left + right) / 2 else ("start", 8)
        grid.append(_line(x, top - 8, x, bottom, "budget"))
        grid.append(_label(x + shift, bottom - 14, f"budget {size(budget)}", side, "halo"))
    spots = [(x_axis.at(log10(row.int8_bytes)), y_axis.at(row.published.top1)) for row in rows]
    marks = []
    for row, (x, y) in zip(rows, spots, strict=True):
        inside = budget is not None and row.int8_bytes <= budget
        hint = f"{row.published.name}: {size(row.int8_bytes)}, {percent(row.published.top1)}"
        kind = "chosen" if inside else "visited"
        marks.append(
            element("circle", element("title", hint), cx=_px(x), cy=_px(y), r=5, class_=kind)
        )
    labels = _labels([row.published.name for row in rows], spots, right)
    return element(
        "svg",
        element("title", "Published top-1 against size"),
        element("style", Html(STYLE)),
        join(grid, marks, labels),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
    )


def _round_sizes(axis: _Axis) -> list[float]:
    """1, 2 and 5 times the powers of ten on an axis of logarithms."""
    powers = range(floor(axis.low), ceil(axis.high) + 1)
    sizes = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return [value for value in sizes if axis.low <= log10(value) <= axis.high]


def _labels(names: Sequence[str], spots: Sequence[tuple[float, float]], right: float) -> list[Html]:
    """Names beside, above or below their spots, where nothing else is; the crowded have none."""
    taken: list[_Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    labels = []
    for name, (x, y) in zip(names, spots, strict=True):
        wide, half = _CHARACTER * len(name), _LINE / 2
        for anchor, at, middle, start in (
            ("start", x + 9, y, x + 9),
            ("end", x - 9, y, x - 9 - wide),
            ("middle", x, y - 14, x - wide / 2),
            ("middle", x, y + 14, x - wide / 2),
        ):
            box = (start, middle - half, start + wide, middle + half)
            if box[0] > 0 and box[2] < right + 24 and not any(_meet(box, one) for one in taken):
                taken.append(box)
                labels.append(_label(at, middle, name, anchor))
                break
    return labels


def _meet(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
