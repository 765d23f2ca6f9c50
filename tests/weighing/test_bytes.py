"""What a file's bytes are, what they pack to, and which are wasted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from packlight.coding.files import pack
from packlight.errors import BadInput
from packlight.weighing import weigh
from packlight.weighing.bytes import SAMPLE, bytes_of, really_packed
from tests.shared import shared


def model(path: Path, weights: dict[str, np.ndarray], read: list[str] | None = None) -> Path:
    """A chain of matrix products that reads those weights."""
    nodes, at = [], "x"
    for name in read or weights:
        nodes.append(helper.make_node("MatMul", [at, name], [f"{name}_out"], name=name))
        at = f"{name}_out"
    size = next(iter(weights.values())).shape[0]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, size])],
        [helper.make_tensor_value_info(at, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, shape).astype(np.float32)


def test_small_files_are_packed_and_their_tensors_estimated(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", {"a": random(64, 128), "b": random(128, 64, seed=1)})
    found = bytes_of(path)
    assert found.bytes == path.stat().st_size
    assert [(tensor.name, tensor.bytes) for tensor in found.tensors] == [
        ("a", 4 * 64 * 128),
        ("b", 4 * 64 * 128),
    ]
    assert found.packed_is_exact
    assert found.packed == really_packed(path)
    assert sum(tensor.packed for tensor in found.tensors) == pytest.approx(found.packed, rel=0.05)


def test_what_is_really_packed_is_what_pack_writes(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", {"a": random(64, 128)})
    assert really_packed(path) == pack(path).stat().st_size


@pytest.mark.parametrize("kind", ["normal", "sparse", "few"])
def test_large_files_are_estimated_from_a_sample(tmp_path: Path, kind: str) -> None:
    values = random(800, 900)
    if kind == "sparse":
        values[np.abs(values) < 0.05] = 0
    elif kind == "few":
        values = np.round(values * 40).astype(np.float32) / 40
    path = model(tmp_path / "m.onnx", {"a": values})
    assert path.stat().st_size > 4 * SAMPLE
    assert bytes_of(path).packed == pytest.approx(really_packed(path), rel=0.1)


@pytest.mark.parametrize("name", ["squeezenet1_1.onnx", "face_rfb320.onnx"])
def test_real_files_are_estimated_within_a_tenth(name: str) -> None:
    path = shared("models", name)
    assert bytes_of(path).packed == pytest.approx(really_packed(path), rel=0.1)


def test_copies_are_found_and_cost_nothing_packed(tmp_path: Path) -> None:
    same = random(64, 64)
    weights = {"a": same, "b": random(64, 64, seed=1), "c": same}
    path = model(tmp_path / "m.onnx", weights)
    (copy,) = bytes_of(path).copies
    assert (copy.name, copy.copy_of, copy.packed) == ("c", "a", 0)
    assert "c is a" in str(weigh(path)).replace("\n", " ")


def test_what_nothing_reads_is_dead(tmp_path: Path) -> None:
    weights = {"a": random(64, 64), "b": random(64, 64, seed=1)}
    path = model(tmp_path / "m.onnx", weights, read=["a"])
    found = bytes_of(path)
    assert [(tensor.name, tensor.unused) for tensor in found.dead] == [("b", True)]
    assert found.dead_bytes == 4 * 64 * 64
    assert "nothing reads b" in str(weigh(path))


def test_what_a_branch_reads_is_not_dead(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["out"])],
        "inner",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [8, 8])],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 8])],
        [numpy_helper.from_array(random(8, 8), "w")],
    )
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert not bytes_of(tmp_path / "m.onnx").dead


def test_channels_that_are_zero_are_dead(tmp_path: Path) -> None:
    values = random(20, 50)
    values[:, [3, 7]] = 0
    values[5] = -0.0
    (tensor,) = bytes_of(model(tmp_path / "m.onnx", {"a": values})).dead
    assert tensor.zero_channels == 3
    assert tensor.zero_bytes == 4 * int((values == 0).sum())


def test_paddings_that_are_zero_are_no_channels(tmp_path: Path) -> None:
    paddings = np.array([[0, 0], [3, 3]], dtype=np.int32)
    assert not bytes_of(model(tmp_path / "m.onnx", {"paddings": paddings})).dead


def test_weights_beside_the_file_count_too(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", {"a": random(64, 128)})
    proto = onnx.load(path)
    onnx.save(proto, path, save_as_external_data=True, location="m.data", size_threshold=0)
    found = bytes_of(path)
    assert found.bytes == path.stat().st_size + (tmp_path / "m.data").stat().st_size
    assert [tensor.bytes for tensor in found.tensors] == [4 * 64 * 128]


@pytest.mark.parametrize("content", [b"", b"\x08\x07:\xff\xff\xff\xff", b"no model at all" * 100])
def test_any_file_has_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd").write_bytes(content)
    found = bytes_of(tmp_path / "odd")
    assert (found.bytes, found.tensors) == (len(content), ())
    assert found.packed <= len(content) + 100  # a container's header


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        bytes_of(tmp_path / "nothing")
