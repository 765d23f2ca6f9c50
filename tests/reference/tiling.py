"""Whether rectangles tile an area: every cell of the grid of all edges belongs to exactly one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

Rectangle = tuple[float, float, float, float]


def faults(rectangles: Sequence[Rectangle], width: float, height: float) -> list[str]:
    """What is wrong, in words; nothing if they cover the area and do not overlap.

    Args:
        rectangles: (x, y, width, height) of each.
    """
    near = 1e-6 * max(width, height)
    xs = _edges([0.0, width, *(e for x, _, w, _ in rectangles for e in (x, x + w))], near)
    ys = _edges([0.0, height, *(e for _, y, _, h in rectangles for e in (y, y + h))], near)
    found = []
    if xs[0] < -near or ys[0] < -near or xs[-1] > width + near or ys[-1] > height + near:
        found.append("a rectangle lies outside")
    for left, right in itertools.pairwise(xs):
        for top, bottom in itertools.pairwise(ys):
            x, y = (left + right) / 2, (top + bottom) / 2
            holders = sum(a <= x <= a + w and b <= y <= b + h for a, b, w, h in rectangles)
            if holders != 1:
                found.append(f"{holders} rectangles hold {x:.3f}, {y:.3f}")
    return found


def _edges(values: list[float], near: float) -> list[float]:
    kept: list[float] = []
    for value in sorted(values):
        if not kept or value - kept[-1] > near:
            kept.append(value)
    return kept
