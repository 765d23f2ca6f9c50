"""Paddings move into the convolutions of an ONNX file, past roundings, and change no number."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import packlight
from packlight.graph import is_call, quantized
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes import onnxruntime as ort
from packlight.runtimes import xnnpack
from packlight.runtimes.kernels import count_kernels
from packlight.runtimes.onnx_rewrites import pad_in_convolutions, pool_means
from tests.networks import images, settled
from tests.runtimes.quantised import quantised

SAMPLES = images(16, seed=3).numpy()


class Halved(nn.Module):
    """Convolutions of stride 2, padded below and to the right, as TensorFlow pads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2)
        self.second = nn.Conv2d(4, 6, 3, stride=2)
        self.head = nn.Linear(6, 5)

    def forward(self, image):
        x = nn.functional.pad(image, (0, 1, 0, 1))
        x = nn.functional.pad(self.first(x).relu(), (0, 1, 0, 1))
        return self.head(self.second(x).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    float_network = Network.from_module(settled(Halved()), (images(2),))
    return quantised(float_network, images(64))


def kinds(model: onnx.ModelProto) -> Counter:
    return Counter(node.op_type for node in model.graph.node)


def test_a_rounded_network_pads_in_its_convolutions_bit_for_bit(network, tmp_path, monkeypatch):
    after = onnx_file.write(network, tmp_path / "after.onnx")
    monkeypatch.setattr(onnx_file, "pad_in_convolutions", lambda graph: 0)
    before = onnx_file.write(network, tmp_path / "before.onnx")
    assert kinds(onnx.load(before))["Pad"] == 2
    assert kinds(onnx.load(after))["Pad"] == 0
    answers = [ort.Session(path, threads=1)(SAMPLES)[0] for path in (before, after)]
    np.testing.assert_array_equal(*answers)
    counted = [count_kernels(path, [SAMPLES[:1]]) for path in (before, after)]
    assert counted[1].run < counted[0].run
    assert "Pad" not in counted[1].kinds


def test_the_file_read_back_keeps_its_integer_kernels_elsewhere(network, tmp_path):
    path = onnx_file.write(network, tmp_path / "model.onnx")
    made = xnnpack.rewritten(packlight.load(path)).module.graph
    held = [node for node in made.nodes if is_call(node, quantized.dequantize_per_channel)]
    assert len(held) == 3  # all layers' weights are integers


def file(pads, *, value=0.0, mode="constant", between=(), reader="Conv", twice=False):
    """A file with a padding, perhaps a rounding, and what reads it."""
    numbers = {
        "pads": np.array(pads, np.int64),
        "value": np.array(value, np.float32),
        "scale": np.array(0.05, np.float32),
        "zero": np.array(9, np.uint8),
        "weight": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32),
    }
    nodes = [helper.make_node("Pad", ["x", "pads", "value"], ["v0"], mode=mode)]
    for index, name in enumerate(between):
        nodes.append(helper.make_node(name, [f"v{index}", "scale", "zero"], [f"v{index + 1}"]))
    last = f"v{len(between)}"
    if reader == "Conv":
        nodes.append(helper.make_node("Conv", [last, "weight"], ["y"], pads=[1, 0, 0, 2]))
    else:
        nodes.append(helper.make_node(reader, [last], ["y"], kernel_shape=[2, 2]))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    if twice:
        nodes.append(helper.make_node("Relu", ["v0"], ["z"]))
        outputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *SAMPLES.shape[1:]])],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in numbers.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def answers(model: onnx.ModelProto) -> list[np.ndarray]:
    return [*ort.Session(model.SerializeToString(), threads=1)(SAMPLES)]


ROUNDING = ("QuantizeLinear", "DequantizeLinear")
AROUND = (0, 0, 1, 2, 0, 0, 0, 1)


@pytest.mark.parametrize("between", [(), ROUNDING])
def test_sides_may_differ_and_what_the_convolution_padded_is_kept(between):
    model = file(AROUND, between=between)
    before = answers(model)
    assert pad_in_convolutions(model.graph) == 1
    assert kinds(model)["Pad"] == 0
    assert [*model.graph.node[-1].attribute[0].ints] == [2, 2, 0, 3]
    np.testing.assert_allclose(answers(model)[0], before[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        file(AROUND, value=0.5),
        file(AROUND, mode="reflect"),
        file((0, 1, 1, 1, 0, 0, 1, 1)),
        file((0, 0, 1, 1, 0, 0, -1, 1)),
        file(AROUND, reader="MaxPool"),
        file(AROUND, reader="AveragePool"),
        file(AROUND, twice=True),
        file(AROUND, between=ROUNDING * 2),
    ],
)
def test_other_paddings_stay(model):
    before = model.SerializeToString()
    assert pad_in_convolutions(model.graph) == 0
    assert model.SerializeToString() == before


def averaged(axes, *, keep=1, rank=4):
    """A file with a mean over axes."""
    sizes = ["n", *SAMPLES.shape[1:]][:rank]
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=keep)],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(axes, np.int64), "axes")],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


@pytest.mark.parametrize("axes", [(2, 3), (-1, -2)])
def test_a_mean_over_all_positions_is_a_pool(axes):
    model = averaged(axes)
    before = answers(model)
    assert pool_means(model.graph) == 1
    assert kinds(model) == {"GlobalAveragePool": 1}
    np.testing.assert_allclose(answers(model)[0], before[0], rtol=1e-5)


@pytest.mark.parametrize(
    "model",
    [averaged((2, 3), keep=0), averaged((3,)), averaged((1, 2)), averaged((1, 2), rank=3)],
)
def test_other_means_stay(model):
    before = model.SerializeToString()
    assert pool_means(model.graph) == 0
    assert model.SerializeToString() == before


def test_a_padding_that_a_branch_reads_stays():
    model = file(AROUND)
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Relu", ["v0"], ["inner"])], "b", [], [value])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch)
    )
    assert pad_in_convolutions(model.graph) == 0
