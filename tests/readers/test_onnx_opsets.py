"""Networks of every era of ONNX, built by hand and held to onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import packlight
from packlight.graph import aten, is_call
from packlight.readers.onnx.file import NEWEST_OPSET, OLDEST_OPSET
from tests.readers.models import build, calls, check, node, random_inputs, save

OPSETS = [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, NEWEST_OPSET]
MAIN_OPSETS = [7, 9, 11, 13, 17, 21, NEWEST_OPSET]


def _normal(*shape: int, seed: int = 0, scale: float = 0.3) -> Any:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def _ints(*values: int) -> Any:
    return np.array(values, np.int64)


@pytest.mark.parametrize("opset", OPSETS)
def test_a_small_cnn_of_any_opset(opset: int, tmp_path: Path) -> None:
    """Conv, batch norm, clip, pools, upsampling, padding, flatten, Gemm, softmax as each era
    wrote them."""
    weights = {
        "conv.weight": _normal(8, 3, 3, 3),
        "conv.bias": _normal(8, seed=1),
        "bn.gamma": 1 + _normal(8, seed=2),
        "bn.beta": _normal(8, seed=3),
        "bn.mean": _normal(8, seed=4),
        "bn.var": np.abs(_normal(8, seed=5)) + 0.5,
        "fc.weight": _normal(8 * 8 * 10, 5, seed=6),
        "fc.bias": _normal(5, seed=7),
    }
    nodes = [
        node("Conv", "x conv.weight conv.bias", "a", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", "a bn.gamma bn.beta bn.mean bn.var", "b", epsilon=1e-3),
    ]
    if opset < 11:
        nodes.append(node("Clip", "b", "c", min=0.0, max=6.0))
    else:
        weights |= {"low": np.float32(0), "high": np.float32(6)}
        nodes.append(node("Clip", "b low high", "c"))
    nodes.append(node("AveragePool", "c", "d", kernel_shape=[2, 2], strides=[2, 2]))
    scales = np.array([1, 1, 2, 2], np.float32)
    if opset < 9:
        nodes.append(node("Upsample", "d", "e", mode="nearest", scales=scales.tolist()))
    else:
        weights |= {"scales": scales, "roi": np.array([], np.float32)}
        if opset == 9:
            nodes.append(node("Upsample", "d scales", "e", mode="nearest"))
        elif opset == 10:
            nodes.append(node("Resize", "d scales", "e", mode="nearest"))
        else:
            nodes.append(node("Resize", "d roi scales", "e", mode="nearest"))
    if opset < 11:
        nodes.append(node("Pad", "e", "f", pads=[0, 0, 0, 1, 0, 0, 0, 1], mode="constant"))
    else:
        weights["pads"] = _ints(0, 0, 0, 1, 0, 0, 0, 1)
        nodes.append(node("Pad", "e pads", "f"))
    nodes += [
        node("Flatten", "f", "g", axis=1),
        node("Gemm", "g fc.weight fc.bias", "h"),
        node("Softmax", "h", "y", axis=1),
    ]
    model = build(nodes, {"x": ["N", 3, 16, 16]}, ["y"], weights, opset=opset)
    network = check(model, tmp_path, batches=(1, 4))
    assert network.batch is None
    assert calls(network)[:3] == ["aten.conv2d", "aten.batch_norm", "aten.relu6"]
    assert "aten.linear" in calls(network)


@pytest.mark.parametrize("opset", MAIN_OPSETS)
def test_axes_move_from_attributes_to_inputs(opset: int, tmp_path: Path) -> None:
    """Unsqueeze, Squeeze, Split, Slice and the reductions."""
    weights: dict[str, Any] = {}
    nodes: list[onnx.NodeProto] = []
    if opset < 13:
        nodes += [
            node("Unsqueeze", "x", "a", axes=[1]),
            node("Squeeze", "a", "b", axes=[1]),
            node("Split", "b", "c d", axis=1, split=[2, 4]),
            node("ReduceSum", "d", "e", axes=[1], keepdims=1),
        ]
    else:
        weights |= {"one": _ints(1), "parts": _ints(2, 4)}
        nodes += [
            node("Unsqueeze", "x one", "a"),
            node("Squeeze", "a one", "b"),
            node("Split", "b parts", "c d", axis=1),
            node("ReduceSum", "d one", "e", keepdims=1),
        ]
    if opset < 18:
        nodes.append(node("ReduceMean", "c", "f", axes=[1], keepdims=1))
    else:
        nodes.append(node("ReduceMean", "c one", "f", keepdims=1))
    if opset < 10:
        nodes.append(node("Slice", "x", "g", axes=[1], starts=[1], ends=[-2]))
    else:
        weights |= {"from": _ints(1), "to": _ints(-2), "axis": _ints(1)}
        nodes.append(node("Slice", "x from to axis", "g"))
    nodes += [node("Add", "e f", "h"), node("Concat", "h g", "y", axis=1)]
    model = build(nodes, {"x": ["N", 6, 5]}, ["y"], weights, opset=opset)
    assert check(model, tmp_path, batches=(1, 3)).batch is None


def test_softmax_before_opset_13_flattens(tmp_path: Path) -> None:
    for opset in (11, 13):
        model = build([node("Softmax", "x", "y", axis=1)], {"x": ["N", 3, 4]}, ["y"], opset=opset)
        check(model, tmp_path, batches=(1, 2))


@pytest.mark.parametrize("opset", [13, 17, 21, NEWEST_OPSET])
def test_a_transformer_block_keeps_its_batch_open(opset: int, tmp_path: Path) -> None:
    """Heads are cut by reshapes whose sizes come from Shape, as exporters write them."""
    features, heads, length = 16, 4, 6
    weights: dict[str, Any] = {
        "q.weight": _normal(features, features),
        "k.weight": _normal(features, features, seed=1),
        "v.weight": _normal(features, features, seed=2),
        "o.weight": _normal(features, features, seed=3),
        "q.bias": _normal(features, seed=4),
        "up.weight": _normal(features, 32, seed=5),
        "down.weight": _normal(32, features, seed=6),
        "norm.weight": 1 + _normal(features, seed=7),
        "norm.bias": _normal(features, seed=8),
        "mask": np.triu(np.full((length, length), -np.inf, np.float32), 1),
        "zero": np.int64(0),
        "one": np.int64(1),
        "heads": _ints(heads),
        "size": _ints(features // heads),
        "all": _ints(features),
        "axis0": _ints(0),
        "root": np.float32((features // heads) ** 0.5),
        "half": np.float32(0.5),
        "two": np.float32(2),
        "unit": np.float32(1),
        "eps": np.float32(1e-5),
        "sqrt2": np.float32(2**0.5),
    }
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "n", axis=0),
        node("Gather", "shape one", "t", axis=0),
        node("Unsqueeze", "n axis0", "n1"),
        node("Unsqueeze", "t axis0", "t1"),
        node("Concat", "n1 t1 heads size", "cut", axis=0),
        node("Concat", "n1 t1 all", "joined", axis=0),
    ]
    for part in "qkv":
        source = "qx" if part == "q" else f"{part}m"
        nodes.append(node("MatMul", f"x {part}.weight", f"{part}m"))
        if part == "q":
            nodes.append(node("Add", "qm q.bias", "qx"))
        perm = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
        nodes += [
            node("Reshape", f"{source} cut", f"{part}r"),
            node("Transpose", f"{part}r", f"{part}h", perm=perm),
        ]
    nodes += [
        node("MatMul", "qh kh", "scores"),
        node("Div", "scores root", "scaled"),
        node("Add", "scaled mask", "masked"),
        node("Softmax", "masked", "attention", axis=-1),
        node("MatMul", "attention vh", "context"),
        node("Transpose", "context", "ct", perm=[0, 2, 1, 3]),
        node("Reshape", "ct joined", "flat"),
        node("MatMul", "flat o.weight", "out"),
        node("Add", "x out", "r1"),
        # layer norm as it was written before opset 17
        *(
            [node("LayerNormalization", "r1 norm.weight norm.bias", "normed", axis=-1)]
            if opset >= 17
            else [
                node("ReduceMean", "r1", "mean", axes=[-1]),
                node("Sub", "r1 mean", "centred"),
                node("Pow", "centred two", "squares"),
                node("ReduceMean", "squares", "var", axes=[-1]),
                node("Add", "var eps", "var_eps"),
                node("Sqrt", "var_eps", "std"),
                node("Div", "centred std", "unit_x"),
                node("Mul", "unit_x norm.weight", "scaled_x"),
                node("Add", "scaled_x norm.bias", "normed"),
            ]
        ),
        node("MatMul", "normed up.weight", "up"),
        *(
            [node("Gelu", "up", "act")]
            if opset >= 20
            else [
                node("Div", "up sqrt2", "u2"),
                node("Erf", "u2", "erf"),
                node("Add", "erf unit", "erf1"),
                node("Mul", "up erf1", "u3"),
                node("Mul", "u3 half", "act"),
            ]
        ),
        node("MatMul", "act down.weight", "down"),
        node("Add", "r1 down", "y"),
    ]
    model = build(nodes, {"x": ["batch", length, features]}, ["y"], weights, opset=opset)
    network = check(model, tmp_path, batches=(1, 2, 5))
    assert network.batch is None
    assert network.notes == ()
    names = dict(network.module.named_parameters())
    assert {"q.weight", "down.weight", "norm.weight", "norm.bias"} <= {*names}
    assert tuple(names["up.weight"].shape) == (features, 32)
    assert not {"root", "half", "eps"} & {*names}  # scalars are numbers, not weights
    assert calls(network).count("aten.linear") == 6


@pytest.mark.parametrize("opset", [23, 24])
def test_the_attention_operator(opset: int, tmp_path: Path) -> None:
    nodes = [
        node("Attention", "x x x", "a", q_num_heads=4, kv_num_heads=4, is_causal=1),
        node("RMSNormalization", "a scale", "y"),
    ]
    weights = {"scale": 1 + _normal(16)}
    model = build(nodes, {"x": ["N", 5, 16]}, ["y"], weights, opset=opset)
    network = check(model, tmp_path, batches=(1, 3))
    assert any(is_call(s, aten.scaled_dot_product_attention) for s in network.module.graph.nodes)


_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("layer", [*_GATES])
@pytest.mark.parametrize("extras", ["plain", "bias and state", "odd"])
@pytest.mark.parametrize("opset", [7, 14, NEWEST_OPSET])
def test_recurrent_layers(
    layer: str, direction: str, extras: str, opset: int, tmp_path: Path
) -> None:
    """One call of torch's own where it has the layer, written out where it has not."""
    gates, hidden, features, steps, batch = _GATES[layer], 4, 3, 4, 2
    d = 2 if direction == "bidirectional" else 1
    weights = {
        "W": _normal(d, gates * hidden, features),
        "R": _normal(d, gates * hidden, hidden, seed=1),
    }
    inputs, attributes = "x W R", {"hidden_size": hidden, "direction": direction}
    if layer == "GRU":
        attributes["linear_before_reset"] = int(extras != "odd")
    if extras != "plain":
        weights["B"] = _normal(d, 2 * gates * hidden, seed=2)
        weights["h0"] = _normal(d, batch, hidden, seed=3)
        weights["lengths"] = np.array([steps, steps if extras != "odd" else 3], np.int32)
        inputs += " B lengths h0"
        if layer == "LSTM":
            weights["c0"] = _normal(d, batch, hidden, seed=4)
            inputs += " c0"
            if extras == "odd":
                weights["P"] = _normal(d, 3 * hidden, seed=5)
                inputs += " P"
    if extras == "odd":
        attributes["clip"] = 1.5
    outputs = "y h c" if layer == "LSTM" else "y h"
    model = build(
        [node(layer, inputs, outputs, **attributes)],
        {"x": [steps, batch, features]},
        outputs.split(),
        weights,
        opset=opset,
    )
    network = check(model, tmp_path)
    own = {"LSTM": aten.lstm, "GRU": aten.gru, "RNN": aten.rnn_tanh}[layer]
    called = any(is_call(step, own) for step in network.module.graph.nodes)
    before_reset = layer == "GRU" and not attributes["linear_before_reset"]
    assert called == (direction != "reverse" and extras != "odd" and not before_reset)


