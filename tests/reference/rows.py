"""Rows that make good each other's errors, straight from the least squares behind it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reference.trellis import AFTER

Array = np.ndarray[Any, Any]


def next_row(B: Array, before: Array) -> tuple[float, float]:
    """Where the next row's error had best be, and what a squared distance from there costs.

    All later rows may then do what is best for the whole, e^T B e.

    Args:
        B: (R, R).
        before: the errors of the rows that are done.
    """
    done = len(before)
    inverse = np.linalg.inv(B[done:, done:])
    best = -inverse @ B[done:, :done] @ before
    return float(best[0]), float(1 / inverse[0, 0])


def on_grid(targets: Array, costs: Array, prices: Array, top: int, B: Array) -> list[int]:
    """One row after the other: the nearest level, its neighbour towards zero, or zero.

    Args:
        targets, costs: (R,) in steps, and what a squared step of error costs.
        prices: (2 * top + 1,).
        B: (R, R).
    """
    levels: list[int] = []
    errors: list[float] = []
    for target, cost in zip(targets, costs, strict=True):
        wanted, matters = next_row(B, np.array(errors))
        aim = target - wanted / np.sqrt(cost)
        nearest = int(np.clip(np.rint(aim), -top, top))
        best = min(
            (nearest, nearest - int(np.sign(nearest)), 0),
            key=lambda level: cost * matters * (aim - level) ** 2 + prices[level + top],
        )
        levels.append(best)
        errors.append(float(np.sqrt(cost) * (target - best)))
    return levels


def along_trellis(targets: Array, costs: Array, prices: Array, top: int, B: Array) -> list[int]:
    """Viterbi's algorithm, every path with errors of its own.

    Args:
        targets, costs, B: as above.
        prices: (2, 2 * top + 1), the middle one that of index 0.
    """
    paths: dict[int, tuple[float, list[int], list[float]]] = {0: (0.0, [], [])}
    for target, cost in zip(targets, costs, strict=True):
        after: dict[int, tuple[float, list[int], list[float]]] = {}
        for state, (spent, levels, errors) in sorted(paths.items()):
            wanted, matters = next_row(B, np.array(errors))
            aim = target - wanted / np.sqrt(cost)
            for index in range(-top, top + 1):
                sign = (index > 0) - (index < 0)
                level = 2 * index - sign * (state % 2)
                price = prices[state % 2, index + top]
                total = spent + float(cost * matters * (aim - level) ** 2 + price)
                to = AFTER[state][index % 2]
                if to not in after or total < after[to][0]:
                    error = float(np.sqrt(cost) * (target - level))
                    after[to] = (total, [*levels, level], [*errors, error])
        paths = after
    return min(paths.values())[1]
