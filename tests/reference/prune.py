"""Greedy elimination with every candidate tried: the rest refitted by least squares each time."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def refit(w: Array, H: Array, stays: Array) -> Array:
    """The rows' (r, n) nearest outputs with the columns that stay, from the normal equations."""
    found = np.zeros_like(w)
    for row in range(len(w)):
        k = np.flatnonzero(stays[row])
        if len(k):
            found[row, k] = np.linalg.lstsq(H[np.ix_(k, k)], H[k] @ w[row], rcond=None)[0]
    return found


def error(w: Array, H: Array, stays: Array) -> float:
    """What the best weights on those that stay still miss."""
    lost = w - refit(w, H, stays)
    return float(np.einsum("rn,nm,rm->", lost, H, lost))


def greedy(w: Array, H: Array, count: int, rows: int = 1, columns: int = 1) -> tuple[Array, list]:
    """Take out blocks of a matrix (R, n) one by one, each time the one that costs least.

    Returns:
        The weights left, refitted, and the blocks in the order they went.
    """
    R, n = w.shape
    stays = np.ones(w.shape, dtype=bool)
    order = []
    for _ in range(count):
        best, best_cost = None, np.inf
        for i in range(0, R, rows):
            for j in range(0, n, columns):
                if not stays[i, j]:
                    continue
                tried = stays.copy()
                tried[i : i + rows, j : j + columns] = False
                cost = error(w, H, tried) - error(w, H, stays)
                if cost < best_cost:
                    best, best_cost = (i, j), cost
        i, j = best
        stays[i : i + rows, j : j + columns] = False
        order.append(best)
    return refit(w, H, stays), order
