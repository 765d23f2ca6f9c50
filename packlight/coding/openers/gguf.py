"""Tensors of a GGUF file (ggml-org/ggml, docs/gguf.md).

Quantised ones are rows of blocks (src/ggml-common.h), each with its scales among its items. They
are bytes whose place in the block matters, as a kernel's tap does: within 0.2 % of what telling
scales and items apart would reach with 8 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod

from packlight.coding.openers.tensor import Tensor

_TYPES = {0: "float32", 1: "float16", 24: "int8", 25: "int16", 26: "int32", 30: "bfloat16"}
#: Q4_0, Q8_0, Q4_K, Q6_K -> items of a block, its bytes, their type
_BLOCKS = {
    2: (32, 18, "uint8"),
    8: (32, 34, "int8"),
    12: (256, 144, "int8"),
    14: (256, 210, "int8"),
}
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 8

    def number(self, kind: str) -> int:
        try:
            value = int(struct.unpack_from("<" + kind, self.data, self.at)[0])
        except struct.error as problem:
            raise ValueError("the header does not end") from problem
        self.at += struct.calcsize(kind)
        return value

    def text(self) -> str:
        size = self.number("Q")
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8", "replace")

    def skip(self, kind: int) -> None:
        if kind == _STRING:
            self.text()
        elif kind == _ARRAY:
            item, count = self.number("I"), self.number("Q")
            if item in _SCALARS:
                self.at += _SCALARS[item] * count
            else:
                if count > len(self.data):
                    raise ValueError("an array is longer than the file")
                for _ in range(count):
                    self.skip(item)
        else:
            self.at += _SCALARS[kind]


def entries(data: bytes) -> tuple[int, list[tuple[str, tuple[int, ...], int, int]]]:
    """Where the items begin, and (name, shape, type, offset from there) of every tensor.

    Shapes are GGUF's own: the first axis is the first to change.
    """
    read = _Reader(data)
    count, pairs = read.number("Q"), read.number("Q")
    alignment = 32
    for _ in range(pairs):
        key, kind = read.text(), read.number("I")
        if key == "general.alignment" and kind == 4:
            alignment = max(read.number("I"), 1)
        else:
            read.skip(kind)
    found = []
    for _ in range(count):
        name = read.text()
        shape = tuple(read.number("Q") for _ in range(min(read.number("I"), 8)))
        found.append((name, shape, read.number("I"), read.number("Q")))
    return -(-read.at // alignment) * alignment, found


def tensors(data: bytes) -> Iterator[Tensor]:
    """Every tensor of a known type."""
    start, found = entries(data)
    for name, shape, kind, offset in found:
        if kind in _BLOCKS and shape and all(shape):
            items, size, dtype = _BLOCKS[kind]
            bytes_shape = prod(shape[1:]), shape[0] // items, size
            yield Tensor(start + offset, dtype, bytes_shape, name)
        if kind in _TYPES and all(shape):
            yield Tensor(start + offset, _TYPES[kind], tuple(reversed(shape)), name)
