"""Layers whose weights int8 can not hold stay float, where there is room for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import packlight
from packlight.errors import BudgetNotMet
from packlight.fuse import fuse
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import preparing
from packlight.shrink.fallback import ENOUGH_DB, harmful_layers


class Wide(nn.Module):
    """Its first layer has weights of a thousand for an input that is never there."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.tame = nn.Linear(32, 24), nn.Linear(24, 4)
        with torch.no_grad():
            self.wide.weight[:, 0] = 1000.0

    def forward(self, x):
        return self.tame(torch.relu(self.wide(x)))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return fuse(Network.from_module(Wide().eval(), (torch.zeros(2, 32),))).network


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(400, 32)).astype(np.float32)
    x[:, 0] = 0
    return x


def rounded(network: Network) -> dict[str, torch.Tensor]:
    found = {}
    for name in ("wide.weight", "tame.weight"):
        weight = network.module.get_parameter(name).detach()
        step = weight.abs().amax(1, keepdim=True) / 64
        found[name] = (weight / step).round() * step
    return found


def test_the_layer_that_does_the_harm_is_named(network, samples):
    batches = [(torch.from_numpy(samples[:48]),)]
    found = harmful_layers(network, rounded(network), batches)
    assert list(found) == ["wide.weight"]
    assert found["wide.weight"] < ENOUGH_DB
    assert network.module.get_parameter("wide.weight")[0, 0] == 1000  # left as it was
    assert harmful_layers(network, {"tame.weight": rounded(network)["tame.weight"]}, batches) == {}


def test_it_stays_float_where_there_is_room(network, samples, tmp_path):
    model = onnx_file.write(network, tmp_path / "wide.onnx")
    result = packlight.fit(model, samples, target_size="20KB", calibrate=200, out=tmp_path / "out")
    forms = {layer["name"]: layer["form"] for layer in result.report["layers"]}
    assert forms == {"wide": "float", "tame": "int8"}
    assert result.report["accuracy"]["sqnr_db"] > ENOUGH_DB
    assert any(note.startswith("weights wide.weight stay float") for note in result.report["notes"])
    (wide,) = [layer for layer in result.report["layers"] if layer["name"] == "wide"]
    assert wide["why_float"]
    assert wide["bits_per_weight"] > 8


def test_in_low_rank_all_layers_stay_on_grids(network, samples, tmp_path):
    model = onnx_file.write(network, tmp_path / "wide.onnx")
    result = packlight.fit(
        *(model, samples),
        target_size="20KB",
        only="factorize,quantize",
        calibrate=200,
        out=tmp_path / "out",
    )
    assert result.met
    assert {layer["form"] for layer in result.report["layers"]} == {"int8"}


def test_without_room_it_does_not(network, samples, tmp_path):
    model = onnx_file.write(network, tmp_path / "wide.onnx")
    try:
        result = packlight.fit(model, samples, target_size=2400, calibrate=200, out=tmp_path / "o")
    except BudgetNotMet as problem:
        result = problem.nearest
    assert {layer["form"] for layer in result.report["layers"]} == {"int8"}


class Floor(nn.Module):
    """Subtracts the smallest logarithm: where a value rounds to zero, all outputs move."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, bias=False), nn.Linear(4 * 36, 4)
        levels = torch.randint(-64, 65, (4, 1, 3, 3))
        levels[:, 0, 1, 1] = 64
        with torch.no_grad():  # what int8 holds exactly
            self.conv.weight.copy_(levels / 128)

    def forward(self, x):
        power = torch.log(self.conv(x).square() + 1e-12)
        return self.head((power - power.amin((1, 2, 3), keepdim=True)).flatten(1))


def test_activations_are_tried_in_the_file_that_is_written(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = Network.from_module(Floor().eval(), (torch.zeros(2, 1, 8, 8),))
    model = onnx_file.write(network, tmp_path / "floor.onnx")
    x = np.random.default_rng(0).normal(size=(300, 1, 8, 8)).astype(np.float32)
    for name in ("harmful_places", "harmful_weights"):
        monkeypatch.setattr(preparing, name, lambda *_: {})  # torch sees no harm
    without = tmp_path / "without"
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "with_more_floats", lambda *_: None)
        worse = packlight.fit(model, x, target_size="20KB", calibrate=150, out=without)
    assert worse.report["accuracy"]["sqnr_db"] < ENOUGH_DB
    result = packlight.fit(model, x, target_size="20KB", calibrate=150, out=tmp_path / "out")
    assert result.report["accuracy"]["sqnr_db"] > ENOUGH_DB - 1  # judged on other samples
    assert any("stay float" in note for note in result.report["notes"])
    assert {layer["form"] for layer in result.report["layers"]} == {"int8"}
