"""Tensors in stored members of a zip: PyTorch's storages, and files that are models themselves."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator

from packlight.coding.openers import pytorch
from packlight.coding.openers.tensor import Derived, Tensor

_LOCAL_HEADER = 30


def tensors(
    data: bytes, inside: Callable[[bytes], list[Tensor | Derived]]
) -> Iterator[Tensor | Derived]:
    """Arrays and storages of members that are stored as they are.

    Args:
        data: the zip.
        inside: finds the tensors of a member.
    """
    places = _stored(data)
    said, known = pytorch.tensors(data, places)
    yield from said
    for at, size in places.values():
        if at not in known:
            yield from (tensor.moved(at) for tensor in inside(data[at : at + size]))


def _stored(data: bytes) -> dict[str, tuple[int, int]]:
    """(first byte, bytes) of every stored member, none within another."""
    try:
        members = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except (zipfile.BadZipFile, NotImplementedError) as problem:
        raise ValueError("not a zip that can be read") from problem
    places: dict[str, tuple[int, int]] = {}
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        at = member.header_offset
        if member.compress_type != zipfile.ZIP_STORED or not member.file_size or at < end:
            continue
        if data[at : at + 4] != b"PK\x03\x04":
            continue
        name, extra = (int.from_bytes(data[at + i : at + i + 2], "little") for i in (26, 28))
        start = at + _LOCAL_HEADER + name + extra
        end = start + member.file_size
        if end <= len(data):
            places[member.filename] = start, member.file_size
    return places
