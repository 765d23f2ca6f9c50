"""The plan of a modelled chunk: which model codes which bytes, and with which parameters.

A segment is a dict-like record of native/include/packlight_encode.h; here it is made from a
tensor, and the candidates for one tensor are compared by packing it alone.
"""

from __future__ import annotations

import lzma
import struct
from dataclasses import dataclass, field
from math import prod

import numpy as np

from packlight.coding import _native, trellis
from packlight.coding.openers.tensor import Derived, Rows, Tensor
from packlight.types import Array

BYTES, INTEGERS, FLOATS, PALETTE, COPY, PRODUCT, FOURIER, BASE_COPY, CHANGES = range(9)
LIMITS, TRELLIS = 9, 10

_PALETTE_LIMIT = 8192
_FIELDS = (  # of a plan, in the order of packlight_encode.h
    *("kind", "length", "distance", "factor", "width", "big_endian"),
    *("rows", "channels", "taps", "tap_width", "channels_last"),
    *("centre", "lowest", "highest", "format", "largest", "zero_bits", "model_bits"),
    *("palette_size", "palette_zero", "reference", "weights", "smallest"),
    "along",
)
_FORMATS = {"float32": (0, 8, 23), "float16": (1, 5, 10), "bfloat16": (2, 8, 7)}
_MODEL_BITS = 4
_FEW_ITEMS = 32
_TRELLIS_COLUMNS = 1 << 16
FEW_BYTES = 1024  # of tensors, which the models code better once they have learnt from others
CLEARLY = 0.98  # of a model's cost, before bytes are taken for bytes
LZMA_SLOWLY = 1.2  # times as many bytes as at its best LZMA makes at its quickest, at most
SAMPLE = 1 << 16  # bytes on which a general codec is tried
OWN_CHUNK = 64  # bytes that a chunk of its own costs, and its neighbours lose


@dataclass(frozen=True)
class Segment:
    """`size` bytes that one model codes; LZMA ones and fast records make chunks of their own.

    The `record` is what such a chunk holds, if it has been packed already.

    One that is told from bytes before it in its chunk has another to take its place where those
    are in another chunk.
    """

    size: int
    values: dict[str, int] = field(default_factory=dict)
    palette: bytes = b""
    as_lzma: bool = False
    record: bytes = b""
    otherwise: Segment | None = None

    def to_bytes(self) -> bytes:
        """The numbers in the order of the native library."""
        return struct.pack("<24I", *(self.values.get(name, 0) & 0xFFFFFFFF for name in _FIELDS))


def plain(size: int) -> Segment:
    """Bytes without any structure that is known."""
    return Segment(size, {"kind": BYTES, "length": size})


def as_lzma(raw: bytes) -> Segment:
    """Bytes that are LZMA's; packed, as what was tried need not be tried again."""
    return Segment(len(raw), as_lzma=True, record=lzma_best(raw))


def best_plain(raw: bytes, work: bytearray) -> Segment:
    """Bytes without any structure that is known, by the byte model or LZMA."""
    modelled = plain(len(raw))
    size = cost(modelled, raw, work)
    if len(lzma_stream(raw, preset=0)) > LZMA_SLOWLY * size:
        return modelled
    other = as_lzma(raw)
    return other if cost(other, raw, work) < size else modelled


def copy(size: int, distance: int) -> Segment:
    """The same bytes as `distance` before."""
    return Segment(size, {"kind": COPY, "length": size, "distance": distance})


def base_copy(size: int, place: int) -> Segment:
    """The same bytes as the base holds from `place` on."""
    return Segment(size, {"kind": BASE_COPY, "length": size, "reference": place + 1})


def goes_on(before: Segment, segment: Segment) -> bool:
    """Whether two copies from the base, one after the other, are one copy."""
    kinds = before.values.get("kind"), segment.values.get("kind")
    place = before.values.get("reference", 0) + before.size
    return kinds == (BASE_COPY, BASE_COPY) and segment.values["reference"] == place


