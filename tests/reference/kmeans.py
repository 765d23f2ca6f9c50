"""k-means on the line by the plain dynamic program, every interval's error summed anew."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def least_error(values: Array, weights: Array, k: int, zero: bool = False) -> float:
    """The least weighted squared error of sorted values around at most k centres.

    With `zero`, one of the centres is 0.
    """
    count = len(values)

    def around_mean(start: int, stop: int) -> float:
        x, w = values[start:stop], weights[start:stop]
        mean = (w * x).sum() / w.sum() if w.sum() > 0 else 0.0
        return float((w * (x - mean) ** 2).sum())

    def around_zero(start: int, stop: int) -> float:
        return float((weights[start:stop] * values[start:stop] ** 2).sum())

    # best[used][c][i]: the first i values in c clusters, the one around 0 among them or not
    best = np.full((2, k + 1, count + 1), np.inf)
    best[0, 0, 0] = 0.0
    for clusters in range(1, k + 1):
        for stop in range(count + 1):
            for start in range(stop + 1):
                own = around_mean(start, stop)
                ways = [best[0, clusters - 1, start] + own]
                best[0, clusters, stop] = min(best[0, clusters, stop], *ways)
                ways = [
                    best[1, clusters - 1, start] + own,
                    best[0, clusters - 1, start] + around_zero(start, stop),
                ]
                best[1, clusters, stop] = min(best[1, clusters, stop], *ways)
    return float(best[int(zero), k, count])
