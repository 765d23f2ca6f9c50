"""ONNX files, weighed from what they say; the graph that `load` makes is the second opinion."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from packlight.errors import BadInput
from packlight.readers import load
from packlight.readers.shapes import examples_of
from packlight.weighing import LayerRow, LayerTable, weigh
from packlight.weighing.formats import listing_of
from packlight.weighing.formats.operations import program_of
from tests.readers.models import build, node
from tests.shared import shared

RNG = np.random.default_rng(0)
SILERO: dict[str, Any] = {
    "input_shapes": {"input": (1, 576), "state": (2, 1, 128)},
    "constants": {"sr": 16000},
}


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.normal(size=shape).astype(np.float32)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def weighed(
    folder: Path, nodes: list[onnx.NodeProto], shape: list[Any], weights: Any, **options: Any
) -> LayerTable:
    return weigh(saved(build(nodes, {"x": shape}, ["y"], weights, **options), folder))


def figures(row: LayerRow) -> tuple[Any, ...]:
    return (
        *(row.type, row.activation, row.elements, row.data_bytes, row.parameters),
        *(row.parameter_count, row.macs, row.bytes, row.bits_per_weight, row.zeros),
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet8_cifar10_bn", {}),
        ("kws_dscnn", {}),
        ("face_rfb320", {}),
        ("lenet5_caffe", {}),
        ("ad_autoencoder", {}),
        ("squeezenet1_0_deepcompressed", {}),
        ("silero_vad", SILERO),
    ],
)
def test_the_file_and_its_graph_tell_the_same(name: str, options: dict[str, Any]) -> None:
    path = shared("models", f"{name}.onnx")
    direct = weigh(path, **options)
    shapes = options.get("input_shapes")
    examples = examples_of(path, shapes) if shapes else None
    graph = weigh(load(path, examples, constants=options.get("constants")))
    assert [figures(row) for row in direct.rows] == [figures(row) for row in graph.rows]
    if not options:  # there, the graph has its batch fixed
        assert [row.shape for row in direct.rows] == [row.shape for row in graph.rows]
    with_parameters = [row.layer for row in direct.rows if row.parameter_count]
    assert with_parameters == [row.layer for row in graph.rows if row.parameter_count]


def test_the_batch_is_found_wherever_it_hides(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "steps", perm=[1, 0, 2]),
        node("LSTM", "steps w r", "_ h", hidden_size=4, direction="bidirectional"),
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Concat", "n rest", "shape", axis=0),
        node("Transpose", "h", "t", perm=[1, 0, 2]),
        node("Reshape", "t shape", "y"),
    ]
    nodes[1].output[0] = ""
    weights = {
        **{"w": normal(2, 16, 3), "r": normal(2, 16, 4)},
        **{"zero": np.array([0]), "rest": np.array([8])},
    }
    table = weighed(tmp_path, nodes, ["N", 7, 3], weights)
    rows = {row.type: row for row in table.rows}
    assert [row.elements for row in table.rows] == [21, 21, 8, 8, 8]
    assert rows["LSTM"].macs == 7 * 2 * (16 * 3 + 16 * 4)
    assert rows["LSTM"].parameters == "3x16+4x16+3x16+4x16"
    assert rows["Flatten"].shape == (8,)


def test_a_batch_that_the_file_fixes_is_the_only_one(tmp_path: Path) -> None:
    file = saved(build([node("Relu", "x", "y")], {"x": [4, 3]}, ["y"], {}), tmp_path)
    assert weigh(file, batch=4).totals.elements == 4 * weigh(file).totals.elements == 24
    with pytest.raises(BadInput, match="a batch of 3 is not possible; the file fixes it to 4"):
        weigh(file, batch=3)


def test_int8_weights_count_as_they_are_stored(tmp_path: Path) -> None:
    levels = RNG.integers(-3, 4, (6, 4, 3, 3)).astype(np.int8)
    nodes = [
        node("DequantizeLinear", "q s z", "w", axis=0),
        node("DequantizeLinear", "bq bs", "b"),
        node("Conv", "x w b", "c"),
        node("Relu", "c", "y"),
    ]
    weights = {
        **{"q": levels, "s": normal(6), "z": np.full(6, 1, np.int8)},
        **{"bq": np.arange(6, dtype=np.int32), "bs": np.float32(0.1)},
    }
    _, row = weighed(tmp_path, nodes, ["N", 4, 8, 8], weights).rows
    assert (row.type, row.activation, row.parameters) == ("Conv2D", "ReLU", "3x3x4x6+6")
    assert (row.parameter_count, row.macs) == (222, 36 * 216)
    assert row.bytes == (216 + 24 + 6) + (24 + 4)
    assert row.bits_per_weight == 8 * 246 / 216
    assert row.zeros == int((levels == 1).sum()) + 1  # a weight at its zero point is zero


def test_memory_of_quantised_layers_is_that_of_integers(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("Conv", "d w", "c"),
        node("Relu", "c", "r"),
        node("QuantizeLinear", "r s z", "rq"),
        node("DequantizeLinear", "rq s z", "y"),
    ]
    weights = {"s": np.float32(0.1), "z": np.uint8(0), "w": normal(6, 4, 3, 3)}
    path = saved(build(nodes, {"x": ["N", 4, 8, 8]}, ["y"], weights), tmp_path)
    listing = listing_of(path)
    assert listing is not None
    program = program_of(listing)
    assert {name: program.values[name].bytes for name in "xqcry"} == {
        **{"x": 4 * 256, "q": 256, "c": 216, "r": 216, "y": 4 * 216}
    }
    (relu,) = [step for step in program.steps if step.kind == "ReLU"]
    assert relu.may_overwrite == ("c",)


def test_int4_in_blocks_has_its_scales_shared_out(tmp_path: Path) -> None:
    levels = RNG.integers(-8, 8, (64, 10)).astype(np.int8)
    packed = helper.make_tensor("q", TensorProto.INT4, levels.shape, levels.reshape(-1))
    nodes = [
        node("DequantizeLinear", "q s", "w", axis=0, block_size=32),
        node("MatMul", "x w", "y"),
    ]
    model = build(nodes, {"x": ["N", 64]}, ["y"], {"s": normal(2, 10)}, opset=21)
    model.graph.initializer.append(packed)
    _, row = weigh(saved(model, tmp_path)).rows
    assert (row.type, row.parameters, row.bytes) == ("Dense", "64x10", 320 + 80)
    assert row.bits_per_weight == 5.0
    assert row.zeros == int((levels == 0).sum())


def test_a_codebook_counts_with_its_indices(tmp_path: Path) -> None:
    index = RNG.integers(0, 16, (20, 30)).astype(np.uint8)
    book = normal(16)
    book[3] = 0
    nodes = [
        node("Cast", "index", "wide", to=TensorProto.INT64),
        node("Gather", "book wide", "w"),
        node("Gemm", "x w b", "y", transB=1),
    ]
    weights = {"index": index, "book": book, "b": normal(20)}
    _, row = weighed(tmp_path, nodes, ["N", 30], weights).rows
    assert (row.type, row.parameters, row.parameter_count) == ("Dense", "30x20+20", 620)
    assert (row.bytes, row.zeros) == (600 + 64 + 80, int((index == 3).sum()))


def test_sparse_weights_count_what_is_stored(tmp_path: Path) -> None:
    model = build([node("MatMul", "x w", "y")], {"x": ["N", 8]}, ["y"])
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(normal(5), "w"),
            numpy_helper.from_array(np.array([0, 3, 9, 20, 31]), "i"),
            [8, 4],
        )
    )
    _, row = weigh(saved(model, tmp_path)).rows
    assert (row.type, row.parameter_count, row.bytes) == ("Dense", 32, 5 * 4 + 5 * 8)
    assert (row.zeros, row.macs) == (27, 32)


def test_integer_operators_are_layers_too(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("QLinearConv", "q s z w ws wz s z b", "c"),
        node("DequantizeLinear", "c s z", "y"),
    ]
    weights = {
        **{"s": np.float32(0.1), "z": np.uint8(128), "wz": np.zeros(6, np.int8)},
        **{"w": np.ones((6, 4, 1, 1), np.int8), "ws": normal(6), "b": np.ones(6, np.int32)},
    }
    _, row = weighed(tmp_path, nodes, ["N", 4, 5, 5], weights).rows
    assert (row.type, row.parameters, row.shape_text) == ("Conv2D", "1x1x4x6+6", "5x5x6")
    assert (row.bytes, row.macs, row.data_bytes) == (24 + 24 + 6 + 24, 25 * 24, 150)


def test_onnxruntimes_four_bit_product_is_a_dense_layer(tmp_path: Path) -> None:
    packed = RNG.integers(0, 256, (10, 2, 16)).astype(np.uint8)
    product = helper.make_node(
        *("MatMulNBits", ["x", "w", "s"], ["y"]),
        **{"domain": "com.microsoft", "K": 64, "N": 10, "bits": 4, "block_size": 32},
    )
    model = build([product], {"x": ["N", 64]}, ["y"], {"w": packed, "s": normal(20)})
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    _, row = weigh(saved(model, tmp_path)).rows
    assert (row.type, row.parameters, row.macs) == ("Dense", "64x10", 640)
    assert (row.bytes, row.bits_per_weight, row.shape) == (320 + 80, 5.0, (10,))
    assert row.zeros == int((packed & 15 == 8).sum() + (packed >> 4 == 8).sum())


def test_custom_operators_count_as_bytes(tmp_path: Path) -> None:
    custom = helper.make_node("Wavelet", ["x", "w"], ["h"], name="wave", domain="com.example")
    model = build([custom, node("Relu", "h", "y")], {"x": ["N", 4]}, ["y"], {"w": normal(4, 3)})
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    table = weigh(saved(model, tmp_path))
    assert [(row.type, row.bytes, row.macs) for row in table.rows[1:]] == [("Wavelet", 48, 0)]
    assert table.rows[1].shape_text == "?"
    assert "com.example.Wavelet" in table.notes[0]
    assert "MACs and its memory are not" in table.notes[-1]


@pytest.mark.parametrize(
    ("shape", "named"), [(["N", 3, "height", 8], "dimension 2 ('height')"), (None, "dimensions")]
)
def test_open_sizes_are_asked_for_by_name(tmp_path: Path, shape: Any, named: str) -> None:
    nodes = [node("Conv", "x w", "y")]
    model = build(nodes, {"x": shape}, ["y"], {"w": normal(4, 3, 3, 3)})
    with pytest.raises(BadInput, match="--input-shape") as caught:
        weigh(saved(model, tmp_path))
    assert named in str(caught.value)
    table = weigh(tmp_path / "model.onnx", input_shapes={"x": (1, 3, 10, 8)})
    assert table.rows[-1].shape == (8, 6, 4)
    with pytest.raises(BadInput, match="has no input 'z'"):
        weigh(tmp_path / "model.onnx", input_shapes={"z": (1, 3, 10, 8)})


def _loop(limit: str = "n", going: str = "") -> onnx.NodeProto:
    """y = relu(x @ w) again and again; z holds what every time gave."""
    body = helper.make_graph(
        [node("Identity", "c", "d"), node("MatMul", "v w", "m"), node("Relu", "m", "u")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("u", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("u", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", [limit, going, "x"], ["y", "z"], name="again", body=body)


@pytest.mark.parametrize("opset", [11, 17])
def test_the_steps_of_a_loop_are_listed(opset: int, tmp_path: Path) -> None:
    weights = {"n": np.array(3), "w": normal(4, 4)}
    model = build([_loop()], {"x": ["N", 4]}, ["z"], weights, opset=opset)
    table = weigh(saved(model, tmp_path))
    assert [row.type for row in table.rows].count("Dense") == 3
    assert table.rows[-1].shape == (3, 4)  # beside the batch
    assert sum(row.macs for row in table.rows) == 3 * 16
    assert sum(row.parameter_count for row in table.rows) == 16  # the weight is one


def test_a_range_as_long_as_a_size_is_known(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s last", "n"),  # without dimensions
        node("Cast", "n", "f", to=TensorProto.FLOAT),
        node("Range", "zero f one", "places"),
        node("Add", "x places", "moved"),
        node("MatMul", "moved w", "y"),
    ]
    weights = {
        "last": np.array(-1),
        "zero": np.zeros((), np.float32),
        "one": np.ones((), np.float32),
        "w": normal(6, 4),
    }
    table = weighed(tmp_path, nodes, ["N", 3, 6], weights)
    assert table.rows[-1].shape == (3, 4)  # beside the batch
    assert table.rows[-1].macs == 3 * 6 * 4


@pytest.mark.parametrize(("limit", "going"), [("", "true"), ("sum", ""), ("n", "")])
def test_a_loop_without_a_known_end_is_refused_by_name(
    limit: str, going: str, tmp_path: Path
) -> None:
    nodes = [
        node("ReduceSum", "x", "total", keepdims=0),
        node("Cast", "total", "sum", to=TensorProto.INT64),
        _loop(limit, going),
    ]
    weights = {"n": np.array(1000), "true": np.array(True), "w": normal(4, 4)}
    with pytest.raises(BadInput, match=r"Loop of node 'again'.*depends on data"):
        weighed(tmp_path, nodes, ["N", 4], weights)


def test_a_branch_on_data_is_refused_by_name(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [node("Relu", "x", "u")], "b", [], [helper.make_tensor_value_info("u", 1, None)]
    )
    nodes = [
        node("ReduceSum", "x", "sum", keepdims=0),
        node("Greater", "sum zero", "c"),
        helper.make_node("If", ["c"], ["y"], name="which", then_branch=branch, else_branch=branch),
    ]
    with pytest.raises(BadInput, match=r"If of node 'which'.*depends on data"):
        weighed(tmp_path, nodes, ["N", 3], {"zero": np.float32(0)})


def test_an_input_that_chooses_a_branch_is_found(tmp_path: Path) -> None:
    rates = {16000: normal(4, 3), 8000: normal(4, 2)}
    branches = {}
    for name, rate in (("then_branch", 16000), ("else_branch", 8000)):
        out = helper.make_tensor_value_info("h", TensorProto.FLOAT, None)
        weight = numpy_helper.from_array(rates[rate], "w")
        branches[name] = helper.make_graph([node("MatMul", "x w", "h")], name, [], [out], [weight])
    nodes = [
        helper.make_node("Equal", ["rate", "wanted"], ["c"]),
        helper.make_node("If", ["c"], ["y"], name="which", **branches),
    ]
    inputs = {"x": ["N", 4], "rate": []}
    kinds = {"rate": TensorProto.INT64}
    path = saved(build(nodes, inputs, ["y"], {"wanted": np.array(16000)}, types=kinds), tmp_path)
    table = weigh(path)
    assert table.rows[-1].parameters == "4x3"
    assert "rate is taken as 16000: the other branch of which is dropped" in table.notes[0]
    assert weigh(path, constants={"rate": 8000}).rows[-1].parameters == "4x2"


def test_weights_in_a_missing_file_of_gigabytes_are_not_missed(tmp_path: Path) -> None:
    model = build(
        [node("MatMul", "x w", "h"), node("Add", "h b", "y")], {"x": ["N", 40_000]}, ["y"]
    )
    for name, sizes in (("w", [40_000, 20_000]), ("b", [20_000])):
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=sizes)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
        model.graph.initializer.append(tensor)
    table = weigh(saved(model, tmp_path))
    assert table.totals.bytes == 4 * (800_000_000 + 20_000)
    assert table.totals.macs == 800_000_000
    (note,) = table.notes
    assert "3.2 GB" in note
    assert "'weights.bin'" in note
    assert "zeros are not counted" in note


def test_zeros_are_counted_in_other_files_too(tmp_path: Path) -> None:
    weight = np.round(normal(30, 20)).astype(np.float32)
    model = build([node("MatMul", "x w", "y")], {"x": ["N", 30]}, ["y"], {"w": weight})
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="w.bin")
    assert weigh(path).rows[-1].zeros == int((weight == 0).sum())


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = saved(
        build([node("MatMul", "x w", "y")], {"x": ["N", 3]}, ["y"], {"w": normal(3, 2)}), tmp_path
    )
    program = (
        f"import sys, packlight; packlight.weigh({str(path)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("value", ["many", 0.5, [1, 2]])
def test_a_value_that_its_input_can_not_have_is_refused(tmp_path: Path, value: Any) -> None:
    nodes = [node("Gather", "x which", "y")]
    inputs = {"x": ["N", 3], "which": []}
    model = build(nodes, inputs, ["y"], types={"which": TensorProto.INT64})
    with pytest.raises(BadInput, match="the value of input 'which'"):
        weigh(saved(model, tmp_path), constants={"which": value})


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.h5").touch()
    with pytest.raises(BadInput, match=r"model\.h5 ends in \.h5; weigh takes \.onnx"):
        weigh(tmp_path / "model.h5")


@pytest.mark.usefixtures("without_packing")
def test_a_damaged_file_is_refused_or_weighed(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "h", pads=[0, 0, 1, 1]), node("Reshape", "h s", "y")]
    weights = {"w": normal(4, 3, 3, 3), "s": np.array([0, -1])}
    whole = build(nodes, {"x": ["N", 3, 6, 6]}, ["y"], weights).SerializeToString()
    path, flips = tmp_path / "model.onnx", np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[int(flips.integers(len(whole)))] ^= 1 << int(flips.integers(8))
        path.write_bytes(
            damaged[: int(flips.integers(len(whole))) if flips.random() < 0.3 else None]
        )
        with contextlib.suppress(BadInput):
            weigh(path)
