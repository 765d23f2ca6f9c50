"""`reorder`: the same nodes, the same answers, less memory; or a sentence."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from packlight.cli.networks import reorder as command
from packlight.errors import BadInput
from packlight.weighing.memory.reorder import reorder
from tests.shared import shared
from tests.test_cli import refused, run


def branches(path, count=6):
    """Branches that widen and narrow, written level by level, with an If that looks outside."""
    rng = np.random.default_rng(0)
    nodes, weights, slim = [], [], []
    for index in range(count):
        for name, shape in (("up", (32, 4, 1, 1)), ("down", (2, 32, 1, 1))):
            array = rng.standard_normal(shape).astype(np.float32)
            weights.append(numpy_helper.from_array(array, f"{name}{index}"))
    for index in range(count):
        nodes.append(helper.make_node("Conv", ["x", f"up{index}"], [f"w{index}"], f"up{index}"))
    for index in range(count):
        nodes.append(helper.make_node("Relu", [f"w{index}"], [f"r{index}"], f"relu{index}"))
    for index in range(count):
        slim.append(f"s{index}")
        read = [f"r{index}", f"down{index}"]
        nodes.append(helper.make_node("Conv", read, [slim[-1]], f"down{index}"))
    nodes.append(helper.make_node("Concat", slim, ["all"], "concat", axis=1))
    weights.append(numpy_helper.from_array(np.array(True), "yes"))
    inner = [
        helper.make_graph(
            [helper.make_node(kind, ["all"], [f"o{kind}"])],
            kind,
            [],
            [helper.make_tensor_value_info(f"o{kind}", TensorProto.FLOAT, None)],
        )
        for kind in ("Tanh", "Neg")
    ]
    nodes.append(
        helper.make_node("If", ["yes"], ["y"], "if", then_branch=inner[0], else_branch=inner[1])
    )
    graph = helper.make_graph(
        nodes,
        "branches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_branches_run_one_by_one_with_the_same_answers(tmp_path):
    source = branches(tmp_path / "branches.onnx")
    done = reorder(source)
    assert done.out == tmp_path / "branches.reordered.onnx"
    assert done.proved
    assert done.before >= 1.3 * done.after
    old, new = onnx.load(source), onnx.load(done.out)
    assert [node.name for node in old.graph.node] != [node.name for node in new.graph.node]
    key = lambda node: node.name  # noqa: E731
    assert sorted(old.graph.node, key=key) == sorted(new.graph.node, key=key)
    del old.graph.node[:], new.graph.node[:]
    assert old == new
    x = np.random.default_rng(1).standard_normal((3, 4, 16, 16)).astype(np.float32)
    answers = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for path in (source, done.out)
    ]
    np.testing.assert_array_equal(*answers)
    again = reorder(done.out, tmp_path / "again.onnx")
    assert again.out is None
    assert again.before == again.after == done.after


def test_the_command_says_what_was_won_and_keeps_what_is_there(tmp_path):
    source = branches(tmp_path / "branches.onnx")
    done = run("reorder", source, "--input-shape", "2x4x16x16")
    assert done.returncode == 0, done.stderr
    assert "x lower; no order needs less" in done.stdout
    refused(run("reorder", source), "exists already", "--force")
    assert reorder(source, force=True).out == tmp_path / "branches.reordered.onnx"
    written = str(tmp_path / "branches.reordered.onnx")
    same = CliRunner().invoke(command, [written, "-o", str(tmp_path / "same.onnx")])
    assert same.exit_code == 0
    assert "is in a good order" in same.stdout
    assert not (tmp_path / "same.onnx").exists()


def test_weights_in_further_files_are_refused(tmp_path):
    model = onnx.load(branches(tmp_path / "branches.onnx"))
    path = tmp_path / "outside.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(BadInput, match="further files"):
        reorder(path)


def test_nodes_that_can_not_run_in_their_order_are_refused(tmp_path):
    model = onnx.load(branches(tmp_path / "branches.onnx"))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])
    (tmp_path / "backwards.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadInput):
        reorder(tmp_path / "backwards.onnx")


def test_what_is_no_model_is_refused(tmp_path):
    path = tmp_path / "no.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(BadInput):
        reorder(path)
    with pytest.raises(BadInput, match="can not be read"):
        reorder(tmp_path / "none.onnx")


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet8_cifar10_bn"])
def test_real_networks_in_a_good_order_are_left_alone(tmp_path, name):
    done = reorder(shared("models", f"{name}.onnx"), tmp_path / "out.onnx")
    assert done.out is None
    assert done.proved


def test_an_input_that_steers_the_graph_is_given_its_value(tmp_path):
    """Four numbers make a square of n x n where n is 2, not where it is 0 as it is by default."""
    nodes = [helper.make_node("Reshape", ["x", "n"], ["y"], "rows")]
    graph = helper.make_graph(
        nodes,
        "steered",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [4]),
            helper.make_tensor_value_info("n", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    source = tmp_path / "steered.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source
    )
    with pytest.raises(BadInput, match="--set"):
        reorder(source)
    assert reorder(source, constants={"n": 2}).proved
    with pytest.raises(BadInput, match="no input 'm'; it has x, n"):
        reorder(source, constants={"m": 2})