@pytest.mark.parametrize("opset", MAIN_OPSETS[2:])
def test_a_detector_head(opset: int, tmp_path: Path) -> None:
    """Two scales resized to one, joined, and the best boxes picked."""
    weights = {
        "small.weight": _normal(6, 4, 1, 1),
        "large.weight": _normal(6, 4, 1, 1, seed=1),
        "sizes": _ints(8, 8),
        "flat": _ints(0, 6, -1),
        "k": _ints(5),
        "anchors": _normal(1, 64, 4, seed=2),
        "none": np.array([], np.float32),
    }
    nodes = [
        node("Conv", "x large.weight", "large"),
        node("MaxPool", "x", "pooled", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "pooled small.weight", "small"),
        node("Shape", "small", "shape"),
        node("Slice", "shape start end", "nc"),
        node("Concat", "nc sizes", "full", axis=0),
        node("Resize", "small none none full", "up", mode="linear"),
        node("Add", "up large", "fused"),
        node("Reshape", "fused flat", "r"),
        node("Transpose", "r", "boxes6", perm=[0, 2, 1]),
        node("Slice", "boxes6 start four_end axis2", "offsets"),
        node("Slice", "boxes6 four_end six axis2", "logits"),
        node("Add", "offsets anchors", "boxes"),
        node("Sigmoid", "logits", "scores"),
        node("ReduceMax", "scores", "best", axes=[2], keepdims=0)
        if opset < 18
        else node("ReduceMax", "scores axis2", "best", keepdims=0),
        node("TopK", "best k", "top index", axis=1),
        node("Unsqueeze", "index", "index1", axes=[2])
        if opset < 13
        else node("Unsqueeze", "index axis2", "index1"),
        node("Tile", "index1 repeats", "index4"),
        node("GatherElements", "boxes index4", "picked", axis=1),
    ]
    weights |= {
        "start": _ints(0),
        "end": _ints(2),
        "four_end": _ints(4),
        "six": _ints(6),
        "axis2": _ints(2),
        "repeats": _ints(1, 1, 4),
    }
    model = build(nodes, {"x": ["N", 4, 8, 8]}, ["top", "picked"], weights, opset=opset)
    network = check(model, tmp_path, batches=(1, 3))
    assert network.batch is None
    assert any("upsample" in name for name in calls(network))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "place",
    ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"],
)
@pytest.mark.parametrize("factor", [2.0, 0.5, 1.4, 0.6])
def test_resize_by_every_rule(mode: str, place: str, factor: float, tmp_path: Path) -> None:
    by_size = place == "align_corners"
    sizes = {"sizes": _ints(2, 3, int(10 * factor), int(10 * factor))}
    model = build(
        [
            node(
                "Resize",
                "x _ _ sizes" if by_size else "x _ scales",
                "y",
                mode=mode,
                coordinate_transformation_mode=place,
            )
        ],
        {"x": [2, 3, 10, 10]},
        ["y"],
        sizes if by_size else {"scales": np.array([1, 1, factor, factor], np.float32)},
        opset=19,
    )
    check(model, tmp_path)


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "AveragePool with padding"])
@pytest.mark.parametrize("size", [7, 8, 9])
def test_pools_of_every_kind(
    op: str, pads: list[int], ceil: int, size: int, tmp_path: Path
) -> None:
    attributes: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads}
    if op.endswith("padding"):
        attributes["count_include_pad"] = 1
    model = build(
        [node(op.split()[0], "x", "y", ceil_mode=ceil, **attributes)],
        {"x": ["N", 2, size, size]},
        ["y"],
        opset=19,
    )
    check(model, tmp_path, batches=(1, 2))


