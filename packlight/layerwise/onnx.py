"""The layers of an ONNX file in onnxruntime.

One copy of the file per layer, which ends there. What comes before the layer is optimised as in the
whole file; the value itself is held, but nothing else. Were all values outputs of one copy, no
operator could be fused across a layer's end, and the faults of such fusions would be hidden. Here
the copy that ends one layer later shows them. Loading a small file some dozens of times is cheap.

The reference runs the file's nodes one by one in torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from packlight.data.samples import runs
from packlight.errors import BadInput
from packlight.layerwise.measure import Place, RuntimeLayers, Tally
from packlight.layerwise.watched import Watched, held, run_all
from packlight.readers.onnx.file import read_proto
from packlight.readers.onnx.graph import Graph, Node, build_graph
from packlight.readers.onnx.module import OnnxModule
from packlight.readers.onnx.values import Value, as_tensor
from packlight.runtimes.apart import apart
from packlight.runtimes.onnxruntime import Session
from packlight.types import Array

#: operators that kernels take in behind others; a layer ends after them
_ENDINGS = frozenset(("BatchNormalization", "Clip", "QuantizeLinear", "Relu"))
#: operators that give their input's numbers
_PASSING = frozenset(
    (
        "Cast",
        "DequantizeLinear",
        "Dropout",
        "Flatten",
        "Identity",
        "Reshape",
        "Shape",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
#: where the scale of an integer output is among the inputs
_SCALES = {"QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6, "QLinearAdd": 6}


def compare(watched: Watched) -> RuntimeLayers:
    """Compare the values at the end of every layer."""
    graph = _graph(watched.reference)
    places = find_places(graph)
    apart("", _watch, watched.path, places, watched.inputs, watched.work)
    given = {place.key: np.load(held(watched.work, place), mmap_mode="r") for place in places}
    session = Session(watched.reference)
    module = _Judged(graph)
    tallies = {place.key: Tally(place) for place in places}
    grids = {place.key: (place.step or 1.0, place.zero) for place in places}
    for index, (called, _) in enumerate(runs(watched.samples, session.inputs, session.batch)):
        inputs = [torch.from_numpy(value) for value in called]
        clean = module.values(inputs, dict.fromkeys(given))
        own = module.values(inputs, {key: value[index] for key, value in given.items()})
        for key, tally in tallies.items():
            step, zero = grids[key]
            three = own[key], _wide(given[key][index]), clean[key]
            tally.add(*((value - zero) * step for value in three))
    return watched.result(tallies.values())


def same_layers(first: Path, second: Path) -> bool:
    """Whether two files have the same operators between values of the same names."""
    if first == second:
        return True
    steps = [
        [(node.op, node.inputs, node.outputs) for node in _graph(path).nodes]
        for path in (first, second)
    ]
    return steps[0] == steps[1]


def _graph(path: Path) -> Graph:
    return build_graph(read_proto(path), path.name)


def find_places(graph: Graph) -> list[Place]:
    """The ends of a graph's layers."""
    makers = {name: node for node in graph.nodes for name in node.outputs if name}
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    fixed = set(graph.constants)
    places = []
    for node in graph.nodes:
        if all(name in fixed for name in node.inputs if name):
            fixed.update(node.outputs)
            continue
        value = node.outputs[0]
        following = readers.get(value, [])
        taken_in = value not in graph.outputs and len(following) == 1
        if node.op in _PASSING or (taken_in and following[0].op in _ENDINGS):
            continue
        start = node
        while start.op in _ENDINGS and start.inputs[0] in makers:
            before = makers[start.inputs[0]]
            if len(readers[start.inputs[0]]) > 1 or before.op in _PASSING:
                break
            start = before
        places.append(
            Place(value, _name(start, makers, graph) or value, start.op, *_grid(node, graph))
        )
    return places


def _name(node: Node, makers: Mapping[str, Node], graph: Graph) -> str | None:
    """The owner of a node's weight."""
    for name in node.inputs[1:]:
        while name in makers:
            name = makers[name].inputs[0]
            if name not in makers and name not in graph.constants:
                return None
        if name in graph.constants and graph.constants[name].array.ndim > 1:
            return name.removesuffix("_quantized").rpartition(".")[0] or name
    return None


def _grid(node: Node, graph: Graph) -> tuple[float | None, int]:
    """Step and zero point of what a node makes; None and 0 for floats."""
    position = _SCALES.get(node.op)
    if position is None:
        return None, 0
    scale, zero = (graph.constants.get(name) for name in (*node.inputs, "")[position:][:2])
    known = scale is not None and scale.array.size == 1
    return (
        float(scale.array.item()) if known and scale is not None else 1.0,
        int(zero.array.item()) if zero is not None and zero.array.size == 1 else 0,
    )


class _Judged(OnnxModule):
    """The graph in torch, with another's values put in behind every place."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph, {})
        self._given: Mapping[str, Array | None] = {}
        self._seen: dict[str, Array] = {}

    def values(self, inputs: Sequence[Tensor], given: Mapping[str, Array | None]) -> Any:
        """What every place's node makes.

        Args:
            inputs: of one run.
            given: place -> what the nodes behind it are to read instead; None: what it made.
        """
        self._given, self._seen = given, {}
        with torch.no_grad():
            self(*inputs)
        return self._seen

    def _run_node(self, node: Node, values: Any) -> list[Value | None]:
        results = super()._run_node(node, values)
        key, made = node.outputs[0], results[0]
        if key in self._given and made is not None:
            tensor = as_tensor(made)
            self._seen[key] = _wide(tensor.numpy())
            put = self._given[key]
            if put is not None:
                if put.shape != tuple(tensor.shape):
                    raise BadInput(f"value {key!r} has shape {put.shape}, not {tensor.shape}")
                results[0] = torch.from_numpy(np.array(put)).to(tensor.dtype)
        return results


def _wide(value: Array) -> Array:
    return value.astype(np.float64)


def _watch(path: Path, places: Sequence[Place], inputs: Sequence[Path], work: Path) -> None:
    """In another process: run one copy per place, and keep what it gives."""
    model = read_proto(path)
    for place in places:
        session = Session(cut(model, place.key), threads=1)
        (values,) = run_all(session, inputs)
        np.save(held(work, place), values)


def cut(model: onnx.ModelProto, value: str) -> bytes:
    """The file that ends with one value of a model's, and computes nothing else."""
    ending = onnx.ModelProto()
    ending.CopyFrom(model)
    graph = ending.graph
    wanted, kept = {value}, []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(name for one in _within(node) for name in one.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    declared = [one for one in graph.output if one.name == value]
    del graph.output[:]
    graph.output.extend(declared or [onnx.ValueInfoProto(name=value)])
    data: bytes = ending.SerializeToString()
    return data


def _within(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A node and those of its branches."""
    found = [node]
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                found += _within(inner)
    return found
