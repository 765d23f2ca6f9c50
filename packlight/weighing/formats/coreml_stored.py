"""What a Core ML program stores: types, constants, the parts that compressed weights are made of.

A constant lies in the program itself or in weight.bin. Field numbers are those of coremltools'
mlmodel/format/MIL.proto, the layout of weight.bin that of MILBlob's StorageFormat.hpp.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from packlight.coding.openers.protobuf import fields, number, numbers, parts, text
from packlight.weighing.formats.operations import BITS, Weight
from packlight.weighing.formats.packed import unpacked

Span = tuple[int, int]

_DTYPES = {
    **{1: "bool", 10: "float16", 11: "float32", 12: "float64", 13: "bfloat16", 21: "int8"},
    **{22: "int16", 23: "int32", 24: "int64", 25: "int4", 31: "uint8", 32: "uint16"},
    **{33: "uint32", 34: "uint64", 35: "uint4", 36: "uint2", 37: "uint1", 38: "uint6"},
    **{39: "uint3", 40: "float8", 41: "float8"},
}
_BITS = BITS | {"uint1": 1, "uint3": 3, "uint6": 6}
_VALUE_TYPE, _VALUE_NOW, _VALUE_FILE = 2, 3, 5
_TENSOR_TYPE, _DIMENSION = 1, 3
_RECORD, _SENTINEL = 64, 0xDEADBEEF
_ONES = np.array([value.bit_count() for value in range(256)], np.uint8)
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Type:
    """A tensor's type: sizes as they are, None where they may vary."""

    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Constant:
    """What the file stores of a constant.

    Args:
        weight: its name, shape, bytes and zeros.
        place: file, first byte and bytes of what weight.bin holds of it.
        values: its numbers, where the program itself spells them out.
    """

    weight: Weight
    dtype: str
    place: tuple[Path | None, int, int] = (None, 0, 0)
    values: tuple[float, ...] = field(default=())


