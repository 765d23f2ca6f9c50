"""Small files of every kind that packs, each below 2 KB packed."""

from __future__ import annotations

import io
import struct
from unittest import mock

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from packlight.coding import _native, container, fast, planning, segments
from packlight.coding.container import FAST, LZMA, MODEL, STORED, Chunk, Member
from packlight.coding.openers.tensor import Tensor
from packlight.coding.packing import compress
from packlight.progress import Progress
from tests.coding.samples import quantised, tflite, trellis

_FAST_STORED, _FAST_PLANES, _FAST_PALETTE = range(3)


def small_files() -> dict[str, tuple[bytes, bytes]]:
    """Name -> (raw bytes, packed bytes)."""
    rng = np.random.default_rng(7)
    weights = rng.normal(0, 0.05, (8, 12))
    floats = weights.astype("<f4")
    awkward = floats.copy()
    awkward.flat[:6] = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-42]
    largest = np.where(weights > 0, np.inf, weights * 4e36).astype("<f4").reshape(-1, 1)
    rounded = (np.round(weights / 0.02) * 0.02).astype("<f4")
    wide = rng.integers(-(2**31), 2**31, 60).astype("<i4")
    wide[:2] = -(2**31), 2**31 - 1
    int8 = np.round(weights / 0.02).astype("i1")
    levels, limits = quantised((4, 2, 2, 3), 0)
    kernels = _npy(np.round(rng.normal(0, 2, (6, 4, 3, 3))).astype("i1"))
    files = {
        "empty": b"",
        "one byte": b"x",
        "two bytes": b"\xff\x00",
        "text": b"Pack light, and the network travels. " * 20,
        "zeros": bytes(3000),
        "noise": rng.bytes(300),
        "int8": _npy(int8),
        "int8 kernels": kernels,
        "uint8": _npy(np.clip(np.round(128 + weights * 300), 0, 255).astype("u1")),
        "int16": _npy(np.round(weights * 90_000).astype("<i2")),
        "int16, big-endian": _npy(np.round(weights * 90_000).astype(">i2")),
        "int32": _npy(np.round(weights * 4e8).astype("<i4")),
        "int32, all of its range": _npy(wide),
        "fp16": _npy(weights.astype("<f2")),
        "fp32": _npy(floats),
        "fp32 with infinities": _npy(awkward),
        "fp32, infinities among the largest": _npy(largest),
        "palette": _npy(rounded),
        "the same twice": _npy(floats) * 2,
        "limits of rows": tflite(levels, 0, limits),
        "trellis": _npy(trellis((9, 8))),
        "trellis along rows": _npy(np.ascontiguousarray(trellis((9, 8)).T)),
        "npz": _npz(a=int8, b=weights.astype("<f2"), c=rounded),
        "onnx": _onnx(numpy_helper.from_array(floats, "w")),
        "bf16 in onnx": _onnx(_brain_floats(floats)),
        "fourier": _npy(_fourier_basis(16)),
        "fourier, odd": _npy(_fourier_basis(7)),
    }
    packed = {name: (raw, compress(raw, "default")) for name, raw in files.items()}
    packed["lzma"] = files["text"], compress(files["text"], codec="lzma")
    packed["in many chunks"] = _in_chunks_of(100, kernels)
    packed["trellis in many chunks"] = _in_chunks_of(100, _npy(trellis((6, 4, 3, 3))))
    packed["other chunks between"] = between_others()
    packed["archive"] = _archive({"a": int8.tobytes(), "b/": b"", "b/c.txt": b"two lines\n" * 2})
    packed["fast"] = _fast(int8, rounded, floats)
    packed["fast kernels"] = _fast_kernels()
    packed["fast trellis"] = _fast_trellis()
    packed["fast, long planes"] = _fast_long()
    packed["fast, repeats"] = _fast_repeats(floats)
    packed["like one before"] = _like_one_before(int8, floats)
    return packed


