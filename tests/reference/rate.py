"""The cost of integer levels, added up weight by weight."""

from __future__ import annotations

import numpy as np


def estimate(levels):
    """Bits, as packlight.coding.rate estimates them; see there for the classes."""
    rows = levels.shape[0] if levels.ndim > 1 else 1
    taps = int(np.prod(levels.shape[2:]))
    x = levels.reshape(rows, -1, taps).astype(np.float32)
    plain = scale_classes(np.abs(x))
    predicted = predictions(x)
    ahead = plain // 2 * 100 + np.clip(np.rint(2 * predicted), -8, 8)
    around = adaptive(plain, (x - np.rint(predicted)) % 255)
    return 0.98 * min(around, adaptive(plain, levels), adaptive(ahead, levels))


def scale_classes(size):
    classes = np.zeros(size.shape)
    for place in np.ndindex(size.shape):
        row = np.log2(size[place[0]].mean() + 0.02)
        column = np.log2(size[:, place[1], place[2]].mean() + 0.02)
        classes[place] = np.rint(2 * (row + column - np.log2(size.mean() + 0.02)))
    return np.clip(classes - (classes.max() - 9), 0, 9)


def predictions(x):
    rows = x.reshape(len(x), -1).astype(np.float64)
    above, beside = np.zeros_like(rows), np.zeros_like(rows)
    for row, column in np.ndindex(rows.shape):
        above[row, column] = rows[max(0, row - 8) : row, column].sum() / 8
        beside[row, column] = rows[row, max(0, column - 4) : column].sum() / 4
    above, beside, flat = (part.reshape(-1, x.shape[2]) for part in (above, beside, rows))
    predicted = np.zeros_like(flat)
    for tap in range(flat.shape[1]):
        known = np.concatenate([above[:, [tap]], beside[:, [tap]], flat[:, :tap]], axis=1)
        ridge = 0.02 * np.square(known).sum() / known.shape[1] + 1
        moments = known.T @ known + ridge * np.eye(known.shape[1])
        predicted[:, tap] = known @ np.linalg.solve(moments, known.T @ flat[:, tap])
    return predicted.reshape(x.shape)


def adaptive(classes, levels):
    """Every symbol costs -log2 of its share so far in its class; each begins with a share."""
    alphabet, prior = len(np.unique(levels)), 0.04
    seen, bits = {}, 0.0
    for key, level in zip(classes.ravel(), levels.ravel(), strict=True):
        counts = seen.setdefault(key, {})
        total = sum(counts.values())
        share = (counts.get(level, 0) + prior) / (total + alphabet * prior)
        bits -= np.log2(share)
        counts[level] = counts.get(level, 0) + 1
    return bits
