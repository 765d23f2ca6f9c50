"""Example inputs of shapes the user names, for files that leave sizes open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from packlight.errors import BadInput
from packlight.readers.onnx.file import read_proto
from packlight.readers.onnx.graph import build_graph
from packlight.readers.onnx.steer import steer
from packlight.readers.onnx.values import Array, to_torch
from packlight.runtimes.onnxruntime import Session


def examples_of(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> list[Tensor]:
    """Noise (zeros for whole numbers) for every input of an ONNX file.

    An input that chooses a branch gets the value that `load` would take.

    Args:
        path: the file.
        shapes: input name -> shape; the name "" stands for the only input, or for the first.
    Raises:
        BadInput: a name the file does not have, or a shape that contradicts it.
    """
    inputs = Session(path).inputs
    named = {name or inputs[0].name: shape for name, shape in shapes.items()}
    unknown = set(named) - {spec.name for spec in inputs}
    if unknown:
        raise BadInput(
            f"{path.name} has no input {unknown.pop()!r}; it has "
            + ", ".join(spec.name for spec in inputs)
        )
    chosen: Mapping[str, Array] = {}
    if any(len(spec.shape) <= 1 and spec.dtype != "float32" for spec in inputs):
        chosen = steer(build_graph(read_proto(path), path.name), {}, None).values
    generator = torch.Generator().manual_seed(0)
    examples = []
    for spec in inputs:
        if spec.name in chosen and spec.name not in named:
            examples.append(to_torch(chosen[spec.name]).clone())
            continue
        shape = named.get(spec.name, tuple(size or 1 for size in spec.shape))
        if len(shape) != len(spec.shape) or any(
            size is not None and size != given
            for size, given in zip(spec.shape, shape, strict=True)
        ):
            raise BadInput(
                f"input {spec} of {path.name} can not have the shape {'x'.join(map(str, shape))}"
            )
        noise = torch.randn(shape, generator=generator)
        floats = spec.dtype == "float32"
        examples.append(noise if floats else (noise * 0).to(getattr(torch, spec.dtype)))
    return examples
