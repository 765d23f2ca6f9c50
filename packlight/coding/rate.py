"""What an integer tensor will cost once packed, without packing it.

The tensor model learns a distribution for every scale (of the row times that of the column) and
every prediction from earlier taps of the kernel. The estimate counts the levels in just such
classes and adds up what an adaptive coder pays to learn and to use each class's distribution
(Krichevsky & Trofimov, IEEE Trans. IT 27 (1981) 199, with a thinner prior).
"""

from __future__ import annotations

from math import prod

import numpy as np

from packlight.coding import trellis
from packlight.types import Array

LEVELS = 127  # the largest level of a symmetric int8 grid
WIDTH = 2 * LEVELS + 1
SCALES = 10  # classes of scale, half an octave each
PREDICTIONS = 8  # half levels of prediction told apart, in both directions
SAMPLE = 1 << 14  # kernels that the predictors are fitted on
PRIOR = 0.04  # of every symbol, before any is seen


def estimate(levels: Array) -> float:
    """The bits that `packlight pack` will spend on a tensor.

    Args:
        levels: (rows, channels, ...kernel) integers within +-127.
    """
    if not levels.size:
        return 0.0
    rows = levels.shape[0] if levels.ndim > 1 else 1
    taps = prod(levels.shape[2:])
    x = levels.reshape(rows, -1, taps).astype(np.float32)
    scale = _scale_class(np.abs(x))
    path = trellis.find(levels.reshape(rows, -1))
    if path is not None:
        index, grid = path.index.reshape(x.shape), path.grid.reshape(x.shape)
        return _adaptive_bits((2 * scale + grid) * WIDTH + index + LEVELS)
    symbols = levels.reshape(rows, -1, taps).astype(np.int64) + LEVELS
    plain = _adaptive_bits(scale * WIDTH + symbols)
    if taps == 1:
        return plain
    predicted = _predictions(x)
    ahead = np.clip(np.rint(2 * predicted).astype(np.int64), -PREDICTIONS, PREDICTIONS)
    classes = scale // 2 * (2 * PREDICTIONS + 1) + ahead + PREDICTIONS
    # fine levels lie around the prediction, coarse ones take a distribution from it
    around = (symbols - np.rint(predicted).astype(np.int64)) % WIDTH
    kinds = ((classes, symbols), (scale, around))
    return min(plain, *(_adaptive_bits(kind * WIDTH + which) for kind, which in kinds))


def marginal(levels: Array) -> Array:
    """What one more weight at each level would cost in bits.

    Between and beyond the levels seen, a two-sided geometric tail stands in, so that a level that
    did not occur is dear but not forbidden.

    Args:
        levels: integers of any shape, within +-127.
    Returns:
        (255,) bits, level -127 first.
    """
    counts = np.bincount(levels.astype(np.int64).ravel() + LEVELS, minlength=WIDTH)
    size = np.abs(np.arange(-LEVELS, LEVELS + 1))
    total = max(int(counts.sum()), 1)
    mean = float((counts * size).sum()) / total
    ratio = mean / (1.0 + mean)
    tail = np.power(max(ratio, 1e-3), size)
    share = 2.0  # symbols' worth of weight on the tail
    probability = (counts + share * tail / tail.sum()) / (total + share)
    bits: Array = -np.log2(np.maximum(probability, 1e-30))
    return bits


def _scale_class(size: Array) -> Array:
    """(rows, channels, taps) magnitudes -> the class of the scale expected at each place."""
    row = np.log2(size.mean((1, 2)) + 0.02)
    column = np.log2(size.mean(0) + 0.02)
    both = row[:, None, None] + column - np.float32(np.log2(size.mean() + 0.02))
    classes = np.rint(2 * both).astype(np.int64)
    return np.asarray(np.clip(classes - (np.max(classes) - SCALES + 1), 0, SCALES - 1))


def _predictions(x: Array) -> Array:
    """Each tap predicted by least squares from the earlier taps of its kernel."""
    flat = x.reshape(-1, x.shape[2])
    sample = flat[:: max(1, len(flat) // SAMPLE)]
    moments = sample.T @ sample
    moments += np.eye(len(moments), dtype=np.float32) * (
        0.02 * np.trace(moments) / len(moments) + 1
    )
    weights = np.zeros_like(moments)
    for tap in range(1, len(moments)):
        weights[:tap, tap] = np.linalg.solve(moments[:tap, :tap], moments[:tap, tap])
    return np.asarray((flat @ weights).reshape(x.shape))


def _adaptive_bits(places: Array) -> float:
    """Bits of symbols that are coded class by class; `places` is class * WIDTH + symbol."""
    counts = np.bincount(places.ravel())
    counts = np.pad(counts, (0, -len(counts) % WIDTH)).reshape(-1, WIDTH)
    alphabet = (counts.sum(0) > 0).sum()
    seen = counts[counts > 0]
    total = counts.sum(1)
    total = total[total > 0]
    nats = _log_rising(alphabet * PRIOR, total).sum() - _log_rising(PRIOR, seen).sum()
    return float(nats / np.log(2))


def _log_rising(start: float, count: Array) -> Array:
    """ln(start (start + 1) ... (start + count - 1)), by Stirling's series."""
    return np.asarray(_log_gamma(start + count) - _log_gamma(np.asarray(start, np.float64)))


def _log_gamma(x: Array) -> Array:
    shifted = x + 4
    series = (shifted - 0.5) * np.log(shifted) - shifted + 0.5 * np.log(2 * np.pi)
    series += 1 / (12 * shifted) - 1 / (360 * shifted**3)
    return np.asarray(series - np.log(x * (x + 1) * (x + 2) * (x + 3)))
