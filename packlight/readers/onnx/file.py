"""Bytes -> a ModelProto that keeps its promises.

A file from the network may be truncated, damaged or written to do harm. Everything later may rely
on what is checked here: the opset is one we know, every tensor has exactly the bytes its shape
asks for, and external data came from the model's own folder. No check allocates more than the
file and its external data hold.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from packlight.errors import BadInput

Array = np.ndarray[Any, Any]

OLDEST_OPSET, NEWEST_OPSET = 7, 28
STANDARD = ("", "ai.onnx")  # two spellings of the standard domain
MAX_STEPS = 512  # of a loop that are written out one by one

_MAGIC = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"PK\x03\x04", "a zip archive (a .pt, .pth, .pt2 or .keras file is one)"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x1f\x8b", "a gzip file"),
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull` to get the file itself"),
    (b"<", "an HTML or XML page"),
)
_SMALL_FLOATS = frozenset(
    getattr(TensorProto, name)
    for name in dir(TensorProto)
    if name.startswith(("FLOAT8", "FLOAT4", "FLOAT6"))
)


def read_proto(path: Path, *, whole: bool = True) -> onnx.ModelProto:
    """Parse a file, bring in its external data, and check what later steps rely on.

    Args:
        path: the file.
        whole: False leaves external data where it is and lets sparse tensors pass: enough for
            whoever asks for shapes and never for numbers.
    Raises:
        BadInput: what was found instead of an ONNX model, or which part of it is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise BadInput(f"{path} can not be read: {problem.strerror or problem}") from None
    if not data:
        raise BadInput(f"{path.name} is empty; an ONNX model is needed")
    if data[4:8] == b"TFL3":
        raise BadInput(f"{path.name} is a TensorFlow Lite model, not an ONNX model")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError, RuntimeError):
        raise BadInput(_not_onnx(path, data)) from None
    if not (model.HasField("graph") and model.graph.output and model.opset_import):
        raise BadInput(_not_onnx(path, data))
    _check_versions(model, path.name)
    _bring_in_functions(model, path.name)
    _check_graph(model.graph, path, whole)
    return model


def _not_onnx(path: Path, data: bytes) -> str:
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return f"{path.name} is {name}, not an ONNX model"
    return (
        f"{path.name} is not an ONNX model, or it is cut off or damaged ({len(data):,} bytes were "
        "found); download or export it again"
    )


def _check_versions(model: onnx.ModelProto, where: str) -> None:
    opset = opset_of(model)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise BadInput(
            f"{where} uses opset {opset}; opsets {OLDEST_OPSET} to {NEWEST_OPSET} can be read; "
            "convert it with onnx.version_converter, or export it again"
        )


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the file asks for."""
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD]
    return int(max(versions, default=OLDEST_OPSET))


MAX_NODES = 200_000  # after functions are written out


def _bring_in_functions(model: onnx.ModelProto, where: str) -> None:
    """Write out calls of the file's own functions, unless that would explode."""
    if not model.functions:
        return
    import onnx.inliner

    sizes: dict[tuple[str, str], int] = {}
    bodies = {(body.domain, body.name): body for body in model.functions}

    def size(nodes: Any, depth: int) -> int:
        if depth > len(bodies) + 1:
            raise BadInput(f"{where} holds a function that calls itself")
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in bodies and key not in sizes:
                sizes[key] = size(bodies[key].node, depth + 1)
            total += sizes.get(key, 1)
            for attribute in node.attribute:
                total += size(attribute.g.node, depth)
        return min(total, MAX_NODES + 1)

    if size(model.graph.node, 0) > MAX_NODES:
        raise BadInput(
            f"{where} has more than {MAX_NODES:,} nodes once its functions are written out"
        )
    try:
        model.CopyFrom(onnx.inliner.inline_local_functions(model))
    except Exception as problem:
        raise BadInput(f"the functions of {where} are damaged: {first_line(problem)}") from None


def _check_graph(graph: onnx.GraphProto, path: Path, whole: bool) -> None:
    if graph.sparse_initializer and whole:
        name = graph.sparse_initializer[0].values.name
        raise BadInput(
            f"tensor {name!r} of {path.name} is stored sparse; only dense tensors can be read"
        )
    _check_text([value.name for value in [*graph.input, *graph.output]], path)
    for value in graph.input:
        _check_text([dim.dim_param for dim in value.type.tensor_type.shape.dim], path)
    for tensor in graph.initializer:
        if not tensor.name:
            raise BadInput(f"{path.name} holds an initializer without a name")
        _check_text([tensor.name], path)
        _check_tensor(tensor, tensor.name, path, whole)
    for node in graph.node:
        _check_text([node.name, *node.input, *node.output], path)
        if not all(isinstance(n, str) and n.isprintable() for n in (node.op_type, node.domain)):
            raise BadInput(f"{path.name} holds the operator {node.op_type!r:.100}; it is damaged")
        _check_text([attribute.name for attribute in node.attribute], path)
        for attribute in node.attribute:
            label = (node.output[0] if node.output else "") or f"{node.name}.{attribute.name}"
            if attribute.HasField("t"):
                _check_tensor(attribute.t, label, path, whole)
            for tensor in attribute.tensors:
                _check_tensor(tensor, label, path, whole)
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _check_graph(body, path, whole)


