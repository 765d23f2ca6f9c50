"""Core ML programs, built by hand from the fields of MIL.proto."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from packlight.errors import BadInput
from packlight.weighing import LayerRow, weigh
from tests.coding.samples import coreml_network, coreml_weights, proto

KINDS = {"float16": 10, "float32": 11, "int8": 21, "int32": 23, "uint8": 31}
RNG = np.random.default_rng(0)
Array = np.ndarray[Any, Any]


def tensor_type(dtype: str, shape: Any) -> bytes:
    sizes = [(3, proto((1, proto((1, size)))) if size else proto((2, b""))) for size in shape]
    return proto((1, proto((1, KINDS[dtype]), (2, len(shape)), *sizes)))


class Builder:
    """Operations of one block, and the weight.bin that they name."""

    def __init__(self) -> None:
        self.operations: list[tuple[int, bytes]] = []
        self.blobs: dict[str, Array] = {}
        self.at = 64

    def blob(self, name: str, value: Array, shape: Any = None) -> bytes:
        place = proto((1, "@model_path/weights/weight.bin"), (2, self.at))
        self.blobs[name] = value
        self.at = -(-(self.at + 64 + value.nbytes) // 64) * 64
        return proto((2, tensor_type(str(value.dtype), shape or value.shape)), (5, place))

    def numbers(self, *values: int) -> bytes:
        packed = proto((2, proto((1, b"".join(bytes([value]) for value in values)))))
        return proto((2, tensor_type("int32", (len(values),))), (3, proto((1, packed))))

    def operation(
        self, kind: str, name: str, dtype: str, shape: Any, attributes: Any = (), **inputs: Any
    ) -> str:
        bound = [
            (2, proto((1, key), (2, proto((1, proto((1, v) if isinstance(v, str) else (2, v)))))))
            for key, v in inputs.items()
        ]
        made = (3, proto((1, name), (2, tensor_type(dtype, shape))))
        held = [(5, proto((1, key), (2, value))) for key, value in dict(attributes).items()]
        self.operations.append((3, proto((1, kind), *bound, made, *held)))
        return name

    def const(self, name: str, value: Array) -> str:
        blob = self.blob(name, value)
        return self.operation("const", name, str(value.dtype), value.shape, {"val": blob})

    def save(self, folder: Path, shape: Any, output: str) -> Path:
        block = proto((2, output), *self.operations)
        x = proto((1, "x"), (2, tensor_type("float32", shape)))
        function = proto((1, x), (2, "CoreML5"), (3, proto((1, "CoreML5"), (2, block))))
        program = proto((1, 1), (2, proto((1, "main"), (2, function))))
        package = folder / "model.mlpackage"
        inside = package / "Data" / "com.apple.CoreML"
        (inside / "weights").mkdir(parents=True)
        (inside / "model.mlmodel").write_bytes(proto((1, 7), (502, program)))
        (inside / "weights" / "weight.bin").write_bytes(coreml_weights(self.blobs))
        return package


def bits(values: Array, width: int) -> Array:
    """Numbers packed low bits first."""
    spread = (values.reshape(-1, 1) >> np.arange(width)) & 1
    return np.packbits(spread.astype(np.uint8).reshape(-1), bitorder="little")


def network(folder: Path) -> tuple[Path, dict[str, Array]]:
    """conv (float16) -> relu -> depthwise (int8) -> mean -> palette -> sparse."""
    build = Builder()
    kernel = np.round(RNG.normal(size=(4, 3, 3, 3))).astype(np.float16)
    levels = RNG.integers(-2, 3, (4, 1, 3, 3)).astype(np.int8)
    codes, book = RNG.integers(0, 16, (6, 4)), RNG.normal(size=16).astype(np.float16)
    book[5] = 0
    mask = RNG.random((10, 6)) < 0.3
    build.const("conv_weight_to_fp16", kernel)
    build.const("conv_bias_to_fp16", np.ones(4, np.float16))
    half = build.operation("cast", "x_half", "float16", (1, 3, 8, 8), x="x")
    read = {"weight": "conv_weight_to_fp16", "bias": "conv_bias_to_fp16"}
    y = build.operation("conv", "c", "float16", (1, 4, 8, 8), x=half, **read)
    y = build.operation("relu", "r", "float16", (1, 4, 8, 8), x=y)
    parts = {
        "quantized_data": build.blob("q", levels),
        "scale": build.blob("s", np.ones(4, np.float16)),
        "zero_point": build.blob("z", np.zeros(4, np.int8)),
    }
    build.operation("constexpr_affine_dequantize", "dw_weight", "float16", levels.shape, parts)
    y = build.operation(
        *("conv", "d", "float16", (1, 4, 8, 8)),
        **{"x": y, "weight": "dw_weight", "groups": build.numbers(4)},
    )
    y = build.operation("reduce_mean", "m", "float16", (1, 4), x=y, axes=build.numbers(2, 3))
    parts = {"indices": build.blob("i", bits(codes, 4)), "lut": build.blob("l", book)}
    build.operation("constexpr_lut_to_dense", "fc_weight", "float16", (6, 4), parts)
    y = build.operation("linear", "f", "float16", (1, 6), x=y, weight="fc_weight")
    parts = {
        "nonzero_data": build.blob("n", np.ones(int(mask.sum()), np.float16)),
        "mask": build.blob("k", np.packbits(mask, bitorder="little")),
    }
    build.operation("constexpr_sparse_to_dense", "last_weight", "float16", (10, 6), parts)
    y = build.operation("linear", "y", "float16", (1, 10), x=y, weight="last_weight")
    path = build.save(folder, (1, 3, 8, 8), y)
    return path, {"kernel": kernel, "levels": levels, "codes": codes, "mask": mask}


def test_operations_read_as_layers(tmp_path: Path) -> None:
    path, _ = network(tmp_path)
    rows = weigh(path).rows
    assert [(row.layer, row.type, row.activation, row.shape_text) for row in rows] == [
        ("x", "InputLayer", "", "8x8x3"),
        ("conv", "Conv2D", "ReLU", "8x8x4"),
        ("dw", "DepthwiseConv2D", "", "8x8x4"),
        ("m", "GlobalAveragePool2D", "", "4"),
        ("fc", "Dense", "", "6"),
        ("last", "Dense", "", "10"),
    ]
    assert [row.parameters for row in rows if row.parameters] == [
        "3x3x3x4+4",
        "3x3x4",
        "4x6",
        "6x10",
    ]
    assert [row.macs for row in rows] == [0, 64 * 108, 64 * 4 * 9, 0, 24, 60]


def test_compressed_weights_count_what_is_stored(tmp_path: Path) -> None:
    path, held = network(tmp_path)
    rows: dict[str, LayerRow] = {row.layer: row for row in weigh(path).rows}
    kept = int(held["mask"].sum())
    assert [rows[name].bytes for name in ("conv", "dw", "fc", "last")] == [
        2 * 112,
        36 + 8 + 4,
        12 + 32,
        2 * kept + 8,
    ]
    assert rows["fc"].bits_per_weight == 8 * 44 / 24
    assert [rows[name].zeros for name in ("conv", "dw", "fc", "last")] == [
        int((held["kernel"] == 0).sum()),
        int((held["levels"] == 0).sum()),
        int((held["codes"] == 5).sum()),
        60 - kept,
    ]


def test_weights_that_are_not_there_are_counted_by_their_shapes(tmp_path: Path) -> None:
    path, _ = network(tmp_path)
    (path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").unlink()
    table = weigh(path)
    assert table.rows[1].bytes == 2 * 112
    assert "weight.bin is not there" in table.notes[0]


def test_weights_outside_the_package_are_refused(tmp_path: Path) -> None:
    path, _ = network(tmp_path)
    model = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    inside, outside = b"@model_path/weights/weight.bin", b"@model_path/../../../weight.bi"
    model.write_bytes(model.read_bytes().replace(inside, outside))
    with pytest.raises(BadInput, match="outside the model's own folder"):
        weigh(path)


def test_an_older_network_lists_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.mlmodel"
    convolution, product = RNG.normal(size=(6, 4, 3, 3)), RNG.normal(size=(5, 8))
    path.write_bytes(coreml_network(convolution, product))
    table = weigh(path)
    assert [(row.type, row.parameters, row.bytes) for row in table.rows] == [
        ("Conv2D", "3x3x4x6", 864),
        ("Dense", "8x5", 160),
    ]
    assert "of this age" in table.notes[0]


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(BadInput, match=r"holds no \.mlmodel"):
        weigh(tmp_path / "empty.mlpackage")


@pytest.mark.usefixtures("without_packing")
def test_damage_is_refused_or_weighed(tmp_path: Path) -> None:
    path, _ = network(tmp_path)
    inside, flips = path / "Data" / "com.apple.CoreML", random.Random(0)
    for file in (inside / "model.mlmodel", inside / "weights" / "weight.bin"):
        whole = file.read_bytes()
        for turn in range(400):
            damaged = bytearray(whole)
            for _ in range(flips.randrange(1, 6)):
                damaged[flips.randrange(len(whole))] = flips.choice((0, 1, 127, 128, 255))
            file.write_bytes(damaged[: flips.randrange(len(whole))] if turn % 3 == 0 else damaged)
            with contextlib.suppress(BadInput):
                weigh(path)
        file.write_bytes(whole)
