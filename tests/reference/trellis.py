"""Trellis-coded integers by trying every path."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# state -> where an even and where an odd index lead; grids alternate with the state
AFTER = {0: (0, 2), 1: (5, 7), 2: (1, 3), 3: (6, 4), 4: (2, 0), 5: (4, 6), 6: (3, 1), 7: (7, 5)}


def levels_of(indices: list[int]) -> tuple[list[int], list[int]]:
    """The levels that indices stand for, and the grids they are on."""
    state, levels, grids = 0, [], []
    for index in indices:
        grid = state % 2
        sign = (index > 0) - (index < 0)
        levels.append(2 * index - sign * grid)
        grids.append(grid)
        state = AFTER[state][index % 2]
    return levels, grids


def cheapest(
    targets: Array,
    weights: Array,
    prices: Array,
    top: int,
    earlier: Array | None = None,
    saving: float = 0.0,
) -> tuple[float, list[int]]:
    """The least cost of all paths with indices up to `top`, and the levels that have it.

    Args:
        targets, weights: (n,).
        prices: (2, odd count), the middle one that of index 0.
        earlier: (n,) levels; each that stays costs `saving` less.
    """
    middle = prices.shape[1] // 2
    best: tuple[float, list[int]] = (np.inf, [])
    for indices in product(range(-top, top + 1), repeat=len(targets)):
        levels, grids = levels_of(list(indices))
        cost = sum(
            weight * (target - level) ** 2 + prices[grid, index + middle]
            for target, weight, level, grid, index in zip(
                targets, weights, levels, grids, indices, strict=True
            )
        )
        if earlier is not None:
            cost -= saving * sum(
                level == before for level, before in zip(levels, earlier, strict=True)
            )
        best = min(best, (float(cost), levels))
    return best
