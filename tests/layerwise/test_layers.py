"""A layer that a runtime computes otherwise is named, and only that one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from rich.console import Console
from torch import nn

import packlight
from packlight import parity
from packlight.benching import BenchResult, Timed
from packlight.layerwise import Layer, RuntimeLayers, compare_layers
from packlight.layerwise import executorch as in_executorch
from packlight.layerwise import onnx as in_onnx
from packlight.layerwise.measure import Place, Tally
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes import onnxruntime as ort
from packlight.runtimes.targets import runner_of
from tests.commands import run
from tests.networks import blocks, images, plain
from tests.runtimes.at_once import at_once as in_this_process
from tests.runtimes.quantised import quantised
from tests.schemas import conforms

SAMPLES = images(16, seed=3).numpy()


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Everything in this process: starting others takes longer than what they do."""
    for name in ("layerwise.onnx", "layerwise.tflite", "layerwise.executorch"):
        if name.endswith("tflite"):
            pytest.importorskip("ai_edge_litert", reason="needs packlight[litert]")
        monkeypatch.setattr(f"packlight.{name}.apart", in_this_process)


def compare(path: Path, runtime: str, reference: Path, answers=()) -> RuntimeLayers:
    return compare_layers(path, runtime, reference, [SAMPLES], answers)


def departing(found: RuntimeLayers) -> list[str]:
    assert found.problem is None
    return [layer.name for layer in found.layers if layer.departs]


def with_other(path: Path, weights: list[str]) -> Path:
    """A copy of an ONNX file, in `other`, with some initialisers turned around."""
    model = onnx.load(path)
    changed = 0
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            array = numpy_helper.to_array(tensor)[::-1].copy()
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
            changed += 1
    assert changed == len(weights)
    other = path.parent / "other" / path.name
    other.parent.mkdir()
    onnx.save(model, other)
    return other


def float_file(folder: Path) -> Path:
    return onnx_file.write(plain(), folder / "model.onnx")


# what counts as departing

GRID = Place("v", "conv", "Conv", step=0.5)


def tallied(place: Place, wanted, given, clean=None) -> Layer:
    tally = Tally(place)
    tally.add(*(np.asarray(one, np.float32) for one in (wanted, given, clean or wanted)))
    return tally.layer()


@pytest.mark.parametrize(
    ("off_by", "count", "levels", "departs"),
    [(0.0, 0, 0, False), (0.5, 10, 1, False), (0.5, 11, 1, True), (1.0, 1, 2, True)],
)
def test_one_value_in_a_hundred_may_be_a_level_off_and_none_two(off_by, count, levels, departs):
    wanted = np.zeros(1000)
    given = wanted + off_by * (np.arange(1000) < count)
    layer = tallied(GRID, wanted, given)
    assert (layer.levels, layer.departs) == (levels, departs)
    assert layer.off == pytest.approx(count / 1000)


@pytest.mark.parametrize(("difference", "departs"), [(1e-4, False), (3e-4, True)])
def test_floats_may_be_off_by_rounding(difference, departs):
    layer = tallied(Place("v", "fc", "Gemm"), [0.0, 2.0], [0.0 + difference, 2.0])
    assert layer.departs == departs
    assert layer.largest == pytest.approx(difference)
    assert layer.levels is None


@pytest.mark.parametrize("place", [GRID, Place("v", "fc", "Gemm")])
def test_a_value_that_is_no_number_departs_unless_both_are_none(place):
    nan = float("nan")
    assert tallied(place, [1.0, 0.0], [nan, 0.0]).departs
    assert not tallied(place, [nan, 0.0], [nan, 0.0]).departs


def test_the_ratio_is_to_what_no_layer_before_has_touched():
    layer = tallied(Place("v", "fc", "Gemm"), [9.0], [9.0], [10.0])
    assert not layer.departs
    assert layer.sqnr_db == pytest.approx(20)


# onnxruntime


def test_no_layer_of_a_sound_file_departs_in_onnxruntime(tmp_path):
    path = float_file(tmp_path)
    found = compare(path, "onnx", path)
    assert departing(found) == []
    assert found.first is None
    assert [layer.name for layer in found.layers if layer.kind in ("Conv", "Gemm")] == [
        "conv1", "conv2", "fc"
    ]  # fmt: skip
    assert all(layer.sqnr_db > 100 for layer in found.layers)


