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
SYMBOLS = 512  # places of a class: a level, less its prediction, is within +-254
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
    symbols = levels.reshape(x.shape).astype(np.int16)
    kinds = [(scale, symbols)]
    path = trellis.find(levels.reshape(rows, -1))
    if path is None:  # fine levels lie around the prediction
        kinds += [(_ahead(scale, 2 * predicted), symbols)]
        kinds += [(scale, symbols - np.rint(predicted).astype(np.int16))]
    else:
        symbols = path.index.reshape(x.shape).astype(np.int16)
        grid = path.grid.reshape(x.shape).astype(np.int16)
        classes = [scale, _ahead(scale, predicted), _ahead(scale, 2 * predicted)]
        kinds = [(2 * kind + grid, symbols) for kind in classes]
    best = min(_adaptive_bits(kind.astype(np.int32) * SYMBOLS + (which & SYMBOLS - 1))
               for kind, which in kinds)  # fmt: skip
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
    column -= np.float32(np.log2(size.mean() + 0.02))
    classes = np.rint(2 * row[:, None] + 2 * column.ravel()).astype(np.int16)
    classes -= classes.max() - SCALES + 1
    return np.asarray(np.clip(classes, 0, SCALES - 1).reshape(size.shape))


def _ahead(scale: Array, predicted: Array) -> Array:
    """Classes of scale and prediction together."""
    ahead = np.clip(np.rint(predicted), -PREDICTIONS, PREDICTIONS).astype(np.int16)
    return np.asarray(scale // 2 * (2 * PREDICTIONS + 1) + ahead + PREDICTIONS)


def _predictions(x: Array) -> Array:
    """Each level predicted by least squares: from the earlier taps of its kernel, the mean of the
    same place in the rows above, and the mean of those beside it in its row."""
    taps = x.shape[2]
    rows = x.reshape(len(x), -1)
    above, beside = _mean_before(rows, ABOVE), _mean_before(rows.T, BESIDE).T
    flat = x.reshape(-1, taps)
    before = above.reshape(-1, taps), beside.reshape(-1, taps)
    sample = slice(None, None, max(1, len(flat) // SAMPLE))
    weights = np.zeros((2 + taps, taps), np.float32)  # above, beside, earlier taps -> tap
    for tap in range(taps):
        known = np.column_stack([*(mean[sample, tap] for mean in before), flat[sample, :tap]])
        moments = known.T @ known
        moments += np.eye(len(moments), dtype=np.float32) * (
            0.02 * np.trace(moments) / len(moments) + 1
        )
        weights[: 2 + tap, tap] = np.linalg.solve(moments, known.T @ flat[sample, tap])
    predicted = (flat @ weights[2:]).reshape(rows.shape)
    for mean, weight in zip((above, beside), weights, strict=False):
        mean *= np.tile(weight, x.shape[1])
        predicted += mean
    return predicted.reshape(x.shape)


def _mean_before(x: Array, count: int) -> Array:
    """Of the `count` rows before each, a power of two, as far as there are so many."""
    sums = np.zeros_like(x)
    sums[1:] = x[:-1]
    width = 1
    while width < count:
        sums[width:] += sums[:-width]
        width *= 2
    sums /= count
    return sums


def _adaptive_bits(places: Array) -> float:
    """Bits of symbols that are coded class by class; `places` is class * SYMBOLS + symbol."""
    counts = np.bincount(places.ravel())
    counts = np.pad(counts, (0, -len(counts) % SYMBOLS)).reshape(-1, SYMBOLS)
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
