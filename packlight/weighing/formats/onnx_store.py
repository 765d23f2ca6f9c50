"""The constants of an ONNX file: their sizes always, their numbers where they are at hand.

Numbers are only looked at to count zeros, and to follow sizes that the file computes. What lies in
other files is read when there is little of it, and never missed.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from packlight.errors import BadInput
from packlight.readers.onnx.file import Array, bits_of, external_place, tensor_array
from packlight.units import show_size

#: bytes in other files that are looked at in all
EXTERNAL_LIMIT = 1 << 28

_NAMES = {"FLOAT": "float32", "DOUBLE": "float64"}


def dtype_of(kind: int) -> str:
    """`float32` for TensorProto.FLOAT, `int4` for INT4, `float8` for all of its kinds."""
    if kind not in TensorProto.DataType.values():
        return "unknown"
    name = TensorProto.DataType.Name(kind)
    if name.startswith(("FLOAT8", "FLOAT4")):
        return name[:6].lower()
    return _NAMES.get(name, name.lower())


class Store:
    """What is known about each constant of a file, by name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tensors: dict[str, TensorProto] = {}
        self._sparse: dict[str, onnx.SparseTensorProto] = {}
        self.inline: set[str] = set()  # values of Constant nodes
        self._outside = 0  # bytes of other files looked at so far
        self._missed: dict[str, int] = {}  # sentence -> bytes

    def __contains__(self, name: str) -> bool:
        return name in self._tensors or name in self._sparse

    def add(self, name: str, tensor: TensorProto, *, inline: bool = False) -> None:
        """Remember a dense tensor."""
        self._tensors[name] = tensor
        if inline:
            self.inline.add(name)

    def add_sparse(self, tensor: onnx.SparseTensorProto) -> None:
        """Remember a sparse tensor, under the name of its values."""
        self._sparse[tensor.values.name] = tensor

    def add_array(self, name: str, array: Array) -> None:
        """Remember numbers that the file spells out."""
        self.add(name, numpy_helper.from_array(array, name), inline=True)

    def kind(self, name: str) -> int:
        """The data type, as in TensorProto."""
        sparse = self._sparse.get(name)
        return int((sparse.values if sparse else self._tensors[name]).data_type)

    def shape(self, name: str) -> tuple[int, ...]:
        """All axes, also where only some numbers are stored."""
        sparse = self._sparse.get(name)
        return tuple(int(size) for size in (sparse or self._tensors[name]).dims)

    def bytes(self, name: str) -> int:
        """What the file takes for it; 0 for text."""
        sparse = self._sparse.get(name)
        if sparse:
            return _bytes(sparse.values) + _bytes(sparse.indices)
        return _bytes(self._tensors[name])

    def zeros(self, name: str) -> int:
        """How many of its numbers are exactly zero; 0 where that can not be looked at."""
        sparse = self._sparse.get(name)
        if sparse:
            stored = self._decoded(sparse.values, name)
            kept = 0 if stored is None else int(np.count_nonzero(stored))
            return prod(self.shape(name)) - kept
        array = self.array(name)
        return 0 if array is None else int(array.size - np.count_nonzero(array))

    def array(self, name: str) -> Array | None:
        """The numbers; None where they are not at hand."""
        if name in self._sparse:
            return None
        return self._decoded(self._tensors[name], name)

    def small(self, name: str) -> Array | None:
        """The numbers of what sizes may be computed from; None for a weight."""
        count, name_of_type = prod(self.shape(name)), dtype_of(self.kind(name))
        whole = name_of_type.startswith(("int", "uint", "bool"))
        if name in self._sparse or count > (4096 if whole else 16):
            return None
        return self.array(name)

    def notes(self) -> list[str]:
        """Sentences about what could not be looked at."""
        return [
            f"{show_size(size)} of weights {sentence}: their zeros are not counted"
            for sentence, size in self._missed.items()
        ]

    def _decoded(self, tensor: TensorProto, name: str) -> Array | None:
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor = self._fetched(tensor, name) or tensor
            if tensor.data_location == TensorProto.EXTERNAL:
                return None
        try:
            return tensor_array(tensor, name)
        except BadInput:
            return None  # text and small floats have no numbers that numpy knows

    def _fetched(self, tensor: TensorProto, name: str) -> TensorProto | None:
        """The tensor with its bytes, if they are there and few."""
        size = _bytes(tensor)
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        try:
            target, offset = external_place(tensor, size, f"tensor {name!r}", self._path)
        except BadInput:
            self._miss(f"lie in {location!r}, which is not there or too short", size)
            return None
        if self._outside + size > EXTERNAL_LIMIT:
            self._miss(f"lie in {location!r}, which is too large to be looked at", size)
            return None
        self._outside += size
        try:
            with target.open("rb") as stream:
                stream.seek(offset)
                raw = stream.read(size)
        except OSError:
            self._miss(f"lie in {location!r}, which can not be read", size)
            return None
        return TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=raw)

    def _miss(self, sentence: str, size: int) -> None:
        self._missed[sentence] = self._missed.get(sentence, 0) + size


def _bytes(tensor: TensorProto) -> int:
    try:
        return (prod(tensor.dims) * bits_of(tensor.data_type) + 7) // 8
    except (KeyError, TypeError):
        return 0


def numbers(array: Any) -> list[int]:
    """A small array as Python's integers."""
    return [int(item) for item in np.asarray(array).reshape(-1).tolist()]
