"""What the native library packs, a plain decoder written from docs/format.md unpacks."""

from __future__ import annotations

import hashlib
import zlib
from functools import cache

import numpy as np
import pytest

from packlight.coding import _native, container, fast, fast_chunks, segments
from packlight.coding.container import FAST, MODEL, STORED, Chunk, Member
from packlight.coding.openers.tensor import Tensor
from packlight.coding.packing import LEVELS, compress, decompress
from packlight.coding.segments import Segment
from tests.coding.samples import (
    DTYPES,
    npy,
    onnx_model,
    palette,
    quantised,
    safetensors,
    tflite,
    trellis,
    weights,
)
from tests.reference import plt
from tests.shared import shared

#: levels often agree on a file
decode = cache(plt.decode)


def every_level(raw: bytes) -> None:
    for level in LEVELS:
        assert decode(compress(raw, level, verify=False, jobs=1)) == raw


@pytest.mark.parametrize("dtype", [*DTYPES, ">i2", ">u2", ">i4", ">f2", ">f4"])
def test_arrays_of_every_type(dtype):
    every_level(npy(weights((12, 6, 3, 3), np.dtype(dtype).newbyteorder("=").name).astype(dtype)))


SHAPES = [(), (0,), (5,), (30, 7), (2, 3, 30), (9, 5, 1, 1), (2, 3, 7, 7), (2, 3, 8, 8)]


@pytest.mark.parametrize("shape", [*SHAPES, (1, 2, 3, 4, 5)])
def test_arrays_of_every_rank(shape):
    array = weights((6000,), "int8")
    every_level(npy(array[: int(np.prod(shape))].reshape(shape)))


def test_empty_and_short_files():
    for size in (0, 1, 2, 7):
        every_level(bytes(range(size)))


def test_a_predictor_that_saw_thousands_of_values():
    array = weights((66, 130), "int8") // 8
    every_level(npy(array + np.roll(array, 1, 1)))


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32"])
def test_integers_of_more_than_14_bits(dtype):
    bits = np.random.default_rng(0).integers(0, 1 << 32, 300, np.uint32)
    bits[::3] >>= 10
    every_level(npy(bits.astype(dtype).reshape(10, 30)))


def test_integers_of_one_sign_and_of_none():
    counting = np.arange(200, dtype=np.int8).reshape(10, 20) % 50
    for array in (counting, -counting, np.zeros((20, 20), np.int8)):
        every_level(npy(array))


@pytest.mark.parametrize("shape", [(40, 30), (16, 5, 3, 3), (30, 8, 3, 3), (200, 1)])
@pytest.mark.parametrize("spread", [0.4, 1.0, 12.0])
def test_levels_along_a_trellis(shape, spread):
    levels = trellis(shape, spread)
    every_level(npy(levels))
    every_level(npy(np.ascontiguousarray(levels.reshape(shape[0], -1).T)))


def test_levels_along_a_trellis_are_told_from_older_ones():
    old = trellis((40, 20), 4.0)
    new = old.copy()
    new[:, ::5] = trellis((40, 20), 3.9)[:, ::5]
    packed = compress(npy(new), base=npy(old), verify=False)
    assert decode(packed, npy(old)) == npy(new)
    assert len(packed) < 0.7 * len(compress(npy(new), verify=False))


def test_rows_of_zeros():
    array = weights((20, 20), "float32")
    array[3:9] = 0
    array[12] = -0.0
    every_level(npy(array))


#: exponents of 0, of the octaves told apart, of the largest ones, and of no number
ODD = [0x00000001, 0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0x7E000000, 0x7AC00000, 0x7F800000]
ODD += [0xFF800000, 0x7FC00001, 0x7FA12345, 0xFFFFFFFF, 0x00000000, 0x80000000]


@pytest.mark.parametrize("largest", [0, 1, 30, 245, 249, 254])
def test_floats_that_are_no_ordinary_numbers(largest):
    odd = np.array([bits for bits in ODD if bits >> 23 & 255 in (*range(largest + 1), 255)])
    among = weights((8, 3, 3, 3)).view(np.uint32).ravel()
    among[among >> 23 & 255 > largest] = largest << 23
    among[::4] = np.resize(odd, among[::4].size)
    every_level(npy(among.view(np.float32).reshape(8, 3, 3, 3)))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_any_bits_as_floats(dtype):
    every_level(npy(np.frombuffer(np.random.default_rng(0).bytes(800), dtype).reshape(10, -1)))


