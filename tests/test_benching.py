"""`bench`: files of any mix side by side; a runtime that fails leaves the others their figures."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

import packlight
from packlight import benching
from packlight.errors import BadInput
from packlight.judge import Interval
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes import racing, targets, worker
from packlight.runtimes.worker import Loaded
from tests.commands import run
from tests.networks import plain
from tests.runtimes.at_once import at_once
from tests.schemas import conforms

QUICK = 0.05  # seconds: ten turns


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "plain.onnx"
    onnx_file.write(plain(), path)
    return path


@pytest.fixture
def fragile(monkeypatch, tmp_path):
    """Files with a runtime that does what they say; see tests/runtimes/fragile.py."""
    monkeypatch.setitem(targets._RUNS, "litert", "tests.runtimes.fragile")

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.tflite"
        path.write_text(text)
        return path

    return write


def test_every_file_has_its_figures_and_ratios_are_to_the_first(model):
    result = packlight.bench([model, model], seconds=QUICK)
    assert result.turns >= 10
    first, second = result.files
    for one in (first, second):
        assert one.problem is None
        assert one.runtime == "onnx"
        assert one.bytes == model.stat().st_size
        assert one.runs >= result.turns
        assert 0 < one.median_ms.low <= one.median_ms.value <= one.median_ms.high
        assert one.p95_ms > 0
        assert one.load_ms > 0
    assert first.ratio is None
    assert first.verdict is None
    assert second.ratio.low <= second.ratio.value <= second.ratio.high
    assert result.same is not None
    assert any("against itself" in note for note in result.notes)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_memory_is_what_the_file_added(model, tmp_path):
    large = tmp_path / "large.onnx"
    layer = torch.nn.Linear(2000, 2000)
    onnx_file.write(Network.from_module(layer, (torch.zeros(2, 2000),)), large)
    small, other = packlight.bench([model, large], seconds=QUICK).files
    assert small.peak_bytes < other.peak_bytes
    assert 16e6 <= other.peak_bytes < 100e6


def test_files_of_several_runtimes_take_turns(model, tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed: packlight[litert]")
    pytest.importorskip("executorch", reason="needs packlight[executorch]")
    monkeypatch.setattr("packlight.runtimes.executorch.apart", at_once)
    targets.target_of("litert").write(plain(), tmp_path / "plain.tflite")
    targets.target_of("executorch").write(plain(), tmp_path / "plain.PTE")
    result = packlight.bench(
        [model, tmp_path / "plain.PTE", tmp_path / "plain.tflite"], seconds=QUICK
    )
    assert [one.runtime for one in result.files] == ["onnx", "executorch", "litert"]
    assert [one.problem for one in result.files] == [None] * 3
    assert [one.ratio is None for one in result.files] == [True, False, False]


def test_suffixes_are_those_of_the_runtimes_that_have_a_session():
    pytest.importorskip("executorch", reason="needs packlight[executorch]")
    runnable = [one for one in map(targets.target_of, targets.NAMES) if one.session is not None]
    assert {one.suffix: one.name for one in runnable} == targets.SUFFIXES


def test_one_file_alone_has_a_latency(fragile):
    result = packlight.bench(fragile("alone", "1 ms"), seconds=QUICK)
    assert result.files[0].median_ms.value >= 1
    assert result.files[0].ratio is None
    assert result.same is None


def made_up(*turns: float) -> racing.Runner:
    """A file that took so many milliseconds in each turn, in three runs."""
    loaded = Loaded(load_ms=5.0, run_ms=1.0, peak_bytes=1000)
    return racing.Runner(None, [[one, one, 9 * one] for one in turns], loaded)


def test_figures_are_of_the_turns(model):
    noise = [1, 1.2, 0.9, 1.1, 1, 2, 1, 0.8, 1, 1.3]
    first = made_up(*noise)
    half = made_up(*(0.5 * one for one in noise))
    one = benching._figures(model, "onnx", half, first, Interval(1, 0.9, 1.1))
    assert one.median_ms == Interval(0.5, 0.45, 0.65)
    assert one.ratio == Interval(0.5, 0.5, 0.5)
    assert one.verdict == "faster"
    assert one.p95_ms == pytest.approx(9 * 0.5 * 1.25, rel=0.2)
    assert (one.runs, one.load_ms, one.peak_bytes) == (30, 5.0, 1000)


def test_what_is_too_noisy_is_told(model):
    first, other = made_up(*[1, 2] * 5), made_up(*[2, 1] * 5)
    same = Interval(1, 0.9, 1.1)
    files = [benching._figures(model, "onnx", one, first, same) for one in (first, other)]
    assert files[1].verdict == "unclear"
    notes = benching._notes(files, same)
    assert any(note.startswith("too noisy to tell whether ") for note in notes)
    assert any(note.startswith("this machine is not at rest") for note in notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 ms, abort in loading", "the process ended with code -6: no room for the arena"),
        ("1 ms, abort in run 1", "the process ended with code -6: a kernel's assertion"),
        ("100 ms, abort in run 9", "the process ended with code -6: a kernel's assertion"),
        ("1 ms, raise", "no kernel for cumsum"),
        ("1 ms, missing", "fragile is not installed; try: pip install 'packlight[litert]'"),
        ("1 ms, open size", "the size of input x [NxN] float32 is open"),
    ],
)
def test_a_file_that_fails_says_why_and_the_others_go_on(model, fragile, capsys, text, reason):
    broken = fragile("broken", text)
    assert run("bench", model, broken, "--json", "--quiet", "--seconds", QUICK) == 2
    told = capsys.readouterr()
    good, bad = json.loads(told.out)["files"]
    conforms("bench", json.loads(told.out))
    assert good["median_ms"]["value"] > 0
    assert bad["problem"].startswith(reason)
    assert bad["median_ms"] is None
    assert "a runtime's chatter" not in told.out + told.err
    assert told.err.startswith(f"packlight: {broken} was not timed: {reason}")
    assert len(told.err.strip().splitlines()) == 1


def test_a_file_that_hangs_is_stopped(model, fragile, monkeypatch):
    load = worker.Worker.load

    def impatient(self) -> Loaded:
        """Importing may take long on a busy machine; what comes after it may not."""
        monkeypatch.setattr(worker, "PATIENCE", 5.0)
        return load(self)

    monkeypatch.setattr(worker.Worker, "load", impatient)
    result = packlight.bench([model, fragile("broken", "1 ms, hang")], seconds=QUICK)
    assert result.files[0].median_ms is not None
    assert result.files[1].problem == "no answer within 5 seconds; it was stopped"


def test_without_the_first_file_there_are_no_ratios(model, fragile):
    result = packlight.bench([fragile("broken", "1 ms, abort in loading"), model], seconds=QUICK)
    assert result.files[1].ratio is None
    assert result.files[1].median_ms is not None
    assert any(note.startswith("no ratios: ") for note in result.notes)


def test_a_package_that_is_missing_is_named(model, monkeypatch, tmp_path):
    shadow = tmp_path / "shadow" / "ai_edge_litert"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise ImportError('not installed')")
    monkeypatch.syspath_prepend(shadow.parent)
    (tmp_path / "net.tflite").write_bytes(b"")
    with pytest.raises(BadInput, match=r"net.tflite: ai-edge-litert is not .*packlight\[litert\]"):
        packlight.bench(tmp_path / "net.tflite", seconds=QUICK)


def test_inputs_have_the_shapes_and_types_that_the_file_declares(tmp_path):
    """The graph fails on any other: 2 samples, an image of bytes and an index of an open count."""
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 4]),
        helper.make_tensor_value_info("index", TensorProto.INT64, ["n"]),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["float", "index"], ["y"], axis=1),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, tmp_path / "two.onnx")
    assert packlight.bench(tmp_path / "two.onnx", seconds=QUICK).files[0].problem is None


def test_the_table_shows_names_as_they_are(fragile, capsys):
    odd = fragile("[bold]x[red]", "2 ms")
    assert not run("bench", odd, "--seconds", QUICK, "--quiet")
    assert "[bold]x[red].tflite" in "".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["MODEL"]),
        (["absent.onnx"], ["absent.onnx does not exist"]),
        (["plain.onnx", "data.npz"], ["data.npz", ".onnx, .ort, .tflite, .pte"]),
        (["net.mlpackage"], ["net.mlpackage can not be run here"]),
        (["folder.onnx"], ["folder.onnx"]),
        (["photo.onnx"], ["photo.onnx"]),
        (["plain.onnx", "--threads", "0"], ["--threads"]),
        (["plain.onnx", "--threads", "5000"], ["5000 threads"]),
        (["plain.onnx", "--seconds", "0"], ["0.0 seconds"]),
        (["plain.onnx", "--seconds", "nan"], ["nan seconds"]),
    ],
)
def test_careless_commands_are_answered_in_one_sentence(
    model, tmp_path, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(tmp_path)
    Path("plain.onnx").write_bytes(model.read_bytes())
    Path("photo.onnx").write_bytes(b"\xff\xd8\xff\xe0" * 100)
    Path("data.npz").write_bytes(b"")
    Path("net.mlpackage").mkdir()
    Path("folder.onnx").mkdir()
    assert run("bench", *arguments, "--quiet") == 2
    told = capsys.readouterr().err
    for word in words:
        assert word in told
    assert len(told.strip().splitlines()) <= 4
