"""Pictures one quarter of which is the brightest, as bytes."""

from __future__ import annotations

import numpy as np


def quarters(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 16, 16, 3) uint8, and which quarter it is."""
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 200, (count, 16, 16, 3))
    y = generator.integers(0, 4, count)
    for place in range(4):
        top, left = 8 * (place // 2), 8 * (place % 2)
        x[y == place, top : top + 8, left : left + 8] += 40
    return x.astype(np.uint8), y
