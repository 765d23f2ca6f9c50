"""The array of a NumPy .npy file (numpy.lib.format)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from math import prod

from packlight.coding.openers.tensor import Tensor

_TYPES = {
    "f4": "float32",
    "f2": "float16",
    "i1": "int8",
    "u1": "uint8",
    "i2": "int16",
    "u2": "uint16",
    "i4": "int32",
}


def tensors(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Tensor]:
    """The array, if its items are of a known type."""
    end = len(data) if end is None else end
    wide = data[start + 6] > 1
    head = start + (12 if wide else 10)
    size = int.from_bytes(data[start + 8 : head], "little")
    if head + size > end:
        return
    try:
        header = ast.literal_eval(data[head : head + size].decode("latin-1").strip())
    except SyntaxError as problem:
        raise ValueError("not a NumPy header") from problem
    order, kind = header["descr"][:1], header["descr"][1:]
    shape = header["shape"]
    if kind not in _TYPES or not all(isinstance(n, int) and n > 0 for n in shape):
        return
    shape = tuple(reversed(shape)) if header.get("fortran_order") else tuple(shape)
    tensor = Tensor(head + size, _TYPES[kind], shape, big_endian=order == ">")
    if prod(shape) and tensor.size <= end - tensor.offset:
        yield tensor
