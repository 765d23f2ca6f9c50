"""Tensors of one file that are nearly the same: averaged weights beside the weights, say.

A look at a thousand items of each finds them; whether it pays to tell one from the other is tried
later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

import numpy as np

from packlight.coding.openers.tensor import Tensor
from packlight.types import Array

LEAST = 256  # bytes of a tensor that is worth looking at
SAMPLE = 1024  # items of each
ALIKE = 0.5  # of a tensor's size may lie between it and one that it is like
NEIGHBOURS = 64  # earlier tensors of the same shape that are looked at


def find_like(raw: bytes, tensors: Sequence[Tensor], reach: int) -> dict[int, int]:
    """Place of a tensor -> place of the earlier one that it is most like.

    Args:
        raw: the file.
        tensors: in it, in order.
        reach: bytes from the beginning of one to the end of the other, at most.
    """
    alike: dict[tuple[object, ...], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        if LEAST <= tensor.size <= reach // 2:
            key = tensor.dtype, tensor.shape, tensor.channels_last, tensor.big_endian
            alike[key].append(tensor)
    found = {}
    for group in alike.values():
        samples = [_sample(raw, tensor) for tensor in group] if len(group) > 1 else []
        for place, values in enumerate(samples):
            tensor = group[place]
            best = ALIKE
            for other in islice(reversed(range(place)), NEIGHBOURS):
                if tensor.offset + tensor.size - group[other].offset > reach:
                    break
                share = _difference(values, samples[other], scaled="int" in tensor.dtype)
                if share < best:
                    best, found[tensor.offset] = share, group[other].offset
    return found


def _sample(raw: bytes, tensor: Tensor) -> Array:
    """Some of a tensor's items as floats; integers about their mean, as they have a zero point."""
    count = tensor.size // tensor.width
    order = ">" if tensor.big_endian else "<"
    kind = {"float32": "f4", "float16": "f2", "bfloat16": "u2"}.get(tensor.dtype)
    kind = kind or f"{tensor.dtype[0]}{tensor.width}"
    items = np.frombuffer(raw, order + kind, count, tensor.offset)[:: -(-count // SAMPLE)]
    if tensor.dtype == "bfloat16":
        items = (items.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(all="ignore"):
        values = np.nan_to_num(items.astype(np.float64), nan=0, posinf=0, neginf=0)
    return values - values.mean() if "int" in tensor.dtype else values


def _difference(values: Array, other: Array, *, scaled: bool) -> float:
    """The size of what is left of a tensor without the other (or a multiple of it), as a share."""
    whole, shared = float(values @ values), float(values @ other)
    square = float(other @ other)
    if whole <= 0 or square <= 0:
        return 1.0
    left = whole - shared * shared / square if scaled else whole - 2 * shared + square
    return float(np.sqrt(max(left, 0) / whole))
