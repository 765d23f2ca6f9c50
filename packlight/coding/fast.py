"""Records of the fast codec: a tensor's bytes in planes, or as places in a short palette."""

from __future__ import annotations

import numpy as np

from packlight.coding import _native
from packlight.coding.openers import Found
from packlight.coding.openers.tensor import Tensor
from packlight.types import Array

STORED, PLANES, PALETTE = range(3)
_SAMPLE = 4096


def pack(raw: bytes, found: Found | None) -> bytes:
    """One or more records for a span of the file.

    Args:
        raw: the span's bytes.
        found: what lies there; None for bytes without structure.
    """
    width = found.width if isinstance(found, Tensor) else 1 if found is None else 4
    items = len(raw) // width
    if not items:
        return _native.pack_fast(STORED, 1, len(raw), raw, b"")
    rest = raw[items * width :]
    tail = _native.pack_fast(STORED, 1, len(rest), rest, b"") if rest else b""
    values = np.frombuffer(raw, f"<u{width}", items)
    candidates = [_planes(values, width)]
    # a sample with too many values spares the sorting of all of them
    if 1 < width <= 4 and len(np.unique(values[:_SAMPLE])) <= 256:
        palette, places = np.unique(values, return_inverse=True)
        if len(palette) <= 256:
            indices = places.astype(np.uint8).tobytes()
            record = _native.pack_fast(PALETTE, width, items, indices, palette.tobytes())
            candidates.append(record)
    return min(candidates, key=len) + tail


def _planes(values: Array, width: int) -> bytes:
    planes = values.view(np.uint8).reshape(-1, width).T.tobytes()
    return _native.pack_fast(PLANES, width, len(values), planes, b"")
