"""Peers in child processes: what they make is read, how they fail is told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks import peers
from benchmarks.compressors import COMPRESSORS, smallest
from benchmarks.peers import LOG, PEERS, SCRIPTS, Peer, child, make, read

SCRIPT = """
from pathlib import Path
from child import run

def good(job, out):
    out.write_bytes(b"network")
    part = job.path("part")
    part.write_bytes(b"x")
    return [part]

def bad(job, out):
    raise ValueError("this can not be\\nfor many reasons")

run({"good one": good, "bad one": bad})
"""


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A peer that runs in the tests' own environment."""
    monkeypatch.setattr(peers, "environment", lambda peer, cache: Path(sys.executable))
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    (tmp_path / "job").mkdir()
    (tmp_path / "script.py").touch()
    return Peer("Peer", str(tmp_path / "script.py"), ("peer==1.2",))


def test_a_setting_that_fails_is_told_and_the_others_are_kept(peer: Peer, tmp_path: Path) -> None:
    Path(peer.script).write_text(SCRIPT)
    good, bad = make(peer, tmp_path, tmp_path / "job", tmp_path / "out", 60)
    assert good.model == tmp_path / "out" / "good-one.onnx"
    assert good.counted == (tmp_path / "out" / "part",)
    assert (bad.model, bad.failed) == (None, "ValueError: this can not be")


def test_a_peer_that_crashes_keeps_what_it_had_made(peer: Peer, tmp_path: Path) -> None:
    Path(peer.script).write_text(SCRIPT + "\nraise SystemExit('out of luck')")
    *made, end = make(peer, tmp_path, tmp_path / "job", tmp_path / "out", 60)
    assert len(made) == 2
    assert (end.setting, end.failed) == ("", "exit code 1: out of luck")
    assert (tmp_path / "out" / LOG).read_text().strip() == "out of luck"


def test_a_peer_that_hangs_is_stopped(peer: Peer, tmp_path: Path) -> None:
    Path(peer.script).write_text("import time; time.sleep(60)")
    (end,) = make(peer, tmp_path, tmp_path / "job", tmp_path / "out", 0.2)
    assert end.failed == "was stopped after 0 seconds"


def test_a_peer_that_can_not_be_installed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_run", lambda command, log, timeout: "exit code 1: no such thing")
    (tmp_path / "job").mkdir()
    (end,) = make(PEERS[0], tmp_path, tmp_path / "job", tmp_path / "out", 1)
    assert end.failed == "could not be installed: exit code 1: no such thing"


def test_only_the_very_same_job_is_not_done_again(peer: Peer, tmp_path: Path) -> None:
    script, job = Path(peer.script), tmp_path / "job"

    def made() -> int:
        make(peer, tmp_path, job, tmp_path / "out", 60)
        return len((tmp_path / "count").read_text())

    script.write_text(SCRIPT + f"\nopen({str(tmp_path / 'count')!r}, 'a').write('x')\n")
    assert (made(), made()) == (1, 1)
    (job / "model.onnx").write_bytes(b"another")
    assert (made(), made()) == (2, 2)


def test_without_results_there_are_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path) == []


def test_every_peer_has_its_script_and_a_pinned_version() -> None:
    for each in PEERS:
        assert (SCRIPTS / each.script).is_file()
        assert each.version
        assert all("==" in requirement for requirement in each.requires)


def matrices() -> onnx.ModelProto:
    """A MatMul, a Gemm of each kind and a convolution's kernel, each of another shape."""
    generator = np.random.default_rng(0)
    shapes = {
        "mul": (6, 5),
        "plain": (5, 4),
        "across": (3, 4),
        "kernel": (2, 1, 3, 3),
        "bias": (3,),
    }
    kept = [
        onnx.numpy_helper.from_array(generator.random(shape, np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "mul"], ["a"]),
        helper.make_node("Gemm", ["a", "plain"], ["b"]),
        helper.make_node("Gemm", ["b", "across", "bias"], ["y"], transB=1),
        helper.make_node("Conv", ["image", "kernel"], ["c"]),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])
        for name, width in (("x", 6), ("y", 3))
    )
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], kept))


def test_weights_come_outputs_first_and_go_back_as_they_were() -> None:
    model = matrices()
    found = child.weights(model)
    shapes = {name: value.shape for name, value in found.items()}
    assert shapes == {"mul": (5, 6), "plain": (4, 5), "across": (3, 4), "kernel": (2, 1, 3, 3)}
    assert child.put_back(model, found) == model
    doubled = child.put_back(model, {"mul": 2 * found["mul"]})
    assert (child.weights(doubled)["mul"] == 2 * found["mul"]).all()


def test_matrices_that_are_no_weights_stay_in_the_graph() -> None:
    model = matrices()
    mean = onnx.numpy_helper.from_array(np.ones((1, 6), np.float32), "mean")
    model.graph.initializer.append(mean)
    model.graph.node.append(helper.make_node("Sub", ["x", "mean"], ["z"]))
    assert "mean" not in child.weights(model)


def test_a_graph_without_weights_keeps_everything_else() -> None:
    model = matrices()
    bare = child.without(model, child.weights(model))
    held = {tensor.name: len(tensor.raw_data) for tensor in bare.graph.initializer}
    assert held == {"mul": 0, "plain": 0, "across": 0, "kernel": 0, "bias": 12}
    assert bare.graph.node == model.graph.node


def test_tensors_that_nothing_reads_go_and_those_of_branches_stay() -> None:
    model = matrices()
    spare = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "spare")
    model.graph.initializer.append(spare)
    assert child.used(model) == matrices()
    branch = helper.make_graph(
        [helper.make_node("Identity", ["spare"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    choice = helper.make_node("If", ["x"], ["w"], then_branch=branch, else_branch=branch)
    model.graph.node.append(choice)
    assert child.used(model) == model


def test_samples_come_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "inputs.json").write_text('["x"]')
    np.save(tmp_path / "job" / "input0.npy", np.arange(6).reshape(3, 2))
    values = [sample["x"].tolist() for sample in child.Job(tmp_path / "job", tmp_path).samples()]
    assert values == [[[0, 1]], [[2, 3]], [[4, 5]]]


def test_the_smallest_compressor_counts() -> None:
    noise = np.random.default_rng(0).bytes(1000)
    assert smallest(noise) == (1000, "as it is")
    size, name = smallest(bytes(1000))
    assert size == len(COMPRESSORS[name](bytes(1000))) < 100
