"""VGG16 reads the same whatever it comes from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from onnx import NodeProto, TensorProto

from packlight.network import Network
from packlight.weighing import LayerTable, weigh
from tests.readers.models import build, node
from tests.weighing.classics import vgg16
from tests.weighing.test_classics import VGG16

LINES = [line.split() for line in VGG16.strip().splitlines()]


def as_written(table: LayerTable) -> list[list[str]]:
    rows = [
        (row.type, row.shape_text, str(row.elements), row.parameters, str(row.parameter_count))
        for row in table.rows
    ]
    return [" ".join(filter(None, row)).split() for row in rows]


def check(table: LayerTable) -> None:
    assert as_written(table) == LINES
    assert table.totals.parameter_count == 138_357_544
    assert table.totals.macs == 15_470_264_320
    assert table.totals.bytes == 4 * 138_357_544


def test_from_torch() -> None:
    with torch.device("meta"):
        module = vgg16()
        example = torch.zeros(1, 3, 224, 224)
    check(weigh(Network.from_module(module, (example,))))


def test_from_keras(tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    with torch.device("meta"), keras.device("meta"):
        model = keras.applications.VGG16(weights=None)
    table = weigh(model)
    check(table)
    assert [row.layer for row in table.rows[1:3]] == ["block1_conv1", "block1_conv2"]
    assert table.rows[-1].activation == "Softmax"


def test_from_a_keras_file(tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    import zipfile

    with torch.device("meta"), keras.device("meta"):
        model = keras.applications.VGG16(weights=None)
    with zipfile.ZipFile(tmp_path / "vgg16.keras", "w") as archive:
        archive.writestr("config.json", model.to_json())  # 553 MB of weights are never looked at
    check(weigh(tmp_path / "vgg16.keras"))


def test_from_onnx(tmp_path: Path) -> None:
    nodes: list[NodeProto] = []
    weights: dict[str, list[int]] = {}
    value, inputs = "x", 3
    for outputs, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            name = f"conv{len(nodes)}"
            weights |= {f"{name}.weight": [outputs, inputs, 3, 3], f"{name}.bias": [outputs]}
            read = f"{value} {name}.weight {name}.bias"
            nodes += [node("Conv", read, name, pads=[1] * 4), node("Relu", name, f"{name}r")]
            value, inputs = f"{name}r", outputs
        nodes.append(
            node("MaxPool", value, f"p{outputs}{len(nodes)}", kernel_shape=[2, 2], strides=[2, 2])
        )
        value = nodes[-1].output[0]
    nodes.append(node("Flatten", value, "flat"))
    value = "flat"
    for number, (read, made) in enumerate(((25088, 4096), (4096, 4096), (4096, 1000))):
        weights |= {f"fc{number}.weight": [made, read], f"fc{number}.bias": [made]}
        name = "y" if number == 2 else f"fc{number}"
        nodes.append(node("Gemm", f"{value} fc{number}.weight fc{number}.bias", name, transB=1))
        if number < 2:
            nodes.append(node("Relu", name, f"r{number}"))
        value = f"r{number}"
    model = build(nodes, {"x": ["N", 3, 224, 224]}, ["y"])
    for name, sizes in weights.items():
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=sizes)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="absent.bin")
        model.graph.initializer.append(tensor)
    (tmp_path / "vgg16.onnx").write_bytes(model.SerializeToString())
    table = weigh(tmp_path / "vgg16.onnx")
    check(table)
    assert "absent.bin" in table.notes[0]
