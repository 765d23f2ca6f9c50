"""Tensors in stored members of a zip: PyTorch's data/N files as plain fp32, NumPy's .npy files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

from packlight.coding.openers.numpy import tensors as npy
from packlight.coding.openers.tensor import Tensor

_PYTORCH_LEAST = 64


def tensors(data: bytes) -> Iterator[Tensor]:
    """Arrays and storages of members that are stored as they are."""
    try:
        members = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except (zipfile.BadZipFile, NotImplementedError) as problem:
        raise ValueError("not a zip that can be read") from problem
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or not member.file_size:
            continue
        at = member.header_offset
        if data[at : at + 4] != b"PK\x03\x04":
            continue
        name, extra = (int.from_bytes(data[at + i : at + i + 2], "little") for i in (26, 28))
        start = at + 30 + name + extra
        if data[start : start + 6] == b"\x93NUMPY":
            yield from npy(data, start, start + member.file_size)
        elif "/data/" in member.filename and member.file_size >= _PYTORCH_LEAST:
            # A storage's type is in the pickle; most are fp32, and a wrong guess costs only bytes.
            yield Tensor(start, "float32", (member.file_size // 4,), member.filename)
