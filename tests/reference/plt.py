"""The .plt format, decoded as docs/format.md says: the same sections, in the same order.

Plain and slow. Nothing here is shared with the native library. Where arithmetic is said to be
in 32 bits it is masked with U32; `>>` rounds down, `quotient` towards zero, as in C.
"""

from __future__ import annotations

import hashlib
import lzma
import pickle
import struct
import zlib
from array import array
from collections.abc import MutableSequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from functools import cache
from operator import mul
from pathlib import Path

U32 = 0xFFFFFFFF


def check(condition: object, what: str = "the file is damaged") -> None:
    if not condition:
        raise ValueError(what)


def quotient(a: int, b: int) -> int:
    """a / b, rounded towards zero; b > 0."""
    return a // b if a >= 0 else -(-a // b)


def limited(value: int, limit: int) -> int:
    """The nearest number from -limit to limit."""
    return value if -limit <= value <= limit else limit if value > 0 else -limit


def to_int16(value: int) -> int:
    return (value + 0x8000 & 0xFFFF) - 0x8000


# 1. Container


class Reader:
    """Takes bytes and numbers from the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def bytes(self, count: int) -> bytes:
        check(self.at + count <= len(self.data), "the file ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.bytes(1)[0]

    def little(self, count: int) -> int:
        return int.from_bytes(self.bytes(count), "little")

    def number(self) -> int:
        """Seven bits a byte, lowest first; at most eight bytes, of which the last is not 0."""
        value = 0
        for place in range(8):
            byte = self.byte()
            value |= (byte & 127) << 7 * place
            if byte < 128:
                check(byte or not place)
                return value
        raise ValueError("the file is damaged")

    def ended(self) -> bool:
        return self.at == len(self.data)


MAGIC = b"\x9cPLT"
FLAG_ARCHIVE, FLAG_BASE = 1, 2
CONTINUES = 0x80
SIZE_LIMIT = 1 << 48


@dataclass
class Chunk:
    codec: int
    continues: bool
    size: int
    packed_size: int
    crc32: int


def decode(data: bytes, base: bytes | None = None) -> bytes:
    """The bytes that a container holds; an archive's files one after the other.

    Args:
        base: the file that this one is a difference to.
    Raises:
        ValueError: the container is damaged, cut, or needs what is not there.
    """
    size, sha256, chunks, at = read_header(data, base)
    check(len(data) == at + sum(chunk.packed_size for chunk in chunks), "the length is wrong")
    out = bytearray()
    state: State | None = None
    for chunk in chunks:
        packed = data[at : at + chunk.packed_size]
        at += chunk.packed_size
        check(zlib.crc32(packed) == chunk.crc32)
        if chunk.codec == MODEL:
            check(state or not chunk.continues)
            state = state if chunk.continues else State(base)
            raw = decode_model(state, packed, chunk.size)
        else:
            raw = decode_other(chunk.codec, packed, chunk.size)
        check(len(raw) == chunk.size)
        out += raw
    check(len(out) == size and hashlib.sha256(out).digest() == sha256)
    return bytes(out)


def read_header(data: bytes, base: bytes | None) -> tuple[int, bytes, list[Chunk], int]:
    r = Reader(data)
    check(r.bytes(4) == MAGIC, "not a .plt file")
    check(r.byte() == 1, "not a version that is known")
    flags = r.byte()
    header_size = r.little(4)
    check(46 <= header_size <= len(data))
    check(zlib.crc32(data[: header_size - 4]) == Reader(data[header_size - 4 :]).little(4))
    check(flags & ~(FLAG_ARCHIVE | FLAG_BASE) == 0, "written by a newer version")

    r.data = data[: header_size - 4]
    size = r.number()
    sha256 = r.bytes(32)
    if flags & FLAG_BASE:
        expected = r.bytes(32)
        check(base is not None, "the file is a difference and needs its base")
        check(hashlib.sha256(base or b"").digest() == expected, "this is another base")
    if flags & FLAG_ARCHIVE:
        check(read_members(r) == size)
    chunks = [read_chunk(r) for _ in range(r.number())]
    check(r.ended())
    check(not chunks or not chunks[0].continues)
    check(sum(chunk.size for chunk in chunks) == size <= SIZE_LIMIT)
    return size, sha256, chunks, header_size


def read_members(r: Reader) -> int:
    """The size of all members; where they go is not this decoder's business."""
    total = 0
    for _ in range(r.number()):
        name = r.bytes(r.number())
        size = r.number()
        if name.endswith(b"/"):
            check(size == 0)
            name = name[:-1]
        check(all(is_safe(part) for part in name.decode().split("/")), "a name is not allowed")
        total += size
    return total


def is_safe(part: str) -> bool:
    """Every system takes this as a plain name."""
    if part in ("", ".", "..") or part[-1] in ". ":
        return False
    if any(ord(c) < 32 or ord(c) == 127 or c in '\\:*?"<>|' for c in part):
        return False
    stem = part.split(".")[0]
    # ASCII letters alone are folded: other alphabets have letters that fold to these
    stem = "".join(c.lower() if c.isascii() else c for c in stem)
    numbered = [name + digit for name in ("com", "lpt") for digit in "0123456789"]
    return stem not in ["con", "prn", "aux", "nul", *numbered]


def read_chunk(r: Reader) -> Chunk:
    codec = r.byte()
    size, packed_size = r.number(), r.number()
    check(0 < size <= SIZE_LIMIT and packed_size <= SIZE_LIMIT)
    return Chunk(codec & 127, codec >= CONTINUES, size, packed_size, r.little(4))


# 2. Codecs

STORED, MODEL, LZMA, FAST = 0, 1, 2, 3
ZLIB = 16


def decode_other(codec: int, packed: bytes, size: int) -> bytes:
    if codec == STORED:
        return packed
    if codec == LZMA:
        return decode_lzma(packed, size)
    if codec == FAST:
        return decode_fast(packed, size)
    if codec == ZLIB:
        return decode_zlib(packed, size)
    raise ValueError(f"codec {codec} is not known here")


# 3. Modelled chunks

BYTES, INTEGERS, FLOATS, PALETTE, COPY, PRODUCT, FOURIER, BASE_COPY, CHANGES = range(9)
LIMITS, TRELLIS = 9, 10
TRELLIS_LIMIT = 8192
PALETTE_LIMIT = 8192


class State:
    """What chunks that continue each other share."""

    def __init__(self, base: bytes | None) -> None:
        self.base = base
        self.base_at = 0  # behind what was used of it last
        self.model = Model()
        self.fourier: Fourier | None = None
        self.exact = 0  # the last expected number was the right one
        self.bytes = Bytes()
        self.number = [[COUNTER_NEW] * 96 for _ in range(28)]
        self.flag = [COUNTER_NEW] * 5
        self.limits = Segment(), 0  # the last ones, and where they were in their chunk
        self.open = Segment()
        self.left = 0  # items of the tensor at hand that are still to come


def decode_model(state: State, packed: bytes, size: int) -> bytearray:
    rc = RangeDecoder(packed)
    out = bytearray()
    state.bytes.words.begin()
    while len(out) < size:
        decode_segment(state, rc, out, size)
    return out