def differences() -> dict[str, tuple[bytes, bytes, bytes]]:
    """Name -> (raw bytes, packed bytes, base)."""
    rng = np.random.default_rng(9)
    floats = rng.normal(0, 0.05, (8, 12)).astype("<f4")
    steps = rng.integers(-9, 10, floats.shape).astype("<i4")
    int8 = rng.normal(0, 9, (8, 12)).round().astype("i1")
    near = (int8 + rng.choice([0, 0, 1], int8.shape)).astype("i1")
    path = trellis((20, 8), 4.0)
    moved = path.copy()
    moved[:, 3] = trellis((20, 8), 3.9)[:, 3]
    pairs = {
        "difference of int8": (_npy(near), _npy(int8)),
        "difference of a trellis": (_npy(moved), _npy(path)),
        "difference of fp32": (_npy((floats.view("<i4") + steps).view("<f4")), _npy(floats)),
        "difference of fp16": (_npy((floats * 1.01).astype("<f2")), _npy(floats.astype("<f2"))),
        "difference of text": (b"once more, " + b"Pack light. " * 9, b"Pack light. " * 30),
    }
    packed = {
        name: (raw, compress(raw, base=base, verify=False), base)
        for name, (raw, base) in pairs.items()
    }
    packed["difference of every kind"] = every_reference()
    return packed


def fuzz_base() -> bytes:
    """The base that native/fuzz/fuzz_chunk.c has too."""
    x, out = 1, bytearray()
    for _ in range(1024):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(x >> 24)
    return bytes(out)


def every_reference() -> tuple[bytes, bytes, bytes]:
    """Whatever can be told from a base, of every type, in chunks that cut some of it."""
    base = fuzz_base()
    rng = np.random.default_rng(10)
    raw, plan = bytearray(b"as before: "), [segments.plain(11), segments.base_copy(50, 30)]
    raw += base[30:80]
    for width, big in ((1, 0), (2, 0), (2, 1), (4, 0), (4, 1)):
        kind, place, count = f"{'<>'[big]}i{width}", 100 + width, 40 // width
        old = np.frombuffer(base, kind, count, place).astype("i8")
        limit = 1 << 8 * width - 1
        new = np.clip(old + rng.integers(-2, 3, count), -limit, limit - 1)
        raw += new.astype(kind).tobytes()
        plan.append(_referenced(segments.INTEGERS, width, big, count, place))
        plan[-1].values.update(lowest=-limit, highest=limit - 1)
    for form, width, big in ((0, 4, 0), (0, 4, 1), (1, 2, 0), (2, 2, 1)):
        kind, place, count = f"{'<>'[big]}u{width}", 300 + width, 56 // width
        old = np.frombuffer(base, kind, count, place).astype("i8")
        new = np.clip(old + rng.integers(-20, 21, count), 0, (1 << 8 * width) - 1)
        raw += new.astype(kind).tobytes()
        plan.append(_referenced(segments.CHANGES, width, big, count, place))
        plan[-1].values.update(format=form, largest=20 if form == 1 else 130)
    work = bytearray(_native.work_size())
    chunks, at = [], 0
    for size, part in ((70, plan[:3]), (61, plan[3:4]), (len(raw) - 131, plan[4:])):
        chunks.append(_modelled(bytes(raw[at : at + size]), part, work, at > 0, base))
        at += size
    return bytes(raw), container.write(bytes(raw), chunks, base=base), base


