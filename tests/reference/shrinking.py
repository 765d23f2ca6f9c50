"""A covariance shrunk towards a multiple of the identity, entry by entry."""

from __future__ import annotations

import numpy as np


def shrunk(chunks: list[np.ndarray]) -> np.ndarray:
    """(n, n) from equally long chunks of (samples, n); what varies by chunk is chance."""
    x = np.concatenate(chunks)
    n = x.shape[1]
    covariance = np.cov(x.T, bias=True).reshape(n, n)
    size = np.trace(covariance) / n
    around = chunks[0].mean(0)
    seen = [np.mean([np.outer(v - around, v - around) for v in chunk], 0) for chunk in chunks]
    variance = distance = 0.0
    for i in range(n):
        for j in range(n):
            variance += np.var([one[i, j] for one in seen], ddof=1) / len(chunks)
            distance += (covariance[i, j] - size * (i == j)) ** 2
    share = min(variance / distance, 1.0)
    return (1 - share) * covariance + share * size * np.eye(n)
