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
ABOVE, BESIDE = 8, 4  # rows and items whose means predict
PRIOR = 0.04  # of every symbol, before any is seen
MIXED = 0.98  # of the best classes' bits: the coder mixes the predictions of several


def estimate(levels: Array) -> float:
    """The bits that `packlight pack` will spend on a tensor.

    Args:
        levels: (rows, channels, ...kernel) integers within +-127.
    """
    if not levels.size:
        return 0.0
    rows = levels.shape[0] if levels.ndim > 1 else 1
    x = levels.reshape(rows, -1, prod(levels.shape[2:])).astype(np.float32)
    scale = _scale_class(np.abs(x))
    predicted = _predictions(x)
    symbols = levels.reshape(x.shape).astype(np.int64)
    kinds = [(scale, symbols)]
    path = trellis.find(levels.reshape(rows, -1))
    if path is None:  # fine levels lie around the prediction
        kinds += [(_ahead(scale, 2 * predicted), symbols)]
        kinds += [(scale, symbols - np.rint(predicted).astype(np.int64))]
    else:
        symbols, grid = path.index.reshape(x.shape), path.grid.reshape(x.shape)
        classes = [scale, _ahead(scale, predicted), _ahead(scale, 2 * predicted)]
        kinds = [(2 * kind + grid, symbols) for kind in classes]
    best = min(_adaptive_bits(kind * WIDTH + (which + LEVELS) % WIDTH) for kind, which in kinds)
    return MIXED * best


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


def _ahead(scale: Array, predicted: Array) -> Array:
    """Classes of scale and prediction together."""
    ahead = np.clip(np.rint(predicted).astype(np.int64), -PREDICTIONS, PREDICTIONS)
    return np.asarray(scale // 2 * (2 * PREDICTIONS + 1) + ahead + PREDICTIONS)


def _predictions(x: Array) -> Array:
    """Each level predicted by least squares: from the earlier taps of its kernel, the mean of the
    same place in the rows above, and the mean of those beside it in its row."""
    rows = x.reshape(len(x), -1)
    above = _mean_before(rows, ABOVE).reshape(-1, x.shape[2])
    beside = _mean_before(rows.T, BESIDE).T.reshape(-1, x.shape[2])
    flat = x.reshape(-1, x.shape[2])
    predicted = np.empty_like(flat)
    every = max(1, len(flat) // SAMPLE)
    for tap in range(x.shape[2]):
        known = np.column_stack([above[:, tap], beside[:, tap], flat[:, :tap]])
        sample = known[::every]
        moments = sample.T @ sample
        moments += np.eye(len(moments), dtype=np.float32) * (
            0.02 * np.trace(moments) / len(moments) + 1
        )
        predicted[:, tap] = known @ np.linalg.solve(moments, sample.T @ flat[::every, tap])
    return predicted.reshape(x.shape)


def _mean_before(x: Array, count: int) -> Array:
    """Of the `count` rows before each, as far as there are so many."""
    sums = np.zeros((len(x) + 1, x.shape[1]), np.float32)
    np.cumsum(x, axis=0, out=sums[1:])
    first = np.maximum(np.arange(len(x)) - count, 0)
    return np.asarray((sums[:-1] - sums[first]) / count)


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
