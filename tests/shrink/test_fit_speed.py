"""`fit` into a speed: channels go until the clock says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import packlight
from packlight.errors import BadInput, BudgetNotMet
from packlight.network import Network
from packlight.runtimes.kernels import count_kernels
from packlight.shrink import narrowing
from packlight.shrink.pace import Pace
from tests import networks


@pytest.fixture(scope="module")
def wide() -> Network:
    """`Wide` as a Network."""
    return networks.wide()


@pytest.fixture(scope="module")
def few(data) -> np.ndarray:
    """Images enough to take channels out of `Wide`, which runs slowly."""
    return data[0][:180]


@pytest.mark.parametrize("only", ["prune", None])
def test_a_speed_takes_channels_out_until_the_clock_says_so(only, wide, few, tmp_path, monkeypatch):
    def clock(_pace, file, _sample) -> float:  # counts multiplications
        (tmp_path / "timed.onnx").write_bytes(file)
        return whole / packlight.weigh(tmp_path / "timed.onnx").totals.macs

    whole = packlight.weigh(wide).totals.macs
    monkeypatch.setattr(Pace, "speedup", clock)
    monkeypatch.setattr(narrowing, "TRIALS", 4)
    result = packlight.fit(wide, few, calibrate=60, speedup=2.5, only=only, out=tmp_path / "out")
    assert result.met
    assert packlight.weigh(result.model).totals.macs <= whole / 2.5
    assert result.report["asked"]["speedup"] == 2.5
    assert any(note.startswith("channels: ") for note in result.report["notes"])
    assert result.report["accuracy"]["agreement"]["value"] > 0.5


@pytest.mark.parametrize("speedup", [4.0, 20.0])
def test_means_are_taken_earlier_before_channels_go(speedup, few, tmp_path, monkeypatch):
    network = Network.from_module(networks.settled(networks.Headed()), (networks.images(2),))
    whole = packlight.weigh(network).totals.macs

    def clock(_pace, file, _sample) -> float:  # counts multiplications
        (tmp_path / "timed.onnx").write_bytes(file)
        return whole / packlight.weigh(tmp_path / "timed.onnx").totals.macs

    monkeypatch.setattr(Pace, "speedup", clock)
    monkeypatch.setattr(narrowing, "TRIALS", 4)
    settings = {"calibrate": 60, "speedup": speedup, "only": "prune", "out": tmp_path / "out"}
    result = packlight.fit(network, few, **settings)
    notes = " ".join(result.report["notes"])
    assert packlight.weigh(result.model).totals.macs <= whole / speedup
    assert "last reads means of " in notes
    assert ("channels: " in notes) == (speedup > 10)
    assert result.report["accuracy"]["agreement"]["value"] > 0.8


def test_what_is_fast_enough_already_keeps_its_channels(wide, few, tmp_path, monkeypatch):
    monkeypatch.setattr(Pace, "speedup", lambda *_: 5.0)
    result = packlight.fit(wide, few, calibrate=60, speedup=3.0, out=tmp_path / "out")
    assert packlight.weigh(result.model).totals.macs == packlight.weigh(wide).totals.macs
    assert "5.00 times as fast with all of its channels" in result.report["notes"]


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_what_is_timed_runs_on_the_kernels_of_what_is_written(
    kind, wide, few, tmp_path, monkeypatch
):
    timed: list[bytes] = []
    monkeypatch.setattr(Pace, "speedup", lambda _, file, __: timed.append(file) or 5.0)
    settings = {"calibrate": 60, "speedup": 3.0, "activations": kind, "out": tmp_path / "out"}
    result = packlight.fit(wide, few, **settings)
    (tmp_path / "timed.onnx").write_bytes(timed[0])
    ran, expected = (
        count_kernels(path, [few[:1]]) for path in (tmp_path / "timed.onnx", result.model)
    )
    assert ran == expected
    integers = sum(count for name, count in ran.kinds.items() if name.startswith("QLinear"))
    assert (integers > 0) == (kind == "int8")


def test_a_network_without_channels_that_could_go_is_told_so(tmp_path, monkeypatch):
    x = np.random.default_rng(0).normal(size=(90, 24)).astype(np.float32)
    network = Network.from_module(torch.nn.Linear(24, 6), (torch.from_numpy(x[:2]),))
    monkeypatch.setattr(Pace, "speedup", lambda *_: 1.0)
    with pytest.raises(BudgetNotMet, match="it has none that could go"):
        packlight.fit(network, x, calibrate=60, speedup=1.5, out=tmp_path / "out")


def test_a_file_that_turns_out_too_slow_is_the_nearest_one(wide, few, tmp_path, monkeypatch):
    answers = iter([5.0])
    monkeypatch.setattr(Pace, "speedup", lambda *_: next(answers, 2.0))
    with pytest.raises(BudgetNotMet, match=r"2\.00 times as fast .*, speedup asks for 3"):
        packlight.fit(wide, few, calibrate=60, speedup=3.0, out=tmp_path / "out")
    assert (tmp_path / "out" / "nearest.onnx").exists()


@pytest.mark.parametrize("speedup", [1.0, 0.5, -2.0, float("nan"), float("inf")])
def test_a_speedup_that_is_none_is_refused(speedup, model, data, tmp_path):
    with pytest.raises(BadInput, match="give a number above 1"):
        packlight.fit(model, data, speedup=speedup, out=tmp_path / "out")
