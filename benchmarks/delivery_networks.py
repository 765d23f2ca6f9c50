"""Networks that a publisher would send next: tuned at the end, described anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

import packlight
from packlight import data as samples_of

#: SqueezeNet's last layers: where training starts, and the convolutions behind that.
CUT = "fire9/squeeze1x1_relu"
LAYERS = ("fire9/expand1x1", "fire9/expand3x3", "conv10")
MODEL, REPORT = "model.onnx", "report.json"
EPOCHS, BATCH, RATE, MOMENTUM = 7, 25, 2e-4, 0.9


def fine_tuned(
    model: Path, data: Path, how: samples_of.Preprocess, calibrated: int, out: Path
) -> float:
    """Train SqueezeNet's last fire module and its classifier on labels, in floats.

    Args:
        model: the network.
        data, how, calibrated: as a fit gets them; the samples that judge there are not learnt from.
        out: the file to write.
    Returns:
        The norm of what the weights of these layers moved by, over their norm.
    """
    network = onnx.load(model)
    held = {one.name: one for one in network.graph.initializer}
    features, labels = _features(model, data, how, calibrated)
    torch.manual_seed(0)
    weights = {
        name: torch.from_numpy(numpy_helper.to_array(held[name]).copy()).requires_grad_()
        for layer in LAYERS
        for name in (f"{layer}.weight", f"{layer}.bias")
    }
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    descent = torch.optim.SGD(weights.values(), lr=RATE, momentum=MOMENTUM)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(features)).split(BATCH):
            descent.zero_grad()
            loss = functional.cross_entropy(_ending(features[batch], weights), labels[batch])
            loss.backward()
            descent.step()
    moved = sum(float((weights[name] - before[name]).detach().square().sum()) for name in weights)
    norm = sum(float(weight.square().sum()) for weight in before.values())
    for name, weight in weights.items():
        held[name].CopyFrom(numpy_helper.from_array(weight.detach().numpy(), name))
    onnx.save(network, out)
    return float(np.sqrt(moved / norm))


def described(old: Path, out: Path) -> Path:
    """The same weights, with another description in the file."""
    network = onnx.load(old / MODEL)
    network.doc_string = "The same weights, with a note that they were reviewed."
    return _written(network, out, report=old / REPORT)


def trained(seed: int, data: Path, out: Path) -> Path:
    """A small network for MNIST's digits, trained from a seed, in floats."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    with np.load(data) as held:
        images = torch.from_numpy(held["x_train"]).reshape(-1, 784).float() / 255
        labels = torch.from_numpy(held["y_train"]).long()
    descent = torch.optim.Adam(network.parameters(), lr=1e-3)
    for batch in torch.randperm(len(images)).split(100):
        descent.zero_grad()
        functional.cross_entropy(network(images[batch]), labels[batch]).backward()
        descent.step()
    values = {name: one.detach().numpy() for name, one in network.named_parameters()}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "0.weight", "0.bias"], ["a"], transB=1),
            helper.make_node("Relu", ["a"], ["h"]),
            helper.make_node("Gemm", ["h", "2.weight", "2.bias"], ["y"], transB=1),
        ],
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 784])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return _written(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), out)


def _written(network: onnx.ModelProto, out: Path, report: Path | None = None) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(network, out / MODEL)
    if report is not None:
        shutil.copy(report, out / REPORT)
    return out


def _ending(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits from the features at `CUT`."""
    small, large, last = (
        (weights[f"{layer}.weight"], weights[f"{layer}.bias"]) for layer in LAYERS
    )
    wide = torch.cat(
        [functional.conv2d(x, *small).relu(), functional.conv2d(x, *large, padding=1).relu()], 1
    )
    return functional.conv2d(wide, *last).relu().mean((2, 3))


def _features(
    model: Path, data: Path, how: samples_of.Preprocess, calibrated: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What flows into the last layers, and the labels, of the samples that are fitted on."""
    cut = onnx.load(model)
    cut.graph.output.append(helper.make_empty_tensor_value_info(CUT))
    session = onnxruntime.InferenceSession(cut.SerializeToString())
    dataset = samples_of.open_data(data, packlight.load(model).inputs, how)
    samples = samples_of.split(dataset, calibrated, seed=0).fit
    assert samples.labels is not None
    name = session.get_inputs()[0].name
    made = [session.run([CUT], {name: images})[0] for (images,) in samples.batches(25)]
    return torch.from_numpy(np.concatenate(made)), torch.from_numpy(samples.labels)