class Stored:
    """Answers for one program, and the constants found so far."""

    def __init__(self, data: bytes, folder: Path) -> None:
        self.data = data
        self.folder = folder
        self.constants: dict[str, Constant] = {}
        self.notes: dict[str, None] = {}
        self._files: dict[Path, np.ndarray[Any, Any] | None] = {}

    def type_of(self, start: int, end: int, field_: int) -> Type:
        """A ValueType's tensor type, reached by `field_`."""
        for at, to in parts(self.data, start, end, field_, _TENSOR_TYPE):
            shape: list[int | None] = []
            for a, b in parts(self.data, at, to, _DIMENSION):
                known = [number(self.data, c, d, 1) for c, d in parts(self.data, a, b, 1)]
                shape.append(known[0] if known else None)
            return Type(_DTYPES.get(number(self.data, at, to, 1), "unknown"), tuple(shape))
        return Type("unknown", ())

    def constant(self, name: str, value: Span) -> Constant:
        """A constant in the program itself or in weight.bin."""
        kind = self.type_of(*value, _VALUE_TYPE)
        shape = tuple(size or 0 for size in kind.shape)
        size = (prod(shape) * _BITS.get(kind.dtype, 8) + 7) // 8
        for at, to in parts(self.data, *value, _VALUE_FILE):
            file, at_record = text(self.data, at, to, 1), number(self.data, at, to, 2)
            place = self._blob(file, at_record)
            stored = place[2] if place[2] else size
            zeros = self._zeros(place, kind.dtype, prod(shape))
            return Constant(Weight(name, shape, stored, zeros), kind.dtype, place)
        values: tuple[float, ...] = ()
        zeros = 0
        for at, to in parts(self.data, *value, _VALUE_NOW, 1):
            values = tuple(self._now(at, to, kind.dtype))
            zeros = sum(item == 0 for item in values)
        return Constant(Weight(name, shape, size, zeros), kind.dtype, values=values)

    def _now(self, start: int, end: int, dtype: str) -> Iterator[float]:
        """The numbers of a value that is written in the program."""
        for field_, at, to in fields(self.data, start, end):
            for _, a, b in fields(self.data, at, to):
                if field_ == 1:
                    yield from np.frombuffer(self.data[a:b], "<f4").tolist()
                elif field_ in (2, 3, 5):
                    yield from (_signed(item) for item in numbers(self.data, a, b))
                elif field_ == 6:
                    yield from np.frombuffer(self.data[a:b], "<f8").tolist()
                elif field_ == 7 and dtype in _BITS:
                    count = (b - a) * 8 // _BITS[dtype]
                    items = unpacked(self.data[a:b], dtype, count)
                    yield from () if items is None else items.tolist()

    def compressed(
        self,
        kind: str,
        name: str,
        made: Type,
        bound: dict[str, list[str]],
        attributes: dict[str, Span],
    ) -> Constant:
        """A weight that is put together from parts when the model is loaded."""
        found = {
            key: self.constants[names[0]]
            for key, names in bound.items()
            if names and names[0] in self.constants
        }
        for key, value in attributes.items():
            if key != "name":
                found[key] = self.constant(f"{name}.{key}", value)
        settings = ("axis", "vector_axis", "shape", "output_dtype")
        size = sum(part.weight.bytes for key, part in found.items() if key not in settings)
        shape = tuple(n or 0 for n in made.shape)
        zeros = self._zeros_of(kind, prod(shape), found)
        mask = _mask(found)  # a sparse part hands it on to the operation that makes it dense
        place = mask.place if mask else (None, 0, 0)
        return Constant(Weight(name, shape, size, zeros), made.dtype, place)

    def _zeros_of(self, kind: str, count: int, found: dict[str, Constant]) -> int:
        """Zeros of a compressed weight, where its parts tell them."""
        if "sparse" in kind:
            mask = _mask(found)
            raw = self._bytes(mask.place) if mask else None
            kept = int(_ONES[raw].sum(dtype=np.int64)) if raw is not None else count
            return max(count - kept, 0)
        if "lut" in kind and {"indices", "lut"} <= found.keys():
            return self._zeros_of_palette(count, found["indices"], found["lut"])
        data = found.get("quantized_data") or found.get("data")
        offset = found.get("zero_point") or found.get("offset")
        if data is None:
            return 0
        if offset is None:
            return data.weight.zeros
        raw, shifts = self._items(data), self._items(offset)
        if raw is None or shifts is None or shifts.size != 1:
            return data.weight.zeros if shifts is not None and not shifts.any() else 0
        return int((raw == shifts.reshape(-1)[0]).sum())

    def _zeros_of_palette(self, count: int, indices: Constant, lut: Constant) -> int:
        book, raw = self._items(lut), self._bytes(indices.place)
        if book is None or raw is None or not (book == 0).any():
            return 0
        entries = lut.weight.shape[-2] if len(lut.weight.shape) > 1 else book.size
        bits = _BITS.get(indices.dtype, 8)
        if indices.dtype == "uint8" and entries < 256:
            bits = max(entries - 1, 1).bit_length()  # the older form packs them into bytes
        if book.size != entries:
            return 0  # several codebooks, or vectors
        zero = np.flatnonzero(book.reshape(-1) == 0)
        found = 0
        for start in range(0, len(raw), bits * _CHUNK):  # whole codes at a time
            ones = np.unpackbits(raw[start : start + bits * _CHUNK], bitorder="little")
            rows = min(len(ones) // bits, count - start * 8 // bits)
            codes = ones[: rows * bits].reshape(-1, bits) @ (1 << np.arange(bits))
            found += int(np.isin(codes, zero).sum())
        return found

    def _items(self, constant: Constant) -> np.ndarray[Any, Any] | None:
        if constant.values:
            return np.asarray(constant.values)
        raw = self._bytes(constant.place)
        return (
            None if raw is None else unpacked(raw.tobytes(), constant.dtype, constant.weight.count)
        )

    def _zeros(self, place: tuple[Path | None, int, int], dtype: str, count: int) -> int:
        raw = self._bytes(place)
        items = unpacked(raw.tobytes(), dtype, count) if raw is not None else None
        return 0 if items is None else int(items.size - np.count_nonzero(items))

    def _bytes(self, place: tuple[Path | None, int, int]) -> np.ndarray[Any, Any] | None:
        file, at, size = place
        data = self._files.get(file) if file is not None else None
        return None if data is None else data[at : at + size]

    def _blob(self, file: str, record: int) -> tuple[Path | None, int, int]:
        """Where a blob's bytes lie, by the record ahead of them."""
        inside = Path(file.removeprefix("@model_path/"))
        target = (self.folder / inside).resolve()
        if not target.is_relative_to(self.folder.resolve()):
            raise ValueError(f"weights in {file!r}, outside the model's own folder")
        if target not in self._files:
            there = target.is_file() and target.stat().st_size
            self._files[target] = np.memmap(target, np.uint8, "r") if there else None
        data = self._files[target]
        if data is None:
            self.notes[f"{file} is not there: zeros are not counted, bytes follow from shapes"] = (
                None
            )
            return None, 0, 0
        head = data[record : record + 24].tobytes()
        sentinel, _, size, at = struct.unpack("<IIQQ", head)
        if sentinel != _SENTINEL or at + size > len(data):
            raise ValueError(f"no weights begin at byte {record:,} of {file}")
        return target, at, size


def _mask(found: dict[str, Constant]) -> Constant | None:
    """The bits that say which numbers of a sparse weight are not zero."""
    return found.get("mask") or found.get("data_mask") or found.get("indices_mask")


def _signed(item: int) -> int:
    """Varints hold negative numbers as 64 bits."""
    return item - (1 << 64) if item >> 63 else item
