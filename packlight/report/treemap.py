"""A treemap: every layer a rectangle with the area of its bytes.

Bruls, Huizing & van Wijk, "Squarified Treemaps", VisSym 2000: rectangles are laid in rows along the
shorter side of what is left, each row as long as its worst aspect ratio still improves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from packlight.report.charts import WIDTH, _px, _svg
from packlight.report.element import Html, element
from packlight.report.words import elided, percent, size

HEIGHT = 430
SMALLEST = 0.0015  # of the whole, to have a rectangle of one's own
_KINDS = {"dense": "dense, recurrent", "convolution": "convolution", "other": "all else"}
_LETTER = 7.2  # width of a letter, generously
_LINE = 17


@dataclass(frozen=True)
class Tile:
    """What becomes a rectangle.

    Args:
        kind: its class: "dense", "convolution" or "other".
    """

    name: str
    bytes: int
    kind: str


@dataclass(frozen=True)
class Rect:
    """Where it lies."""

    x: float
    y: float
    width: float
    height: float


def squarify(sizes: Sequence[float], area: Rect) -> list[Rect]:
    """Rectangles that tile an area, each with its size's share of it.

    Args:
        sizes: positive, largest first.
    Returns:
        one rectangle per size, in the same order.
    """
    scale = area.width * area.height / sum(sizes) if sizes else 0.0
    rects: list[Rect] = []
    left, at = area, 0
    while at < len(sizes):
        side = min(left.width, left.height)
        count = 1
        while at + count < len(sizes) and _worst(
            [size * scale for size in sizes[at : at + count + 1]], side
        ) <= _worst([size * scale for size in sizes[at : at + count]], side):
            count += 1
        row = [size * scale for size in sizes[at : at + count]]
        placed, left = _lay(row, left, last=at + count == len(sizes))
        rects += placed
        at += count
    return rects


def treemap(tiles: Sequence[Tile], what: str = "Bytes of each layer") -> Html:
    """The picture; the smallest tiles share one rectangle."""
    whole = sum(tile.bytes for tile in tiles)
    large = [tile for tile in tiles if tile.bytes >= SMALLEST * whole]
    small = [tile for tile in tiles if 0 < tile.bytes < SMALLEST * whole]
    if small:
        together = sum(tile.bytes for tile in small)
        large.append(Tile(f"{len(small):,} smaller", together, "other"))
    large.sort(key=lambda tile: -tile.bytes)
    rects = squarify([tile.bytes for tile in large], Rect(0, 0, WIDTH, HEIGHT))
    hatch = element(
        "pattern",
        element("path", d="M0 6L6 0", class_="hatch"),
        id="hatch",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
    )
    drawn = [_tile(tile, rect, whole) for tile, rect in zip(large, rects, strict=True)]
    first = ", ".join(f"{tile.name} {percent(tile.bytes / whole)}" for tile in large[:3])
    description = (
        f"{len(large)} rectangles, together {size(whole)}. The largest: {first}. "
        "The table of layers below holds the figures."
    )
    return _svg("treemap", what, description, HEIGHT, [element("defs", hatch), *drawn])


def shades(tiles: Sequence[Tile]) -> Html | None:
    """What the shades mean, where there is more than one."""
    kinds = {tile.kind for tile in tiles}
    words = [
        element("span", element("i", class_=f"tile {kind}"), meaning, class_="key")
        for kind, meaning in _KINDS.items()
        if kind in kinds
    ]
    return element("div", words) if len(words) > 1 else None


def _worst(row: Sequence[float], side: float) -> float:
    """The largest aspect ratio of a row of areas laid along a side."""
    total = sum(row)
    return max(side**2 * max(row) / total**2, total**2 / (side**2 * min(row)))


def _lay(row: Sequence[float], area: Rect, last: bool) -> tuple[list[Rect], Rect]:
    """The row's rectangles along the shorter side, and what is left of the area."""
    total = sum(row)
    wide = area.width >= area.height
    side = area.height if wide else area.width
    depth = (area.width if wide else area.height) if last else total / side
    rects, along = [], 0.0
    for each in row:
        length = side * each / total
        if wide:
            rects.append(Rect(area.x, area.y + along, depth, length))
        else:
            rects.append(Rect(area.x + along, area.y, length, depth))
        along += length
    if wide:
        return rects, Rect(area.x + depth, area.y, area.width - depth, area.height)
    return rects, Rect(area.x, area.y + depth, area.width, area.height - depth)


def _tile(tile: Tile, rect: Rect, whole: int) -> Html:
    share = f"{size(tile.bytes)}, {percent(tile.bytes / whole)}"
    place = {
        "x": _px(rect.x),
        "y": _px(rect.y),
        "width": _px(rect.width),
        "height": _px(rect.height),
    }
    parts = [
        element("title", f"{tile.name}: {share}"),
        element("rect", **place, class_=f"tile {tile.kind}"),
    ]
    if tile.kind == "other":
        parts.append(element("rect", **place, fill="url(#hatch)"))
    letters = int((rect.width - 12) / _LETTER)
    room = int((rect.height - 6) / _LINE)
    if room and letters >= 5:
        lines = _broken(tile.name, letters, room)
        if len(lines) < room and letters >= len(share):
            lines.append(share)
        parts += [
            element(
                "text",
                line,
                x=_px(rect.x + 7),
                y=_px(rect.y + 6 + _LINE * (index + 0.5)),
                dy="0.35em",
                class_=f"on-{tile.kind}",
            )
            for index, line in enumerate(lines)
        ]
    return element("g", parts)


def _broken(name: str, letters: int, room: int) -> list[str]:
    """A name in lines, broken after a dot, a slash or an underscore; elided if that is too long."""
    lines = [""]
    for part in re.findall(r"[^./_]*[./_]+|[^./_]+", name):
        if len(lines[-1]) + len(part) > letters and lines[-1]:
            lines.append("")
        lines[-1] += part
    fits = len(lines) <= room and all(len(line) <= letters for line in lines)
    return lines if fits else [elided(name, letters)]
