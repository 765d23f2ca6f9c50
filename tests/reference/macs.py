"""Multiply-adds of convolutions and matrix products, counted one at a time.

A multiplication with a zero of the padding counts: a phone's kernel makes it too, and so do the
published figures.
"""

from __future__ import annotations

from itertools import product


def conv_macs(
    batch: int,
    inputs: int,
    size: tuple[int, ...],
    outputs: int,
    kernel: tuple[int, ...],
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> int:
    """Slide the kernel over every position it fits on, and count each of its taps."""
    count = 0
    for _ in range(batch):
        for out in range(outputs):
            group = out // (outputs // groups)
            for _ in _positions(size, kernel, stride, padding, dilation):
                for channel in range(inputs):
                    if channel // (inputs // groups) == group:
                        for _ in product(*map(range, kernel)):
                            count += 1
    return count


def conv_transpose_macs(
    inputs: int, size: tuple[int, ...], outputs: int, kernel: tuple[int, ...], groups: int = 1
) -> int:
    """Every input, times every tap, into every output channel of its group."""
    count = 0
    for channel in range(inputs):
        for out in range(outputs):
            if channel // (inputs // groups) == out // (outputs // groups):
                for _ in product(*map(range, size)):
                    for _ in product(*map(range, kernel)):
                        count += 1
    return count


def recurrent_macs(steps: int, inputs: int, hidden: int, gates: int) -> int:
    """One direction of one layer: each gate reads the input and the state before."""
    count = 0
    for _ in range(steps):
        for _ in range(gates):
            for _ in range(hidden):
                count += sum(1 for _ in range(inputs)) + sum(1 for _ in range(hidden))
    return count


def _positions(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: int, dilation: int
) -> list[tuple[int, ...]]:
    """Where the kernel's first tap may stand, on the padded input."""
    axes = []
    for length, taps in zip(size, kernel, strict=True):
        reach = dilation * (taps - 1)  # from the first tap to the last
        starts = range(0, length + 2 * padding, stride)
        axes.append([start for start in starts if start + reach < length + 2 * padding])
    return list(product(*axes))
