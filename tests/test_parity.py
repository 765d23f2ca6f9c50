"""`check` of a folder: one row per runtime; one that fails leaves the others their figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import packlight
from packlight import parity
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes import targets
from tests.commands import run
from tests.networks import images, plain
from tests.schemas import conforms


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.npz"
    x = images(60, seed=1)
    with torch.no_grad():
        labels = plain()(x)[0].argmax(1).numpy()
    labels[:6] = (labels[:6] + 1) % 6  # the network is wrong on a tenth
    np.savez(path, x=x.numpy(), y=labels)
    return path


@pytest.fixture(autouse=True)
def timed_briefly(monkeypatch):
    """No figure is looked at."""
    bench = parity.bench
    monkeypatch.setattr(parity, "bench", lambda paths, **_: bench(paths, seconds=0.05))


@pytest.fixture(scope="module")
def written() -> bytes:
    return onnx_file.to_bytes(plain())


@pytest.fixture
def folder(written, tmp_path) -> Path:
    (tmp_path / "model.onnx").write_bytes(written)
    return tmp_path


def quick(*arguments, **options) -> parity.ParityResult:
    return packlight.check_folder(*arguments, calibrate=0, **options)


def test_every_runtime_is_compared_with_the_folder_s_own_onnx_file(folder, data):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed: packlight[litert]")
    packlight.export(folder / "model.onnx", "litert", folder, channels_last=True)
    (folder / "model.mlpackage").mkdir()
    (folder / "model.mlpackage" / "weights.bin").write_bytes(bytes(1000))
    result = quick(folder, data)
    assert [one.runtime for one in result.files] == ["onnx", "litert", "coreml"]
    own, lite, package = result.files
    assert result.n == 60
    for one in (own, lite):
        assert one.top1.value == pytest.approx(0.9)
        assert 0.79 < one.top1.low < 0.9 < one.top1.high < 0.96
        assert one.agreement.value == 1
        assert one.timed.median_ms.value > 0
    assert own.sqnr_db == 200  # the most that is told: not a bit differs
    assert lite.sqnr_db > 100
    assert lite.packed_bytes == (folder / "model.tflite.plt").stat().st_size
    assert package.problem == "not run here"
    assert package.bytes == 1000
    assert package.packed_bytes < 1000
    result.require()


def test_an_original_comes_first_and_all_are_compared_with_it(folder, data, tmp_path_factory):
    other = plain()
    with torch.no_grad():
        other.module.get_parameter("fc.weight").mul_(-1)
    path = tmp_path_factory.mktemp("original") / "net.onnx"
    onnx_file.write(other, path)
    first, own = quick(folder, data, original=path).files
    assert (first.file, own.file) == ("net.onnx", "model.onnx")
    assert first.agreement.value == 1
    assert own.agreement.value < 0.5
    assert own.top1.value > first.top1.value


def test_a_runtime_that_crashes_has_its_reason_in_its_row(folder, data, monkeypatch, capsys):
    monkeypatch.setitem(targets._RUNS, "litert", "tests.runtimes.fragile")
    (folder / "model.tflite").write_text("1 ms, abort in loading")
    assert run("check", folder, "--data", data, "--calibrate", 0, "--json", "--quiet") == 2
    told = capsys.readouterr()
    own, lite = json.loads(told.out)["files"]
    conforms("check-folder", json.loads(told.out))
    assert own["timed"]["median_ms"]["value"] > 0
    assert lite["problem"] == "the process ended with code -6: no room for the arena"
    assert "model.tflite was not checked: the process ended" in told.err
    assert len(told.err.strip().splitlines()) == 1


def test_a_missing_package_is_named(folder, data, monkeypatch):
    monkeypatch.setitem(targets._RUNS, "litert", "tests.runtimes.fragile")
    (folder / "model.tflite").write_text("1 ms, missing")
    _, lite = quick(folder, data).files
    assert lite.problem.startswith("fragile is not installed; try: pip install")


def test_the_table_has_a_row_per_file(folder, data, capsys):
    assert not run("check", folder / "model.onnx", folder, "--data", data, "--calibrate", 0)
    told = capsys.readouterr().out
    for word in ("model.onnx", "90.00%", "100.00%", "n = 60"):
        assert word in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model.onnx"], ["model.onnx is no folder"]),
        (["empty"], ["empty holds no model.onnx"]),
        (["absent.onnx", "."], ["absent.onnx does not exist"]),
        (["."], ["absent.npz"]),
    ],
)
def test_careless_commands_are_answered_in_one_sentence(
    folder, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(folder)
    Path("empty").mkdir()
    assert run("check", *arguments, "--data", "absent.npz") == 2
    told = capsys.readouterr().err
    for word in words:
        assert word in told
    assert len(told.strip().splitlines()) <= 4
