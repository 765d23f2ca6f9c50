"""What every peer's script does: one file for each setting, or a sentence that says why not.

A script runs as `python PEER.py JOB OUT` in the peer's own environment and may not import
packlight. The folder JOB holds the network, `original.onnx` as it was given and `model.onnx` with
its batch norms folded (only `model.tflite` where it is for LiteRT), and samples to calibrate on:
`inputs.json` lists the inputs' names, and `input0.npy` and so on hold their values, samples first.
In the folder OUT the script leaves networks, and `points.json` with one row per setting: `setting`
and either `model` (a file that runs) and `counted` (the files that a user would download) or
`failed`. It is written anew after each setting, so that what was made survives a crash.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

REASON = 200  # characters of a reason that are kept
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")


@dataclass(frozen=True)
class Job:
    """What a peer is given, and where it leaves what it makes."""

    folder: Path
    out: Path

    @property
    def original(self) -> Path:
        """The network as it was given."""
        return self.folder / "original.onnx"

    @property
    def model(self) -> Path:
        """The network, batch norms folded."""
        return self.folder / "model.onnx"

    def samples(self) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """The calibration samples, one at a time, by the names of the inputs."""
        names = json.loads((self.folder / "inputs.json").read_text())
        arrays = {
            name: np.load(self.folder / f"input{index}.npy", mmap_mode="r")
            for index, name in enumerate(names)
        }
        for index in range(min(map(len, arrays.values()))):
            yield {name: np.array(values[index : index + 1]) for name, values in arrays.items()}

    def path(self, name: str) -> Path:
        """Where a file goes."""
        return self.out / re.sub(r"[^a-z0-9.]+", "-", name.lower())


def run(
    settings: Mapping[str, Callable[[Job, Path], list[Path] | None]], suffix: str = ".onnx"
) -> None:
    """Make every setting's network, for the folders named on the command line.

    Args:
        settings: name -> what writes the network to the path it is given, and returns the files
            that a user would download where that is not the network itself.
        suffix: of the networks.
    """
    job = Job(Path(sys.argv[1]), Path(sys.argv[2]))
    rows = []
    for name, make in settings.items():
        out = job.path(f"{name}{suffix}")
        try:
            counted = make(job, out) or [out]
            row = {"model": out.name, "counted": [path.name for path in counted]}
        except Exception as problem:  # whatever a peer throws is its result
            row = {"failed": sentence(problem)}
        rows.append({"setting": name, **row})
        (job.out / "points.json").write_text(json.dumps(rows))


def sentence(problem: BaseException) -> str:
    """An exception as one short line."""
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0] if lines else 'without a reason'}"[:REASON]


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """The float matrices and kernels of a network, outputs first, as peers for weights take them.

    Returns:
        name -> (out, in) or (out, in, height, width).
    """
    across = _inputs_first(model)
    read = {name for node in model.graph.node if node.op_type in LAYERS for name in node.input}
    found = {
        value.name: onnx.numpy_helper.to_array(value)
        for value in model.graph.initializer
        if value.data_type == onnx.TensorProto.FLOAT and len(value.dims) >= 2 and value.name in read
    }
    return {
        name: np.ascontiguousarray(value.T if name in across else value)
        for name, value in found.items()
    }


def put_back(model: onnx.ModelProto, values: Mapping[str, np.ndarray[Any, Any]]) -> onnx.ModelProto:
    """A copy of a network with other values, of the shapes that `weights` gave."""
    across = _inputs_first(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in values:
            value = np.asarray(values[tensor.name], np.float32)
            value = value.T if tensor.name in across else value.reshape(tuple(tensor.dims))
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    return copy


def without(model: onnx.ModelProto, names: Mapping[str, Any]) -> onnx.ModelProto:
    """A copy of a network whose tensors of these names hold no numbers; all else stays."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in names:
            for kept in ("raw_data", "float_data"):
                tensor.ClearField(kept)
    return copy


def used(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a network without the tensors that nothing reads."""
    read = _read(model.graph)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    return copy


def _read(graph: onnx.GraphProto) -> set[str]:
    """Every name that a graph reads, branches and bodies of loops included."""
    names = {value.name for value in graph.output}
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                names |= _read(inner)
    return names


def _inputs_first(model: onnx.ModelProto) -> set[str]:
    """Names of matrices that are multiplied from the right: their rows belong to inputs."""
    return {
        node.input[1]
        for node in model.graph.node
        if node.op_type == "MatMul"
        or (
            node.op_type == "Gemm"
            and not any(value.name == "transB" and value.i for value in node.attribute)
        )
    }
