"""Tensors of a safetensors file: a JSON header that says where each begins and ends."""

from __future__ import annotations

import json
from collections.abc import Iterator

from packlight.coding.openers.tensor import Tensor

_TYPES = {
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
}


def tensors(data: bytes) -> Iterator[Tensor]:
    """Every tensor of a known type."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for name, entry in header.items():
        if name == "__metadata__" or entry.get("dtype") not in _TYPES:
            continue
        begin, end = entry["data_offsets"]
        tensor = Tensor(8 + size + begin, _TYPES[entry["dtype"]], tuple(entry["shape"]), name)
        if all(isinstance(n, int) and n > 0 for n in tensor.shape) and tensor.size == end - begin:
            yield tensor
