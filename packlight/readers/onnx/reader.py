"""Read one ONNX file into a Network: the steps in order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from packlight.errors import BadInput
from packlight.network import Network
from packlight.readers.onnx.examples import make_examples
from packlight.readers.onnx.file import read_proto
from packlight.readers.onnx.graph import Graph, build_graph
from packlight.readers.onnx.module import LAYERS, OnnxModule
from packlight.readers.onnx.registry import check_supported
from packlight.readers.onnx.steer import steer
from packlight.readers.onnx.widened import dequantised


def read(
    path: str | os.PathLike[str],
    example_inputs: Sequence[Any] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> Network:
    """Read an ONNX file (opset 7 or later) into a Network.

    Args:
        path: the file; tensors in external files are read from its folder.
        example_inputs: one array or tensor per input, in the file's order (inputs that have a
            value in `constants` may be left out); needed where sizes besides the batch are open.
        constants: values for inputs that steer the graph, such as `{"sr": 16000}`.
    Raises:
        BadInput: not an ONNX file, damaged, or it contradicts itself; says where.
        UnsupportedOperator: names the operator, its node and the opset.
    """
    path = Path(path)
    if isinstance(example_inputs, (torch.Tensor, np.ndarray)):
        example_inputs = [example_inputs]
    model = dequantised(read_proto(path))
    graph = build_graph(model, path.name)
    check_supported(graph)
    steered = steer(graph, constants or {}, example_inputs)
    refuse_broken_weights(graph, path.name)
    examples = make_examples(graph.inputs, example_inputs, steered.values)
    return Network.from_module(
        OnnxModule(graph, steered.values),
        examples.tensors,
        input_names=[port.name for port in graph.inputs],
        output_names=graph.outputs,
        dynamic_batch=examples.dynamic,
        metadata={entry.key: entry.value for entry in model.metadata_props},
        notes=[*steered.notes, *examples.notes],
        source=path,
    )


# where an infinite number can only be damage; elsewhere -inf is how attention masks are written
_MULTIPLIED = LAYERS | {"Div", "DequantizeLinear", "Mul"}


def refuse_broken_weights(graph: Graph, where: str) -> None:
    """Raise BadInput for a weight that holds NaN, or infinity where it is multiplied.

    Raises:
        BadInput: names the tensor, the first such number and its position.
    """
    graphs = _graphs(graph)
    nodes = [node for owner in graphs for node in owner.nodes if node.op in _MULTIPLIED]
    multiplied = {name for node in nodes for name in node.inputs}
    for owner in graphs:
        for name, constant in owner.constants.items():
            array = constant.array
            if array.dtype.kind != "f" and str(array.dtype) != "bfloat16":
                continue
            with np.errstate(all="ignore"):
                broken = ~np.isfinite(array) if name in multiplied else np.isnan(array)
            if broken.any():
                position = [int(index) for index in np.argwhere(broken)[0]]
                found = "NaN" if np.isnan(array[tuple(position)]) else "infinity"
                raise BadInput(
                    f"tensor {name!r} of {where} holds {found} at {position} "
                    f"({int(broken.sum())} of {array.size} numbers are not finite); weights must "
                    "be finite, so export the model again from a checkpoint that is"
                )


def _graphs(graph: Graph) -> list[Graph]:
    found = [graph]
    for node in graph.nodes:
        for body in node.graphs():
            found += _graphs(body)
    return found
