"""Where the tensors of a model file lie: byte ranges with a type and a shape, nothing else.

Openers walk a file's own structure with a few lines each, because all they need are positions;
libraries that build whole models would copy, normalise and reject. What an opener does not
understand it leaves out, and what lies outside every tensor is packed as plain bytes: a wrong or
missing tensor can make a packed file larger, never wrong.
"""

from __future__ import annotations

import contextlib
import posixpath
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from packlight.coding.container import Member
from packlight.coding.openers.tensor import Derived, Tensor

Found = Tensor | Derived
_ODD = (
    *(ValueError, TypeError, LookupError, AttributeError),
    *(OverflowError, RecursionError, MemoryError, struct.error),
)

#: zips within zips
_DEPTH = 4


def find_tensors(raw: bytes, members: Sequence[Member] | None = None) -> list[Found]:
    """Tensors of a file, or of an archive's files, in order and apart from each other.

    Args:
        raw: the file, or an archive's files one after the other.
        members: of the archive.
    """
    found: list[Found] = []
    if members is None:
        found.extend(tensor for tensor in _open(raw) if not _elsewhere(tensor))
    else:
        places = {member.name: member for member in members if not member.is_folder}
        for member in places.values():
            for tensor in _open(raw[member.offset : member.offset + member.size]):
                home: Member | None = member
                if isinstance(tensor, Tensor) and tensor.file is not None:
                    folder = posixpath.dirname(member.name)
                    home = places.get(posixpath.normpath(posixpath.join(folder, tensor.file)))
                if home and 0 <= tensor.offset <= home.size - tensor.size:
                    found.append(tensor.moved(home.offset))
    # of two that begin at the same place, the one with a shape knows more; a derived one the most
    found.sort(key=lambda t: (t.offset, isinstance(t, Tensor), -len(getattr(t, "shape", ()))))
    kept: list[Found] = []
    end = 0
    for tensor in found:
        if end <= tensor.offset and 0 < tensor.size <= len(raw) - tensor.offset:
            kept.append(tensor)
            end = tensor.offset + tensor.size
    return kept


def _elsewhere(found: Found) -> bool:
    return isinstance(found, Tensor) and found.file is not None


def _inside(data: bytes, depth: int) -> list[Found]:
    """Tensors of a file that a file holds."""
    return [found for found in _open(data, depth + 1) if not _elsewhere(found)]


def _open(data: bytes, depth: int = 0) -> list[Found]:
    """Tensors of one file; none if nothing is known about its kind."""
    opener = _opener(data, depth)
    found: list[Found] = []
    # a file that only looks like a model, or a damaged one, gives what was found until there
    with contextlib.suppress(*_ODD):
        if opener is not None:
            found.extend(opener(data))
    return found


def _opener(data: bytes, depth: int) -> Callable[[bytes], Iterator[Found]] | None:
    # Each opener is imported when a file of its kind is met: packing bytes stays quick.
    if data[4:8] == b"TFL3":
        from packlight.coding.openers.tflite import tensors as tflite

        return tflite
    if data[4:8] == b"ET12":
        from packlight.coding.openers.executorch import tensors as executorch

        return executorch
    if data[:6] == b"\x93NUMPY":
        from packlight.coding.openers.numpy import tensors as npy

        return npy
    if data[:2] == b"PK" and depth < _DEPTH:
        from packlight.coding.openers.zip import tensors as zipped

        return lambda file: zipped(file, lambda member: _inside(member, depth))
    if data[:4] == b"GGUF":
        from packlight.coding.openers.gguf import tensors as gguf

        return gguf
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8:
        from packlight.coding.openers.safetensors import tensors as safetensors

        return safetensors
    if data[4:8] == b"\2\0\0\0" and data[64:68] == b"\xef\xbe\xad\xde":
        from packlight.coding.openers.coreml import weights as blobs

        return blobs
    if data[:8] == b"program(":
        from packlight.coding.openers.coreml import program

        return program
    if data[:1] in (b"\x08", b"\x12", b"\x3a"):
        from packlight.coding.openers.coreml import tensors as coreml
        from packlight.coding.openers.onnx import tensors as onnx

        # both are protobuf without a mark of their own; neither has fields that the other reads
        return lambda file: chain(onnx(file), coreml(file))
    return None
