"""Files that the lossless benchmark packs: one of every kind that apps ship.

What is not in ../shared as a file is made from what is: SqueezeNet's weights as fp16 and bf16 in
safetensors, and fits of ResNet8 with integers, which also stand for two versions of one network.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

import packlight
from packlight import data as samples_of
from packlight.coding.openers import find_tensors
from packlight.coding.openers.tensor import Tensor
from packlight.errors import BudgetNotMet

SHARED = Path(__file__).parents[2] / "shared"
FILES = (  # file, kind, numbers, in the short run
    ("face_rfb320.onnx", "fp32", "float32", True),
    ("kws_ref_model.tflite", "int8 .tflite", "int8", True),
    ("pretrainedResnet_quant.tflite", "int8 .tflite", "int8", True),
    ("mobilenet_v2_1.0_224_quant.tflite", "int8 .tflite", "int8", False),
    ("squeezenet1_1.onnx", "fp32, from fp16", "float32", False),
    ("squeezenet1_0_deepcompressed.onnx", "pruned and shared", "float32", True),
)
FITTED, DATA = "resnet8_cifar10_bn.onnx", "cifar10.zip"
SIZES = ("40KB", "30KB")  # of the fits
FEW = 256  # values that a shared tensor has at most; it has four weights for each
TYPES = {torch.float16: ("fp16", "F16", "float16"), torch.bfloat16: ("bf16", "BF16", "bfloat16")}


@dataclass(frozen=True)
class Subject:
    """A file to pack.

    Args:
        name: of it.
        kind: of its numbers, for people.
        dtype: of most of its bytes.
        new: the file.
        old: what a difference to it is wanted from; None packs the file alone.
    """

    name: str
    kind: str
    dtype: str
    new: Path
    old: Path | None = None


def subjects(folder: Path, short: bool, shared: Path = SHARED) -> Iterator[Subject]:
    """All of them, one after the other, made as they are asked for.

    Args:
        folder: for those that are made.
        short: fewer and smaller ones.
        shared: where models/ and data/ are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind, dtype, always in FILES:
        if always or not short:
            yield Subject(name, kind, dtype, shared / "models" / name)
    for kind in TYPES:
        if not short or kind == torch.bfloat16:
            yield _halved(shared / "models" / "squeezenet1_1.onnx", kind, folder)
    large, small = (_fitted(shared, size, folder) for size in SIZES)
    stem = Path(FITTED).stem
    yield Subject(f"{stem} fitted to {SIZES[0]}", "QDQ .onnx", "int8", large)
    update = f"{stem} of {SIZES[0]} -> {SIZES[1]}"
    yield Subject(update, "update", "int8", small, large)


def job(subject: Subject, folder: Path) -> Path:
    """What a codec is given, as `peers/coders.py` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = subject.new.read_bytes()
    (folder / "new").write_bytes(raw)
    (folder / "old").unlink(missing_ok=True)
    if subject.old:
        (folder / "old").write_bytes(subject.old.read_bytes())
    (folder / "about.json").write_text(json.dumps({"dtype": subject.dtype}))
    found, rest = integers(raw)
    np.savez(folder / "integers.npz", **found)
    (folder / "rest").write_bytes(rest)
    return folder


def integers(raw: bytes) -> tuple[dict[str, np.ndarray], bytes]:
    """A file's int8 tensors, and its shared floats as places in their tables; and what is left.

    Zero's place in a table of a shared tensor is 0. Tables and bytes between tensors are the rest.
    Where a file has none, all of it is the rest.
    """
    found: dict[str, np.ndarray] = {}
    rest, end = [], 0
    for number, tensor in enumerate(find_tensors(raw)):
        if not isinstance(tensor, Tensor) or tensor.size < FEW:
            continue
        content = raw[tensor.offset : tensor.offset + tensor.size]
        if tensor.dtype in ("int8", "uint8"):
            values, table = np.frombuffer(content, tensor.dtype).astype(np.int32), b""
            values = values - 128 if tensor.dtype == "uint8" else values
        elif tensor.dtype == "float32":
            values, table = _places(np.frombuffer(content, "<u4"))
            if len(table) > min(4 * FEW, tensor.size // 4):
                continue
        else:
            continue
        found[f"t{number}"] = values.reshape(tensor.shape or (-1,))
        rest += [raw[end : tensor.offset], table]
        end = tensor.offset + tensor.size
    return found, b"".join([*rest, raw[end:]])


def _places(bits: np.ndarray) -> tuple[np.ndarray, bytes]:
    """Each float as its place among the values that there are, in their order around zero."""
    table, places = np.unique(bits, return_inverse=True)
    order = np.argsort(table.view("<f4"), kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    sorted_table = table[order]
    zero = int(np.searchsorted(sorted_table.view("<f4"), 0.0))
    return rank[places.reshape(-1)] - zero, sorted_table.tobytes()


def _halved(path: Path, kind: torch.dtype, folder: Path) -> Subject:
    """A network's weights in two bytes each, as safetensors."""
    short, code, dtype = TYPES[kind]
    header, parts, end = {}, [], 0
    for value in onnx.load(path).graph.initializer:
        array = torch.from_numpy(onnx.numpy_helper.to_array(value).copy())
        if not array.is_floating_point():
            continue
        part = array.to(kind).view(torch.int16).numpy().tobytes()
        header[value.name] = {
            "dtype": code,
            "shape": list(array.shape),
            "data_offsets": [end, end + len(part)],
        }
        parts.append(part)
        end += len(part)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    out = folder / f"{path.stem}.{short}.safetensors"
    out.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(parts))
    return Subject(out.name, short, dtype, out)


def _fitted(shared: Path, size: str, folder: Path) -> Path:
    out = folder / f"{Path(FITTED).stem}-{size}"
    try:
        return packlight.fit(
            shared / "models" / FITTED,
            str(shared / "data" / DATA),
            target_size=size,
            preprocess=samples_of.Preprocess(scale=1.0),
            out=out,
            force=True,
        ).model
    except BudgetNotMet as problem:
        return problem.nearest.model