def _check_text(names: list[Any], path: Path) -> None:
    """protobuf hands over text that is no UTF-8 as bytes."""
    for name in names:
        if not isinstance(name, str):
            raise BadInput(f"{path.name} holds the name {name!r:.100}, which is no text")


def _check_tensor(tensor: onnx.TensorProto, name: str, path: Path, whole: bool) -> None:
    where = f"tensor {name!r} of {path.name}"
    kind = tensor.data_type
    if kind == TensorProto.STRING:
        return
    if kind in (TensorProto.COMPLEX64, TensorProto.COMPLEX128) or kind in _SMALL_FLOATS:
        return  # `tensor_array` refuses them, should a node need them
    try:
        bits = bits_of(kind)
    except KeyError:
        raise BadInput(f"{where} has the unknown data type {kind}") from None
    if any(size < 0 for size in tensor.dims):
        raise BadInput(f"{where} has the shape {list(tensor.dims)}, which is negative")
    count = math.prod(tensor.dims)
    size = (count * bits + 7) // 8
    if tensor.data_location == TensorProto.EXTERNAL:
        if not whole:
            return
        tensor.raw_data = _external(tensor, size, where, path)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    if tensor.HasField("raw_data"):
        found, needed = len(tensor.raw_data), size
    else:
        field = helper.tensor_dtype_to_field(kind)
        per_item = 8 // bits if bits < 8 else 1
        found, needed = len(getattr(tensor, field)), (count + per_item - 1) // per_item
    if found != needed:
        unit = "bytes" if tensor.HasField("raw_data") else "numbers"
        raise BadInput(
            f"{where} has the shape {list(tensor.dims)}, which takes {needed:,} {unit}, "
            f"but the file holds {found:,}; the file is damaged"
        )


def bits_of(kind: int) -> int:
    """Bits of an item of a data type; KeyError for one that has none."""
    name = TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else ""
    if name in ("INT4", "UINT4"):
        return 4
    if name in ("INT2", "UINT2"):
        return 2
    return int(np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize) * 8


def _external(tensor: onnx.TensorProto, size: int, where: str, path: Path) -> bytes:
    target, offset = external_place(tensor, size, where, path)
    try:
        with target.open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)
    except (OSError, ValueError, OverflowError) as problem:
        raise BadInput(f"{where} keeps its data in {target.name!r}: {problem}") from None


def external_place(tensor: onnx.TensorProto, size: int, where: str, path: Path) -> tuple[Path, int]:
    """The file that holds a tensor's bytes, and where they begin in it.

    Raises:
        BadInput: the file is outside the model's folder, not there, or too short.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    _check_text([*entries, *entries.values()], path)
    folder = path.resolve().parent
    parts = location.replace("\\", "/")
    target = Path(os.path.realpath(folder / location)) if "\0" not in location else folder
    if (
        not location
        or parts.startswith("/")
        or ".." in parts.split("/")
        or not target.is_relative_to(folder)
        or target == folder
    ):
        raise BadInput(
            f"{where} keeps its data in {location!r}; external data must be a file in the model's "
            "own folder"
        )
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", size))
    except ValueError:
        raise BadInput(f"{where} has an external offset or length that is no number") from None
    if offset < 0 or length != size:
        raise BadInput(
            f"{where} takes {size:,} bytes, but {length:,} bytes at offset {offset:,} of "
            f"{location!r} are named; the file is damaged"
        )
    try:
        available = target.stat().st_size if target.is_file() else None
    except (OSError, ValueError) as problem:
        raise BadInput(f"{where} keeps its data in {location!r}: {problem}") from None
    if available is None:
        raise BadInput(
            f"{where} keeps its data in {location!r}, which is not there; put that file next "
            f"to {path.name}"
        )
    if offset + size > available:
        raise BadInput(
            f"{where} needs bytes {offset:,} to {offset + size:,} of {location!r}, which has "
            f"{available:,}; download that file again"
        )
    return target, offset


def tensor_array(tensor: onnx.TensorProto, name: str) -> Array:
    """A checked tensor as an array of its own; 2- and 4-bit integers widen to 8 bits.

    Raises:
        BadInput: text, complex numbers or 8-bit floats, or the payload can not be decoded.
    """
    kind = tensor.data_type
    text = TensorProto.DataType.Name(kind)
    if kind == TensorProto.STRING or text.startswith("COMPLEX") or kind in _SMALL_FLOATS:
        raise BadInput(f"tensor {name!r} is of type {text}, which can not be read")
    try:
        array = np.array(numpy_helper.to_array(tensor))
    except Exception as problem:
        raise BadInput(f"tensor {name!r} can not be decoded: {first_line(problem)}") from None
    if text in ("INT4", "INT2"):
        return array.astype(np.int8)
    if text in ("UINT4", "UINT2"):
        return array.astype(np.uint8)
    return array


def first_line(problem: BaseException) -> str:
    """The start of what an exception says, for the user's one sentence."""
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0][:200].rstrip(".")


def reads(node: onnx.NodeProto) -> set[str]:
    """The names a node reads, those that its inner graphs take from outside included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            names.update(value.name for value in graph.output)
            for inner in graph.node:
                names |= reads(inner)
    return names


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Value -> the nodes that read it, in their order."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in reads(node):
            readers.setdefault(name, []).append(node)
    return readers


def drop_unread(graph: onnx.GraphProto) -> None:
    """Take out the initialisers that no node reads and that are no output."""
    used = {name for node in graph.node for name in reads(node)}
    used |= {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
