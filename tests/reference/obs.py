"""Optimal brain surgeon, one column at a time, straight from the paper."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def round_columns(
    weights: Array, H: Array, order: Array, step: Array, price: float, bits: Array
) -> Array:
    """Round one group's weights (R, n): fix a column, move the free ones to their new optimum.

    After a column is fixed, the rest of the weights move by
    -error / [H^-1]_qq * [H^-1]_q,rest with H^-1 taken anew over the columns still free
    (Hassibi & Stork 1992, equation 5).
    """
    rest = weights.copy()
    rows, _ = weights.shape
    levels = np.zeros(weights.shape, dtype=int)
    top = len(bits) // 2
    for done, column in enumerate(order):
        free = order[done:]
        inverse = np.linalg.inv(H[np.ix_(free, free)])
        for row in range(rows):
            weight = rest[row, column]
            nearest = int(np.clip(np.rint(weight / step[row]), -top, top))
            best = min(
                (nearest, nearest - int(np.sign(nearest)), 0),
                key=lambda level: (
                    (weight - level * step[row]) ** 2 / inverse[0, 0] + price * bits[level + top]
                ),
            )
            levels[row, column] = best
            error = weight - best * step[row]
            rest[row, free] -= error / inverse[0, 0] * inverse[0]
    return levels
