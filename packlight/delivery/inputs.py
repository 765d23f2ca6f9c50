"""The shapes of a network's inputs, as its file states them.

Read from ONNX, TFLite and Core ML files; the others do not say it in a way that is read here. The
order of dimensions is the file's own: 1x3x224x224 in ONNX is 1x224x224x3 in TFLite.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from packlight.coding.container import Member
from packlight.coding.openers import flatbuffers
from packlight.coding.openers.protobuf import fields, number, numbers, parts, text
from packlight.errors import BadInput

MOST_INPUTS, MOST_DIMENSIONS, LARGEST = 256, 16, (1 << 31) - 1
Shape = tuple[int | None, ...]  # None: a size that the file leaves open

_COREML = "Data/com.apple.CoreML/model.mlmodel"
_CHANNELS = {10: 1, 20: 3, 30: 3, 40: 1}  # of Core ML's colour spaces


def read_inputs(
    runtime: str, raw: bytes, members: Sequence[Member] | None
) -> tuple[Shape, ...] | None:
    """The shapes of a file's inputs; None where it does not tell, or is damaged."""
    reader = {"onnx": _onnx, "litert": _tflite, "coreml": _coreml}.get(runtime)
    if reader is None:
        return None
    if members is not None:
        inside = [one for one in members if one.name == _COREML]
        raw = b"".join(raw[one.offset : one.offset + one.size] for one in inside)
    try:
        return checked_inputs(reader(raw)) or None
    except (ValueError, IndexError):  # BadInput is one
        return None


def checked_inputs(value: Any) -> tuple[Shape, ...]:
    """Shapes as an index holds them: lists of sizes, None where open.

    Raises:
        BadInput: they are none.
    """
    lists = isinstance(value, (list, tuple)) and len(value) <= MOST_INPUTS
    if not lists or not all(
        isinstance(shape, (list, tuple))
        and len(shape) <= MOST_DIMENSIONS
        and all(n is None or (type(n) is int and 0 < n <= LARGEST) for n in shape)
        for shape in value
    ):
        raise BadInput(f"inputs of {str(value)[:80]}; they are lists of sizes, null where open")
    return tuple(tuple(shape) for shape in value)


def parse_shape(told: str) -> tuple[int, ...]:
    """A shape as people write it: 1x3x224x224.

    Raises:
        BadInput: it is none.
    """
    with suppress(ValueError):
        shape = tuple(int(size) for size in told.lower().split("x"))
        if min(shape) > 0:
            return shape
    raise BadInput(f"{told!r} is no shape of an input; write for instance 3x224x224")


def sample(shape: Shape) -> Shape:
    """A shape without the batch: a first size that is 1 or open."""
    return shape[1:] if shape and shape[0] in (1, None) else shape


def takes(shapes: Sequence[Shape] | None, wanted: Shape) -> bool:
    """Whether one of a network's inputs has a shape, but for the batch; not where none is told."""
    return any(
        len(size) == len(told) and all(a in (None, b) for a, b in zip(told, size, strict=True))
        for shape in shapes or ()
        for told in (shape, sample(shape))
        for size in (wanted, sample(wanted))
    )


def show_shapes(shapes: Sequence[Shape]) -> str:
    """Shapes for people: 1x3x224x224, ?x10."""
    return ", ".join(
        "x".join("?" if n is None else str(n) for n in shape) or "scalar" for shape in shapes
    )


def _onnx(data: bytes) -> list[Shape]:
    """Model.graph = 7; of it input = 11 and initializer = 5, which older files list as inputs."""
    shapes: list[Shape] = []
    for start, end in parts(data, 0, len(data), 7):
        filled = {text(data, a, b, 8) for a, b in parts(data, start, end, 5)}
        for a, b in parts(data, start, end, 11):
            if text(data, a, b, 1) not in filled:
                for at, to in parts(data, a, b, 2, 1, 2):  # type.tensor_type.shape
                    dims = parts(data, at, to, 1)
                    shapes.append(tuple(_size(number(data, p, q, 1)) for p, q in dims))
    return shapes


def _tflite(data: bytes) -> list[Shape]:
    """Model.subgraphs = 2; of it tensors = 0, inputs = 1; of these shape = 0, signature = 7."""
    if len(data) < 8 or data[4:8] != b"TFL3":
        return []
    shapes: list[Shape] = []
    for graph in islice(flatbuffers.root(data).tables(2), 1):
        tensors = graph.tables(0)
        for place in graph.numbers(1):
            tensor = tensors[place]
            shape = tensor.numbers(7) or tensor.numbers(0)
            shapes.append(tuple(_size(n) for n in shape))
    return shapes


def _coreml(data: bytes) -> list[Shape]:
    """Model.description.input.type = 2, 1, 3; imageType = 4 and multiArrayType = 5 in it."""
    shapes: list[Shape] = []
    for start, end in parts(data, 0, len(data), 2, 1, 3):
        for field, a, b in fields(data, start, end):
            if field == 4:
                channels = _CHANNELS.get(number(data, a, b, 3))
                shapes.append((channels, *(_size(number(data, a, b, n)) for n in (2, 1))))
            elif field == 5:
                sizes = (n for p, q in parts(data, a, b, 1) for n in numbers(data, p, q))
                shapes.append(tuple(_size(n) for n in sizes))
    return shapes


def _size(told: int) -> int | None:
    return told if 0 < told <= LARGEST else None
