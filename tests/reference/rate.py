"""The cost of integer levels, added up weight by weight."""

from __future__ import annotations

import numpy as np


def estimate(levels):
    """Bits, as packlight.coding.rate estimates them; see there for the classes."""
    rows = levels.shape[0] if levels.ndim > 1 else 1
    taps = int(np.prod(levels.shape[2:]))
    x = levels.reshape(rows, -1, taps).astype(np.float32)
    plain = scale_classes(np.abs(x))
    best = adaptive(plain, levels)
    if taps > 1:
        predicted = predictions(x)
        ahead = np.clip(np.rint(2 * predicted), -8, 8)
        best = min(best, adaptive(plain // 2 * 100 + ahead, levels))
        best = min(best, adaptive(plain, (x - np.rint(predicted)) % 255))
    return best


def scale_classes(size):
    classes = np.zeros(size.shape)
    for place in np.ndindex(size.shape):
        row = np.log2(size[place[0]].mean() + 0.02)
        column = np.log2(size[:, place[1], place[2]].mean() + 0.02)
        classes[place] = np.rint(2 * (row + column - np.log2(size.mean() + 0.02)))
    return np.clip(classes - (classes.max() - 9), 0, 9)


def predictions(x):
    flat = x.reshape(-1, x.shape[2]).astype(np.float64)
    predicted = np.zeros_like(flat)
    ridge = 0.02 * np.square(flat).sum() / flat.shape[1] + 1
    for tap in range(1, flat.shape[1]):
        before = flat[:, :tap]
        moments = before.T @ before + ridge * np.eye(tap)
        predicted[:, tap] = before @ np.linalg.solve(moments, before.T @ flat[:, tap])
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
