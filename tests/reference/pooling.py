"""What a head computes whose pointwise convolution reads means: one window after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from packlight.types import Array


def head(
    x: Array,
    weight: Array,
    bias: Array,
    activation: Callable[[Array], Array],
    window: tuple[int, int],
    padding: int,
) -> Array:
    """The mean over all positions of a convolution's activations.

    Args:
        x: (channels, height, width).
        weight: (out, channels).
        bias: (out,).
        activation: of an array.
        window: positions along height and width that go through the convolution as one.
        padding: zeros that the convolution reads around the positions.
    Returns:
        (out,).
    """
    _, height, width = x.shape
    total = np.zeros(len(weight))
    for top in range(0, height, window[0]):
        for left in range(0, width, window[1]):
            part = x[:, top : top + window[0], left : left + window[1]]
            positions = part.shape[1] * part.shape[2]
            total += positions * activation(weight @ part.mean((1, 2)) + bias)
    padded = (height + 2 * padding) * (width + 2 * padding)
    total += (padded - height * width) * activation(bias)
    return total / padded