def test_floats_whose_last_bits_are_zero():
    every_level(npy(weights((20, 20), "float16").astype("float32")))


def test_few_distinct_floats():
    every_level(npy(palette((12, 8, 3, 3), 16)))
    every_level(npy(palette((40, 20), 9).astype(">f2")))


def test_text_with_repeats_and_records():
    words = [f"node_{zlib.crc32(bytes([i])) % 97}/weight:{i % 7}\n" for i in range(40)]
    records = np.arange(150, dtype="<u4").tobytes()
    every_level("".join(words * 2).encode() + records + b"\0" * 100)


@pytest.mark.parametrize("seed", range(3))
def test_words_that_may_be_offsets(seed):
    """To tables and vectors, known and ahead, and out of the file; also over an end of a chunk."""
    random = np.random.default_rng(seed)
    words = random.choice([0, 1, 4, 8, 12, 16, 60], 700).astype("<i4")
    for _ in range(60):
        at = random.integers(700)
        words[at] = random.choice([4 * (random.integers(700) - at), random.integers(-99, 2**31)])
    for at in random.integers(0, 690, 80):  # vtables, and words that lead to them
        words[at : at + 3].view("<u2")[:] = [8, 12, 4, 8, *random.integers(0, 70, 2)]
        for table in random.integers(0, 700, 3):
            words[table] = 4 * (table - at)
    raw = words.tobytes()
    first, second = segments.plain(1601), segments.plain(len(raw) - 1601)
    plans = [(1601, [first]), (len(raw) - 1601, [second])]
    assert plt.decode(packed_by_plan(raw, plans)) == raw
    assert plt.decode(compress(raw, verify=False)) == raw


def test_tables_that_share_a_vtable_cost_little():
    """The offsets to them, and theirs to it, all differ; their fields are noise."""
    count, vtable = 300, 4
    begin = 12 + 4 * count
    tables = np.random.default_rng(1).integers(0, 2**16, (count, 3)).astype("<u4")
    places = begin + 12 * np.arange(count)
    tables[:, 0] = places - vtable
    offsets = places - (12 + 4 * np.arange(count))
    head = np.array([8, 12 << 16 | 8, count, *offsets], "<u4")
    packed = len(compress(head.tobytes() + tables.tobytes()))
    assert packed < 4 * count + 200
    assert packed < 0.8 * len(compress(b"-" + head.tobytes() + tables.tobytes()))


def test_noise():
    every_level(np.random.default_rng(0).bytes(500))


def test_a_tensor_twice():
    array = weights((6, 5, 3, 3))
    every_level(safetensors({"a": array, "b": weights((7,), "int8"), "c": array}))
    every_level(onnx_model({"a": array, "b": array}))


@pytest.mark.parametrize(("shape", "axis"), [((12, 3, 3, 5), 0), ((1, 3, 3, 40), 3)])
def test_limits_of_quantised_rows(shape, axis):
    array, limits = quantised(shape, axis)
    every_level(tflite(array, axis, limits))


def test_limits_need_all_of_their_rows_before_them():
    fields = {"kind": segments.LIMITS, "length": 8, "distance": 8, "channels": 4}
    raw = weights((24,), "int8").tobytes()
    work = bytearray(_native.work_size())
    for away, fits in ((16, True), (8, True), (7, False), (17, False)):
        plan = [segments.plain(16), Segment(8, fields | {"weights": away})]
        packed = b"".join(segment.to_bytes() for segment in plan)
        if fits:
            assert _native.pack_chunk(raw, packed, b"", False, work, True, None)
            continue
        with pytest.raises(ValueError, match="argument"):
            _native.pack_chunk(raw, packed, b"", False, work, True, None)


def test_a_tflite_network():
    raw = shared("models", "kws_ref_model.tflite").read_bytes()
    assert decode(compress(raw, verify=False)) == raw


def test_a_chunk_of_zlib():
    assert decode(compress(b"packlight" * 20, codec="zlib", verify=False)) == b"packlight" * 20


def test_files_of_an_archive():
    raw = b"one" + b"two"
    members = [Member("a", 0, 0, True), Member("a/1.txt", 0, 3), Member("a/2", 3, 3)]
    assert decode(container.write(raw, [Chunk(STORED, 6, raw)], members)) == raw