@pytest.mark.parametrize("rule", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_of_every_kind(rule: str, dims: int, groups: int, tmp_path: Path) -> None:
    weights = {"w": _normal(4, 4 // groups, *[3] * dims), "b": _normal(4)}
    extra: dict[str, Any] = {"auto_pad": rule, "group": groups, "strides": [2] * dims}
    if rule == "NOTSET":
        extra["pads"] = [2, *[0] * (dims - 1), *[1] * dims]
        extra["dilations"] = [2] * dims
    nodes = [node("Conv", "x w b", "y", **extra)]
    check(build(nodes, {"x": ["N", 4, *[9] * dims]}, ["y"], weights), tmp_path, batches=(1, 2))


@pytest.mark.parametrize("extra", [{}, {"output_padding": [1, 1]}, {"output_shape": [11, 10]}])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
def test_transposed_convolutions(extra: dict[str, Any], pads: list[int], tmp_path: Path) -> None:
    weights = {"w": _normal(4, 3, 3, 3), "b": _normal(6)}
    padding = {} if "output_shape" in extra else {"pads": pads}
    nodes = [node("ConvTranspose", "x w b", "y", group=2, strides=[2, 2], **extra, **padding)]
    model = build(nodes, {"x": ["N", 4, 5, 5]}, ["y"], weights)
    check(model, tmp_path, batches=(1, 2))


def test_a_quantised_network(tmp_path: Path) -> None:
    """int8 weights per channel and uint8 activations, as onnxruntime's quantiser writes them."""
    rng = np.random.default_rng(0)
    weights = {
        # beyond 64, pairs of products overflow on processors without instructions for int8
        "w": rng.integers(-64, 65, (4, 3, 3, 3)).astype(np.int8),
        "w_scale": np.array([0.01, 0.02, 0.015, 0.005], np.float32),
        "w_zero": np.zeros(4, np.int8),
        "x_scale": np.float32(0.02),
        "x_zero": np.uint8(120),
        "y_scale": np.float32(0.05),
        "y_zero": np.uint8(128),
    }
    nodes = [
        node("QuantizeLinear", "x x_scale x_zero", "xq"),
        node("DequantizeLinear", "xq x_scale x_zero", "xd"),
        node("DequantizeLinear", "w w_scale w_zero", "wd", axis=0),
        node("Conv", "xd wd", "c"),
        node("QuantizeLinear", "c y_scale y_zero", "cq"),
        node("DequantizeLinear", "cq y_scale y_zero", "y"),
    ]
    model = build(nodes, {"x": ["N", 3, 8, 8]}, ["y"], weights)
    # one step of the output's grid: sums of products round differently
    network = check(model, tmp_path, batches=(1, 2), tolerance=0.05 / 2)
    assert [name for name in calls(network) if "quantized" in name] == [
        "quantized_decomposed.quantize_per_tensor",
        "quantized_decomposed.dequantize_per_tensor",
        "quantized_decomposed.dequantize_per_channel",
        "quantized_decomposed.quantize_per_tensor",
        "quantized_decomposed.dequantize_per_tensor",
    ]
    assert not list(network.module.parameters())


def test_outputs_may_be_inputs_weights_and_each_other(tmp_path: Path) -> None:
    nodes = [
        node("Relu", "x", "r"),
        node("Identity", "x", "same"),
        node("Identity", "w", "weight"),
        node("Identity", "r", "twice"),
        node("Shape", "x", "shape"),
    ]
    model = build(
        nodes,
        {"x": ["N", 3]},
        ["r", "same", "weight", "twice", "shape"],
        {"w": _normal(2, 2)},
        types={"shape": TensorProto.INT64},
    )
    network = check(model, tmp_path, batches=(1, 4))
    assert network.output_names == ("r", "same", "weight", "twice", "shape")
    assert network.batch is None


def test_initializers_may_be_listed_as_inputs(tmp_path: Path) -> None:
    """IR version 3, where every initializer had to be."""
    model = build(
        [node("Gemm", "x w b", "y", transB=1)],
        {"x": ["N", 4]},
        ["y"],
        {"w": _normal(3, 4), "b": _normal(3)},
        opset=8,
        ir_version=3,
        weights_are_inputs=True,
    )
    network = check(model, tmp_path, batches=(1, 4))
    assert network.input_names == ("x",)
    assert calls(network) == ["aten.linear"]


def test_a_hard_coded_batch_is_fixed_and_noted(tmp_path: Path) -> None:
    model = build(
        [node("Reshape", "x shape", "a"), node("Gemm", "a w", "y")],
        {"x": ["N", 2, 3]},
        ["y"],
        {"shape": _ints(1, 6), "w": _normal(6, 2)},
    )
    network = packlight.load(save(model, tmp_path))
    assert network.batch == 1
    assert network.notes[0].startswith("the batch is fixed to 1")


def test_a_branch_chosen_by_sizes_is_taken(tmp_path: Path) -> None:
    then, other = (
        helper.make_graph(
            [node("Mul", f"x {name}", f"{name}_y")],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(_normal(1, 3), name)],
        )
        for name in ("then_w", "else_w")
    )
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape one", "width"),
        node("Equal", "width three", "is_three"),
        helper.make_node("If", ["is_three"], ["y"], then_branch=then, else_branch=other),
    ]
    weights = {"one": np.int64(1), "three": np.int64(3)}
    network = check(build(nodes, {"x": ["N", 3]}, ["y"], weights), tmp_path, batches=(1, 4))
    assert [name for name, _ in network.module.named_parameters()] == ["then_w"]


def test_awkward_names_are_kept_where_python_can(tmp_path: Path) -> None:
    names = ["a", "a.b", "x..y", "block/conv:0", "1.weight", "forward", "training", "type.half"]
    names += [
        "from",
        "a b",
        "naïve",
        'q"',
        "back\\slash",
        "line\nbreak",
        "'",
        "{x}",
        "%s",
        "x" * 500,
    ]
    nodes, last = [], "x"
    for index, name in enumerate(names):
        nodes.append(helper.make_node("Mul", [last, name], [f"v{index}"]))
        last = f"v{index}"
    weights = {name: 1 + _normal(3, seed=index) for index, name in enumerate(names)}
    network = check(build(nodes, {"x": ["N", 3]}, [last], weights), tmp_path, batches=(1, 4))
    found = [name for name, _ in network.module.named_parameters()]
    assert len(found) == len(names)
    assert {"a", "block/conv:0", "1.weight", "naïve"} <= {*found}


def test_a_name_is_never_run_as_code(tmp_path: Path) -> None:
    """torch writes the names of weights into Python source without quoting them."""
    mark = tmp_path / "ran"
    for quote in "\"'":
        attack = f"w{quote}) or open({quote}{mark}{quote}, {quote}w{quote}).close() or ({quote}"
        weights = {attack: 1 + _normal(3)}
        nodes = [helper.make_node("Mul", ["x", attack], ["y"])]
        check(build(nodes, {"x": ["N", 3]}, ["y"], weights), tmp_path)
    assert not mark.exists()


def test_gradients_reach_every_parameter(tmp_path: Path) -> None:
    weights = {
        "conv.weight": _normal(8, 3, 3, 3),
        "conv.bias": _normal(8, seed=1),
        "bn.gamma": 1 + _normal(8, seed=2),
        "bn.beta": _normal(8, seed=3),
        "bn.mean": _normal(8, seed=4),
        "bn.var": np.abs(_normal(8, seed=5)) + 0.5,
        "slope": np.abs(_normal(8, 1, 1, seed=6)),
        "depthwise.weight": _normal(8, 1, 3, 3, seed=7),
        "fc.weight": _normal(8, 5, seed=8),
        "fc.bias": _normal(5, seed=9),
    }
    nodes = [
        node("Conv", "x conv.weight conv.bias", "a"),
        node("BatchNormalization", "a bn.gamma bn.beta bn.mean bn.var", "b"),
        node("PRelu", "b slope", "c"),
        node("Conv", "c depthwise.weight", "d", group=8),
        node("GlobalAveragePool", "d", "e"),
        node("Flatten", "e", "f"),
        node("Gemm", "f fc.weight fc.bias", "y"),
    ]
    network = check(build(nodes, {"x": ["N", 3, 8, 8]}, ["y"], weights), tmp_path)
    (y,) = network(*random_inputs(network, 4))
    y.square().sum().backward()
    trained = dict(network.module.named_parameters())
    assert {*trained} == {*weights} - {"bn.mean", "bn.var"}
    for name, parameter in trained.items():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_the_oldest_and_newest_opsets_are_what_onnx_knows() -> None:
    assert OLDEST_OPSET == 7
    assert onnx.defs.onnx_opset_version() >= NEWEST_OPSET


def test_external_data_is_read_from_the_models_folder(tmp_path: Path) -> None:
    weights = {"w": _normal(40, 30), "b": _normal(30)}
    model = build([node("Gemm", "x w b", "y")], {"x": ["N", 40]}, ["y"], weights)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert path.stat().st_size < 1000
    network = packlight.load(path)
    found = network.module.get_parameter("w").detach()
    assert torch.equal(found, torch.from_numpy(weights["w"]))
