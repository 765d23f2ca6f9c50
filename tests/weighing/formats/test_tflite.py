"""TFLite files, built by hand from the schema's field numbers."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from packlight.errors import BadInput
from packlight.weighing import LayerRow, weigh
from tests.coding.samples import flatbuffer
from tests.reference.macs import conv_macs
from tests.shared import shared

TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int8": 9, "int4": 17}
CONV, DEPTHWISE, DENSE, RESHAPE, ADD, LOGISTIC, MUL, CUSTOM = 3, 4, 9, 22, 0, 14, 18, 32
DEQUANTIZE, MEAN = 6, 40


class Builder:
    """Tensors and operators, one after the other."""

    def __init__(self) -> None:
        self.tensors: list[dict[int, Any]] = []
        self.buffers: list[dict[int, Any]] = [{}]
        self.codes: list[dict[int, Any]] = []
        self.operators: list[dict[int, Any]] = []

    def tensor(self, shape: Any, dtype: str = "float32", data: Any = None, **more: Any) -> int:
        table: dict[int, Any] = {0: ("i", list(shape)), 1: ("b", TYPES[dtype])}
        table[2] = ("I", 0)
        if data is not None:
            table[2] = ("I", len(self.buffers))
            self.buffers.append({0: bytes(data)})
        table[3] = more.get("name", f"t{len(self.tensors)}")
        if "scales" in more:
            table[4] = {2: ("f", list(more["scales"])), 3: ("q", list(more["zero_points"]))}
            table[4][6] = ("i", more.get("axis", 0))
        if "signature" in more:
            table[7] = ("i", list(more["signature"]))
        self.tensors.append(table)
        return len(self.tensors) - 1

    def operator(
        self, code: int, reads: Any, writes: Any, options: Any = None, name: str = ""
    ) -> None:
        self.codes.append({0: ("b", code), 3: ("i", code)} | ({1: name} if name else {}))
        table: dict[int, Any] = {0: ("I", len(self.codes) - 1)}
        table |= {1: ("i", list(reads)), 2: ("i", list(writes))}
        if options:
            table |= {3: ("B", 1), 4: options}
        self.operators.append(table)

    def bytes(self, inputs: Any, outputs: Any, graphs: int = 1) -> bytes:
        graph = {0: self.tensors, 1: ("i", list(inputs)), 2: ("i", list(outputs))}
        graph[3] = self.operators
        model = {0: ("I", 3), 1: self.codes, 2: [graph] + [{}] * (graphs - 1), 4: self.buffers}
        return flatbuffer(model, b"TFL3")


def classifier() -> bytes:
    """conv with ReLU6 -> depthwise -> mean -> dense, int8."""
    rng = np.random.default_rng(0)
    build = Builder()
    x = build.tensor((1, 8, 8, 3), "int8", name="image")
    kernel = rng.integers(-3, 4, (4, 3, 3, 3)).astype(np.int8)
    w = build.tensor(kernel.shape, "int8", kernel.tobytes(), scales=[0.1] * 4, zero_points=[0] * 4)
    b = build.tensor((4,), "int32", np.arange(4, dtype="<i4").tobytes())
    c = build.tensor((1, 4, 4, 4), "int8", name="net/conv;net/relu")
    build.operator(CONV, [x, w, b], [c], {1: ("i", 2), 2: ("i", 2), 3: ("b", 3)})
    dw = build.tensor((1, 3, 3, 8), "int8", bytes(72), scales=[0.1], zero_points=[1])
    d = build.tensor((1, 4, 4, 8), "int8")
    build.operator(DEPTHWISE, [c, dw, -1], [d], {3: ("i", 2)})
    axes = build.tensor((2,), "int32", np.array([1, 2], "<i4").tobytes())
    m = build.tensor((1, 8), "int8")
    build.operator(MEAN, [d, axes], [m])
    matrix = build.tensor((5, 8), "int4", bytes(20))
    y = build.tensor((1, 5), "int8", name="logits")
    build.operator(DENSE, [m, matrix], [y])
    return build.bytes([x], [y])


def weighed(raw: bytes, folder: Path) -> list[LayerRow]:
    path = folder / "model.tflite"
    path.write_bytes(raw)
    return list(weigh(path).rows)


def test_operators_read_as_layers(tmp_path: Path) -> None:
    image, conv, depthwise, mean, dense = weighed(classifier(), tmp_path)
    assert (image.layer, image.shape, image.data_bytes) == ("image", (8, 8, 3), 192)
    assert (conv.layer, conv.type, conv.activation) == ("net/conv", "Conv2D", "ReLU6")
    assert (conv.parameters, conv.parameter_count) == ("3x3x3x4+4", 112)
    assert conv.macs == conv_macs(1, 3, (8, 8), 4, (3, 3), stride=2, padding=1)
    assert (depthwise.type, depthwise.parameters) == ("DepthwiseConv2D", "3x3x4x2")
    assert depthwise.macs == 4 * 4 * 8 * 9
    assert (mean.type, mean.shape) == ("GlobalAveragePool2D", (8,))
    assert (dense.layer, dense.parameters, dense.macs, dense.shape) == ("logits", "8x5", 40, (5,))


def test_bytes_and_zeros_are_those_stored(tmp_path: Path) -> None:
    _, conv, depthwise, _, dense = weighed(classifier(), tmp_path)
    assert conv.bytes == (108 + 4 * 4 + 4 * 8) + 16  # scales are fp32, zero points int64
    assert conv.bits_per_weight == 8 * (108 + 48) / 108
    kernel = np.random.default_rng(0).integers(-3, 4, (4, 3, 3, 3))
    assert conv.zeros == int((kernel == 0).sum()) + 1
    assert depthwise.zeros == 0  # its zero point is 1
    assert (dense.bytes, dense.bits_per_weight, dense.zeros) == (20, 4.0, 40)


def test_swish_float16_weights_and_reshapes_are_understood(tmp_path: Path) -> None:
    build = Builder()
    x = build.tensor((1, 6))
    half = build.tensor((4, 6), "float16", bytes(48))
    w, h, gate, y, z = (build.tensor(s) for s in ((4, 6), (1, 4), (1, 4), (1, 4), (1, 2, 2)))
    shape = build.tensor((3,), "int32", np.array([1, 2, 2], "<i4").tobytes())
    build.operator(DEQUANTIZE, [half], [w])
    build.operator(DENSE, [x, w], [h])
    build.operator(LOGISTIC, [h], [gate])
    build.operator(MUL, [h, gate], [y])
    build.operator(RESHAPE, [y, shape], [z])
    _, dense, reshape = weighed(build.bytes([x], [z]), tmp_path)
    assert (dense.type, dense.activation, dense.bytes) == ("Dense", "SiLU", 48)
    assert (reshape.type, reshape.shape) == ("Reshape", (2, 2))


def test_custom_operators_open_sizes_and_more_graphs_are_said(tmp_path: Path) -> None:
    build = Builder()
    x = build.tensor((1, 1, 6), signature=(-1, -1, 6))
    w = build.tensor((3,), data=bytes(12))
    y = build.tensor((1, 1, 6), signature=(-1, -1, 6))
    build.operator(CUSTOM, [x, w], [y], name="Wavelet")
    path = tmp_path / "model.tflite"
    path.write_bytes(build.bytes([x], [y], graphs=2))
    table = weigh(path)
    assert [(row.type, row.shape_text) for row in table.rows] == [
        ("InputLayer", "?x6"),
        ("Wavelet", "?x6"),
    ]
    assert table.rows[1].bytes == 12
    text = " / ".join(table.notes)
    for part in ("2 graphs", "Wavelet", "only known when the network runs", "its memory are not"):
        assert part in text


def test_a_weight_that_two_layers_read_counts_once(tmp_path: Path) -> None:
    build = Builder()
    x, w = build.tensor((1, 4)), build.tensor((4, 4), data=bytes(64), name="shared")
    h, y = build.tensor((1, 4), name="first"), build.tensor((1, 4), name="second")
    build.operator(DENSE, [x, w], [h])
    build.operator(DENSE, [h, w], [y])
    _, first, second = weighed(build.bytes([x], [y]), tmp_path)
    assert (first.bytes, second.bytes, second.parameters) == (64, 0, "as first")


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    build = Builder()
    x, y = build.tensor((1, 4)), build.tensor((1, 4))
    build.operator(DEQUANTIZE, [x], [y])
    build.operator(DEQUANTIZE, [y], [x])
    with pytest.raises(BadInput, match="made twice"):
        weighed(build.bytes([x], [y]), tmp_path)


@pytest.mark.usefixtures("without_packing")
def test_every_truncation_is_refused_or_weighed(tmp_path: Path) -> None:
    whole = classifier()
    for size in range(len(whole)):
        with contextlib.suppress(BadInput):
            weighed(whole[:size], tmp_path)


@pytest.mark.usefixtures("without_packing")
def test_damage_is_refused_or_weighed(tmp_path: Path) -> None:
    whole, flips = classifier(), random.Random(0)
    for _ in range(1000):
        damaged = bytearray(whole)
        for _ in range(flips.randrange(1, 8)):
            damaged[flips.randrange(len(damaged))] = flips.choice((0, 1, 127, 128, 255))
        with contextlib.suppress(BadInput):
            weighed(bytes(damaged), tmp_path)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("pretrainedResnet_quant", 77_706, 12_501_632),
        # 300,774,272 for 1000 classes, and one class more
        ("mobilenet_v2_1.0_224_quant", 3_489_097, 300_774_272 + 1280),
    ],
)
def test_published_networks_have_their_size(name: str, parameters: int, macs: int) -> None:
    table = weigh(shared("models", f"{name}.tflite"))
    assert (table.totals.parameter_count, table.totals.macs) == (parameters, macs)


def test_a_network_has_the_size_of_its_onnx_file() -> None:
    quantised = weigh(shared("models", "pretrainedResnet_quant.tflite")).totals
    float32 = weigh(shared("models", "resnet8_cifar10.onnx")).totals
    assert quantised.parameter_count == float32.parameter_count
    assert quantised.macs == float32.macs
