"""Records of the fast codec for one tensor: planes of bytes, short palettes, kernels, products.

The taps of one kernel are alike. A record of kernels predicts each from those before it, by least
squares, and gives every class of predictions a table of its own: it keeps most of what the tensor
model finds there at many times its speed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from packlight.coding import _native, trellis
from packlight.coding.container import number
from packlight.coding.openers import Found
from packlight.coding.openers.tensor import Tensor
from packlight.coding.segments import shape_values, to_sortable, trellis_path
from packlight.types import Array

STORED, PLANES, PALETTE, KERNELS, REPEATS, PRODUCT, TRELLIS, TRELLIS_KERNELS = range(8)
TAPS, BACK, REACH = 25, 8, 8
ONE = 64  # a weight of one
SHIFTS = range(4, 13)  # classes are 2^shift / 64 levels wide
FEW_ITEMS = 1 << 18  # of which fewer tables are tried too
_SAMPLE = 4096


def pack(raw: bytes, found: Found | None, *, kernels: bool = False) -> bytes:
    """One or more records for a span of the file.

    Args:
        raw: the span's bytes.
        found: what lies there; None for bytes without structure.
        kernels: also try records of kernels, which are slower.
    """
    width = found.width if isinstance(found, Tensor) else 1 if found is None else 4
    items = len(raw) // width
    if not items:
        return _native.pack_fast(STORED, 1, len(raw), raw, b"")
    rest = raw[items * width :]
    tail = _native.pack_fast(STORED, 1, len(rest), rest, b"") if rest else b""
    values = np.frombuffer(raw, f"<u{width}", items)
    candidates = [_planes(values, width)]
    symbols, palette = values, b""
    # a sample with too many values spares the sorting of all of them
    if 1 < width <= 4 and len(np.unique(values[:_SAMPLE])) <= 256:
        sorted_values, symbols = _places(values)
        if len(sorted_values) <= 256:
            palette = sorted_values.tobytes()
            indices = symbols.astype(np.uint8).tobytes()
            candidates.append(_native.pack_fast(PALETTE, width, items, indices, palette))
    path = trellis_path(found, values) if isinstance(found, Tensor) else None
    if isinstance(found, Tensor) and path:
        candidates.extend(trellis_records(found, values, path, kernels=kernels))
    elif kernels and isinstance(found, Tensor) and (width == 1 or palette):
        candidates.extend(kernel_records(found, symbols.astype(np.uint8), width, palette))
    return min(candidates, key=len) + tail


def product(numbers: bytes, source: bytes, factor: bytes, distance: int) -> bytes | None:
    """A record of fp32 numbers, some of which are those `distance` before times a factor.

    Args:
        numbers: little-endian, as `source`.
        source: those before.
        factor: fp32.
    Returns:
        None if a product is one whose rounding differs by machine.
    """
    with np.errstate(all="ignore"):
        expected = np.frombuffer(source, "<f4") * np.frombuffer(factor, "<f4")
    if not (np.isfinite(expected) & (np.abs(expected) >= np.finfo(np.float32).tiny)).all():
        return None
    off = np.frombuffer(numbers, "<i4").astype(np.int64) - expected.view("<i4")
    near = abs(off) < 128
    far = off[~near].astype("<u4").view(np.uint8).reshape(-1, 4).T
    head = bytes([PRODUCT]) + number(len(off)) + number(distance) + factor
    steps = _plane(np.where(near, off + 128, 0).astype(np.uint8))
    planes = map(_plane, far) if far.size else ()
    return head + steps + number(far.shape[1]) + b"".join(planes)


def _plane(symbols: Array) -> bytes:
    """What follows the head of a record of one plane."""
    record = _native.pack_fast(PLANES, 1, len(symbols), symbols.tobytes(), b"")
    return record[2 + len(number(len(symbols))) :]


def _planes(values: Array, width: int) -> bytes:
    planes = values.view(np.uint8).reshape(-1, width).T.tobytes()
    return _native.pack_fast(PLANES, width, len(values), planes, b"")


def _places(values: Array) -> tuple[Array, Array]:
    """A palette in the order of the floats it holds, and every value's place in it."""
    top = values.dtype.type(1 << (8 * values.dtype.itemsize - 1))
    order, places = np.unique(to_sortable(values), return_inverse=True)
    return np.where(order & top, order & ~top, ~order), places