def decode_segment(s: State, rc: RangeDecoder, out: bytearray, size: int) -> None:
    if not s.left:
        s.open = g = read_segment(s, rc, len(out))
        if g.kind in (BYTES, COPY, PRODUCT, BASE_COPY, LIMITS):
            check(0 < g.length <= size - len(out))
            if g.kind == BYTES:
                if not s.bytes.position:
                    s.bytes.prime()
                for _ in range(g.length):
                    out.append(s.bytes.decode(rc, out))
                return
            if g.kind == BASE_COPY:
                out += s.base[g.place : g.place + g.length]
                return
            check(0 < g.distance <= len(out))
            if g.kind == PRODUCT:
                decode_product(s, rc, g, out)
                return
            if g.kind == LIMITS:
                decode_limits(s, rc, g, out)
                return
            for _ in range(g.length):
                out.append(out[-g.distance])
            return
        if g.kind == FOURIER:
            s.exact = 0
            s.fourier = Fourier(g.shape.channels)
        else:
            s.model.begin(g.shape, model_kind(g), g.kind != CHANGES and g.told_from != NOTHING)
            s.model.along = g.along
        s.left = g.shape.rows * g.shape.channels * g.shape.taps
        if g.told_from == CHUNK:
            check(g.width <= g.distance <= len(out) and s.left * g.width <= size - len(out))
    g = s.open
    # a tensor that the chunk's end cuts goes on in the next chunk
    items = min(s.left, (size - len(out)) // g.width)
    check(items)
    done = g.shape.rows * g.shape.channels * g.shape.taps - s.left
    order = "big" if g.big_endian else "little"
    for place in range(done, done + items):
        old = 0
        if g.told_from == BASE:
            start = g.place + place * g.width
            old = int.from_bytes(s.base[start : start + g.width], order)
        elif g.told_from == CHUNK:
            start = len(out) - g.distance
            old = int.from_bytes(out[start : start + g.width], order)
        value = decode_item(s, rc, g, place, old) & (1 << 8 * g.width) - 1
        out += value.to_bytes(g.width, order)
    s.left -= items


# 3.1 Segment headers


@dataclass
class Shape:
    rows: int
    channels: int
    taps: int
    tap_width: int = 1
    channels_last: int = 0


@dataclass
class Segment:
    kind: int = 0
    length: int = 0
    distance: int = 0
    told_from: int = 0
    place: int = 0  # in the base
    factor: int = 0
    weights: int = 0  # distance
    lowest_meant: int = 0
    width: int = 0
    big_endian: int = 0
    shape: Shape = field(default_factory=lambda: Shape(0, 0, 0))
    # integers, and places in a palette
    centre: int = 0
    lowest: int = 0
    highest: int = 0
    shift: int = 0
    along: int = 0
    # floats
    exponent_bits: int = 0
    mantissa_bits: int = 0
    largest: int = 0
    zero_bits: int = 0
    model_bits: int = 0
    # palettes
    palette: list[int] = field(default_factory=list)
    palette_zero: int = 0


N_KIND, N_LENGTH, N_DISTANCE, N_FACTOR, N_ITEM, N_ROWS, N_CHANNELS, N_TAPS = range(8)
N_TAP_WIDTH, N_ORDER, N_CENTRE, N_LOWEST, N_HIGHEST, N_FORMAT, N_LARGEST = range(8, 15)
N_ZERO_BITS, N_MODEL_BITS, N_PALETTE_SIZE, N_PALETTE_ZERO, N_PALETTE_GAP = range(15, 20)
N_DIFFERENCE, N_REFERENCE, N_BASE_LENGTH, N_TOLD_FROM = range(20, 24)
N_WEIGHTS, N_SIDE, N_ALONG, N_AGAIN = range(24, 28)
NOTHING, BASE, CHUNK = range(3)
FORMATS = [(4, 8, 23), (2, 5, 10), (2, 8, 7)]  # width, exponent bits, mantissa bits


def read_segment(s: State, rc: RangeDecoder, done: int) -> Segment:
    """The header of a segment `done` bytes behind its chunk's beginning."""
    g = Segment(read_number(s, rc, N_KIND))
    if g.kind == BYTES:
        g.length = read_number(s, rc, N_LENGTH)
    elif g.kind == COPY:
        g.distance = read_number(s, rc, N_DISTANCE)
        g.length = read_number(s, rc, N_LENGTH)
    elif g.kind == BASE_COPY:
        place = read_place(s, rc)
        g.length = read_number(s, rc, N_BASE_LENGTH)
        use_base(s, g, place, g.length)
    elif g.kind == FOURIER:
        g.width = 4
    elif g.kind == CHANGES:
        item = read_number(s, rc, N_FORMAT)
        check(item & 3 < 3 and item >> 2 < 2)
        g.width, g.exponent_bits, g.mantissa_bits = FORMATS[item & 3]
        g.big_endian = item >> 2
        g.largest = read_number(s, rc, N_LARGEST)
        check(g.largest <= 255)
    elif g.kind == PRODUCT:
        g.distance = read_number(s, rc, N_DISTANCE)
        g.factor = rc.raw_bits(32)
        g.length = read_number(s, rc, N_LENGTH)
        check(g.distance >= 4 and g.length % 4 == 0)
    elif g.kind == LIMITS:
        again = read_number(s, rc, N_AGAIN)
        check(again < 2)
        if again:
            g, at = s.limits
            g = replace(g, lowest_meant=1 - g.lowest_meant)
            g.distance += done - at
            g.weights += done - at
        else:
            g.distance = read_number(s, rc, N_DISTANCE)
            g.weights = read_number(s, rc, N_WEIGHTS)
            g.shape.channels = read_number(s, rc, N_CHANNELS)
            g.shape.channels_last = read_number(s, rc, N_ORDER)
            g.lowest_meant = read_number(s, rc, N_SIDE)
            g.length = read_number(s, rc, N_LENGTH)
        check(g.length % 4 == 0 and g.shape.channels > 0)
        check(g.shape.channels_last < 2 and g.lowest_meant < 2)
        s.limits = g, done
    elif g.kind == INTEGERS:
        read_item(g, read_number(s, rc, N_ITEM))
        g.centre = read_signed(s, rc, N_CENTRE)
        g.lowest = read_signed(s, rc, N_LOWEST)
        g.highest = read_signed(s, rc, N_HIGHEST)
        check(g.lowest <= g.highest)
        most = max(~v if v < 0 else v for v in (g.lowest, g.highest))
        while most >> g.shift >= 1 << 14:
            g.shift += 1
    elif g.kind == TRELLIS:
        read_item(g, read_number(s, rc, N_ITEM))
        g.lowest = read_signed(s, rc, N_LOWEST)
        g.highest = read_signed(s, rc, N_HIGHEST)
        g.along = read_number(s, rc, N_ALONG)
        check(-TRELLIS_LIMIT <= g.lowest <= g.highest <= TRELLIS_LIMIT and g.along <= 1)
    elif g.kind == FLOATS:
        item = read_number(s, rc, N_FORMAT)
        check(item & 3 < 3 and item >> 2 < 2)
        g.width, g.exponent_bits, g.mantissa_bits = FORMATS[item & 3]
        g.big_endian = item >> 2
        g.largest = read_number(s, rc, N_LARGEST)
        g.zero_bits = read_number(s, rc, N_ZERO_BITS)
        g.model_bits = read_number(s, rc, N_MODEL_BITS)
        check(g.largest >> g.exponent_bits == 0)
        check(g.zero_bits <= g.mantissa_bits and g.model_bits <= 23)
    elif g.kind == PALETTE:
        read_item(g, read_number(s, rc, N_ITEM))
        size = read_number(s, rc, N_PALETTE_SIZE)
        g.palette_zero = read_number(s, rc, N_PALETTE_ZERO)
        check(g.palette_zero < size <= PALETTE_LIMIT)
        value = 0
        for _ in range(size):
            value = value + read_number(s, rc, N_PALETTE_GAP) & U32
            g.palette.append(value)
        g.lowest, g.highest = -g.palette_zero, size - 1 - g.palette_zero
    else:
        raise ValueError("the file is damaged")
    if g.kind in (INTEGERS, TRELLIS, FLOATS, PALETTE, FOURIER, CHANGES):
        g.shape = read_shape(s, rc)
        columns = g.shape.channels * g.shape.taps
        check(g.kind != TRELLIS or g.along or columns <= HISTORY)
        check(g.kind != FOURIER or g.shape.channels <= FOURIER_POINTS)
    if g.kind in (INTEGERS, TRELLIS, CHANGES):
        g.told_from = read_number(s, rc, N_TOLD_FROM)
        check(g.told_from <= CHUNK and (g.told_from or g.kind != CHANGES))
        if g.told_from == BASE:
            count = g.shape.rows * g.shape.channels * g.shape.taps
            use_base(s, g, read_place(s, rc), count * g.width)
        elif g.told_from == CHUNK:
            g.distance = read_number(s, rc, N_DISTANCE)
    return g


def read_place(s: State, rc: RangeDecoder) -> int:
    return s.base_at + read_signed(s, rc, N_REFERENCE) & U32


def use_base(s: State, g: Segment, place: int, size: int) -> None:
    check(s.base is not None and place + size <= len(s.base) and place + size < 1 << 31)
    g.place = place
    s.base_at = place + size


def read_item(g: Segment, item: int) -> None:
    g.width, g.big_endian = 1 << (item & 3), item >> 2
    check(g.width <= 4 and g.big_endian <= 1)


def read_shape(s: State, rc: RangeDecoder) -> Shape:
    rows = read_number(s, rc, N_ROWS)
    shape = Shape(rows, read_number(s, rc, N_CHANNELS), read_number(s, rc, N_TAPS))
    if shape.taps > 1:
        shape.tap_width = read_number(s, rc, N_TAP_WIDTH)
        shape.channels_last = read_number(s, rc, N_ORDER)
    check(0 < shape.rows * shape.channels * shape.taps < 1 << 31)
    check(shape.tap_width > 0 and shape.channels_last < 2)
    return shape


def model_kind(g: Segment) -> int:
    if g.kind == CHANGES:
        return KIND_WIDE
    if g.kind in (INTEGERS, TRELLIS):
        return KIND_WIDE if g.shift else KIND_INTEGER
    return KIND_FLOAT if g.kind == FLOATS else KIND_PALETTE


# 3.2 Numbers


def read_number(s: State, rc: RangeDecoder, which: int) -> int:
    c = s.number[which]
    bits = 0
    while bits < 32 and adaptive_bit(rc, c, bits):
        bits += 1
    got = 1
    for done in range(bits):
        if bits < 6 and done == 0:
            bit = adaptive_bit(rc, c, 33 + bits)
        elif bits < 6 and done < 3:
            bit = adaptive_bit(rc, c, 40 + bits * 8 + done * 4 + (got & 3))
        else:
            bit = rc.raw_bits(1)
        got = got << 1 | bit
    return got - 1 & U32


def read_signed(s: State, rc: RangeDecoder, which: int) -> int:
    folded = read_number(s, rc, which)
    return ~(folded >> 1) if folded & 1 else folded >> 1


def adaptive_bit(rc: RangeDecoder, counters: list[int], i: int) -> int:
    bit = rc.bit(max(64, min(65472, counters[i] >> 16)))
    update(counters, i, bit, 60)
    return bit


# 3.3 Items


def decode_item(s: State, rc: RangeDecoder, g: Segment, place: int, old: int) -> int:
    """The item at `place`; `old` is what the base holds there."""
    if g.kind == INTEGERS:
        before = signed(old - g.centre, g.width) >> g.shift
        s.model.reference = limited(before, 32767)
        return s.model.integer(rc, g.lowest, g.highest, g.shift) + g.centre
    if g.kind == TRELLIS:
        s.model.reference = limited(signed(old, g.width), 32767)
        return s.model.trellis(rc, g.lowest, g.highest)
    if g.kind == FLOATS:
        return s.model.float(rc, g)
    if g.kind == FOURIER:
        row, column = divmod(place, g.shape.channels)
        value = decode_expected(s, rc, s.fourier.expect(row, column))
        s.fourier.learn(row, column, value)
        return value
    if g.kind == CHANGES:
        return decode_change(s, rc, g, old)
    index = s.model.integer(rc, g.lowest, g.highest, 0) + g.palette_zero
    return from_sortable(g.palette[index if 0 <= index < len(g.palette) else 0], g.width)


def signed(value: int, width: int) -> int:
    top = 1 << 8 * width - 1
    return (value + top & 2 * top - 1) - top


def to_sortable(value: int, width: int) -> int:
    top = 1 << 8 * width - 1
    return ~value & 2 * top - 1 if value & top else value | top


def from_sortable(value: int, width: int) -> int:
    top = 1 << 8 * width - 1
    return value & ~top if value & top else ~value & 2 * top - 1


def decode_change(s: State, rc: RangeDecoder, g: Segment, old: int) -> int:
    exponent = old >> g.mantissa_bits & (1 << g.exponent_bits) - 1
    shift = limited(max(g.largest - exponent, 0), 16)
    half = 1 << 8 * g.width - 1
    change = s.model.integer(rc, -half, half - 1, shift)
    return from_sortable(to_sortable(old, g.width) + change & 2 * half - 1, g.width)


def decode_expected(s: State, rc: RangeDecoder, expected: int) -> int:
    s.exact = adaptive_bit(rc, s.flag, s.exact)
    return expected if s.exact else expected + read_signed(s, rc, N_DIFFERENCE) & U32


def decode_product(s: State, rc: RangeDecoder, g: Segment, out: bytearray) -> None:
    s.exact = 0
    for _ in range(g.length // 4):
        start = len(out) - g.distance
        expected = multiply(int.from_bytes(out[start : start + 4], "little"), g.factor)
        out += decode_expected(s, rc, expected).to_bytes(4, "little")


def decode_limits(s: State, rc: RangeDecoder, g: Segment, out: bytearray) -> None:
    items, rows, begin = g.shape.channels, g.length // 4, len(out)
    check(g.length <= g.distance and rows * items <= g.weights <= begin)
    start = begin - g.weights
    weights = [signed(v, 1) for v in out[start : start + rows * items]]
    for row in range(rows):
        own = weights[row::rows] if g.shape.channels_last else weights[row * items :][:items]
        most = min(own) if g.lowest_meant else max(own)
        start = len(out) - g.distance
        scale = int.from_bytes(out[start : start + 4], "little")
        by = int.from_bytes(struct.pack("<f", most), "little")
        expected = multiply(scale, by)
        exact = adaptive_bit(rc, s.flag, 3 if abs(most) == 127 else 2)
        value = expected if exact else decode_limit(s, rc, scale, expected)
        out += value.to_bytes(4, "little")


def decode_limit(s: State, rc: RangeDecoder, scale: int, expected: int) -> int:
    """A number that is not the expected one."""
    far = (expected >> 23 & 255) - (scale >> 23 & 255)
    step = (scale & 0x7FFFFF | 0x800000) >> far if 0 <= far < 24 else 0
    if adaptive_bit(rc, s.flag, 4):
        return expected - step // 2 + read_uniform(rc, step) & U32
    return expected + read_signed(s, rc, N_DIFFERENCE) & U32


def read_uniform(rc: RangeDecoder, limit: int) -> int:
    got = 0
    for k in reversed(range(limit.bit_length())):
        if got | 1 << k <= limit:
            ones = min(limit - (got | 1 << k) + 1, 1 << k)
            p = max((ones << 16) // (ones + (1 << k)), 1)
            got |= rc.bit(p) << k
    return got


# 3.3.1 Fourier bases

FOURIER_POINTS = 4096


class Fourier:
    """Rows of windowed cosines, then of windowed negative sines; row 0 is the window."""

    def __init__(self, points: int) -> None:
        self.points, self.zero = points, 0
        with localcontext() as context:
            context.prec = 50
            cosines = [cosine(m, points) for m in range(points)]
            self.wave = [fp32(c) for c in cosines]
            self.window = [fp32((1 - c) / 2) for c in cosines]

    def expect(self, row: int, column: int) -> int:
        half, points = self.points // 2 + 1, self.points
        if row == 0:
            expected = self.window[column]
        else:
            m, turn = row * column, points
            if row >= half:  # -sin(x) is the cosine a quarter of a turn on
                m, turn = 4 * (row - half) * column + points, 4 * points
            place = m % turn
            if row >= half:
                if place % 4:
                    return self.zero
                place //= 4
            expected = multiply(self.wave[place], self.window[column])
        return expected if expected & 0x7FFFFFFF else self.zero

    def learn(self, row: int, column: int, value: int) -> None:
        if row == 0:
            self.window[column] = value
        if not value & 0x7FFFFFFF:
            self.zero = value


def cosine(m: int, points: int) -> Decimal:
    """cos(2 pi m / points) by its series, after reduction to an eighth of a turn."""
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494")
    eighth, part = divmod(8 * m, points)
    if eighth & 1:
        part = points - part
    x = pi / 4 * part / points
    odd = eighth in (1, 2, 5, 6)
    term = x if odd else Decimal(1)
    total = term
    for k in range(1 + odd, 40, 2):
        term = -term * x * x / (k * (k + 1))
        total += term
    return -total if 2 <= eighth < 6 else total


def fp32(value: Decimal) -> int:
    """The bits of the nearest fp32 number; 0 for what is smaller than 1/2^60."""
    size = abs(value)
    if size < Decimal(1) / (1 << 60):
        return 0
    exponent = 127
    while size < 1:
        size *= 2
        exponent -= 1
    mantissa = int((size * (1 << 23)).to_integral_value())  # half goes to even
    if mantissa == 1 << 24:
        mantissa //= 2
        exponent += 1
    return (value < 0) << 31 | exponent << 23 | mantissa & 0x7FFFFF


def multiply(a: int, b: int) -> int:
    """The product of two fp32 numbers, to nearest even; 0 unless all three are normal."""
    ea, eb = a >> 23 & 255, b >> 23 & 255
    if not 0 < ea < 255 or not 0 < eb < 255:
        return 0
    product = (a & 0x7FFFFF | 0x800000) * (b & 0x7FFFFF | 0x800000)
    exponent = ea + eb - 127
    drop = 23
    if product >> 47:
        drop += 1
        exponent += 1
    kept, rest, half = product >> drop, product & (1 << drop) - 1, 1 << drop - 1
    if rest > half or (rest == half and kept & 1):
        kept += 1
    if kept >> 24:
        kept >>= 1
        exponent += 1
    if not 0 < exponent < 255:
        return 0
    return (a ^ b) & 0x80000000 | exponent << 23 | kept & 0x7FFFFF


# 3.4 The tensor model

KIND_WIDE, KIND_INTEGER, KIND_FLOAT, KIND_PALETTE = range(4)
MAX_TAPS = 49
COLUMNS = 1 << 14
HISTORY = 1 << 16
NODES = 240
NEIGHBOURS = 10
PREDICTORS = 12
CONTEXTS = 4
FIRST_WEIGHTS = [4000] * CONTEXTS + [14000, 0]
EXACT = 2 * NODES + 2 * 256
SETS = 16
LEVELS = 1024
NODE_ZERO, NODE_SIGN = 0, 1
NODE_FIRST, NODE_UP, NODE_DOWN, NODE_BITS = 0, 1, 2, 3  # of an octave
AFTER = [(0, 2), (5, 7), (1, 3), (6, 4), (2, 0), (4, 6), (3, 1), (7, 5)]
MEAN_BITS, TREE_BITS, INTEGER_BITS, COUNTER_LIMIT, FINE_BITS = 8, 3, 6, 300, 6


class Predictor:
    """Least squares over the neighbours of one tap."""

    def __init__(self) -> None:
        self.weight = [0] * PREDICTORS
        self.moment = [[0] * (PREDICTORS + 1) for _ in range(PREDICTORS + 1)]
        self.distance = [0] * NEIGHBOURS
        self.count = self.error = self.magnitude = 0


@dataclass
class Interval:
    """The part of the distribution that the value is known to lie in."""

    centre: int
    inverse: int
    negative: int = 0
    low: int = 0
    high: int = 0


class Model:
    def __init__(self) -> None:
        self.counter = [[COUNTER_NEW] * (LEVELS * NODES) for _ in range(CONTEXTS - 1)]
        self.weight = [
            [[list(FIRST_WEIGHTS) for _ in range(NODES)] for _ in range(SETS)] for _ in range(2)
        ]
        self.exponent = [[COUNTER_NEW] * 256 for _ in range(2)]

    def begin(self, shape: Shape, kind: int, referenced: bool) -> None:
        """A new tensor."""
        self.shape, self.kind, self.referenced = shape, kind, referenced
        self.reference = self.dot = self.square = self.all_dot = self.all_square = 0
        self.index = self.row_sum = self.row_count = self.mean = self.previous_row = 0
        self.column_bits = 0
        while shape.channels * shape.taps - 1 >> self.column_bits >= COLUMNS:
            self.column_bits += 1
        self.column = [0] * COLUMNS
        self.channel = [0] * COLUMNS
        self.history = [0] * HISTORY
        self.predictor = [Predictor() for _ in range(MAX_TAPS)]
        self.choose_neighbours()
        self.filter = Filter(1 << 31 if referenced else shape.channels * shape.taps)
        self.exacts = [[COUNTER_NEW] * EXACT for _ in range(3)]
        self.grid = self.along = 0
        self.state = [0] * HISTORY

    def is_wide(self) -> bool:
        return self.kind in (KIND_WIDE, KIND_FLOAT)

    # 3.4.1 Neighbours

    def choose_neighbours(self) -> None:
        s = self.shape
        tap_stride = s.channels if s.channels_last else 1
        channel_stride = 1 if s.channels_last else s.taps
        row_stride = s.channels * s.taps
        for t in range(min(s.taps, MAX_TAPS)):
            found = []
            y, x = divmod(t, s.tap_width)
            for reach in range(1, 9 if s.taps <= MAX_TAPS else 1):
                for u in reversed(range(t)):
                    uy, ux = divmod(u, s.tap_width)
                    if len(found) < NEIGHBOURS - 2 and (y - uy) ** 2 + (x - ux) ** 2 == reach:
                        found.append((t - u) * tap_stride)
            if s.channels > 1:
                found.append(channel_stride)
                if s.taps == 1 and s.channels > 2:
                    found.append(2 * channel_stride)
            if s.rows > 1:
                found.append(row_stride)
            for i, distance in enumerate(found):
                self.predictor[t].distance[i] = distance if distance < HISTORY else 0

    # 3.4.2 What to expect

    def expect(self) -> None:
        s = self.shape
        self.row, inner = divmod(self.index, s.channels * s.taps)
        if inner == 0 and self.row:
            self.previous_row = self.row_sum // self.row_count
            self.row_sum = self.row_count = 0
        self.at_column = inner >> self.column_bits
        if s.channels_last:
            self.tap, channel = divmod(inner, s.channels)
        else:
            channel, self.tap = divmod(inner, s.taps)
        self.at_channel = channel % COLUMNS

        mean = self.mean >> MEAN_BITS
        prior = (mean + self.previous_row & U32) // 2
        self.row_scale = (self.row_sum + 8 * prior) // (self.row_count + 8)
        nrow = min(self.row, 255)
        channel_scale = self.channel[self.at_channel] >> MEAN_BITS
        column = self.column[self.at_column] >> MEAN_BITS
        self.column_scale = (column * nrow + 3 * channel_scale + 4 * mean) // (nrow + 7)
        if self.row == 0:
            # so far only the taps before this one know the channel
            seen = s.channels_last and self.tap
            self.column_scale = channel_scale if seen else mean
        scale = self.row_scale * (self.column_scale + 2) // (mean + 2)
        scale = (5 * scale + 3 * self.row_scale) // 8
        self.scale = min(scale, 1 << 22)

        p = self.predictor[min(self.tap, MAX_TAPS - 1)]
        self.neighbour = [
            self.history[(self.index - distance) % HISTORY] if distance else 0
            for distance in p.distance
        ]
        self.filter.predict(inner)
        unit = 16 if self.is_wide() else 12
        for guess in (self.filter.by_above, self.filter.by_beside):
            self.neighbour.append(limited(guess * self.scale >> unit, 32767))
        total = sum(w * v for w, v in zip(p.weight, self.neighbour, strict=True))
        self.predicted = limited(9 * total >> 15, 1 << 20)
        if self.referenced:
            self.predicted = self.predict_by_reference(row_begins=inner == 0)
        error, magnitude = p.error >> MEAN_BITS, p.magnitude >> MEAN_BITS
        self.error_scale = min(self.scale * (error + 8) // (magnitude + 8), 1 << 24)

    def predict_by_reference(self, *, row_begins: bool) -> int:
        if row_begins:
            self.all_dot += self.dot
            self.all_square += self.square
            self.square = self.all_square // (self.row + 1) // 64 + 1
            ratio = quotient(self.all_dot * 256, self.all_square + 1)
            self.dot = quotient(self.square * ratio, 256)
        dot = limited(self.dot, 32 * self.square)
        ratio = limited(quotient(dot * 4096, self.square), 1 << 16)
        return ratio * self.reference >> 8

    # 3.4.3 Learning

    def learn(self, value: int) -> None:
        size = abs(value) * 256
        self.row_sum = self.row_sum + size & U32
        self.row_count += 1
        if self.row_count >= 1024 or self.row_sum > 1 << 30:
            self.row_sum //= 2
            self.row_count //= 2
        taps, tap = self.shape.taps, self.tap
        self.mean = towards(self.mean, size, self.index, 1000)
        column, channel = self.at_column, self.at_channel
        self.column[column] = towards(self.column[column], size, self.row, 200)
        n = self.row * taps + tap
        self.channel[channel] = towards(self.channel[channel], size, n, 400)

        p = self.predictor[min(tap, MAX_TAPS - 1)]
        error = min(abs(value * 16 - self.predicted), 1 << 19)
        p.error = towards(p.error, error * 16, p.count, 500)
        p.magnitude = towards(p.magnitude, size, p.count, 500)
        self.learn_ratio(value)
        for i, v in enumerate(self.neighbour):
            if v and not self.referenced:
                for j in range(i, PREDICTORS):
                    p.moment[i][j] += v * self.neighbour[j]
                p.moment[i][PREDICTORS] += v * value
        p.count += 1
        if p.count % 64 == 0 and not self.referenced:
            solve(p)
            large = any(p.moment[i][i] > 1 << 41 for i in range(PREDICTORS))
            if large or p.count % 8192 == 0:
                p.moment = [[quotient(sum_, 2) for sum_ in row] for row in p.moment]
        if not self.referenced:
            share = limited(quotient(value * 65536, self.scale + 16), FILTER_LIMIT)
            self.filter.learn(self.row, self.index % (self.shape.channels * taps), share)
        self.history[self.index % HISTORY] = to_int16(value)
        self.index += 1

    def learn_ratio(self, value: int) -> None:
        self.dot += value * self.reference
        self.square += self.reference**2
        if self.square > 1 << 44:
            self.dot, self.square = quotient(self.dot, 2), self.square // 2
        if self.all_square > 1 << 44:
            self.all_dot, self.all_square = quotient(self.all_dot, 2), self.all_square // 2

    # 3.4.4 Contexts

    def choose_contexts(self) -> None:
        fine = FINE_BITS if self.is_wide() else 0
        row = min(log2_8((self.row_scale >> fine) + 1) >> 2, 31)
        column = min(log2_8((self.column_scale >> fine) + 1) >> 2, 31)
        scale = min(log2_8((self.scale >> fine) + 1), 127)
        octave = log2_8(self.scale + 1) >> 3
        signs = 0
        for v in [0] * 4 if self.referenced else self.neighbour[:4]:
            signs = signs * 3 + (v > 0) - (v < 0) + 1
        relative = limited(quotient(self.predicted * 128, self.scale + 16), 15)
        c = [
            row * 32 + column,
            (relative + 16) * 32 + (scale >> 2),
            signs * 12 + min(scale >> 3, 11),
        ]
        if self.referenced:
            sure = limited(max(min(log2_8(self.error_scale + 1) >> 3, 31) - 4, 0), 7)
            c[1] = (limited(self.reference, 63) + 63) * 8 + sure
            c[2] = (limited(self.predicted >> 2, 63) + 63) * 8 + sure
        self.base = [(level ^ self.kind * 0x155 ^ self.grid * 0xF0) * NODES for level in c]
        self.exact = self.exacts[self.grid]
        self.octave = max(0, octave - 8 - (self.grid > 0))
        side = 0 if relative < -4 else 1 if relative < 0 else 2
        side += (relative > 0) + (relative > 4)
        self.set = [scale >> 3, side + 5 * self.grid]

    # 3.4.5 Decisions

    def decide(self, rc: RangeDecoder, models: int, node: int, exact: int, prior: int) -> int:
        counters = [(self.exact, exact)]
        counters += [(self.counter[i], self.base[i] + node) for i in range(models - 1)]
        x = [stretch(table[place] >> 16) for table, place in counters]
        x += [0] * (CONTEXTS - models) + [prior, 256]
        w = [self.weight[k][self.set[k]][node] for k in range(2)]
        mixed = mix(x, *w)
        bit = rc.bit(squash(mixed))
        adjust(x, *w, error=(65535 if bit else 0) - squash(mixed))
        for table, place in counters:
            update(table, place, bit, COUNTER_LIMIT)
        return bit

    # 3.4.6 The distribution

    def expected(self) -> Interval:
        inverse = (4096 * 65536 * 16 * 1386 // 1000) // (self.error_scale + 24)
        return Interval(self.predicted * 256, inverse)

    def cut(self, rc: RangeDecoder, part: Interval, node: int, edge: int) -> int:
        """Does the magnitude reach `edge`, the beginning of an octave? Keeps that side."""
        middle = mass_from(part, edge)
        prior = split(part.low, middle, part.high)
        models = CONTEXTS if self.referenced else 3
        bit = self.decide(rc, models, node, node + NODES * part.negative, prior)
        if bit:
            part.low = middle
        else:
            part.high = middle
        return bit

    def halve(self, rc: RangeDecoder, part: Interval, node: int, exact: int, edge: int) -> int:
        """Does it reach `edge`, in the middle between two bends?"""
        prior = limited(part.low - part.high >> 4, STRETCH_LIMIT)
        bit = self.decide(rc, CONTEXTS if self.referenced else 2, node, exact, prior)
        if bit:
            part.low = bend_at(part, edge)
        else:
            part.high = bend_at(part, edge)
        return bit

    # 3.4.7 Integers

    def integer(self, rc: RangeDecoder, lowest: int, highest: int, shift: int) -> int:
        half = self.edge(1, shift)
        self.expect()
        self.choose_contexts()
        part = self.expected()
        part.low, part.high = mass_below(part, -half), mass_below(part, half)
        prior = split(0, MASS - (part.high - part.low), MASS)
        if self.decide(rc, 4, NODE_ZERO, NODE_ZERO, prior):
            self.learn(0)
            return 0
        if lowest >= 0:
            part.negative = 0
        elif highest <= 0:
            part.negative = 1
        else:
            prior = split(part.high, MASS, MASS + part.low)
            part.negative = self.decide(rc, 4, NODE_SIGN, NODE_SIGN, prior)
        turn(part)
        limit = abs(lowest if part.negative else highest)
        part.low = part.high
        part.high = mass_from(part, self.edge(limit + 1, shift))

        k = self.octave + shift
        while k and limit >> k == 0:
            k -= 1
        if not k or self.cut(rc, part, octave_node(k, NODE_FIRST), self.edge(1 << k, shift)):
            while limit >> k > 1:
                if not self.cut(rc, part, octave_node(k, NODE_UP), self.edge(2 << k, shift)):
                    break
                k += 1
        else:
            k -= 1
            while k and not self.cut(rc, part, octave_node(k, NODE_DOWN), self.edge(1 << k, shift)):
                k -= 1
        part.low = bend_at(part, self.edge(1 << k, shift))
        part.high = bend_at(part, self.edge(2 << k, shift))
        got = 1
        for done in range(k):
            middle = got * 2 + 1 << k - 1 - done
            edge = self.edge(middle, shift)
            if middle > limit:
                bit = 0
                part.high = bend_at(part, edge)
            elif done < INTEGER_BITS:
                exact = exact_bit(k, done, got, part.negative)
                bit = self.halve(rc, part, bit_node(k, done, got), exact, edge)
            else:
                bit = rc.raw_bits(1)
            got = got * 2 + bit
        sign = -1 if part.negative else 1
        self.learn(sign * self.level(min(got >> shift, 32767)))
        return sign * got

    def edge(self, magnitude: int, shift: int) -> int:
        """Half way from what is one smaller than `magnitude`, in 1/4096."""
        if self.grid == 0:
            return magnitude * 4096 - 2048 >> shift
        return (self.level(magnitude) + self.level(magnitude - 1)) * 2048

    def level(self, index: int) -> int:
        """What an index from 0 on stands for."""
        return (index, 2 * index, max(2 * index - 1, 0))[self.grid]

    def trellis(self, rc: RangeDecoder, lowest: int, highest: int) -> int:
        place = self.index % (self.shape.channels * self.shape.taps)
        at = 0 if self.along else place
        if self.along and place == 0:
            self.state[at] = 0
        self.grid = 1 + self.state[at] % 2
        index = self.integer(rc, lowest, highest, 0)
        self.state[at] = AFTER[self.state[at]][index % 2]
        return self.level(abs(index)) * (1 if index >= 0 else -1)

    # 3.4.8 Floats

    def float(self, rc: RangeDecoder, g: Segment) -> int:
        mbits, ebits = g.mantissa_bits, g.exponent_bits
        self.expect()
        self.choose_contexts()
        if self.decide(rc, 4, NODE_ZERO, NODE_ZERO, 0):
            sign = rc.bit(64)
            self.learn(0)
            return sign << mbits + ebits
        part = self.expected()
        part.low = part.high = mass_below(part, 0)
        prior = split(part.low, MASS, MASS + part.low)
        part.negative = sign = self.decide(rc, 4, NODE_SIGN, NODE_SIGN, prior)
        turn(part)
        part.high = MASS

        k = min(self.octave + FLOAT_SHIFT, FLOAT_OCTAVES - 1)
        if self.cut(rc, part, octave_node(k, NODE_FIRST), float_edge(k)):
            while k < FLOAT_OCTAVES:
                if not self.cut(rc, part, octave_node(k, NODE_UP), float_edge(k + 1)):
                    break
                k += 1
        else:
            k -= 1
            while k and not self.cut(rc, part, octave_node(k, NODE_DOWN), float_edge(k)):
                k -= 1
        if k in (0, FLOAT_OCTAVES):
            exponent = self.read_exponent(rc, int(k != 0), ebits)
        else:
            exponent = g.largest - (FLOAT_OCTAVES - 1) + k
            check(exponent >= 0)

        coded = mbits - g.zero_bits
        modelled = min(coded, g.model_bits)
        part.low, part.high = bend_at(part, float_edge(k)), bend_at(part, float_edge(k + 1))
        got = 1
        for done in range(modelled):
            middle = (got * 2 + 1 << k + 12) >> done + 1 + FLOAT_SHIFT
            node = bit_node(k, done, got)
            bit = self.halve(rc, part, node, node + NODES * part.negative, middle)
            got = got * 2 + bit
        rest = coded - modelled
        got = got << rest | rc.raw_bits(rest)
        mantissa = got << g.zero_bits & (1 << mbits) - 1
        size = float_magnitude(g, exponent, mantissa)
        self.learn(-size if sign else size)
        return sign << mbits + ebits | exponent << mbits | mantissa

    def read_exponent(self, rc: RangeDecoder, which: int, bits: int) -> int:
        tree = self.exponent[which]
        got = 1
        for _ in range(bits):
            bit = rc.bit(max(32, min(65504, tree[got] >> 16)))
            update(tree, got, bit, COUNTER_LIMIT)
            got = got * 2 + bit
        return got - (1 << bits)


def towards(mean: int, value: int, count: int, limit: int) -> int:
    return mean + (((value << MEAN_BITS) - mean) * RATE[min(count, limit)] >> 16)


def solve(p: Predictor) -> None:
    for _ in range(2):
        for i in range(PREDICTORS):
            rest = p.moment[i][PREDICTORS] * 65536
            for j in range(PREDICTORS):
                if j != i:
                    rest -= p.moment[min(i, j)][max(i, j)] * p.weight[j]
            own = p.moment[i][i]
            p.weight[i] = limited(quotient(rest, own + own // 64 + 64), 1 << 18)


# 3.4.9 Filters

FILTER_COLUMNS = 1 << 14
FILTER_LIMIT = 1023
ABOVE, BESIDE, BESIDE_LEAST = 32, 64, 32
ABOVE_RATE, BESIDE_RATE = 48, 32


class Filter:
    def __init__(self, columns: int) -> None:
        self.reach = self.by_above = self.by_beside = 0
        if columns > FILTER_COLUMNS:
            return
        self.reach = BESIDE
        if columns <= BESIDE // 2 or columns * BESIDE > FILTER_COLUMNS * BESIDE_LEAST:
            self.reach = BESIDE_LEAST
        self.beside_weight = [[0] * self.reach for _ in range(columns)]
        self.above = [[0] * ABOVE for _ in range(columns)]

    def predict(self, column: int) -> None:
        if not self.reach:
            return
        if column == 0:
            self.above_weight = [0] * ABOVE
            self.line = [0] * self.reach
        beside = self.line[-self.reach :]
        self.by_above = filtered(self.above[column], self.above_weight)
        self.by_beside = filtered(beside, self.beside_weight[column])

    def learn(self, row: int, column: int, value: int) -> None:
        if not self.reach:
            return
        above = limited(value - self.by_above, 511) * ABOVE_RATE
        beside = limited(value - self.by_beside, 511) * BESIDE_RATE
        nudge(self.above[column], self.above_weight, above)
        nudge(self.line[-self.reach :], self.beside_weight[column], beside)
        self.above[column][row % ABOVE] = value
        self.line.append(value)


def filtered(x: list[int], w: list[int]) -> int:
    return limited(sum(map(mul, x, w)) >> 15, FILTER_LIMIT)


def nudge(x: list[int], w: list[int], step: int) -> None:
    for i, v in enumerate(x):
        value = w[i] + (v * step + 32768 >> 16)
        w[i] = value if -32768 <= value <= 32767 else 32767 if value > 0 else -32768


def log2_8(v: int) -> int:
    """log2(v) in 1/8, v >= 1."""
    top = v.bit_length() - 1
    return top * 8 + (v << 3 >> top & 7)


def octave_node(k: int, decision: int) -> int:
    """A decision on octave `k`."""
    return 16 + 16 * (k if k < 8 else 8 + (k - 8) % 6) + decision


def bit_node(k: int, done: int, got: int) -> int:
    """The decision on bit number `done` below the first, after the bits in `got`."""
    below = (1 << done) - 1
    tree = below + (got & below) if done < TREE_BITS else 7
    return octave_node(k, NODE_BITS + tree)


def exact_bit(k: int, done: int, got: int, negative: int) -> int:
    """The same among all magnitudes up to 255 of either sign."""
    if k > 7:
        return bit_node(k, done, got) + negative * NODES
    below = (1 << done) - 1
    return 2 * NODES + negative * 256 + (1 << k) + below + (got & below)


MASS = 1 << 30


def mass_below(part: Interval, x: int) -> int:
    """The mass up to `x` (in 1/4096), of MASS."""
    return logistic(distance(part, x))


def mass_from(part: Interval, x: int) -> int:
    """The same beyond the inner end; what was turned over is rounded up."""
    return max(mass_below(part, x), part.low)


def bend_at(part: Interval, x: int) -> int:
    """ln cosh of half the distance to `x` (in 1/4096), in 1/4096."""
    return bend(distance(part, x))


def distance(part: Interval, x: int) -> int:
    """In 1/4096 of the scale."""
    return min(x - part.centre, 1 << 35) * part.inverse >> 24


def turn(part: Interval) -> None:
    """Turns all of it over where the value is negative."""
    if part.negative:
        part.centre = -part.centre
        part.low, part.high = MASS - part.high, MASS - part.low


def split(low: int, middle: int, high: int) -> int:
    """The stretch of a one, which has the mass between `middle` and `high`."""
    return limited(ln_256(high - middle + 32) - ln_256(middle - low + 32), STRETCH_LIMIT)


def ln_256(v: int) -> int:
    """256 ln(v), within 2; v >= 1."""
    top = v.bit_length() - 1
    f = (v << 12 >> top) - 4096
    log2 = (top << 12) + f + ((f * (4096 - f) >> 12) * 1409 >> 12)
    return log2 * 2839 >> 16


FLOAT_OCTAVES = 24
FLOAT_UNIT = 13
FLOAT_SHIFT = FLOAT_OCTAVES - 1 - FLOAT_UNIT


def float_edge(k: int) -> int:
    """The beginning of octave k, in 1/4096."""
    return 4096 << k >> FLOAT_SHIFT


def float_magnitude(g: Segment, exponent: int, mantissa: int) -> int:
    whole = 1 << g.mantissa_bits | mantissa if exponent else mantissa
    shift = g.largest - max(exponent, 1) + g.mantissa_bits - FLOAT_UNIT
    if exponent > g.largest:
        return 32767
    if shift < 0:
        return whole << min(-shift, 8)
    return whole >> shift


# 3.5 The byte model

BYTE_CONTEXTS = 10
BYTE_INPUTS = 16
BYTE_SETS = 64
GUESSES = 3
BYTE_LINES = 1 << 16
BYTE_HISTORY = 1 << 20
BYTE_MATCHES = 1 << 16
MIN_MATCH, MAX_MATCH = 5, 63


class Bytes:
    def __init__(self) -> None:
        self.position = self.match = self.match_length = 0
        self.counter = array("I", [0, *[COUNTER_NEW] * 15]) * BYTE_LINES
        start = [ONE // 6] * BYTE_INPUTS
        start[BYTE_CONTEXTS : BYTE_CONTEXTS + GUESSES] = [10000] * GUESSES
        self.weight = [[list(start) for _ in range(BYTE_SETS)] for _ in range(2)]
        self.order0 = [COUNTER_NEW] * (4 * 256)
        self.matched = [(65535 - 65536 // (i // 2 + 2)) << 16 for i in range(64 * 2)]
        self.hit = [[COUNTER_NEW] * (2 * 16 * 8) for _ in range(GUESSES)]
        self.words = Words()
        self.refine = [squash((k - 16) * 128) << 16 for k in range(33)] * 1024
        self.recent = [0] * BYTE_MATCHES
        self.history = bytearray(BYTE_HISTORY)

    def prime(self) -> None:
        self.__dict__.update(pickle.loads(primed()))

    def back(self, distance: int) -> int:
        return self.history[(self.position - distance) % BYTE_HISTORY]

    # 3.5.1 Contexts

    def choose_contexts(self, column: int, begun: int) -> list[int]:
        c = [0] + [self.back(i) for i in range(1, 17)]
        last4 = c[1] | c[2] << 8 | c[3] << 16 | c[4] << 24
        last6 = spread(last4, 77) + (c[5] | c[6] << 8) & U32
        return [
            spread(c[1], 1),
            spread(last4 & 0xFFFF, 2),
            spread(last4 & 0xFFFFFF, 3),
            spread(last6, 4),
            spread(c[4] | column << 8, 5),
            spread(c[4] | c[8] << 8 | column << 24, 6),
            spread(c[4] | c[8] << 8 | c[12] << 16 | c[16] << 24, 7),
            spread(c[2] | c[3] << 8 | column << 24, 8),
            spread(c[8] | column << 8 | c[1] << 16, 9),
            spread(spread(self.words.name, 80 + column) + begun & U32, 10),
        ]

    def find_line(self, hash_: int) -> int:
        """Where the line of 16 counters begins that belongs to a context."""
        c, key = self.counter, hash_ | 1
        number = (hash_ >> 4) % BYTE_LINES
        one, two = number * 16, (number ^ 1) * 16
        if c[one] == key:
            return one
        if c[two] == key:
            return two
        if c[two + 1] & 1023 < c[one + 1] & 1023:
            one, two = two, one
        if c[two + 1] & 1023:
            c[two + 1] -= 1
        c[one : one + 16] = array("I", [key, *[COUNTER_NEW] * 15])
        return one

    # 3.5.2 Matches

    def find_match(self) -> None:
        if self.match_length and self.history[self.match % BYTE_HISTORY] == self.back(1):
            self.match_length = min(self.match_length + 1, MAX_MATCH)
            self.match += 1
        else:
            self.match_length = 0
        if self.position < MIN_MATCH:
            return
        key = 0
        for i in range(1, MIN_MATCH + 1):
            key = key * 0x2F0B4C47 + self.back(i) + 1 & U32
        place = (key >> 16) % BYTE_MATCHES
        found = self.recent[place]
        if not self.match_length and found and self.position - found < BYTE_HISTORY - 256:
            n = 0
            while n < min(32, found) and (
                self.history[(found - 1 - n) % BYTE_HISTORY] == self.back(n + 1)
            ):
                n += 1
            if n >= 4:
                self.match, self.match_length = found, n
        self.recent[place] = self.position

    # 3.5.4 One byte

    def decode(self, rc: RangeDecoder | Known, chunk: bytearray) -> int:
        words = self.words
        column = len(chunk) % 4
        if column == 0:
            words.expect(chunk)
        start = len(chunk) - column
        begun = int.from_bytes(chunk[start:], "little")
        guesses = [0] * GUESSES
        for i, word in enumerate(words.expected):
            if words.at == start and (word ^ begun) & (1 << 8 * column) - 1 == 0:
                guesses[i] = 256 | word >> 8 * column & 255
        hits = list(words.role().hits)
        hashes = self.choose_contexts(column, begun)
        if self.position:
            self.find_match()
        expected = 0
        if self.match_length:
            expected = 256 | self.history[self.match % BYTE_HISTORY]
        got = 1
        lines: list[int] = []
        for left in reversed(range(8)):
            if left in (7, 3):
                half = got * 0x1000193 if left == 3 else 0
                lines = [self.find_line(spread(hash_ + half, 13)) for hash_ in hashes]
                node = 1
            places = [line + node for line in lines]
            x = [stretch(self.counter[place] >> 16) for place in places]
            order = sum(self.counter[place] & 1023 > 0 for place in places[:4])
            hit: list[int | None] = [None] * GUESSES
            sure = 0
            for i, guess in enumerate(guesses):
                if guess >> left + 1 != got:
                    x.append(0)
                    continue
                place = ((words.first * 16 + hits[i]) * 4 + column) * 2 + (left == 7)
                hit[i] = place
                s = stretch(self.hit[i][place] >> 16)
                x.append(s if guess >> left & 1 else -s)
                sure |= (hits[i] & 1) << i
            zero = column * 256 + got
            x.append(stretch(self.order0[zero] >> 16))
            if expected >> left + 1 != got:
                expected = 0
            predicted = expected >> left & 1
            matched = self.match_length * 2 + (left == 7)
            s = stretch(self.matched[matched] >> 16) if expected else 0
            x += [s if predicted else -s, 256]

            length = 0
            if expected:
                length = 1 if self.match_length < 8 else 2 if self.match_length < 24 else 3
            w = [
                self.weight[0][(length * 5 + order) * 2 + words.first],
                self.weight[1][sure * 4 + column],
            ]
            s = mix(x, *w)
            spot, part = divmod(s + 2048, 128)
            r = (got + 256 * column) * 33 + spot
            below, above = self.refine[r] >> 16, self.refine[r + 1] >> 16
            refined = below * (128 - part) + above * part >> 7
            bit = rc.bit(max(16, min(65520, squash(s) + refined >> 1)))

            adjust(x, *w, error=(65535 if bit else 0) - squash(s))
            for place in places:
                update(self.counter, place, bit, 255)
            update(self.order0, zero, bit, 255)
            update(self.refine, r + (part >> 6), bit, 255)
            for i, guess in enumerate(guesses):
                if hit[i] is not None:
                    update(self.hit[i], hit[i], int(bit == guess >> left & 1), 255)
            if expected:
                update(self.matched, matched, int(bit == predicted), 1000)
            got = got * 2 + bit
            node = node * 2 + bit
        byte = got & 255
        self.history[self.position % BYTE_HISTORY] = byte
        self.position += 1
        if column == 3 and words.at == start:
            words.learn(chunk, begun | byte << 24)
        return byte


# 3.5.3 Words


@dataclass
class Role:
    name: int = 0
    value: int = 0
    step: int = 0
    target: list[int] = field(default_factory=lambda: [0, 0])
    hits: list[int] = field(default_factory=lambda: [0] * GUESSES)


ROLES, OBJECTS = 1 << 10, 1 << 13
VECTOR, TABLE, TABLE_AHEAD = range(3)


class Words:
    def __init__(self) -> None:
        self.name = self.first = 0
        self.expected = [0] * GUESSES
        self.vtable = 0
        self.roles = [Role() for _ in range(ROLES)]
        self.begin()

    def begin(self) -> None:
        self.at = -1
        self.object = self.of = 0
        self.kind = VECTOR
        self.pointed: list[tuple[int, int] | None] = [None] * OBJECTS
        self.point(0, 1)

    def point(self, at: int, of: int) -> None:
        slot = spread(at, 50) % OBJECTS
        there = self.pointed[slot]
        if there is None or there[0] != at:
            self.pointed[slot] = at, of

    def role(self) -> Role:
        return self.roles[self.name % ROLES]

    def expect(self, chunk: bytearray) -> None:
        at = len(chunk)
        place = at - self.object
        least = 0
        if self.kind != VECTOR:
            least = half(chunk, self.vtable + 2) if self.kind == TABLE else 16
        pointed = self.pointed[spread(at, 50) % OBJECTS]
        if pointed is not None and pointed[0] == at and place >= least:
            self.object, self.of, self.kind = at, pointed[1], VECTOR
            place = 0
        self.at, self.first = at, int(place == 0)
        self.name = self.name_of(chunk, place)
        r = self.role()
        if r.name != self.name:
            r = self.roles[self.name % ROLES] = Role(self.name)
        guesses = [r.value + r.step, r.target[0] - at, r.value]
        if self.first:
            guesses[1:] = [at - r.target[0], at - r.target[1]]
        self.expected = [guess & U32 for guess in guesses]

    def name_of(self, chunk: bytearray, place: int) -> int:
        if place == 0:
            return spread(self.of, 51)
        if self.kind == VECTOR:
            return spread(self.of, 52 if place == 4 else 53)
        if self.kind == TABLE_AHEAD:
            return spread(self.of + min(place, 32) & U32, self.vtable)
        behind = place - half(chunk, self.vtable + 2)
        if behind >= 0:
            return spread(self.of, 54 + behind // 4 if behind < 16 else 58)
        name = self.of
        for i in range(4, half(chunk, self.vtable), 2):
            within = half(chunk, self.vtable + i) - place
            if 0 <= within < 4:
                name = spread(name + 2 * i + within & U32, 59)
        return name

    def learn(self, chunk: bytearray, word: int) -> None:
        r = self.role()
        r.hits = [
            (hits << 1 | (guess == word)) & 15
            for hits, guess in zip(r.hits, self.expected, strict=True)
        ]
        r.step = word - r.value & U32
        r.value = word
        if not self.first:
            r.target[0] = to = self.at + word & U32
            if 4 <= word < 1 << 28 and to % 4 == 0:
                self.point(to, spread(self.name, 60))
            return
        self.vtable = self.at - word & U32
        if self.vtable != r.target[0]:
            r.target = [self.vtable, r.target[0]]
        if is_vtable(chunk, self.vtable, self.at):
            self.kind = TABLE
        else:
            self.kind = TABLE_AHEAD if word >> 31 else VECTOR


def half(chunk: bytearray, at: int) -> int:
    return chunk[at] | chunk[at + 1] << 8


def is_vtable(chunk: bytearray, at: int, end: int) -> bool:
    if at + 4 > end or at % 2:
        return False
    size, table = half(chunk, at), half(chunk, at + 2)
    return 4 <= size < 64 and size % 2 == 0 and at + size <= end and 4 <= table < 128


class Known:
    """Stands for a range decoder where the bytes are known before."""

    def __init__(self, data: bytes) -> None:
        self.bits = (byte >> left & 1 for byte in data for left in reversed(range(8)))

    def bit(self, p1: int) -> int:
        return next(self.bits)


@cache
def primed() -> bytes:
    """What a new byte model knows once it has read the primer; read once for all files."""
    model = Bytes()
    for piece in primer():
        known, chunk = Known(piece), bytearray()
        model.words.begin()
        for _ in piece:
            chunk.append(model.decode(known, chunk))
    model.words.begin()
    return pickle.dumps(model.__dict__)


def primer() -> list[bytes]:
    page = Path(__file__).parents[2] / "docs" / "format.md"
    pieces = page.read_text("utf-8").split("```primer")[1:]
    return [bytes.fromhex(piece.split("```")[0]) for piece in pieces]


def spread(v: int, salt: int) -> int:
    v = (v + salt * 0x9E3779B9 & U32) * 0x2C1B3C6D & U32
    v = (v ^ v >> 15) * 0x297A2D39 & U32
    return v ^ v >> 16


# 3.6 Logistic arithmetic

COUNTER_NEW = 1 << 31
ONE = 1 << 15
STRETCH_LIMIT = 2047


def make_knots() -> list[int]:
    with localcontext() as context:
        context.prec = 50
        return [round(Decimal(2**30) / (1 + (Decimal(-i) / 16).exp())) for i in range(225)]


KNOTS = make_knots()


def logistic(t: int) -> int:
    """The logistic distribution function at t / 4096, of 2^30."""
    i, fraction = divmod(min(abs(t), 57343), 256)
    value = KNOTS[i] + ((KNOTS[i + 1] - KNOTS[i]) * fraction >> 8)
    return (1 << 30) - value if t < 0 else value


def make_bends() -> list[int]:
    """ln cosh(i / 32), in 1/4096: the distribution less a half, added up in steps of 1/16."""
    table, total = [], 0
    for below, above in zip(KNOTS, [*KNOTS[1:], 0], strict=True):
        table.append(total >> 23)
        total += below + above - MASS
    return table


BENDS = make_bends()


def bend(t: int) -> int:
    size = min(abs(t), 1 << 23)
    i = min(size >> 8, 223)
    return BENDS[i] + ((BENDS[i + 1] - BENDS[i]) * (size - 256 * i) >> 8)


SQUASH = [max(16, min(65520, logistic((i - 2048) * 16) >> 14)) for i in range(4096)]


def make_stretch() -> list[int]:
    table = []
    i = 1
    for p in range(4096):
        while i < 4095 and SQUASH[i] < p * 16 + 8:
            i += 1
        table.append(i - 2048)
    return table


STRETCH = make_stretch()
RATE = [131072 // (2 * n + 3) for n in range(1024)]


def squash(s: int) -> int:
    return SQUASH[limited(s, STRETCH_LIMIT) + 2048]


def stretch(p16: int) -> int:
    return STRETCH[p16 >> 4]


def update(counters: MutableSequence[int], place: int, bit: int, limit: int) -> None:
    p, n = divmod(counters[place], 1024)
    if bit:
        p += (1024 * (0x3FFFFF - p) + n) * RATE[n] >> 26
    else:
        p -= (1024 * p + n) * RATE[n] >> 26
    counters[place] = p << 10 | (n + 1 if n < limit else limit)


def mix(x: list[int], one: list[int], two: list[int]) -> int:
    return limited(sum(map(mul, x, one)) + sum(map(mul, x, two)) >> 16, STRETCH_LIMIT)


def adjust(x: list[int], one: list[int], two: list[int], error: int) -> None:
    nudge(x, one, error >> 1)
    nudge(x, two, error >> 1)


# 3.7 The range decoder


class RangeDecoder:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 4
        self.range = U32
        self.code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def bit(self, p1: int) -> int:
        """A bit that is a one with probability p1 / 65536."""
        bound = self.range * p1 >> 16
        if self.code < bound:
            self.range = bound
            bit = 1
        else:
            self.code -= bound
            self.range -= bound
            bit = 0
        while self.range < 1 << 24:
            byte = self.data[self.at] if self.at < len(self.data) else 0
            self.at += 1
            self.code = (self.code << 8 | byte) & U32
            self.range <<= 8
        return bit

    def raw_bits(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self.bit(1 << 15)
        return value


# 4. LZMA chunks


def decode_lzma(packed: bytes, size: int) -> bytes:
    r = Reader(packed)
    properties = r.byte()
    lc, lp, pb = properties % 9, properties // 9 % 5, properties // 45
    check(pb <= 4 and lc + lp <= 4)
    options = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": min(max(size, 4096), U32),
        **{"lc": lc, "lp": lp, "pb": pb},
    }
    try:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[options])
        return decompressor.decompress(packed[1:], max_length=size)
    except lzma.LZMAError as problem:
        raise ValueError("the file is damaged") from problem


# 5. Fast chunks

FAST_STORED, FAST_PLANES, FAST_PALETTE, FAST_KERNELS, FAST_REPEATS, FAST_PRODUCT = range(6)
FAST_TRELLIS, FAST_TRELLIS_KERNELS = 6, 7
PLANE_STORED, PLANE_CODED, PLANE_CONSTANT = range(3)
TOTAL_BITS = 12
TOTAL = 1 << TOTAL_BITS


Slots = list[tuple[int, int, int]]


def decode_fast(packed: bytes, size: int) -> bytes:
    r = Reader(packed)
    out = bytearray()
    while len(out) < size:
        kind = r.byte()
        width = 1
        if kind in (FAST_PLANES, FAST_PALETTE, FAST_KERNELS):
            width = r.byte()
        elif kind == FAST_PRODUCT:
            width = 4
        items = r.number()
        check(0 < width <= 8 and 0 < items <= (size - len(out)) // width)
        if kind == FAST_STORED:
            out += r.bytes(items)
        elif kind == FAST_PLANES:
            planes = [decode_plane(r, items) for _ in range(width)]
            for item in zip(*planes, strict=True):
                out += bytes(item)
        elif kind == FAST_PALETTE:
            count = r.number()
            check(0 < count <= 256)
            palette = [r.bytes(width) for _ in range(count)]
            palette += [bytes(width)] * (256 - count)
            for index in decode_plane(r, items):
                out += palette[index]
        elif kind == FAST_KERNELS:
            out += decode_kernels(r, width, items)
        elif kind == FAST_REPEATS:
            decode_repeats(r, out, items)
        elif kind == FAST_PRODUCT:
            decode_scaled(r, out, items)
        elif kind == FAST_TRELLIS:
            path = read_path(r)
            out += bytes(path.follow(index) for index in decode_plane(r, items))
        elif kind == FAST_TRELLIS_KERNELS:
            out += decode_kernels(r, width, items, read_path(r))
        else:
            raise ValueError("the file is damaged")
    check(r.ended())
    return bytes(out)


def decode_plane(r: Reader, items: int) -> bytes:
    mode = r.byte()
    if mode == PLANE_STORED:
        return r.bytes(items)
    if mode == PLANE_CONSTANT:
        return r.bytes(1) * items
    check(mode == PLANE_CODED)
    slots = read_table(r)
    states, words = read_states(r, items)
    return bytes(next_symbol(slots, states, i % len(states), words) for i in range(items))


def read_states(r: Reader, items: int) -> tuple[list[int], Reader]:
    words = Reader(r.bytes(r.number()))
    return [words.little(4) for _ in range(1 if items < 4096 else 8)], words


def next_symbol(slots: Slots, states: list[int], turn: int, words: Reader) -> int:
    x = states[turn]
    symbol, frequency, distance = slots[x % TOTAL]
    x = frequency * (x >> TOTAL_BITS) + distance
    if x < 1 << 16:
        x = x << 16 | (words.little(2) if len(words.data) - words.at >= 2 else 0)
    states[turn] = x
    return symbol


@dataclass
class Along:
    along: int
    columns: int
    state: list[int]
    place: int = 0

    def grid(self) -> int:
        if self.along and self.place == 0:
            self.state[0] = 0
        return self.state[0 if self.along else self.place] % 2

    def follow(self, symbol: int) -> int:
        grid, index = self.grid(), signed(symbol, 1)
        at = 0 if self.along else self.place
        self.state[at] = AFTER[self.state[at]][index % 2]
        self.place = (self.place + 1) % self.columns
        sign = (index > 0) - (index < 0)
        return 2 * index - grid * sign & 255


def read_path(r: Reader) -> Along:
    along, columns = r.byte(), r.number()
    check(along <= 1 and 0 < columns < 1 << 31 and (along or columns <= 1 << 16))
    return Along(along, columns, [0] * (1 if along else columns))


def decode_kernels(r: Reader, width: int, items: int, path: Along | None = None) -> bytes:
    palette = []
    if width > 1:
        count = r.number()
        check(0 < count <= 256)
        palette = [r.bytes(width) for _ in range(count)]
        palette += [bytes(width)] * (256 - count)
    flip, centre = (128, 128) if path else (r.byte(), r.byte())
    taps, stride, shift, reach = r.byte(), r.number(), r.byte(), r.byte()
    check(
        (1 if path else 2) <= taps <= 25 and 0 < stride < 1 << 31 and 0 < shift <= 15 and reach <= 8
    )
    check(stride == 1 or width == 1)
    weights = [[(r.byte() + 128 & 255) - 128 for _ in range(min(t, 8))] for t in range(taps)]
    classes = 2 * reach + 1
    count = 2 * classes if path else classes
    tables = [read_table(r) if r.byte() else [(0, 0, 0)] * TOTAL for _ in range(count)]
    states, words = read_states(r, items)
    symbols: list[int] = []
    for i in range(items):
        tap = i // stride % taps
        before = [symbols[i - (back + 1) * stride] - centre for back in range(min(tap, 8))]
        predicted = sum(w * v for w, v in zip(weights[tap], before, strict=True))
        which = limited(predicted + (1 << shift - 1) >> shift, reach) + reach
        which += classes * path.grid() if path else 0
        symbol = next_symbol(tables[which], states, i % len(states), words)
        symbols.append(path.follow(symbol) ^ flip if path else symbol)
    if width > 1:
        return b"".join(palette[symbol] for symbol in symbols)
    return bytes(symbol ^ flip for symbol in symbols)


def decode_repeats(r: Reader, out: bytearray, size: int) -> None:
    count = r.number()
    check(count <= size)
    planes = [decode_plane(r, count) if count else b"" for _ in range(5)]
    literals = r.number()
    check(literals <= size)
    plain = Reader(decode_plane(r, literals) if literals else b"")
    end = len(out) + size
    distance = 0
    for run, length, low, middle, high in zip(*planes, strict=True):
        distance = low | middle << 8 | high << 16 or distance
        out += plain.bytes(run)
        if length:
            check(0 < distance <= len(out))
            for _ in range(length + 3):
                out.append(out[-distance])
        check(len(out) <= end)
    out += plain.bytes(end - len(out))
    check(plain.ended())


def decode_scaled(r: Reader, out: bytearray, items: int) -> None:
    distance, factor = r.number(), r.little(4)
    check(4 <= distance <= len(out))
    steps = decode_plane(r, items)
    far = r.number()
    check(far == steps.count(0))
    off = zip(*(decode_plane(r, far) if far else b"" for _ in range(4)), strict=True)
    for step in steps:
        source = int.from_bytes(out[-distance:][:4], "little")
        by = step - 128 if step else int.from_bytes(next(off), "little")
        value = multiply(source, factor) + by & U32
        out += value.to_bytes(4, "little")


class Bits:
    """Single bits, the lowest of a byte first."""

    def __init__(self, r: Reader) -> None:
        self.r, self.held = r, ""

    def next(self) -> str:
        self.held = self.held or f"{self.r.byte():08b}"[::-1]
        bit, self.held = self.held[0], self.held[1:]
        return bit

    def zeros(self) -> int:
        count = 0
        while self.next() == "0":
            count += 1
            check(count <= 2 * TOTAL_BITS)
        return count

    def behind_one(self, count: int) -> int:
        lowest_first = "".join(self.next() for _ in range(count))
        return int("1" + lowest_first[::-1], 2)


def read_table(r: Reader) -> Slots:
    """For every slot its symbol, the symbol's frequency, and the distance into it."""
    kept, rest = r.byte(), r.byte()
    bits = Bits(r)
    frequencies: list[int] = []
    lengths = [3, 3]
    while len(frequencies) < 255:
        zeros = bits.zeros()
        by = (zeros + 1) // 2
        length = (lengths[-1] + lengths[-2] + 1) // 2 + (by if zeros % 2 else -by)
        check(0 <= length <= TOTAL_BITS)
        if length:
            told = min(length - 1, kept)
            frequencies.append(bits.behind_one(told) << length - 1 - told)
        else:
            run = bits.behind_one(bits.zeros())
            frequencies += [0] * min(run, 255 - len(frequencies))
        lengths.append(max(length, 1))
    check(0 < sum(frequencies) < TOTAL)
    frequencies.insert(rest, TOTAL - sum(frequencies))
    return [(symbol, n, i) for symbol, n in enumerate(frequencies) for i in range(n)]


# 6. Codecs of others


def decode_zlib(packed: bytes, size: int) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        raw = decompressor.decompress(packed, size + 1)
    except zlib.error as problem:
        raise ValueError("the file is damaged") from problem
    check(decompressor.eof)
    return raw
