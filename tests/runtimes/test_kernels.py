"""Kernels that ran are counted from what the runtime says, not from the file."""

from __future__ import annotations

import onnx
import pytest
from torch import nn

import packlight
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.kernels import count_kernels
from tests.networks import images, plain
from tests.runtimes.at_once import at_once
from tests.shared import shared

SAMPLE = [images(1).numpy()]


def test_onnxruntime_s_profiler_tells_what_was_fused(tmp_path):
    path = onnx_file.write(plain(), tmp_path / "model.onnx")
    counted = count_kernels(path, SAMPLE)
    assert counted.nodes == len(onnx.load(path).graph.node) == 7
    assert counted.run == sum(counted.kinds.values()) < 7
    assert counted.kinds["Conv"] == 2
    assert "Relu" not in counted.kinds
    assert counted.delegated is None
    assert [*tmp_path.iterdir()] == [path]  # its profile is gone


def test_operators_in_litert_s_delegate_are_one_kernel(tmp_path):
    litert = pytest.importorskip("packlight.runtimes.litert")
    path = litert.write(plain(), tmp_path / "model.tflite")
    counted = count_kernels(path, SAMPLE)
    assert counted.kinds == {"delegate": 1}
    assert counted.delegated == counted.nodes > 5


def test_operators_outside_litert_s_delegates_are_counted_each():
    pytest.importorskip("ai_edge_litert", reason="needs packlight[litert]")
    counted = count_kernels(shared("models", "mobilenet_v2_1.0_224_quant.tflite"), [])
    assert counted.nodes == 66
    assert counted.kinds == {"AVERAGE_POOL_2D": 1, "SOFTMAX": 1, "delegate": 2}
    assert counted.delegated == 64


def test_executorch_s_calls_are_read_from_the_program(tmp_path, monkeypatch):
    pytest.importorskip("executorch", reason="needs packlight[executorch]")
    from packlight.runtimes import executorch as pte

    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, image):
            return self.conv(image).cumsum(1).relu()

    monkeypatch.setattr(pte, "apart", at_once)
    lowered = pte.lower(Network.from_module(Apart().eval(), (images(2),)))
    path = tmp_path / "model.pte"
    path.write_bytes(lowered.data)
    counted = count_kernels(path, SAMPLE)
    assert len(lowered.outside) >= 1
    assert counted.run == len(lowered.outside) + lowered.delegates
    assert counted.kinds["delegate"] == lowered.delegates == 2
    assert counted.nodes == counted.delegated + len(lowered.outside)
    assert counted.delegated >= 2


def test_bench_shows_nodes_and_kernels(tmp_path):
    path = onnx_file.write(plain(), tmp_path / "model.onnx")
    (one,) = packlight.bench(path, seconds=0.05).files
    assert one.kernels == count_kernels(path, SAMPLE)
