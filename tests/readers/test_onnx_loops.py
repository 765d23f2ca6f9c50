"""Loops whose number of steps is known are written out, as TensorFlow's recurrent layers need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import packlight
from packlight.errors import UnsupportedOperator
from packlight.fuse import fuse
from packlight.shrink.layers import find_layers
from tests.readers.models import build, disagreement, node, random_inputs, save

STEPS, SIZE, STATES = 5, 3, 4


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


WEIGHTS = {
    "w": numbers(SIZE, STATES),
    "r": numbers(STATES, STATES),
    "zeros": np.zeros((1, STATES), np.float32),
    "first": np.int64(0),
    "steps": np.int64(STEPS),
    "true": np.array(True),
    "one": np.array([1]),
    "size": np.array([STATES]),
    "zero": np.array([0]),
}


def body(unit: int) -> onnx.GraphProto:
    """A step of a plain recurrent layer, as TensorFlow's exporter writes it; `unit` to the next."""

    def value(
        name: str, kind: int = TensorProto.FLOAT, shape: list[int] | None = None
    ) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    step = [
        node("Gather", "x at", "now"),
        node("MatMul", "now weight", "inputs"),
        node("MatMul", "h r", "states"),
        node("Add", "inputs states", "sum"),
        # all of a batch, in TensorFlow's words
        node("Slice", "sum from to axes", "cut"),
        node("Tanh", "cut", "new"),
        node("Add", "at unit", "next"),
        node("Less", "next limit", "on"),
    ]
    constants = {
        "unit": np.int64(unit),
        "limit": np.int64(STEPS),
        "from": np.array([0]),
        "to": np.array([2**31 - 1]),
        "axes": np.array([0]),
    }
    return helper.make_graph(
        step,
        "step",
        [
            value("i", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("at", TensorProto.INT64),
            value("h"),
            value("weight"),
        ],
        [
            value("on", TensorProto.BOOL),
            value("next", TensorProto.INT64),
            *map(value, ("new", "weight", "new")),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )


def looped(
    limit: str = "steps", going: str = "true", unit: int = 1, **weights: np.ndarray
) -> onnx.ModelProto:
    """x (N, T, I) -> the states of every step (T, N, H), and the last."""
    nodes = [
        node("Shape", "given", "sizes"),
        node("Slice", "sizes zero one", "batch"),
        node("Concat", "batch size", "wanted", axis=0),
        node("Expand", "zeros wanted", "begin"),
        node("Transpose", "given", "x", perm=[1, 0, 2]),
        helper.make_node(
            *("Loop", [limit, going, "first", "begin", "w"], ["end", "last", "same", "all"]),
            name="again",
            body=body(unit),
        ),
    ]
    shape = {"given": ["N", STEPS, SIZE]}
    return build(nodes, shape, ["all", "last"], WEIGHTS | weights)


@pytest.mark.parametrize(
    ("limit", "going"), [("steps", "true"), ("steps", ""), ("", "true"), ("many", "")]
)
def test_a_loop_is_written_out(limit: str, going: str, tmp_path: Path) -> None:
    path = save(looped(limit, going, many=np.int64(1000)), tmp_path)
    network = packlight.load(path)
    assert network.batch is None
    for batch in (1, 4):
        assert disagreement(network, path, random_inputs(network, batch)) < 1e-5


def test_all_steps_share_their_weights(tmp_path: Path) -> None:
    network = fuse(packlight.load(save(looped(), tmp_path))).network
    layers = find_layers(network)
    assert {layer.weight for layer in layers} == {"w", "r"}
    assert all(len(layer.calls) == STEPS for layer in layers)


def test_what_a_loop_reads_from_outside_may_be_cut_off_early(tmp_path: Path) -> None:
    path = save(looped("two", "true", two=np.int64(2)), tmp_path)
    network = packlight.load(path)
    (given,) = random_inputs(network, 3)
    assert network(given)[0].shape == (2, 3, STATES)
    assert disagreement(network, path, [given]) < 1e-5


@pytest.mark.parametrize(
    ("limit", "going", "why"),
    [
        ("", "", "runs more than 512 times"),
        ("none", "true", "never runs"),
        ("counted", "true", "how often it runs depends on data"),
    ],
)
def test_other_loops_are_refused_by_name(limit: str, going: str, why: str, tmp_path: Path) -> None:
    model = looped(limit, going, unit=0, none=np.int64(0))  # the body never ends it
    (loop,) = [item for item in model.graph.node if item.op_type == "Loop"]
    if limit == "counted":
        place = [*model.graph.node].index(loop)
        counted = [
            node("ReduceMax", "x", "largest", keepdims=0),
            node("Cast", "largest", "counted", to=TensorProto.INT64),
        ]
        for item in reversed(counted):
            model.graph.node.insert(place, item)
    with pytest.raises(UnsupportedOperator, match=f"Loop of node 'again'.*{why}"):
        packlight.load(save(model, tmp_path))