@pytest.mark.parametrize("name", ["", "/a", "a//b", "..", "a/./b", "a:b", "Com1.x", "nul", "a."])
def test_names_that_are_refused(name):
    packed = container.write(b"", [], [Member(name, 0, 0)])
    for open_ in (_native.open, plt.decode):
        with pytest.raises(ValueError, match=r"damaged|not allowed"):
            open_(packed)


def test_every_damaged_byte_and_every_cut_is_noticed():
    packed = compress(b"packlight " * 6, verify=False)
    for at in range(len(packed)):
        damaged = packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]
        for bad in (damaged, packed[:at]):
            with pytest.raises(ValueError, match=r"."):
                plt.decode(bad)


def test_a_difference_asks_for_its_base():
    packed = bytearray(container.write(b"new", [Chunk(STORED, 3, b"new")]))
    packed[11 + 32 : 11 + 32] = hashlib.sha256(b"old").digest()
    packed[5] |= plt.FLAG_BASE
    size = int.from_bytes(packed[6:10], "little") + 32
    packed[6:10] = size.to_bytes(4, "little")
    packed[size - 4 : size] = zlib.crc32(packed[: size - 4]).to_bytes(4, "little")
    assert plt.decode(bytes(packed), b"old") == b"new"
    for base in (None, b"other"):
        with pytest.raises(ValueError, match="base"):
            plt.decode(bytes(packed), base)


# What no opener makes, but the format allows: plans by hand.


def packed_by_plan(raw: bytes, plans: list[tuple[int, list[Segment]]]) -> bytes:
    """Modelled chunks that continue each other, of so many bytes and these segments."""
    work = bytearray(_native.work_size())
    chunks, at = [], 0
    for size, plan in plans:
        fields = b"".join(segment.to_bytes() for segment in plan)
        palettes = b"".join(segment.palette for segment in plan)
        part = raw[at : at + size]
        packed = _native.pack_chunk(part, fields, palettes, at > 0, work, False, None)
        chunks.append(Chunk(MODEL, size, packed, at > 0))
        at += size
    return container.write(raw, chunks)


def tensor(kind: int, width: int, shape: tuple[int, ...], **values: int) -> Segment:
    names = ("rows", "channels", "taps", "tap_width", "channels_last")
    common = {"kind": kind, "width": width, **dict(zip(names, shape, strict=True))}
    return Segment(0, common | values)


def test_a_tensor_that_goes_on_in_the_next_chunks():
    array = weights((10, 6, 3, 3), "int16")
    limits = {"lowest": int(array.min()), "highest": int(array.max())}
    long = tensor(segments.INTEGERS, 2, (10, 6, 9, 3, 0), **limits)
    raw = array.tobytes() + b"then text, then text"
    plans = [(500, [long]), (300, []), (len(raw) - 800, [segments.plain(20)])]
    assert decode(packed_by_plan(raw, plans)) == raw


def test_more_columns_than_have_a_scale_of_their_own():
    array = np.zeros((2, 16500), np.int8)
    array[:, ::40] = weights((2, 413), "int8") // 30
    plan = tensor(segments.INTEGERS, 1, (2, 16500, 1, 1, 0), lowest=-5, highest=5)
    assert decode(packed_by_plan(array.tobytes(), [(array.size, [plan])])) == array.tobytes()


@pytest.mark.parametrize("taps", [(1, 1), (9, 3), (49, 7), (50, 10)])
def test_channels_last(taps):
    array = weights((4, taps[0], 7), "int8")
    plan = tensor(segments.INTEGERS, 1, (4, 7, *taps, int(taps[0] > 1)), lowest=-127, highest=127)
    raw = array.tobytes()
    assert decode(packed_by_plan(raw, [(len(raw), [plan])])) == raw


