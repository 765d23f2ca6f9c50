"""Small files of every kind that packs, each below 2 KB packed."""

from __future__ import annotations

import io
import struct
from unittest import mock

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from packlight.coding import _native, container, planning, segments
from packlight.coding.container import FAST, LZMA, MODEL, STORED, Chunk, Member
from packlight.coding.packing import compress
from packlight.progress import Progress

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
        "npz": _npz(a=int8, b=weights.astype("<f2"), c=rounded),
        "onnx": _onnx(numpy_helper.from_array(floats, "w")),
        "bf16 in onnx": _onnx(_brain_floats(floats)),
    }
    packed = {name: (raw, compress(raw, "default")) for name, raw in files.items()}
    packed["lzma"] = files["text"], compress(files["text"], codec="lzma")
    packed["in many chunks"] = _in_chunks_of(100, kernels)
    packed["other chunks between"] = between_others()
    packed["archive"] = _archive({"a": int8.tobytes(), "b/": b"", "b/c.txt": b"two lines\n" * 2})
    packed["fast"] = _fast(int8, rounded, floats)
    return packed


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


def _modelled(raw: bytes, plan: list[segments.Segment], work: bytearray, continues: bool) -> Chunk:
    fields = b"".join(segment.to_bytes() for segment in plan)
    packed = _native.pack_chunk(raw, fields, b"", continues, work, False, None)
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