def kernel_records(found: Tensor, symbols: Array, width: int, palette: bytes) -> Iterator[bytes]:
    """Records of kernels with classes of different widths; none where there are no kernels.

    Args:
        found: its shape tells rows, channels and taps.
        symbols: (items,) uint8, the bytes themselves or places in the palette.
        width: bytes of an item.
        palette: the values, if it is not bytes.
    """
    shape = shape_values(found)
    taps = shape["taps"]
    stride = shape["channels"] if shape["channels_last"] else 1
    if not 1 < taps <= TAPS or (stride > 1 and width > 1):
        return
    flip = 128 if found.dtype == "int8" else 0  # turns two's complement into a count from -128
    symbols = symbols ^ np.uint8(flip)
    centre = flip or int(np.bincount(symbols).argmax())
    predicted, weights = _predictions(symbols.astype(np.int32) - centre, taps, stride)
    head = bytes([KERNELS, width]) + number(len(symbols))
    if width > 1:
        head += number(len(palette) // width) + palette
    head += bytes([flip, centre, taps]) + number(stride)
    for shift, reach, classes in _classes(predicted):
        body = _native.pack_kernels(2 * reach + 1, symbols.tobytes(), classes.tobytes())
        yield head + bytes([shift, reach]) + weights + body


def trellis_records(
    found: Tensor, levels: Array, path: trellis.Path, *, kernels: bool
) -> Iterator[bytes]:
    """Records of the indices along a trellis: a plane, or tables by grid and class.

    Args:
        found: its shape tells rows, channels and taps.
        levels: (items,) uint8, the bytes themselves.
        path: what they are on it.
        kernels: records with tables by grid and class too, which are slower.
    """
    index = path.index.astype(np.int8).view(np.uint8).ravel()
    where = bytes([path.along]) + number(path.index.shape[1])
    yield bytes([TRELLIS]) + number(len(index)) + where + _plane(index)
    if not kernels:
        return
    head = bytes([TRELLIS_KERNELS]) + number(len(index)) + where
    grid = path.grid.astype(np.uint8).ravel()
    body = _native.pack_kernels(2, index.tobytes(), grid.tobytes())
    yield head + bytes([1, 1, 1, 0]) + body
    shape = shape_values(found)
    taps = shape["taps"]
    if not 1 < taps <= TAPS:
        return
    stride = shape["channels"] if shape["channels_last"] else 1
    predicted, weights = _predictions(levels.view(np.int8).astype(np.int32), taps, stride)
    head += bytes([taps]) + number(stride)
    for shift, reach, classes in _classes(predicted):
        which = classes + grid * np.uint8(2 * reach + 1)
        body = _native.pack_kernels(2 * (2 * reach + 1), index.tobytes(), which.tobytes())
        yield head + bytes([shift, reach]) + weights + body


def _predictions(levels: Array, taps: int, stride: int) -> tuple[Array, bytes]:
    """Of every item from the taps before it, in 1/ONE, and the weights as a record holds them."""
    rows = levels.reshape(-1, taps, stride).swapaxes(1, 2).reshape(-1, taps)
    weights = _weights(rows)
    predicted = np.zeros_like(rows)
    coded = b""
    for tap in range(1, taps):
        for back in range(min(tap, BACK)):
            predicted[:, tap] += weights[tap, back] * rows[:, tap - 1 - back]
            coded += weights[tap, back].astype(np.int8).tobytes()
    return predicted.reshape(-1, stride, taps).swapaxes(1, 2).ravel(), coded


def _classes(predicted: Array) -> Iterator[tuple[int, int, Array]]:
    """Classes of different widths, each with its shift and reach; none where there is but one."""
    for reach in (REACH,) if len(predicted) > FEW_ITEMS else (1, 2, 4, REACH):
        for shift in SHIFTS:
            classes = np.clip((predicted + (1 << (shift - 1))) >> shift, -reach, reach) + reach
            if classes.min() < classes.max():
                yield shift, reach, classes.astype(np.uint8)


def _weights(rows: Array) -> Array:
    """(taps, BACK) least-squares weights in 1/ONE: of the tap before, the one before that, ..."""
    x = rows.astype(np.float64)
    taps = x.shape[1]
    moments = x.T @ x
    moments += np.eye(taps) * (0.01 * np.trace(moments) / taps + 1)
    weights = np.zeros((taps, BACK), np.int32)
    for tap in range(1, taps):
        before = np.arange(tap - 1, max(tap - 1 - BACK, -1), -1)
        solved = np.linalg.solve(moments[np.ix_(before, before)], moments[before, tap])
        weights[tap, : len(before)] = np.clip(np.rint(solved * ONE), -128, 127)
    return weights
