"""Files that are no models, are damaged, or were written to do harm: one sentence, no crash."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import packlight
from packlight.errors import BadInput, UnsupportedOperator
from tests.readers.models import build, node, save


def _weights() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(4).astype(np.float32),
        "fc": rng.standard_normal((64, 2)).astype(np.float32),
        "shape": np.array([0, -1], np.int64),
        "half": np.float32(0.5),
    }


def _model(**changes: Any) -> onnx.ModelProto:
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Mul", "p half", "h"),
        node("Reshape", "h shape", "f"),
        node("Gemm", "f fc", "g"),
        node("Softmax", "g", "y", axis=1),
    ]
    return build(nodes, {"x": ["N", 3, 8, 8]}, ["y"], {**_weights(), **changes})


def _refusal(path: Path, *args: Any, **options: Any) -> str:
    with pytest.raises(BadInput) as refused:
        packlight.load(path, *args, **options)
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


def test_the_model_itself_loads(tmp_path: Path) -> None:
    assert packlight.load(save(_model(), tmp_path)).batch is None


def test_every_truncation_is_rejected(tmp_path: Path) -> None:
    """The last fields say which opset it is, so a file that lost any part of itself is noticed."""
    data = _model().SerializeToString()
    path = tmp_path / "model.onnx"
    for length in {*range(0, len(data), max(1, len(data) // 50)), len(data) - 1, len(data) - 2}:
        path.write_bytes(data[:length])
        text = _refusal(path)
        assert text.startswith("model.onnx is ")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(200), "a JPEG image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG image"),
        (b"PK\x03\x04" + bytes(50), "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "an HTML or XML page"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(50), "a TensorFlow Lite model"),
        (b"", "empty"),
        (b"hello", "not an ONNX model"),
        (bytes(1000), "not an ONNX model"),
    ],
)
def test_other_files_are_named(data: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    assert what in _refusal(path)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    assert "is a folder" in _refusal(tmp_path / "model.onnx")
    assert "does not exist" in _refusal(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(number: float, tmp_path: Path) -> None:
    broken = _weights()["w"]
    broken[2, 1, 0, 2] = number
    text = _refusal(save(_model(w=broken), tmp_path))
    found = "NaN" if np.isnan(number) else "infinity"
    assert text == (
        f"tensor 'w' of model.onnx holds {found} at [2, 1, 0, 2] (1 of 108 numbers are not "
        "finite); weights must be finite, so export the model again from a checkpoint that is"
    )


def test_an_infinite_mask_is_no_broken_weight(tmp_path: Path) -> None:
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    nodes = [node("Add", "x mask", "a"), node("Softmax", "a", "y")]
    network = packlight.load(save(build(nodes, {"x": [4, 4]}, ["y"], {"mask": mask}), tmp_path))
    assert torch.isfinite(network(*network.example_inputs)[0]).all()


@pytest.mark.parametrize(
    ("make", "operator", "why"),
    [
        (
            lambda: node("NonZero", "x", "y"),
            "NonZero",
            " (an input of it depends on the network's inputs)",
        ),
        (lambda: node("Unique", "x", "y"), "Unique", ""),
        (
            lambda: helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft"),
            "com.microsoft.FusedConv",
            " (not a standard operator)",
        ),
        (
            lambda: node("NoSuchThing", "x", "y"),
            "NoSuchThing",
            " (this opset has no such operator)",
        ),
        (lambda: node("Gelu", "x", "y"), "Gelu", " (this opset has no such operator)"),
        (lambda: node("RandomNormalLike", "x", "y"), "RandomNormalLike", " (its result is random)"),
    ],
)
def test_an_operator_that_can_not_be_read_is_named(
    make: Any, operator: str, why: str, tmp_path: Path
) -> None:
    proto = make()
    proto.name = "the/node"
    path = save(build([proto], {"x": [2, 3]}, ["y"], opset=17), tmp_path)
    with pytest.raises(UnsupportedOperator) as refused:
        packlight.load(path)
    assert str(refused.value) == (
        f"operator {operator} of node 'the/node' (opset 17) can not be read{why}; "
        "rewrite the node with standard operators, or cut it off into its own file"
    )
    assert refused.value.exit_code == 2


def test_an_operator_nothing_depends_on_does_no_harm(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "y"), node("Unique", "x", "unused")]
    packlight.load(save(build(nodes, {"x": [2, 3]}, ["y"]), tmp_path))


def test_a_branch_that_depends_on_data_is_refused(tmp_path: Path) -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [node(op, "x", name)],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, op in (("then", "Relu"), ("else", "Neg"))
    }
    nodes = [
        node("ReduceSum", "x", "sum", keepdims=0),
        node("Greater", "sum zero", "positive"),
        helper.make_node("If", ["positive"], ["y"], name="choice", **branches),
    ]
    path = save(build(nodes, {"x": [2, 3]}, ["y"], {"zero": np.float32(0)}), tmp_path)
    with pytest.raises(UnsupportedOperator, match=r"If of node 'choice'.*depends on data"):
        packlight.load(path)


def test_open_sizes_are_asked_for(tmp_path: Path) -> None:
    model = build([node("Relu", "image", "y")], {"image": ["N", 3, "height", None]}, ["y"])
    path = save(model, tmp_path)
    text = _refusal(path)
    assert text == (
        "input 'image' leaves dimension 2 ('height') open, and only the batch may vary; give "
        "example_inputs of the size your app uses (on the command line: --input-shape)"
    )
    for example in ([np.zeros((1, 3, 20, 30))], torch.zeros(1, 3, 20, 30)):
        assert packlight.load(path, example).inputs[0].shape == (None, 3, 20, 30)


@pytest.mark.parametrize(
    ("examples", "what"),
    [
        ([], "0 example inputs were given, but the file has 1: x"),
        ([np.zeros((1, 3, 8, 8)), np.zeros(1)], "2 example inputs were given"),
        ([np.zeros((1, 3, 8))], "has the shape 1x3x8, the file says Nx3x8x8"),
        ([np.zeros((1, 4, 8, 8))], "has the shape 1x4x8x8, the file says Nx3x8x8"),
        (["text"], "is no array of numbers"),
    ],
)
def test_examples_must_fit(examples: list[Any], what: str, tmp_path: Path) -> None:
    assert what in _refusal(save(_model(), tmp_path), examples)


def test_constants_must_name_an_input(tmp_path: Path) -> None:
    path = save(_model(), tmp_path)
    assert "the inputs of the file are: x" in _refusal(path, constants={"sr": 16000})
    assert "a value of type float32 is needed" in _refusal(path, constants={"x": "loud"})


def _external(tmp_path: Path, **entries: Any) -> Path:
    model = _model()
    tensor = next(item for item in model.graph.initializer if item.name == "fc")
    data = tensor.raw_data
    (tmp_path / "folder").mkdir(exist_ok=True)
    (tmp_path / "folder" / "weights.bin").write_bytes(data)
    (tmp_path / "secret.bin").write_bytes(data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return save(model, tmp_path / "folder")


def test_external_data_is_read(tmp_path: Path) -> None:
    network = packlight.load(_external(tmp_path, offset=0, length=512))
    assert torch.equal(
        network.module.get_parameter("fc").detach(), torch.from_numpy(_weights()["fc"])
    )


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({"location": "gone.bin"}, "which is not there; put that file next to model.onnx"),
        ({"location": "../secret.bin"}, "external data must be a file in the model's own folder"),
        ({"location": "..\\secret.bin"}, "external data must be a file in the model's own folder"),
        ({"location": "/etc/passwd"}, "external data must be a file in the model's own folder"),
        ({"location": "link.bin"}, "external data must be a file in the model's own folder"),
        ({"location": ""}, "external data must be a file in the model's own folder"),
        ({"location": "."}, "external data must be a file in the model's own folder"),
        ({"location": "a\0b"}, "external data must be a file in the model's own folder"),
        ({"offset": 4}, "needs bytes 4 to 516 of 'weights.bin', which has 512"),
        ({"offset": -1}, "the file is damaged"),
        ({"offset": "x"}, "is no number"),
        ({"offset": 10**30}, "needs bytes"),
        ({"length": 100}, "takes 512 bytes, but 100 bytes"),
        ({"location": "x" * 5000}, "'xxx"),
    ],
)
def test_external_data_must_be_whole_and_inside(
    entries: dict[str, Any], what: str, tmp_path: Path
) -> None:
    path = _external(tmp_path, **entries)
    (tmp_path / "folder" / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(BadInput) as refused:
        packlight.load(path)
    assert what in str(refused.value)


def _damaged(change: Any) -> onnx.ModelProto:
    model = _model()
    change(model)
    return model


def _set_dims(model: onnx.ModelProto, dims: list[int]) -> None:
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: _set_dims(m, [4, 3, 3, 4]),
        lambda m: _set_dims(m, [2**62, 4]),
        lambda m: _set_dims(m, [-4, -3, 3, 3]),
        lambda m: _set_dims(m, [0]),
        lambda m: setattr(m.graph.initializer[0], "data_type", 99),
        lambda m: setattr(m.graph.initializer[0], "data_type", TensorProto.STRING),
        lambda m: setattr(m.graph.initializer[0], "name", ""),
        lambda m: setattr(m.graph.initializer[1], "name", "w"),
        lambda m: setattr(m.opset_import[0], "version", 3),
        lambda m: setattr(m.opset_import[0], "version", 99),
        lambda m: setattr(m.graph.node[0].attribute[0], "name", "nonsense"),
        lambda m: setattr(m.graph.node[0].attribute[0], "type", 1),
        lambda m: m.graph.node[0].attribute[0].ints.append(5),
        lambda m: m.graph.node[0].attribute[0].ints.__setitem__(0, -3),
        lambda m: m.graph.node[0].attribute[0].ints.__setitem__(0, 2**62),
        lambda m: m.graph.node[2].attribute[0].ints.__setitem__(0, 0),
        lambda m: m.graph.node[2].attribute[1].ints.__setitem__(0, 0),
        lambda m: m.graph.node[2].attribute.__delitem__(0),
        lambda m: m.graph.node[6].attribute.append(helper.make_attribute("axis", 9)),
        lambda m: m.graph.node[1].input.append("x"),
        lambda m: m.graph.node[1].input.__setitem__(0, "y"),
        lambda m: m.graph.node[1].input.__setitem__(0, "nowhere"),
        lambda m: setattr(m.graph.output[0], "name", "nowhere"),
        lambda m: m.graph.node.insert(0, m.graph.node[6]),
        lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING),
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 0),
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 10**12),
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 4),
        lambda m: m.graph.sparse_initializer.add(),
        lambda m: m.graph.input.append(m.graph.input[0]),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change: Any, tmp_path: Path) -> None:
    _refusal(save(_damaged(change), tmp_path))


def test_only_the_sentence_reaches_the_terminal(tmp_path: Path) -> None:
    """torch logs a traceback of its own when shapes do not go together; nobody must see it."""
    path = save(_model(fc=np.zeros((63, 2), np.float32)), tmp_path)
    code = f"import packlight\ntry: packlight.load({str(path)!r})\nexcept Exception as e: print(e)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert run.stdout == (
        "node 'Gemm_5' (Gemm) can not run: a and b must have same reduction dim, but got "
        "[1, 64] X [63, 2]; the file is damaged, or its inputs must be of other sizes (give "
        "example_inputs)\n"
    )


def test_a_value_that_would_not_fit_in_memory_is_not_made(tmp_path: Path) -> None:
    """A few bytes that ask for terabytes: sizes are only numbers until something runs."""
    huge = np.array([2**20, 2**20], np.int64)
    nodes = [
        node("ConstantOfShape", "huge", "zeros"),
        node("ReduceMax", "zeros", "m", keepdims=0),
        node("Add", "x m", "y"),
    ]
    path = save(build(nodes, {"x": [1, 2]}, ["y"], {"huge": huge}), tmp_path)
    packlight.load(path)
    doubled = [node("Concat", f"v{i} v{i}", f"v{i + 1}", axis=0) for i in range(60)]
    nodes = [
        node("Concat", "s s", "v0", axis=0),
        *doubled,
        node("ReduceSum", "v60", "n", keepdims=0),
        node("Cast", "n", "f", to=TensorProto.FLOAT),
        node("Add", "x f", "y"),
    ]
    path = save(build(nodes, {"x": [1, 2]}, ["y"], {"s": np.array([1, 2], np.int64)}), tmp_path)
    with contextlib.suppress(BadInput):
        packlight.load(path)


def test_functions_that_call_functions_do_not_explode(tmp_path: Path) -> None:
    model = _model()
    for level in range(40):
        callee = f"f{level - 1}" if level else "Relu"
        domain = "mine" if level else ""
        model.functions.append(
            helper.make_function(
                "mine",
                f"f{level}",
                ["a"],
                ["c"],
                [
                    helper.make_node(callee, ["a"], ["b"], domain=domain),
                    helper.make_node(callee, ["b"], ["c"], domain=domain),
                ],
                [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)],
            )
        )
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node.insert(0, helper.make_node("f39", ["x"], ["x2"], domain="mine"))
    model.graph.node[1].input[0] = "x2"
    assert "more than 200,000 nodes" in _refusal(save(model, tmp_path))
    model.graph.node[0].op_type = "f3"
    assert packlight.load(save(model, tmp_path)).batch is None


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    model = _model()
    model.functions.append(
        helper.make_function(
            "mine",
            "loop",
            ["a"],
            ["b"],
            [helper.make_node("loop", ["a"], ["b"], domain="mine")],
            [helper.make_opsetid("mine", 1)],
        )
    )
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node.insert(0, helper.make_node("loop", ["x"], ["x2"], domain="mine"))
    model.graph.node[1].input[0] = "x2"
    assert "calls itself" in _refusal(save(model, tmp_path))


def test_flipped_bits_load_or_are_refused(tmp_path: Path) -> None:
    """Nothing else: no other exception, no crash; and what loads runs."""
    data = _model().SerializeToString()
    rng = np.random.default_rng(0)
    path = tmp_path / "model.onnx"
    # the weights are most of the bytes and the least interesting ones: aim at the rest
    where = [at for at in range(len(data)) if not _in_weights(data, at)]
    outcomes = {"loaded": 0, "refused": 0}
    sentences = []
    for _ in range(400):
        damaged = bytearray(data)
        for at in rng.choice(where, rng.integers(1, 4)):
            damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            packlight.load(path)
            outcomes["loaded"] += 1
        except BadInput as refusal:
            outcomes["refused"] += 1
            sentences.append(str(refusal))
    assert not [text for text in sentences if "\n" in text or len(text) > 600]
    assert outcomes["loaded"] > 10
    assert outcomes["refused"] > 100


def _in_weights(data: bytes, at: int) -> bool:
    for array in _weights().values():
        raw = numpy_helper.from_array(array).raw_data
        start = data.find(raw)
        if len(raw) > 64 and start <= at < start + len(raw):
            return True
    return False
