"""Files that hold tensors and no network: safetensors, GGUF, NumPy's, PyTorch's checkpoints.

One row for each tensor; what the network makes of them is not in the file, and a note says so.
"""

from __future__ import annotations

import json
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

from packlight.coding.openers import gguf
from packlight.coding.openers import zip as zipped
from packlight.coding.openers.tensor import Tensor
from packlight.errors import BadInput
from packlight.units import show_size
from packlight.weighing.formats.operations import BITS, Listing, Operation, Weight
from packlight.weighing.formats.packed import zeros_in

#: bytes that are looked at for zeros, in all
ZEROS_LIMIT = 1 << 30

_NOTE = "the file holds tensors and no network: what the layers make and compute is not known"
_SAFE = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64"},
    **{"U32": "uint32", "U16": "uint16", "U8": "uint8", "F8_E4M3": "float8", "F8_E5M2": "float8"},
    **{"F4": "float4", "C64": "complex64"},
}
_GGUF_TYPES = {
    **{0: "float32", 1: "float16", 24: "int8", 25: "int16", 26: "int32", 27: "int64"},
    **{28: "float64", 30: "bfloat16"},
}
#: GGUF's block types: items of a block, its bytes (ggml-org/ggml, src/ggml-common.h)
_GGUF_BLOCKS = {
    **{2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36)},
    **{10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210)},
    **{15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50)},
    **{20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 29: (256, 56)},
    **{34: (256, 54), 35: (256, 66), 39: (32, 17)},
}
_ODD = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError),
    *(ValueError, struct.error, zlib.error, zipfile.BadZipFile, EOFError, OSError, RuntimeError),
)


def read_listing(path: Path) -> Listing:
    """List a file's tensors.

    Raises:
        BadInput: it is not what its name says, or is damaged.
    """
    read = READERS[path.suffix.lower()]
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            weights = list(read(data))
    except _ODD as problem:
        if isinstance(problem, BadInput):
            raise
        raise BadInput(
            f"{path.name} is no {path.suffix} file, or it is cut off or damaged ({problem})"
        ) from problem
    looked = sum(weight.bytes for weight in weights)
    notes = [_NOTE]
    if looked > ZEROS_LIMIT:
        notes.append(f"zeros are counted in the first {show_size(ZEROS_LIMIT)} only")
    operations = [
        Operation(
            name=weight.name,
            type="Tensor",
            reads=(),
            writes=(),
            role="tensor",
            weights=(weight,),
            parameters="x".join(map(str, weight.shape)) or "1",
        )
        for weight in weights
    ]
    return Listing({}, operations, (), (), notes)


class _Looked:
    """Counts zeros until enough bytes were looked at."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.left = ZEROS_LIMIT

    def zeros(self, at: int, size: int, dtype: str, count: int) -> int:
        """Zeros among the items at a place of the file, 0 once the limit is reached."""
        self.left -= size
        return zeros_in(self.data[at : at + size], dtype, count) if self.left >= 0 else 0


def _safetensors(data: Any) -> Iterator[Weight]:
    size = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{" or size > len(data) - 8:
        raise ValueError("its header does not end")
    looked = _Looked(data)
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        shape = tuple(int(n) for n in entry["shape"])
        dtype = _SAFE.get(entry["dtype"], "unknown")
        fits = (prod(shape) * BITS[dtype] + 7) // 8 == end - begin if dtype in BITS else True
        if min(shape, default=1) < 0 or not 0 <= begin <= end <= len(data) - 8 - size or not fits:
            raise ValueError(f"tensor {name!r} has other bytes than its shape takes")
        zeros = looked.zeros(8 + size + begin, end - begin, dtype, prod(shape))
        yield Weight(name, shape, end - begin, zeros)


def _gguf(data: Any) -> Iterator[Weight]:
    if data[:4] != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    start, found = gguf.entries(data)
    looked = _Looked(data)
    for name, turned, kind, offset in found:
        shape, zeros = turned[::-1], 0
        count, at = prod(shape), start + offset
        if kind in _GGUF_BLOCKS:
            items, block = _GGUF_BLOCKS[kind]
            size = -(-count // items) * block
        elif kind in _GGUF_TYPES:
            size = count * BITS[_GGUF_TYPES[kind]] // 8
        else:
            raise ValueError(f"tensor {name!r} is of the unknown type {kind}")
        if at + size > len(data):
            raise ValueError(f"tensor {name!r} ends behind the file")
        if kind in _GGUF_TYPES:
            zeros = looked.zeros(at, size, _GGUF_TYPES[kind], count)
        yield Weight(name, shape, size, zeros)


def _pytorch(data: Any) -> Iterator[Weight]:
    if data[:2] != b"PK":
        raise ValueError("only checkpoints in a zip can be read, as torch has saved since 1.6")
    yield from _found(data, zipped.tensors(data[:], lambda _: []))


def _npz(data: Any) -> Iterator[Weight]:
    import io

    import numpy as np

    with zipfile.ZipFile(io.BytesIO(data[:])) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
                shape, _, dtype = read(stream)
            name = member.filename.removesuffix(".npy")
            yield Weight(name, tuple(shape), prod(shape) * dtype.itemsize)


def _found(data: Any, tensors: Iterator[Any]) -> Iterator[Weight]:
    looked = _Looked(data)
    for number, tensor in enumerate(tensors):
        if isinstance(tensor, Tensor):
            zeros = looked.zeros(tensor.offset, tensor.size, tensor.dtype, prod(tensor.shape))
            yield Weight(tensor.name or f"tensor {number}", tensor.shape, tensor.size, zeros)


READERS: dict[str, Callable[[Any], Iterator[Weight]]] = {
    ".safetensors": _safetensors,
    ".gguf": _gguf,
    ".npz": _npz,
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt"), _pytorch),
}