@pytest.mark.parametrize("model_bits", [0, 1, 10, 23])
@pytest.mark.parametrize(("form", "dtype"), enumerate(["float32", "float16", "bfloat16"]))
def test_any_number_of_mantissa_bits(form, dtype, model_bits):
    array = weights((10, 20), "float16" if form == 1 else "float32")
    raw = array.tobytes()
    if form == 2:
        raw = (array.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    plan = tensor(
        *(segments.FLOATS, 4 if form == 0 else 2, (10, 20, 1, 1, 0)),
        **{"format": form, "largest": 20 if form == 1 else 120, "model_bits": model_bits},
    )
    assert decode(packed_by_plan(raw, [(len(raw), [plan])])) == raw


@pytest.mark.parametrize("big_endian", [0, 1])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_palette_of_any_width(width, big_endian):
    order = ">" if big_endian else "<"
    values = np.random.default_rng(0).integers(0, 1 << 8 * width, 9).astype(f"{order}u{width}")
    array = values[palette((10, 20), 9).astype("f8").astype("i8") % 9]
    native = array.astype(f"=u{width}")
    top = native.dtype.type(1 << (8 * width - 1))
    found = np.unique(np.where(native & top, ~native, native | top))
    plan = tensor(
        *(segments.PALETTE, width, (10, 20, 1, 1, 0)),
        **{"big_endian": big_endian, "palette_size": len(found), "palette_zero": len(found) // 2},
    )
    plan = Segment(0, plan.values, found.astype("<u4").tobytes())
    assert decode(packed_by_plan(array.tobytes(), [(array.nbytes, [plan])])) == array.tobytes()


def test_numbers_that_are_others_times_a_factor():
    source = weights((50,))
    source[::7] = 0
    source[1] = np.inf
    source[2:5] = 1e30, 1e-38, -1e-38
    with np.errstate(all="ignore"):
        result = source * np.float32(3.1e8)
    result[10] = 5
    factor = int(np.float32(3.1e8).view(np.uint32))
    values = {"kind": segments.PRODUCT, "length": 200, "distance": 200, "factor": factor}
    raw = source.tobytes() + result.tobytes()
    plan = [segments.plain(200), Segment(200, values)]
    assert decode(packed_by_plan(raw, [(400, plan)])) == raw


def test_a_copy_that_overlaps_itself():
    raw = b"abc" + b"abc" * 30
    plan = [segments.plain(3), segments.copy(90, 3)]
    assert decode(packed_by_plan(raw, [(93, plan)])) == raw


def fourier_basis(points: int, window) -> np.ndarray:
    """As speech networks hold it: NumPy's transform of the unit vectors, windowed in fp32."""
    rows = points // 2 + 1
    spectrum = np.fft.fft(np.eye(points))[:rows]
    basis = np.vstack([spectrum.real, spectrum.imag]).astype(np.float32)
    return (basis * np.asarray(window, np.float32)).astype(np.float32)


@pytest.mark.parametrize("points", [4, 16, 30, 64, 7])
def test_fourier_bases(points):
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(points) / points)
    for window in (hann, np.sqrt(hann), np.ones(points)):
        every_level(npy(fourier_basis(points, window)))


def test_a_fourier_basis_costs_next_to_nothing():
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    raw = npy(fourier_basis(256, hann)[:, None, :])
    assert len(compress(raw, verify=False)) < 400


def changed(array, seed=1):
    """After a short training: most of it as it was, some of it a little different."""
    generator = np.random.default_rng(seed)
    if array.dtype.kind == "f":
        noise = generator.normal(size=array.shape) * np.abs(array).mean() * 0.01
        return (array + noise).astype(array.dtype)
    steps = generator.choice([-1, 0, 0, 0, 1], size=array.shape)
    limits = np.iinfo(array.dtype)
    return np.clip(array.astype(np.int64) + steps, limits.min, limits.max).astype(array.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_differences_to_an_older_file(dtype):
    old = weights((12, 6, 3, 3), dtype)
    base = onnx_model({"w": old, "same": old[:4], "gone": old[:2]})
    raw = onnx_model({"new": old[:3] // 1, "w": changed(old), "same": old[:4]})
    packed = compress(raw, base=base, verify=False)
    assert plt.decode(packed, base) == raw
    with pytest.raises(ValueError, match="base"):
        plt.decode(packed)
    with pytest.raises(ValueError, match="another base"):
        plt.decode(packed, base[:-1])


def test_rows_with_other_steps_than_the_old_ones():
    old = weights((20, 40), "int8")
    ratio = np.linspace(0.3, 1.4, 20)[:, None]
    new = np.clip(np.round(old * ratio), -127, 127).astype(np.int8)
    base, raw = onnx_model({"w": old}), onnx_model({"w": new})
    packed = compress(raw, base=base, verify=False)
    assert plt.decode(packed, base) == raw
    assert len(packed) < 0.7 * len(compress(raw, verify=False))


def smooth(shape, seed=0, alike=1.0) -> np.ndarray:
    """Levels whose taps are alike."""
    generator = np.random.default_rng(seed)
    base = generator.laplace(size=(*shape[:2], 1, 1))
    return np.rint(alike * base + generator.laplace(size=shape) * 2).clip(-127, 127).astype(np.int8)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32", "float16"])
def test_kernels_at_level_default(dtype):
    levels = smooth((64, 32, 3, 3))
    array = (levels.astype(np.int16) + 100).astype("uint8") if dtype == "uint8" else levels
    raw = onnx_model({"w": array.astype(dtype) if dtype[0] == "f" else array})
    packed = compress(raw, "default", verify=False)
    assert FAST in {chunk.codec for chunk in container.read(packed).chunks}
    assert plt.decode(packed) == raw


def test_kernels_with_their_channels_last():
    levels = np.ascontiguousarray(smooth((30, 20, 3, 3), alike=6).transpose(0, 2, 3, 1))
    found = Tensor(0, "int8", levels.shape, channels_last=True)
    record = fast.pack(levels.tobytes(), found, kernels=True)
    assert record[0] == fast.KERNELS
    assert plt.decode_fast(record, levels.size) == levels.tobytes()
    packed = container.write(levels.tobytes(), [Chunk(FAST, levels.size, record)])
    assert decompress(packed) == levels.tobytes()
    assert len(record) < 0.99 * len(fast.pack(levels.tobytes(), found))


@pytest.mark.parametrize("steps", [[0, 0, 0, 1, -1], [0, 0, 5, -7, 100], [0, 0, 2000]], ids=str)
def test_floats_that_hardly_changed(steps):
    old = weights((12, 6, 3, 3))
    moved = np.random.default_rng(0).choice(steps, old.shape).astype(np.int32)
    base = onnx_model({"w": old})
    raw = onnx_model({"w": (old.view(np.int32) + moved).view(np.float32)})
    assert plt.decode(compress(raw, base=base, verify=False), base) == raw


@pytest.mark.parametrize("items", [2, 300, 4096, 50_000])
@pytest.mark.parametrize("kind", ["normal", "uniform", "two", "rare", "far apart"])
def test_tables_of_the_fast_codec(kind, items):
    rng = np.random.default_rng(items)
    symbols = {
        "normal": np.rint(rng.normal(0, 30, items)),
        "uniform": rng.integers(0, 256, items),
        "two": rng.choice([7, 255], items),
        "rare": np.where(rng.random(items) < 0.001, rng.integers(0, 256, items), 100),
        "far apart": rng.choice([0, 1, 64, 65, 200, 255], items),
    }[kind].astype(np.int64).astype(np.uint8)  # fmt: skip
    record = _native.pack_fast(fast.PLANES, 1, items, symbols.tobytes(), b"")
    assert plt.decode_fast(record, items) == symbols.tobytes()
    share = np.bincount(symbols)[np.unique(symbols)] / items
    ideal = -np.log2(share) @ share * items / 8
    assert len(record) < min(items, 1.005 * ideal + 150) + 10


def test_products_but_for_a_few():
    rng = np.random.default_rng(3)
    source = rng.normal(size=200).astype("<f4")
    factor = np.float32(-127)
    numbers = source * factor
    numbers[rng.random(200) < 0.4] *= np.float32(0.98)
    numbers.view("<i4")[::9] += 2
    planes = _native.pack_fast(
        fast.PLANES, 4, 200, source.view("u1").reshape(-1, 4).T.tobytes(), b""
    )
    record = fast.product(numbers.tobytes(), source.tobytes(), factor.tobytes(), source.nbytes)
    raw = source.tobytes() + numbers.tobytes()
    assert plt.decode_fast(planes + record, len(raw)) == raw
    assert len(record) < 0.6 * numbers.nbytes


@pytest.mark.parametrize(
    ("apart", "more", "shared"),
    [
        ([30, 30, 30], [5, 5, 5], [True, True, True]),
        ([30, 5, 30], [5, 60, 5], [True, False, True]),
        ([18, 18, 18], [17, 17, 17], [False, False, False]),
        ([20, 20, 20, 20], [5, 5, 21, 5], [True, True, True, True]),
    ],
)
def test_neighbours_share_a_record_where_that_saves_bytes(apart, more, shared):
    assert fast_chunks.sharing(apart, more) == shared
