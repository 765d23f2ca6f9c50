"""Where the tensors of a model file lie: byte ranges with a type and a shape, nothing else.

Openers walk a file's own structure with a few lines each, because all they need are positions;
libraries that build whole models would copy, normalise and reject. What an opener does not
understand it leaves out, and what lies outside every tensor is packed as plain bytes: a wrong or
missing tensor can make a packed file larger, never wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from packlight.coding.openers.tensor import Derived, Tensor

Found = Tensor | Derived
_ODD = (ValueError, TypeError, LookupError, OverflowError, RecursionError, MemoryError)


def find_tensors(data: bytes) -> list[Found]:
    """Tensors of any file, in file order and apart from each other; none if nothing is known."""
    opener = _opener(data)
    if opener is None:
        return []
    found: list[Found] = []
    # a file that only looks like a model, or a damaged one, gives what was found until there
    with contextlib.suppress(*_ODD):
        found.extend(opener(data))
    found.sort(key=lambda t: t.offset)
    kept: list[Found] = []
    end = 0
    for tensor in found:
        if end <= tensor.offset and 0 < tensor.size <= len(data) - tensor.offset:
            kept.append(tensor)
            end = tensor.offset + tensor.size
    return kept


def _opener(data: bytes) -> Callable[[bytes], Iterator[Found]] | None:
    # Each opener is imported when a file of its kind is met: packing bytes stays quick.
    if data[4:8] == b"TFL3":
        from packlight.coding.openers.tflite import tensors as tflite

        return tflite
    if data[:6] == b"\x93NUMPY":
        from packlight.coding.openers.numpy import tensors as npy

        return npy
    if data[:2] == b"PK":
        from packlight.coding.openers.zip import tensors as zipped

        return zipped
    if data[:4] == b"GGUF":
        from packlight.coding.openers.gguf import tensors as gguf

        return gguf
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8:
        from packlight.coding.openers.safetensors import tensors as safetensors

        return safetensors
    if data[:1] == b"\x08" or data[:1] in (b"\x12", b"\x3a"):
        from packlight.coding.openers.onnx import tensors as onnx

        return onnx
    return None
