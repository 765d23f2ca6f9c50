"""Tensors of PyTorch's zip files: checkpoints and TorchScript (X.pkl says what the files X/N are),
and exported programs (.pt2, torch/_export/serde: a JSON says what the files beside it are).
"""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from packlight.coding.openers.pickled import views
from packlight.coding.openers.tensor import ITEM_SIZES, Tensor

#: members of a zip: name -> (first byte, bytes)
Places = Mapping[str, tuple[int, int]]

_STORAGES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "uint8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "QInt8Storage": "int8",
    "QUInt8Storage": "uint8",
    "QInt32Storage": "int32",
    "uint16": "uint16",
}
_EXPORTED = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    6: "float16",
    7: "float32",
    12: "uint8",
    13: "bfloat16",
    28: "uint16",
}
_ODD = (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)
_CHANNELS_LAST = [0, 2, 3, 1]


@dataclass(frozen=True)
class _Said:
    """What is said about one tensor: where its storage lies, and how it lies in there."""

    place: tuple[int, int]
    dtype: str | None
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    name: str


def tensors(data: bytes, places: Places) -> tuple[list[Tensor], set[int]]:
    """What the pickles and JSONs among a zip's members say, and where the members begin that they
    speak of.

    A storage of which no tensor is understood has one axis.
    """
    marks = [place for name, place in places.items() if posixpath.basename(name) == "byteorder"]
    big_endian = any(data[at : at + size] == b"big" for at, size in marks)
    found: dict[int, list[Tensor]] = {}
    flat: dict[int, Tensor] = {}
    for said in _said(data, places):
        at, size = said.place
        found.setdefault(at, [])
        if said.dtype is None:
            continue
        items = size // ITEM_SIZES[said.dtype]
        flat[at] = Tensor(at, said.dtype, (items,), said.name, big_endian=big_endian)
        found[at] += _in_one_piece(said, flat[at])
    whole = [tensor for at, tensor in flat.items() if not found[at]]
    return [*chain.from_iterable(found.values()), *whole], set(found)


def _said(data: bytes, places: Places) -> Iterator[_Said]:
    for name, (at, size) in places.items():
        content = data[at : at + size]
        # one that is damaged says nothing, or what was understood until there
        with contextlib.suppress(*_ODD):
            if name.endswith(".pkl"):
                yield from _pickled(content, name.removesuffix(".pkl"), places)
            elif name.endswith("_config.json"):
                yield from _exported(content, posixpath.dirname(name), places)


def _pickled(content: bytes, folder: str, places: Places) -> Iterator[_Said]:
    for view in views(content):
        place = places.get(f"{folder}/{view.storage.key}")
        if place:
            dtype = _STORAGES.get(view.storage.kind)
            yield _Said(place, dtype, view.offset, view.sizes, view.strides, view.name)


def _exported(content: bytes, folder: str, places: Places) -> Iterator[_Said]:
    for name, entry in json.loads(content)["config"].items():
        meta, place = entry.get("tensor_meta"), places.get(f"{folder}/{entry['path_name']}")
        if meta and place and not entry["use_pickle"]:
            sizes, strides = (
                tuple(int(n["as_int"]) for n in meta[k]) for k in ("sizes", "strides")
            )
            offset = int(meta["storage_offset"]["as_int"])
            yield _Said(place, _EXPORTED.get(meta["dtype"]), offset, sizes, strides, name)


def _in_one_piece(said: _Said, flat: Tensor) -> Iterator[Tensor]:
    """The tensor, its axes in the order in which they lie, if its items lie side by side."""
    sizes, strides = said.sizes, said.strides
    if len(sizes) != len(strides) or said.offset < 0 or min(sizes, default=1) < 1:
        return
    axes = [axis for axis, size in enumerate(sizes) if size > 1]  # others may have any stride
    order = sorted(axes, key=lambda axis: -strides[axis])
    step = 1
    for axis in reversed(order):
        if strides[axis] != step:
            return
        step *= sizes[axis]
    if said.offset + step > flat.shape[0]:
        return
    place = flat.offset + said.offset * flat.width
    if order == axes:
        yield replace(flat, offset=place, shape=sizes)
    else:
        last = len(sizes) == 4 and order == [axis for axis in _CHANNELS_LAST if axis in axes]
        kept = _CHANNELS_LAST if last else order
        shape = tuple(sizes[axis] for axis in kept)
        yield replace(flat, offset=place, shape=shape, channels_last=last)