def test_changed_weights_of_an_onnx_file_are_named_each(tmp_path):
    path = float_file(tmp_path)
    other = with_other(path, ["conv2.weight", "fc.weight"])
    found = compare(other, "onnx", path)
    assert departing(found) == ["conv2", "fc"]
    assert found.first == "conv2"
    pool = next(layer for layer in found.layers if layer.kind == "MaxPool")
    assert not pool.departs
    assert pool.sqnr_db < 30  # it was given other numbers


def test_a_file_that_can_not_be_cut_says_so(tmp_path):
    path = float_file(tmp_path)
    found = compare(tmp_path / "model.ort", "ort", path)
    assert "model.ort has no layers" in found.problem


def test_a_copy_that_ends_at_the_output_is_the_file(tmp_path):
    path = onnx_file.write(quantised(blocks(), images(64)), tmp_path / "model.onnx")
    whole = ort.Session(path, threads=1)
    ending = ort.Session(in_onnx.cut(onnx.load(path), whole.output_names[0]), threads=1)
    np.testing.assert_array_equal(ending(SAMPLES)[0], whole(SAMPLES)[0])


def test_levels_are_compared_where_values_are_on_a_grid(tmp_path):
    path = onnx_file.write(quantised(blocks(), images(64)), tmp_path / "model.onnx")
    other = with_other(path, ["pointwise.weight_quantized"])
    found = compare(other, "onnx", path)
    layers = {layer.name: layer for layer in found.layers}
    assert layers["pointwise"].departs
    assert layers["pointwise"].levels > 1
    assert layers["pointwise"].off > 0.5
    assert not layers["depthwise"].departs  # no kernel of few products overflows


# LiteRT


def lite(network: Network, folder: Path, **settings) -> tuple[Path, Path]:
    """A folder's model.onnx and model.tflite."""
    path = onnx_file.write(network, folder / "model.onnx")
    packlight.export(path, "litert", folder, **settings)
    return path, folder / "model.tflite"


def damage(path: Path, operator: str, number: int) -> None:
    """Turn the weights of the number-th operator of a kind around."""
    from packlight.runtimes.tflite.flatfile import parsed, unparsed
    from packlight.runtimes.tflite.schema import schema

    model = parsed(path.read_bytes())
    (graph,) = model.subgraphs
    code = getattr(schema.BuiltinOperator, operator)
    calls = [c for c in graph.operators if model.operatorCodes[c.opcodeIndex].builtinCode == code]
    buffer = model.buffers[graph.tensors[calls[number].inputs[1]].buffer]
    width = np.dtype(
        "f4" if graph.tensors[calls[number].inputs[1]].type == schema.TensorType.FLOAT32 else "i1"
    )
    buffer.data = np.frombuffer(np.asarray(buffer.data).tobytes(), width)[::-1].copy().view("u1")
    path.write_bytes(unparsed(model))


@pytest.mark.parametrize("settings", [{}, {"channels_last": True}])
def test_changed_weights_of_a_float_tflite_file_are_named(tmp_path, settings):
    path, file = lite(plain(), tmp_path, **settings)
    assert departing(compare(file, "litert", path)) == []
    damage(file, "CONV_2D", 1)
    assert departing(compare(file, "litert", path)) == ["conv2"]


def test_changed_integers_of_a_tflite_file_are_named(tmp_path):
    path, file = lite(quantised(blocks(), images(64)), tmp_path)
    sound = compare(file, "litert", path)
    assert departing(sound) == []
    assert {layer.name for layer in sound.layers if layer.step} >= {"stem", "depthwise"}
    damage(file, "DEPTHWISE_CONV_2D", 0)
    found = compare(file, "litert", path)
    assert departing(found) == ["depthwise"]
    assert found.layers[-1].sqnr_db < sound.layers[-1].sqnr_db


