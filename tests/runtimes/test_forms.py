"""Layers in other forms answer as before: onnxruntime is the judge, without its own rewriting."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from packlight.runtimes.onnxruntime import Session
from packlight.runtimes.tuning.forms import FORMS
from packlight.runtimes.tuning.trials import kinds, with_constant_weights, with_forms

FLOAT = TensorProto.FLOAT
BITS = {"graph_optimization_level": "none"}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def made(nodes, weights, x=("n", 3, 9, 9), opset=17, out="y", listed=False):
    """A model with one input x and one output."""
    inputs = [helper.make_tensor_value_info("x", FLOAT, x)]
    if listed:
        inputs += [
            helper.make_tensor_value_info(name, FLOAT, value.shape)
            for name, value in weights.items()
        ]
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [helper.make_tensor_value_info(out, FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def padded_conv(*, bias=True, outs=5):
    names = ["x", "w", "b"] if bias else ["x", "w"]
    nodes = [
        helper.make_node("Conv", names, ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    weights = {"w": numbers(outs, 3, 3, 3), "b": numbers(outs)}
    return made(nodes, weights if bias else {"w": weights["w"]})


def dense_pair(*, rank=None, trans=1):
    first, second = numbers(40, 12, seed=1), numbers(7, 40, seed=2)
    if rank:
        first = numbers(40, rank, seed=3) @ numbers(rank, 12, seed=4)
    weights = {
        "w": first if trans else first.T.copy(),
        "v": second,
        "b": numbers(40),
        "d": numbers(7),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=trans),
        helper.make_node("Gemm", ["h", "v", "d"], ["y"], transB=1),
    ]
    return made(nodes, weights, ("n", 12))


def rounded_pad(*, step=0.1, second=0.1, value=0.0):
    """A Pad between two roundings, as a fit writes it."""
    grid = {"s": np.float32(step), "t": np.float32(second), "z": np.int8(3)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["f"]),
        helper.make_node("Pad", ["f", "around", "value"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "t", "z"], ["r"]),
        helper.make_node("DequantizeLinear", ["r", "t", "z"], ["g"]),
        helper.make_node("Conv", ["g", "w"], ["y"], strides=[2, 2], pads=[1, 0, 0, 0]),
    ]
    around = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    return made(
        nodes, {**grid, "w": numbers(8, 3, 3, 3), "around": around, "value": np.float32(value)}
    )


def ops(data):
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


def forms_of(data):
    return {place for places in kinds(data).values() for place in places}


CASES = {
    "padded": [padded_conv(), padded_conv(bias=False, outs=7)],
    "pad": [rounded_pad()],
    "conv": [dense_pair(), dense_pair(trans=0)],
    "factored": [dense_pair(rank=3)],
    "merged": [dense_pair(), dense_pair(trans=0)],
}


@pytest.mark.parametrize(
    ("form", "data"), [(form, data) for form, cases in CASES.items() for data in cases]
)
@pytest.mark.parametrize("count", [1, 3])
def test_answers_are_equal_to_rounding(form, data, count):
    (places,) = [places for places in kinds(data).values() if places[0][0] == form][:1]
    changed = with_forms(data, places)
    assert ops(changed) != ops(data) or form == "padded"
    shape = [count, *Session(data).inputs[0].sample_shape]
    x = numbers(*shape, seed=9)
    (said,) = Session(data, settings=BITS)(x)
    for settings in ({}, BITS):
        (mine,) = Session(changed, settings=settings)(x)
        assert mine.shape == said.shape
        assert np.abs(mine - said).max() <= 1e-5 * np.abs(said).max()


def test_every_form_has_a_case():
    assert set(CASES) == set(FORMS)


def test_forms_say_where_they_fit():
    assert forms_of(padded_conv()) == {("padded", "c")}
    assert forms_of(padded_conv(outs=8)) == set()
    assert {form for form, _ in forms_of(dense_pair(rank=3))} == {"conv", "factored", "merged"}
    assert "factored" not in {form for form, _ in forms_of(dense_pair())}
    assert forms_of(rounded_pad()) == {("pad", "p")}


@pytest.mark.parametrize("data", [rounded_pad(second=0.2), rounded_pad(value=1.0)])
def test_a_pad_that_the_convolution_can_not_take_over_stays(data):
    assert forms_of(data) == set()


def test_a_value_that_others_read_is_not_padded_through():
    """The Relu's input is an output, too: the cut must come right behind the convolution."""
    data = onnx.load_from_string(padded_conv())
    data.graph.output.append(helper.make_tensor_value_info("c", FLOAT, None))
    both = data.SerializeToString()
    changed = with_forms(both, [("padded", "c")])
    x = numbers(1, 3, 9, 9, seed=9)
    for mine, said in zip(Session(changed)(x), Session(both)(x), strict=True):
        np.testing.assert_allclose(mine, said, rtol=1e-5, atol=1e-5)
    assert ops(changed)[:2] == ["Conv", "Slice"]


def test_layers_of_one_shape_are_one_kind():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "v"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["b", "u"], ["y"], pads=[1, 1, 1, 1]),
    ]
    weights = {"w": numbers(3, 3, 3, 3), "v": numbers(3, 3, 3, 3), "u": numbers(5, 3, 3, 3)}
    found = kinds(made(nodes, weights, (1, 3, 9, 9)))
    assert [len(places) for places in found.values()] == [2, 1]


def test_weights_listed_as_inputs_become_constant():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["y"]),
    ]
    weights = {"w": numbers(4, 3, 3, 3), "g": numbers(4), "b": numbers(4), "m": numbers(4)}
    weights["v"] = np.abs(numbers(4)) + 0.5
    data = made(nodes, weights, listed=True)
    assert forms_of(data) == set()  # a caller may replace what they rely on
    changed = with_constant_weights(data)
    assert [one.name for one in onnxruntime.InferenceSession(changed).get_inputs()] == ["x"]
    x = numbers(2, 3, 9, 9, seed=9)
    (said,), (mine,) = (
        Session(data, settings=BITS)._session.run(None, {"x": x}),
        Session(changed)(x),
    )
    assert np.abs(mine - said).max() <= 1e-5 * np.abs(said).max()
    assert with_constant_weights(changed) is None
