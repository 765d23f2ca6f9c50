"""Low rank in the whitened norm by the textbook: multiply by a root of H, then forget about H."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def svd_error(weight: Array, H: Array, rank: int) -> float:
    """The tail of the spectrum of W L, with H = L L^T: no matrix of that rank errs less."""
    singular = np.linalg.svd(weight @ np.linalg.cholesky(H), compute_uv=False)
    return float(np.square(singular[rank:]).sum())


def regression_error(weight: Array, H: Array, features: Array) -> float:
    """The least error of W - B T over all B, T given."""
    root = np.linalg.cholesky(H)
    target, given = weight @ root, features @ root
    solution, *_ = np.linalg.lstsq(given.T, target.T, rcond=None)
    return float(np.square(target - solution.T @ given).sum())


def convolved(stage: Array, whole: Array) -> Array:
    """The kernel of one convolution after another, tap by tap; (R, C, height, width) each."""
    depthwise = stage.shape[1] == 1 and len(stage) == len(whole)
    height = stage.shape[2] + whole.shape[2] - 1
    width = stage.shape[3] + whole.shape[3] - 1
    made = np.zeros((len(stage), whole.shape[1], height, width))
    for r in range(len(stage)):
        for m in [r] if depthwise else range(len(whole)):
            for i, j in np.ndindex(stage.shape[2:]):
                tap = stage[r, 0 if depthwise else m, i, j]
                made[r, :, i : i + whole.shape[2], j : j + whole.shape[3]] += tap * whole[m]
    return made
