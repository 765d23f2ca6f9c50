"""Weights as integers that onnxruntime makes floats of when it loads them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import packlight
from packlight.readers.onnx.file import drop_unread
from packlight.readers.onnx.widened import dequantised, widen
from packlight.runtimes import ort
from packlight.runtimes.narrow import narrowed
from packlight.runtimes.onnx import refilled
from packlight.weighing import weigh
from tests.readers.models import build, node

RNG = np.random.default_rng(0)
SIZES = {"Conv": (4, 6, 6), "ConvTranspose": (4, 10, 10), "MatMul": (4,), "Gemm": (4,)}


def network(axis=0, scales=4, rounded=False, zero=None, kind="Conv") -> onnx.ModelProto:
    """One layer whose int8 weight is dequantised; its input rounded, or not."""
    shape = (4, 4, 3, 3) if kind.startswith("Conv") else (4, 4)
    scale = np.float32(RNG.uniform(0.1, 1, scales) if scales else 0.5)
    tensors = {"w": RNG.integers(-127, 128, shape).astype(np.int8), "s": scale}
    inputs = ["w", "s"]
    if zero is not None:
        tensors["z"] = np.full(np.shape(scale), zero, np.int8)
        inputs.append("z")
    nodes = [helper.make_node("DequantizeLinear", inputs, ["weight"], axis=axis)]
    value = "x"
    if rounded:
        tensors |= {"a": np.float32(0.1), "b": np.uint8(7)}
        nodes += [
            helper.make_node("QuantizeLinear", ["x", "a", "b"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "a", "b"], ["r"]),
        ]
        value = "r"
    nodes.append(helper.make_node(kind, [value, "weight"], ["y"]))
    size = ["batch", 4, 8, 8] if kind.startswith("Conv") else ["batch", 4]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *SIZES[kind]])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def operators(model) -> list[str]:
    return [node.op_type for node in model.graph.node]


def run(model):
    """The layer's answers, and the weight that it read."""
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    weight = helper.make_tensor_value_info("weight", TensorProto.FLOAT, None)
    shown.graph.output.append(weight)
    session = onnxruntime.InferenceSession(shown.SerializeToString())
    shape = [3 if isinstance(size, str) else size for size in session.get_inputs()[0].shape]
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return session.run(None, {"x": x})


def assert_same(before, after):
    """Weights to the bit; kernels sum a stored weight's products in another order."""
    (answers, weight), (others, other) = run(before), run(after)
    np.testing.assert_array_equal(weight, other)
    np.testing.assert_allclose(answers, others, rtol=1e-5, atol=1e-5 * np.abs(answers).max())


@pytest.mark.parametrize(
    ("kind", "axis", "scales"),
    [
        ("Conv", 0, 4),
        ("Conv", 0, 0),
        ("ConvTranspose", 1, 4),
        ("MatMul", 1, 4),
        ("MatMul", -1, 4),
        ("MatMul", 0, 0),
        ("Gemm", 1, 4),
    ],
)
@pytest.mark.parametrize("zero", [None, 0])
def test_there_and_back_it_is_the_same_weight(kind, axis, scales, zero, tmp_path):
    before = network(axis, scales, kind=kind, zero=zero)
    wide = onnx.ModelProto.FromString(before.SerializeToString())
    assert widen(wide.graph) == 1
    assert operators(wide) == ["Cast", "Mul", kind]
    onnx.checker.check_model(wide, full_check=True)
    assert_same(before, wide)
    onnx.save(wide, tmp_path / "wide.onnx")
    back = dequantised(onnx.load(tmp_path / "wide.onnx"))
    assert operators(back) == ["DequantizeLinear", kind]
    onnx.checker.check_model(back, full_check=True)
    assert_same(before, back)
    # what reads files sees integers
    loaded = packlight.load(tmp_path / "wide.onnx")
    assert any("dequantize_per" in str(node.target) for node in loaded.module.graph.nodes)
    assert weigh(tmp_path / "wide.onnx").totals.bytes < 4 * before.graph.initializer[0].ByteSize()