def product(derived: Derived) -> Segment:
    """fp32 numbers that follow from others."""
    factor = int.from_bytes(derived.factor, "little")
    distance = derived.offset - derived.source
    values = {"kind": PRODUCT, "length": derived.size, "distance": distance, "factor": factor}
    return Segment(derived.size, values)


def limits(derived: Derived, rows: Rows) -> Segment:
    """What the rows of a weight reached before they were quantised."""
    values = {"kind": LIMITS, "length": derived.size, "distance": derived.offset - derived.source}
    values |= {"weights": derived.offset - rows.offset, "channels": rows.items}
    values |= {"channels_last": int(rows.interleaved), "smallest": int(rows.lowest)}
    return Segment(derived.size, values)


def best(tensor: Tensor, raw: bytes, work: bytearray, thorough: bool) -> tuple[Segment, int | None]:
    """The segment that packs a tensor's bytes smallest, judged on the tensor alone.

    Args:
        tensor: its type and shape.
        raw: its bytes.
        work: memory for the trials.
        thorough: also try what seldom wins.
    Returns:
        And its bytes, if it had to be tried.
    """
    candidates = _candidates(tensor, raw)
    if len(raw) < FEW_BYTES and len(candidates) == 1:
        return candidates[0], None
    if len(candidates) == 1 and _by_chance(raw, tensor.width):
        return candidates[0], None
    quick = quickly(raw)
    if len(candidates) == 1:
        hopeless = max(_simply(raw, tensor.width), 0 if thorough else 0.8 * len(raw))
        if quick > 1.02 * hopeless:
            return candidates[0], None
    costs = [cost(segment, raw, work) for segment in candidates]
    if len(raw) >= FEW_BYTES and quick < (1.02 if thorough else 0.99) * min(costs):
        others = [plain(len(raw)), as_lzma(raw)]
        candidates += others
        costs += [int(cost(segment, raw, work) / CLEARLY) for segment in others]
    place = costs.index(min(costs))
    return candidates[place], costs[place]


def changed(tensor: Tensor, raw: bytes, place: int) -> Segment:
    """The segment of a tensor whose old values the base holds from `place` on."""
    reference = {"reference": place + 1}
    if tensor.dtype in _FORMATS:
        reference["kind"] = CHANGES
    return Segment(len(raw), _candidates(tensor, raw)[0].values | reference)


def told_from(
    tensor: Tensor, raw: bytes, before: bytes, distance: int, otherwise: Segment, work: bytearray
) -> Segment:
    """The segment of a tensor that is like one before it, if that is clearly smaller.

    Args:
        tensor: its type and shape.
        raw: its bytes.
        before: those of the other.
        distance: from there to here.
        otherwise: the segment that stands alone.
    """
    # on its own it is tried with the other as a base
    trial = changed(tensor, raw, 0)
    if cost(trial, raw, work, before) > CLEARLY * cost(otherwise, raw, work):
        return otherwise
    values = trial.values | {"reference": 0, "distance": distance}
    return Segment(trial.size, values, otherwise=otherwise)


def shape_values(tensor: Tensor) -> dict[str, int]:
    """Rows, channels and taps of a tensor of any rank."""
    shape = tensor.shape
    kernel: tuple[int, ...] = ()
    # axes of one in front say nothing, but a depthwise kernel 1 x H x W x C is one row
    while len(shape) > 2 and shape[0] == 1 and not tensor.channels_last:
        shape = shape[1:]
    if len(shape) < 2:
        rows, channels = 1, prod(shape)
    elif tensor.channels_last and len(shape) > 2:
        rows, channels, kernel = shape[0], shape[-1], shape[1:-1]
    else:
        rows, channels, kernel = shape[0], shape[1], shape[2:]
    return {
        "rows": rows,
        "channels": channels,
        "taps": prod(kernel),
        "tap_width": kernel[-1] if kernel else 1,
        "channels_last": int(tensor.channels_last and prod(kernel) > 1),
    }


