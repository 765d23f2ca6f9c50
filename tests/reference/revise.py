"""A descent from earlier levels, every candidate judged by the whole objective."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def descended(
    weights: Array,
    moments: Array,
    step: float,
    before: Array,
    price: float,
    bits: Array,
    stay: float,
) -> Array:
    """One pass through the columns, that with the largest moment first.

    Args:
        weights: (rows, n).
        moments: (n, n).
        before: (rows, n) integers.
        price: error that a bit is worth.
        bits: (255,) what each level costs, -127 first.
        stay: bits that a level saves which stays.
    """

    def objective(levels: Array) -> float:
        lost = weights - levels * step
        spent = bits[levels + 127].sum() - stay * (levels == before).sum()
        return float(np.trace(lost @ moments @ lost.T) + price * spent)

    levels = before.copy()
    for column in sorted(range(len(moments)), key=lambda j: -moments[j, j]):
        for row in range(len(weights)):
            trials = []
            for level in range(-64, 65):
                trial = levels.copy()
                trial[row, column] = level
                trials.append((objective(trial), level))
            levels[row, column] = min(trials)[1]
    return levels