@pytest.mark.parametrize(("kind", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrent_layers_get_their_weights_once(kind, gates, tmp_path):
    """Both directions' weights in integers, cut into gates and put together again."""
    hidden, features = 4, 3
    cuts = {"start": [0], "cut": [hidden], "end": [gates * hidden], "axis": [0]}
    tensors = {name: np.int64(value) for name, value in cuts.items()}
    nodes = []
    for name, columns in (("w", features), ("r", hidden)):
        for one in (f"{name}1", f"{name}2"):
            shape = gates * hidden, columns
            tensors[one] = RNG.integers(-127, 128, shape).astype(np.int8)
            tensors[f"{one}_s"] = np.float32(RNG.uniform(0.01, 0.02, gates * hidden))
            nodes += [
                node("DequantizeLinear", f"{one} {one}_s", f"{one}_f", axis=0),
                node("Slice", f"{one}_f start cut axis", f"{one}_a"),
                node("Slice", f"{one}_f cut end axis", f"{one}_b"),
                node("Concat", f"{one}_b {one}_a", f"{one}_o", axis=0),
                node("Unsqueeze", f"{one}_o axis", f"{one}_u"),
            ]
        nodes.append(node("Concat", f"{name}1_u {name}2_u", name, axis=0))
    nodes.append(node(kind, "x w r", "y", hidden_size=hidden, direction="bidirectional"))
    before = build(nodes, {"x": [5, 2, features]}, ["y"], tensors)
    wide = onnx.ModelProto.FromString(before.SerializeToString())
    assert widen(wide.graph) == 4
    x = np.random.default_rng(1).normal(size=(5, 2, features)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(before.SerializeToString()).run(None, {"x": x})
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    made = onnxruntime.InferenceSession(wide.SerializeToString(), options).run(None, {"x": x})
    np.testing.assert_allclose(made[0], wanted[0], atol=1e-6)  # as of `assert_same`
    assert operators(onnx.load(tmp_path / "loaded.onnx")) == [kind]


def large() -> onnx.ModelProto:
    """A product with 16,000 integers, all but one of them in four bits."""
    model = network(kind="MatMul", scales=0)
    levels = RNG.integers(-7, 8, (64, 250)).astype(np.int8)
    levels[0, 0] = 100
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(levels, "w"))
    for value, size in ((model.graph.input[0], 64), (model.graph.output[0], 250)):
        value.type.tensor_type.shape.dim[1].dim_value = size
    widen(model.graph)
    assert operators(model) == ["Cast", "Mul", "MatMul"]
    return model


def test_onnxruntime_s_own_format_keeps_the_integers(tmp_path):
    file = ort.from_onnx(large().SerializeToString(), tmp_path / "large.ort")
    assert file.stat().st_size < 2 * 16_000


def test_integers_that_are_stored_narrower_are_known_as_well():
    model = large()
    few = onnx.load_from_string(narrowed(model.SerializeToString(), 4))
    assert few.ByteSize() < 0.6 * model.ByteSize()
    assert operators(few)[-3:] == ["Cast", "Mul", "MatMul"]
    assert operators(dequantised(few))[-2:] == ["DequantizeLinear", "MatMul"]
    assert_same(model, few)


def test_what_integer_kernels_read_or_is_not_around_zero_stays():
    for model in (network(rounded=True), network(zero=3), network(rounded=True, kind="MatMul")):
        before = model.SerializeToString()
        assert widen(model.graph) == 0
        assert model.SerializeToString() == before


def test_products_that_are_something_else_stay():
    twice = network()
    widen(twice.graph)
    twice.graph.node.append(helper.make_node("Identity", [twice.graph.node[0].output[0]], ["z"]))
    twice.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    bytes_ = network()
    widen(bytes_.graph)
    bytes_.graph.initializer[0].data_type = TensorProto.UINT8
    grid = network()
    widen(grid.graph)
    scale = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "s")
    grid.graph.initializer[1].CopyFrom(scale)
    damaged = network()
    widen(damaged.graph)
    del damaged.graph.node[1].input[:]
    circular = network()
    widen(circular.graph)
    circular.graph.node[0].input[0] = circular.graph.node[0].output[0]
    given = network()
    widen(given.graph)
    given.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, [4, 1, 1, 1]))
    old = network()
    widen(old.graph)
    old.opset_import[0].version = 12
    for model in (twice, bytes_, grid, damaged, circular, given, old):
        before = model.SerializeToString()
        assert dequantised(model).SerializeToString() == before


def test_scales_of_channels_are_filled_in_as_the_weight_wants_them():
    model = network()
    widen(model.graph)
    for scale, dims in ((np.arange(4, dtype=np.float32), [4, 1, 1, 1]), (np.float32(2), [])):
        filled = refilled(model, {"s": np.asarray(scale)})
        (tensor,) = [one for one in filled.graph.initializer if one.name == "s"]
        assert list(tensor.dims) == dims
        np.testing.assert_array_equal(numpy_helper.to_array(tensor).ravel(), np.ravel(scale))


def test_only_initialisers_that_nobody_reads_are_dropped():
    """Those that an inner graph takes from outside, and those that are an output, are read."""
    held = {name: np.ones(2, np.float32) for name in ("mine", "inner", "output", "unread")}
    branch = helper.make_graph(
        [helper.make_node("Add", ["inner", "inner"], ["sum"])],
        "branch",
        [],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [2])],
    )
    choice = helper.make_node("If", ["which"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph(
        [choice, helper.make_node("Add", ["mine", "y"], ["z"])],
        "graph",
        [helper.make_tensor_value_info("which", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("z", "output")],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    drop_unread(graph)
    assert [one.name for one in graph.initializer] == ["mine", "inner", "output"]
