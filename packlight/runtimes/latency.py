"""What the times of runs tell: a latency, the interval around it, and whether two files differ.

Intervals are of a median, by order statistics: between the k-th smallest and the k-th largest of n
values, k as large as 95 % allow. That holds for any distribution of times and draws no random
numbers. Source: Conover, Practical Nonparametric Statistics (3rd ed. 1999), sec. 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from packlight.judge import Interval
from packlight.types import Array

TAIL = 40  # one in 40 on either side of the interval leaves 95 %

Verdict = Literal["faster", "slower", "unclear"]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run, over many runs."""

    median: float
    p95: float

    @classmethod
    def of(cls, times: Sequence[float] | Array) -> Latency:
        """Of runs that took so many milliseconds each."""
        return cls(float(np.median(times)), float(np.percentile(times, 95)))


def median_interval(values: Sequence[float] | Array) -> Interval:
    """The median of independent values and its 95 % interval.

    Fewer than 6 values can not give 95 %: the interval is all of them.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    outside = _outside(len(ordered))
    low, high = ordered[outside], ordered[len(ordered) - 1 - outside]
    return Interval(float(np.median(ordered)), float(low), float(high))


def _outside(n: int) -> int:
    """How many of n values lie below the interval, and as many above.

    The k-th smallest value is above the true median if fewer than k of n fair coins show heads.
    """
    ways, tail, k = 1, 0, 0  # n coins showing k heads; fewer than k
    while k < n // 2:
        tail += ways
        if tail * TAIL > 2**n:
            break
        ways = ways * (n - k) // (k + 1)
        k += 1
    return max(k - 1, 0)


def ratio_interval(times: Sequence[float] | Array, others: Sequence[float] | Array) -> Interval:
    """How many times as long as the others, and the 95 % interval, paired.

    Args:
        times, others: (turns,) what either took in the same turn.
    """
    return median_interval(np.asarray(times, np.float64) / np.asarray(others, np.float64))


def verdict(ratio: Interval, same: Interval) -> Verdict:
    """Whether a ratio is beyond what this machine makes out of nothing.

    Args:
        ratio: of a file's times to the first file's.
        same: of the first file's times in one process to its times in another: 1, but for noise.
    Returns:
        "faster" or "slower" if the whole interval of the ratio lies beyond that of `same`, on
        whichever side of 1; otherwise "unclear".
    """
    noise = max(same.high, 1 / same.low, 1.0)
    if ratio.high < 1 / noise:
        return "faster"
    return "slower" if ratio.low > noise else "unclear"


def spread(values: Sequence[float] | Array) -> float:
    """How much values vary: the range of their middle half, relative to their median."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)