def trellis_path(tensor: Tensor, values: Array) -> trellis.Path | None:
    """The path that an int8 tensor's bytes are, if they are one that a decoder can follow."""
    if tensor.dtype != "int8" or values.size < _FEW_ITEMS:
        return None
    rows = values.view(np.int8).reshape(shape_values(tensor)["rows"], -1)
    path = trellis.find(rows)
    if path is None or (not path.along and rows.shape[1] > _TRELLIS_COLUMNS):
        return None
    return path


def _candidates(tensor: Tensor, raw: bytes) -> list[Segment]:
    unsigned = np.frombuffer(raw, f"{'>' if tensor.big_endian else '<'}u{tensor.width}")
    values = unsigned.astype(unsigned.dtype.newbyteorder("="))
    shape = shape_values(tensor)
    common = shape | {"width": tensor.width, "big_endian": int(tensor.big_endian)}
    if tensor.dtype not in _FORMATS:
        path = trellis_path(tensor, values)
        if path is not None:
            return [_on_trellis(path, common)]
        return [_integers(tensor, values, common)]
    found = [_floats(tensor, values, common)]
    if values.size >= _FEW_ITEMS:
        sortable = to_sortable(values)
        palette = np.unique(sortable)
        if palette.size <= min(_PALETTE_LIMIT, values.size * 3 // 4):
            found.append(_palette(tensor, sortable, palette, common))
    points = shape["channels"] * shape["taps"]
    if tensor.dtype == "float32" and points <= 4096 and shape["rows"] == 2 * (points // 2 + 1):
        # a Fourier basis has real and imaginary rows
        table = {"rows": shape["rows"], "channels": points, "taps": 1, "tap_width": 1}
        found.append(Segment(len(raw), table | {"kind": FOURIER, "width": 4}))
    return found


def _integers(tensor: Tensor, values: Array, common: dict[str, int]) -> Segment:
    centre = 0
    if tensor.dtype.startswith("uint"):
        # asymmetric integers cluster at their zero point
        centre = _most_frequent(values)
    around = (values - values.dtype.type(centre)).view(f"i{tensor.width}")
    lowest, highest = int(around.min()), int(around.max())
    extra = {"kind": INTEGERS, "centre": centre, "lowest": lowest, "highest": highest}
    return Segment(values.size * tensor.width, common | extra)


def _on_trellis(path: trellis.Path, common: dict[str, int]) -> Segment:
    """Levels along a trellis, which no others lie on by chance: it is always taken."""
    extra = {"kind": TRELLIS, "lowest": int(path.index.min()), "highest": int(path.index.max())}
    return Segment(path.index.size, common | extra | {"along": int(path.along)})


def _most_frequent(values: Array) -> int:
    if values.itemsize <= 2:
        return int(np.bincount(values).argmax())
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def _floats(tensor: Tensor, values: Array, common: dict[str, int]) -> Segment:
    form, exponent_bits, mantissa_bits = _FORMATS[tensor.dtype]
    exponents = (values >> mantissa_bits) & ((1 << exponent_bits) - 1)
    finite = exponents[exponents < (1 << exponent_bits) - 1]
    largest = int(finite.max()) if finite.size else 0
    used = int(np.bitwise_or.reduce(values)) & ((1 << mantissa_bits) - 1)
    zero_bits = mantissa_bits if not used else (used & -used).bit_length() - 1
    extra = {
        "kind": FLOATS,
        "format": form,
        "largest": largest,
        "zero_bits": zero_bits,
        "model_bits": min(_MODEL_BITS, mantissa_bits - zero_bits),
    }
    return Segment(values.size * tensor.width, common | extra)


def _palette(
    tensor: Tensor,
    sortable: Array,
    palette: Array,
    common: dict[str, int],
) -> Segment:
    zero = 1 << (8 * tensor.width - 1)  # of +0.0
    place = int(np.searchsorted(palette, zero))
    place = min(place, palette.size - 1)
    extra = {"kind": PALETTE, "palette_size": palette.size, "palette_zero": place}
    return Segment(sortable.size * tensor.width, common | extra, palette.astype("<u4").tobytes())


def to_sortable(values: Array) -> Array:
    """Floats' bits as numbers in the floats' order."""
    top = values.dtype.type(1 << (8 * values.dtype.itemsize - 1))
    return np.where(values & top, ~values, values | top)


def quickly(raw: bytes) -> float:
    """About how small a general codec makes it, tried quickly and on a part from its middle."""
    sample = _sample(raw, 1)
    return len(lzma_stream(sample, preset=0)) * len(raw) / len(sample)


def without_far_repeats(raw: bytes) -> float:
    """About how small LZMA makes it, were there nothing that repeats over more than SAMPLE / 4."""
    sample = _sample(raw, 4)
    return len(lzma_best(sample)) * len(raw) / len(sample)


def _sample(raw: bytes, parts: int) -> bytes:
    """As many parts from all over it, SAMPLE bytes in all, or all of it if it has no more."""
    size = SAMPLE // parts
    if len(raw) <= parts * size:
        return raw
    gap = (len(raw) - parts * size) // (parts + 1)
    starts = (gap + part * (size + gap) for part in range(parts))
    return b"".join(raw[start : start + size] for start in starts)


def _by_chance(raw: bytes, width: int) -> bool:
    """Whether bytes repeat no more than by chance, so that no general codec finds what models miss:
    four in a row, of those in a part from its middle, or one at every fourth place."""
    sample = _sample(raw, 1)
    sample = sample[: len(sample) // 4 * 4]
    rows = [np.frombuffer(sample[at : len(sample) - 4 + at], "<u4") for at in range(4)]
    fours = np.sort(np.concatenate(rows))
    repeated = np.count_nonzero(fours[1:] == fours[:-1]) / len(fours)
    shares = np.bincount(np.frombuffer(sample, np.uint8)) / len(sample)
    chance = float((shares**2).sum()) ** 4 * len(fours) / 2
    if chance > 0.05 or repeated > 2 * chance + 0.005:
        return False
    return _simply(sample, 4) > CLEARLY * _simply(sample, width)


def _simply(raw: bytes, width: int) -> float:
    """Bytes that coding every plane of bytes by its own frequencies takes: no model takes more."""
    planes = np.frombuffer(raw, np.uint8, len(raw) // width * width).reshape(-1, width)
    bits = 0.0
    for plane in planes.T:
        counts = np.bincount(plane)
        counts = counts[counts > 0]
        # each symbol is learnt: about half the logarithm of how often it is seen
        bits += float((counts * -np.log2(counts / len(plane)) + np.log2(counts + 1) / 2 + 4).sum())
    return bits / 8


def cost(segment: Segment, raw: bytes, work: bytearray, base: bytes | None = None) -> int:
    """The bytes that a segment packs to on its own."""
    if segment.as_lzma:
        return min(len(segment.record or lzma_best(raw)), len(raw)) + OWN_CHUNK
    packed = _native.pack_chunk(raw, segment.to_bytes(), segment.palette, False, work, True, base)
    return int(packed)


def lzma_stream(raw: bytes, lc: int = 0, lp: int = 2, pb: int = 2, preset: int = 9) -> bytes:
    """A byte of properties and the raw LZMA stream, as LZMA chunks hold it."""
    level = preset | lzma.PRESET_EXTREME if preset == 9 else preset
    size = min(max(len(raw), 4096), 1 << 28)
    options = {"id": lzma.FILTER_LZMA1, "preset": level, "lc": lc, "lp": lp, "pb": pb}
    options["dict_size"] = size
    packed = lzma.compress(raw, lzma.FORMAT_RAW, filters=[options])
    return bytes([(pb * 5 + lp) * 9 + lc]) + packed


def lzma_best(raw: bytes) -> bytes:
    """The smallest of a few settings: text, 4-byte numbers, bytes without alignment."""
    settings = ((3, 0, 2), (0, 2, 2), (0, 0, 0))
    return min((lzma_stream(raw, *setting) for setting in settings), key=len)
