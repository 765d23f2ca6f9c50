"""How fast a file is beside the original, on the runtimes asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import packlight
from packlight.errors import BadInput
from packlight.judge import Interval
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import pace
from packlight.shrink.pace import Pace
from tests import networks
from tests.commands import run

SAMPLE = (np.zeros((1, 3, 16, 16), np.float32),)


@pytest.fixture
def whole(tmp_path) -> bytes:
    return onnx_file.write(networks.wide(), tmp_path / "whole.onnx").read_bytes()


@pytest.fixture
def slow_as_large(monkeypatch) -> list[list[Path]]:
    """A file takes a millisecond per byte; gives the files that are timed."""
    timed: list[list[Path]] = []

    def bench(paths, *, seconds):
        timed.append(paths)
        times = [float(path.stat().st_size) for path in paths]
        files = [
            SimpleNamespace(median_ms=at(time), p95_ms=time, ratio=at(time / times[0]))
            for time in times
        ]
        return SimpleNamespace(files=files, require=lambda: None)

    def at(value: float) -> Interval:
        return Interval(value, value, value)

    monkeypatch.setattr(pace, "bench", bench)
    return timed


def test_both_files_run_in_the_runtime_itself(whole, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (packlight[litert])")
    found = Pace(networks.wide(), whole, "litert", tmp_path).beside(whole, SAMPLE)
    assert found.runtime == "litert"
    assert found.original.median > 0 < found.compressed.median
    assert 0 < found.ratio < float("inf")


def test_the_original_is_timed_in_floats_as_the_runtime_loads_it(whole, tmp_path, slow_as_large):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (packlight[litert])")
    from packlight.runtimes.litert import Session

    network = networks.wide()
    assert Pace(network, whole, "litert", tmp_path).speedup(whole, SAMPLE) == pytest.approx(1)
    ((original, written),) = slow_as_large
    assert original.suffix == written.suffix == ".tflite"
    x = networks.images(4)
    (answers,) = Session(original).over([(x.numpy(),)])
    with torch.no_grad():
        np.testing.assert_allclose(answers, network(x)[0].numpy(), atol=1e-4)


def test_the_runtime_that_gains_least_counts(whole, tmp_path, slow_as_large, monkeypatch):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (packlight[litert])")
    here = [packlight.runtimes.latency.Latency(one, one) for one in (4.0, 1.0)]
    monkeypatch.setattr(pace, "latencies", lambda *_, **__: here)
    both = Pace(networks.wide(), whole, "onnx,litert", tmp_path)
    assert both.runtimes == "onnxruntime, litert"
    assert both.beside(whole, SAMPLE).runtime == "litert"
    assert Pace(networks.wide(), whole, "ort", tmp_path).speedup(whole, SAMPLE) == 4


def test_what_nothing_here_runs_is_told_by_onnxruntime(whole, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        unrun = SimpleNamespace(name="coreml", suffix=".mlpackage", session=None)
        patch.setattr(pace, "targets_of", lambda _: [unrun])
        assert Pace(networks.wide(), whole, "coreml", tmp_path).runtimes == "onnxruntime"
    with pytest.raises(BadInput, match="'phone' is no runtime"):
        Pace(networks.wide(), whole, "phone", tmp_path)


def test_a_fit_takes_channels_out_until_the_runtime_asked_for_is_fast_enough(
    data, tmp_path, slow_as_large
):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (packlight[litert])")
    result = packlight.fit(
        *(networks.wide(), data[0][:180]),
        speedup=1.5,
        only="prune",
        calibrate=60,
        runtimes="litert",
        out=tmp_path / "out",
    )
    assert result.report["latency_ms"]["runtime"] == "litert"
    assert result.report["latency_ms"]["ratio"] <= 1 / 1.5
    assert {path.suffix for paths in slow_as_large for path in paths} == {".tflite"}
    assert not list((tmp_path / "out").rglob("*.tflite"))


def test_the_command_asks_for_speed_on_the_runtimes_it_writes_for(monkeypatch, capsys):
    def seen(*_, runtimes, **__):
        raise BadInput(f"seen {runtimes}")

    monkeypatch.setattr("packlight.shrink.fit.fit", seen)
    fit = ["fit", "any.onnx", "--data", "any.npz", "--speedup", 2]
    assert run(*fit, "--to", "onnx") == run(*fit) == 2
    assert run(*fit, "--to", "ort,onnx") == 2
    assert capsys.readouterr().err.splitlines() == [
        "packlight: seen onnx",
        "packlight: seen onnx",
        "packlight: seen ort,onnx",
    ]
