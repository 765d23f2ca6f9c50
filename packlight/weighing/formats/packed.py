"""Stored bytes -> numbers, to count the zeros among them."""

from __future__ import annotations

from typing import Any

import numpy as np

from packlight.weighing.formats.operations import BITS

Array = np.ndarray[Any, Any]


def unpacked(data: bytes, dtype: str, count: int) -> Array | None:
    """Items of a type in BITS; None for types that numpy has not.

    Args:
        data: little-endian; items of less than a byte lie low bits first.
        dtype: bfloat16 comes as uint16 without its sign: a zero is a zero.
        count: how many items there are.
    """
    bits = BITS.get(dtype, 0)
    if bits in (2, 4) and dtype.startswith(("int", "uint")):
        lanes = np.frombuffer(data, np.uint8)[:, None] >> np.arange(0, 8, bits, dtype=np.uint8)
        items = (lanes & ((1 << bits) - 1)).reshape(-1)[:count]
        if dtype.startswith("uint"):
            return items
        sign = 1 << (bits - 1)
        return (items.astype(np.int8) ^ sign) - sign
    if dtype == "bfloat16":
        return np.frombuffer(data, "<u2") & 0x7FFF
    if bits >= 8 and dtype.startswith(("int", "uint", "float16", "float32", "float64", "bool")):
        kind = np.dtype(dtype).newbyteorder("<")
        return np.frombuffer(data, kind)
    return None


def zeros_in(data: bytes, dtype: str, count: int) -> int:
    """How many items are exactly zero; 0 for types that can not be looked at."""
    items = unpacked(data, dtype, count)
    return 0 if items is None else int(items.size - np.count_nonzero(items))