def test_layers_of_signals_are_compared(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv1d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv1d(4, 4, 3), nn.Flatten(), nn.LazyLinear(5)
    )
    signals = torch.randn(2, 3, 16)
    module(signals)
    path, file = lite(Network.from_module(module.eval(), (signals,)), tmp_path)
    signals = np.random.default_rng(0).normal(size=(8, 3, 16)).astype(np.float32)
    assert departing(compare_layers(file, "litert", path, [signals], ())) == []
    damage(file, "CONV_2D", 0)
    assert departing(compare_layers(file, "litert", path, [signals], ())) == ["0"]


def test_rounding_that_only_the_runtime_does_departs(tmp_path):
    path, file = lite(quantised(plain(), images(64)), tmp_path, values="float")
    assert "conv2" in departing(compare(file, "litert", path))


def test_a_tflite_file_of_another_network_is_refused_in_a_sentence(tmp_path):
    path, file = lite(plain(), tmp_path)
    other = onnx_file.write(blocks(), tmp_path / "blocks.onnx")
    found = compare(file, "litert", other)
    assert found.layers == ()
    assert "model.tflite has other operators than" in found.problem
    file.write_bytes(b"no file")
    assert "is no .tflite file" in compare(file, "litert", path).problem


# ExecuTorch


def test_layers_of_executorch_are_compared_and_another_program_is_noted(tmp_path):
    pytest.importorskip("executorch", reason="needs packlight[executorch]")
    from packlight.runtimes import executorch as pte

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pte, "apart", in_this_process)
        network = quantised(plain(), images(64))
        path = onnx_file.write(network, tmp_path / "model.onnx")
        file = pte.write(packlight.load(path), tmp_path / "model.pte")
        (answers,) = pte.Session(file, threads=1).over([(SAMPLES,)])
        programs = []
        patch.setattr(in_executorch, "lower", lambda one: _kept(programs, pte.lower(one)))
        found = compare(file, "executorch", path, [answers])
        assert departing(found) == []
        assert found.note is None
        assert {layer.name for layer in found.layers} >= {"conv1", "conv2", "fc"}
        patch.setattr(in_executorch, "lower", lambda _: programs[0])
        noted = compare(file, "executorch", path, [answers + 1])
    assert "does not answer as model.pte does" in noted.note


def _kept(kept, made):
    kept.append(made)
    return made


# the command


@pytest.fixture
def quick(monkeypatch):
    """No times, and no other processes."""
    monkeypatch.setattr(parity, "apart", in_this_process)
    monkeypatch.setattr(parity, "bench", _untimed)


def _untimed(paths, **_) -> BenchResult:
    files = tuple(Timed(path.name, runner_of(path)[0], path.stat().st_size) for path in paths)
    return BenchResult(files, 1, (), 0, None, ())


def test_the_command_names_the_layer_and_is_content(tmp_path, quick, capsys):
    path = float_file(tmp_path)
    other = with_other(path, ["conv2.weight"])
    np.savez(tmp_path / "data.npz", x=images(24, seed=5).numpy())
    asked = ["--data", tmp_path / "data.npz", "--calibrate", 0, "--layers"]
    assert not run("check", path, other.parent, *asked, "--json")
    told = json.loads(capsys.readouterr().out)
    conforms("check-folder", told)
    assert [one["first"] for one in told["layers"]] == [None, "conv2"]
    result = packlight.check_folder(
        other.parent, tmp_path / "data.npz", original=path, calibrate=0, layers=True
    )
    console = Console(width=120)
    with console.capture() as captured:
        console.print(result)
    assert "conv2 (Conv) is the first to depart" in captured.get()
    assert "none of 4 layers departs from model.onnx" in captured.get()


def test_layers_of_two_files_are_refused(tmp_path, capsys):
    path = float_file(tmp_path)
    assert run("check", path, path, "--data", "x.npz", "--layers") == 2
    assert "--layers is for a folder's files" in capsys.readouterr().err


def test_an_original_with_other_layers_is_no_reference(tmp_path, quick):
    folder = tmp_path / "fit"
    folder.mkdir()
    onnx_file.write(quantised(blocks(), images(64)), folder / "model.onnx")
    first = onnx_file.write(blocks(), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=images(24, seed=5).numpy())
    result = packlight.check_folder(
        folder, tmp_path / "data.npz", original=first, calibrate=0, layers=True
    )
    assert [(one.file, one.reference) for one in result.layers] == [("model.onnx", "model.onnx")]
    assert result.layers[0].layers
