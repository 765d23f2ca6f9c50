"""ONNX models built by hand, and what onnxruntime says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

import packlight
from packlight.network import Network

Array = np.ndarray[Any, Any]
Shape = Sequence[int | str | None]


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str],
    weights: Mapping[str, Array] | None = None,
    *,
    opset: int = 17,
    types: Mapping[str, int] | None = None,
    ir_version: int | None = None,
    weights_are_inputs: bool = False,
) -> onnx.ModelProto:
    """A model; inputs and outputs are float32 unless `types` says otherwise."""
    kinds = dict(types or {})

    def value(name: str, shape: Shape | None) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape)

    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [value(name, shape) for name, shape in inputs.items()],
        [value(name, None) for name in outputs],
        tensors,
    )
    if weights_are_inputs:
        for tensor in tensors:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version or (8 if opset < 21 else 10)
    return model


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """`node("Conv", "x w", "y", strides=[2, 2])`; `_` stands for an input left out."""
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), **attributes)


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Write a model to a folder."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def session(path: Path) -> onnxruntime.InferenceSession:
    """onnxruntime on one thread, without its warnings."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def disagreement(network: Network, path: Path, inputs: Sequence[torch.Tensor]) -> float:
    """The largest difference to onnxruntime, relative to each output's largest value."""
    feeds = {name: value.numpy() for name, value in zip(network.input_names, inputs, strict=True)}
    expected = session(path).run(list(network.output_names), feeds)
    with torch.no_grad():
        found = network(*inputs)
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        assert tuple(ours.shape) == theirs.shape
        assert ours.numpy().dtype == theirs.dtype
        if theirs.size:
            scale = max(float(np.abs(theirs.astype(np.float64)).max()), 1e-12)
            gap = np.abs(ours.numpy().astype(np.float64) - theirs.astype(np.float64)).max()
            worst = max(worst, float(gap) / scale)
    return worst


def random_inputs(network: Network, batch: int | None = None, seed: int = 1) -> list[torch.Tensor]:
    """Normally distributed inputs; integers and scalars as in the examples."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for example, varies in zip(network.example_inputs, network.dynamic_batch, strict=True):
        shape = list(example.shape)
        if varies and batch is not None:
            shape[0] = batch
        if not example.is_floating_point() or not shape:
            made.append(example.expand(shape) if example.ndim == 0 else example[:1].expand(shape))
        else:
            made.append(torch.randn(shape, generator=generator).to(example.dtype))
    return [value.contiguous() for value in made]


def check(
    model: onnx.ModelProto,
    folder: Path,
    *,
    batches: Sequence[int | None] = (None,),
    example_inputs: Sequence[Any] | None = None,
    tolerance: float = 1e-5,
) -> Network:
    """Load a model and hold it to onnxruntime's answers."""
    path = save(model, folder)
    network = packlight.load(path, example_inputs)
    for batch in batches:
        error = disagreement(network, path, random_inputs(network, batch))
        assert error <= tolerance, f"batch {batch}: {error:.1e}"
    return network


def calls(network: Network) -> list[str]:
    """The ATen operators of a network's graph, in order."""
    return [
        str(step.target).removesuffix(".default")
        for step in network.module.graph.nodes
        if step.op == "call_function"
    ]