def _referenced(kind: int, width: int, big_endian: int, count: int, place: int):
    values = {"kind": kind, "width": width, "big_endian": big_endian, "reference": place + 1}
    shape = {"rows": 2, "channels": count // 2, "taps": 1, "tap_width": 1}
    return segments.Segment(count * width, values | shape)


def between_others() -> tuple[bytes, bytes]:
    """Modelled chunks that continue each other past stored and LZMA ones, then afresh."""
    rng = np.random.default_rng(8)
    tensor = np.round(rng.normal(0, 2, 120)).astype("i1").tobytes()
    scales = rng.normal(1, 0.1, 9).astype("<f4")
    factor = np.float32(0.37)
    # copies and products look back inside their chunk
    looked_back = scales.tobytes() + (scales * factor).tobytes() + scales.tobytes()[4:24]
    bits = struct.unpack("<I", struct.pack("<f", factor))[0]
    back = {"kind": segments.PRODUCT, "length": 36, "distance": 36, "factor": bits}
    plans = [segments.plain(36), segments.Segment(36, back), segments.copy(20, 68)]
    text = b"as long as it is wide, " * 9
    work = bytearray(_native.work_size())
    parts = [
        (tensor[:50], _modelled(tensor[:50], [_integers(120)], work, False)),
        (text, Chunk(STORED, len(text), text)),
        (tensor[50:], _modelled(tensor[50:], [], work, True)),
        (text, Chunk(LZMA, len(text), segments.lzma_best(text))),
        (looked_back, _modelled(looked_back, plans, work, True)),
        (tensor, _modelled(tensor, [_integers(120)], work, False)),
    ]
    raw = b"".join(part for part, _ in parts)
    return raw, container.write(raw, [chunk for _, chunk in parts])


def _integers(count: int) -> segments.Segment:
    shape = {"rows": 1, "channels": count, "taps": 1, "tap_width": 1}
    values = {"kind": segments.INTEGERS, "width": 1, "lowest": -128, "highest": 127}
    return segments.Segment(count, values | shape)


def _modelled(
    raw: bytes,
    plan: list[segments.Segment],
    work: bytearray,
    continues: bool,
    base: bytes | None = None,
) -> Chunk:
    fields = b"".join(segment.to_bytes() for segment in plan)
    packed = _native.pack_chunk(raw, fields, b"", continues, work, False, base)
    return Chunk(MODEL, len(raw), packed, continues)


def _in_chunks_of(size: int, raw: bytes) -> tuple[bytes, bytes]:
    with mock.patch.object(planning, "CHUNK_LIMIT", size):
        return raw, container.write(
            raw, planning.Packer(raw, 1, Progress()).models(None, thorough=False)
        )


def _archive(files: dict[str, bytes]) -> tuple[bytes, bytes]:
    raw = b"".join(files.values())
    members = [
        Member(name.rstrip("/"), 0, len(data), is_folder=name.endswith("/"))
        for name, data in files.items()
    ]
    chunks = planning.Packer(raw, 1, Progress()).models(members, thorough=False)
    return raw, container.write(raw, chunks, members)


def _fast(integers, rounded, floats) -> tuple[bytes, bytes]:
    """One chunk with a record of every kind."""
    values, places = np.unique(rounded.view("<u4"), return_inverse=True)
    planes = floats.view("u1").reshape(-1, 4).T.tobytes()
    indices = places.astype("u1").tobytes()
    ones = np.ones(40, "<i2")
    records = [
        _native.pack_fast(_FAST_PLANES, 1, integers.size, integers.tobytes(), b""),
        _native.pack_fast(_FAST_PLANES, 4, floats.size, planes, b""),
        _native.pack_fast(_FAST_PLANES, 2, 40, ones.view("u1").reshape(-1, 2).T.tobytes(), b""),
        _native.pack_fast(_FAST_PALETTE, 4, rounded.size, indices, values.tobytes()),
        _native.pack_fast(_FAST_STORED, 1, 9, b"some text", b""),
    ]
    raw = integers.tobytes() + floats.tobytes() + ones.tobytes() + rounded.tobytes() + b"some text"
    return raw, container.write(raw, [Chunk(FAST, len(raw), b"".join(records))])


def _fast_long() -> tuple[bytes, bytes]:
    """Planes of so many items that they have several states, and one too short by one."""
    rng = np.random.default_rng(12)
    raw = b"".join(rng.choice([0, 0, 0, 0, 1, 255], size).astype("u1") for size in (4100, 4095))
    records = [_native.pack_fast(_FAST_PLANES, 1, 4100, raw[:4100], b"")]
    records.append(_native.pack_fast(_FAST_PLANES, 1, 4095, raw[4100:], b""))
    return raw, container.write(raw, [Chunk(FAST, len(raw), b"".join(records))])


def _fast_repeats(floats) -> tuple[bytes, bytes]:
    """Text that repeats itself and what was before it, and numbers that are others', scaled, but
    for a few."""
    text = b"Pack light, and the network travels. " * 20
    scaled = (floats * np.float32(0.37)).astype("<f4")
    scaled.view("<i4")[1, ::5] += 3
    scaled.view("<i4")[2, ::7] -= 300_000
    raw = b"a network travels light" + floats.tobytes() + scaled.tobytes() + text
    at = len(raw) - len(text)
    index = bytearray(_native.index_size())
    factor = np.float32(0.37).tobytes()
    first = _native.pack_repeats(raw, 0, 23, 0, index)
    planes = floats.view("u1").reshape(-1, 4).T.tobytes()
    records = [
        first,
        _native.pack_fast(_FAST_PLANES, 4, floats.size, planes, b""),
        fast.product(scaled.tobytes(), floats.tobytes(), factor, floats.nbytes),
        _native.pack_repeats(raw, at, len(raw), 0, index),
    ]
    return raw, container.write(raw, [Chunk(FAST, len(raw), b"".join(records))])


def _like_one_before(int8, floats) -> tuple[bytes, bytes]:
    """Tensors told from others in the same chunk."""
    rng = np.random.default_rng(13)
    near = (int8 + rng.choice([0, 0, 1], int8.shape)).astype("i1")
    moved = (floats.view("<i4") + rng.integers(-9, 10, floats.shape)).astype("<i4")
    raw = int8.tobytes() + near.tobytes() + floats.tobytes() + moved.tobytes()
    work = bytearray(_native.work_size())
    alone = [_integers(96), segments.plain(384)]
    told = [
        _referenced(segments.INTEGERS, 1, 0, 96, -1),
        _referenced(segments.CHANGES, 4, 0, 96, -1),
    ]
    told[0].values.update(lowest=-128, highest=127, distance=96)
    told[1].values.update(format=0, largest=130, distance=384)
    plan = [alone[0], told[0], alone[1], told[1]]
    return raw, container.write(raw, [_modelled(raw, plan, work, False)])


def _fast_kernels() -> tuple[bytes, bytes]:
    """Records of kernels: taps in a row, taps apart, and places in a palette."""
    rng = np.random.default_rng(11)
    kernels = np.rint(rng.laplace(size=(12, 1)) * 9 + rng.laplace(size=(12, 9))).astype("i1")
    apart = np.ascontiguousarray(kernels.reshape(4, 3, 9).transpose(0, 2, 1))
    few = (kernels // 4).astype("<f4")
    tensors = [
        (kernels, Tensor(0, "int8", (12, 1, 3, 3))),
        (apart, Tensor(0, "int8", (4, 3, 3, 3), channels_last=True)),
        (few, Tensor(0, "float32", (12, 1, 3, 3))),
    ]
    records = []
    for values, tensor in tensors:
        symbols, palette = values.view("u1").ravel(), b""
        if tensor.width > 1:
            sorted_values, places = np.unique(values.view("<u4"), return_inverse=True)
            symbols, palette = places.astype("u1").ravel(), sorted_values.tobytes()
        records.append(next(fast.kernel_records(tensor, symbols, tensor.width, palette)))
    raw = b"".join(values.tobytes() for values, _ in tensors)
    return raw, container.write(raw, [Chunk(FAST, len(raw), b"".join(records))])


def _fast_trellis() -> tuple[bytes, bytes]:
    """Records of either kind of a trellis down the columns and along the rows."""
    down = trellis((9, 3, 2, 2), 2.0)
    along = np.ascontiguousarray(down.reshape(9, -1).T)
    records, raw = [], b""
    for levels, last in ((down, False), (along, False), (down, True)):
        tensor = Tensor(0, "int8", levels.shape, channels_last=last)
        values = levels.view("u1").ravel()
        path = segments.trellis_path(tensor, values)
        found = list(fast.trellis_records(tensor, values, path, kernels=True))
        records += found[2:3] if last else found[:3]
        raw += levels.tobytes() * (len(records) - len(raw) // levels.size)
    return raw, container.write(raw, [Chunk(FAST, len(raw), b"".join(records))])


def _fourier_basis(points: int):
    rows = np.fft.fft(np.eye(points))[: points // 2 + 1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(points) / points)
    basis = np.vstack([rows.real, rows.imag]).astype("<f4")
    return (basis * window.astype("<f4")).astype("<f4")


def _npy(array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _brain_floats(values) -> TensorProto:
    bits = (values.view("<u4") >> 16).astype("<u2").tobytes()
    return TensorProto(name="w", dims=values.shape, data_type=TensorProto.BFLOAT16, raw_data=bits)


def _onnx(weight: TensorProto) -> bytes:
    rows, columns = weight.dims
    x = helper.make_tensor_value_info("x", weight.data_type, [1, rows])
    y = helper.make_tensor_value_info("y", weight.data_type, [1, columns])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "small", [x], [y], [weight])
    return helper.make_model(graph).SerializeToString()
