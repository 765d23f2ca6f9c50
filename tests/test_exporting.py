"""`export`: every runtime's file, packed, with a record; what stands in the way is told at once."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import packlight
from packlight.errors import BadInput
from packlight.files import sha256
from packlight.network import Network
from packlight.runtimes import coreml, executorch, targets
from packlight.runtimes import onnx as onnx_file
from tests.commands import run
from tests.networks import plain
from tests.runtimes.at_once import at_once
from tests.runtimes.fitted import fitted
from tests.runtimes.quantised import program_holds
from tests.schemas import conforms

needs_litert = pytest.mark.skipif(
    find_spec("ai_edge_litert") is None, reason="LiteRT is not installed: packlight[litert]"
)


@pytest.fixture(scope="module")
def fit(tmp_path_factory) -> Path:
    return fitted(plain(), tmp_path_factory.mktemp("plain"), "8KB")


@pytest.fixture(scope="module")
def written() -> bytes:
    return onnx_file.to_bytes(plain())


@pytest.fixture
def model(written, tmp_path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(written)
    return path


@needs_litert
def test_each_file_is_packed_and_recorded(model):
    result = packlight.export(model, "onnx,litert")
    folder = model.with_name("net-exported")
    names = [
        "export.json",
        *(f"model.{kind}" for kind in ("onnx", "onnx.plt", "tflite", "tflite.plt")),
    ]
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(names)
    record = json.loads(result.record.read_bytes())
    assert record["source"] == {"file": "net.onnx", "sha256": sha256(model)}
    for one in result.files:
        assert one.difference is not None
        assert one.difference < 1e-5
        entry = record["files"][one.target]
        assert entry["sha256"] == sha256(one.file)
        assert entry["packed_bytes"] == one.packed.stat().st_size
        restored = packlight.unpack(one.packed, folder / "again", force=True)
        assert restored.read_bytes() == one.file.read_bytes()


@needs_litert
def test_a_fit_is_exported_beside_its_own_file_and_its_accuracy_is_recorded(fit, tmp_path, capsys):
    before = (fit / "model.onnx").read_bytes()
    code = run("export", fit, "--to", "litert", "--quiet")
    told = capsys.readouterr()
    assert not code, told.err
    assert "model.tflite" in told.out
    assert (fit / "model.onnx").read_bytes() == before
    report = json.loads((fit / "report.json").read_bytes())
    record = json.loads((fit / "export.json").read_bytes())
    conforms("report", report)
    conforms("export", record)
    assert record["fit"]["accuracy"] == report["accuracy"]
    assert record["source"]["sha256"] == report["compressed"]["sha256"]
    both = packlight.export(fit, ["onnx", "litert"], tmp_path)
    assert both.files[0].file.read_bytes() == before
    assert both.files[1].file.read_bytes() == (fit / "model.tflite").read_bytes()


@needs_litert
def test_a_fit_is_exported_at_once_where_it_is_told_to(fit, tmp_path, capsys):
    data, out = fit.parent / "data.npz", tmp_path / "out"
    options = ["--data", data, "--target-size", "8KB", "-o", out, "--quiet"]
    assert run("fit", fit.parent / "net.onnx", *options, "--to", "onnx,lite") == 2
    assert "'lite' is no runtime" in capsys.readouterr().err
    assert not out.exists()
    assert not run("fit", fit.parent / "net.onnx", *options, "--to", "onnx,litert")
    assert "model.tflite" in capsys.readouterr().out
    record = json.loads((out / "export.json").read_bytes())
    assert record["source"]["sha256"] == sha256(out / "model.onnx")
    assert set(record["files"]) == {"onnx", "litert"}


@pytest.mark.skipif(
    find_spec("executorch") is None or find_spec("coremltools") is None,
    reason="needs packlight[executorch,coreml]",
)
def test_a_fit_s_integers_are_those_of_the_files_for_executorch_and_core_ml(
    fit, tmp_path, monkeypatch
):
    from tests.reference import mil

    for module in (executorch, coreml):
        monkeypatch.setattr(module, "apart", at_once)

    result = packlight.export(fit, "executorch,coreml", tmp_path)
    program, package = result.files
    assert program.difference is not None
    assert program.difference < 1e-5
    assert package.difference is None
    assert package.file.is_dir()
    levels = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(fit / "model.onnx").graph.initializer
        if tensor.name.endswith("weight_quantized")
    }
    assert levels
    held = [
        op.quantized_data.val
        for op in mil.operations(package.file)
        if op.op_type == "constexpr_affine_dequantize"
    ]
    data = program.file.read_bytes()
    for array in levels.values():
        assert any(np.array_equal(one, array) for one in held)
        assert program_holds(data, array)
    for one in result.files:
        packlight.unpack(one.packed, tmp_path / f"again{one.file.suffix}")
    assert (tmp_path / "again.pte").read_bytes() == data


@needs_litert
class _Stateful(nn.Module):
    def forward(self, signal, state, rate):
        return signal + rate, state * rate


class _Scaled(nn.Module):
    def forward(self, signal, rate):
        return signal * rate


@pytest.mark.parametrize("varies", [False, True])
def test_states_and_scalars_are_inputs_like_others(varies, tmp_path):
    examples = (torch.ones(1, 4), torch.ones(2, 1, 3), torch.tensor(16.0))
    module = _Scaled() if varies else _Stateful()
    examples = examples[::2] if varies else examples
    network = Network.from_module(module, examples, dynamic_batch=varies)
    assert any(network.dynamic_batch) == varies
    (made,) = packlight.export(network, "onnx", tmp_path / "out").files
    assert made.difference is not None
    assert made.difference < 1e-6


def test_a_second_export_adds_to_the_record(model):
    packlight.export(model, "onnx")
    result = packlight.export(model, "litert", channels_last=True)
    record = json.loads(result.record.read_bytes())
    assert {*record["files"]} == {"onnx", "litert"}
    assert record["files"]["litert"]["settings"] == {"channels_last": True}


def test_files_in_the_way_stay_unless_forced(model):
    packlight.export(model, "onnx")
    file = model.with_name("net-exported") / "model.onnx"
    file.write_bytes(b"mine")
    with pytest.raises(BadInput, match=r"holds model\.onnx already; replace with --force"):
        packlight.export(model, "onnx")
    assert file.read_bytes() == b"mine"
    packlight.export(model, "onnx", force=True)
    assert file.read_bytes() != b"mine"


@needs_litert
def test_a_fit_s_own_file_is_never_stored_otherwise(fit):
    before = sha256(fit / "model.onnx")
    with pytest.raises(BadInput, match=r"model\.onnx is what is exported; say -o elsewhere"):
        packlight.export(fit, "onnx", bits=4, force=True)
    assert sha256(fit / "model.onnx") == before


def test_what_one_runtime_can_not_hold_does_not_keep_the_others_from_theirs(tmp_path):
    class Sorted(nn.Module):
        def forward(self, x):
            return x.sort(1)[0]

    network = Network.from_module(Sorted(), (torch.rand(2, 3),))
    with pytest.raises(BadInput, match=r"aten\.sort .* \(model\.onnx written\)"):
        packlight.export(network, ["litert", "onnx"], tmp_path)
    record = json.loads((tmp_path / "export.json").read_bytes())
    assert {*record["files"]} == {"onnx"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.onnx"], ["absent.onnx"]),
        (["net.onnx", "--to", "tensorrt"], ["tensorrt", "onnx, ort, litert, executorch, coreml"]),
        (["net.onnx", "--to", ","], ["onnx, ort, litert"]),
        (["net.onnx", "--channels-last"], ["--channels-last", "litert"]),
        (["photo.onnx"], ["photo.onnx"]),
        (["empty"], ["empty", "model.onnx"]),
        (["unmet"], ["nearest.onnx"]),
        (["damaged"], ["report.json"]),
        (["net.onnx", "--out", "/proc/nowhere"], ["/proc/nowhere"]),
        (["net.onnx", "--out", "photo.onnx"], ["photo.onnx"]),
    ],
)
def test_careless_commands_are_answered_in_one_sentence(
    model, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(model.parent)
    Path("photo.onnx").write_bytes(b"\xff\xd8\xff\xe0" * 100)
    for name in ("empty", "unmet", "damaged"):
        Path(name).mkdir()
    Path("unmet/nearest.onnx").write_bytes(model.read_bytes())
    Path("damaged/model.onnx").write_bytes(model.read_bytes())
    Path("damaged/report.json").write_text('{"accuracy": ')
    assert run("export", *arguments) == 2
    told = capsys.readouterr().err
    for word in words:
        assert word in told
    assert len(told.strip().splitlines()) <= 4


def test_a_target_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setitem(targets._MODULES, "coreml", "packlight.runtimes.absent")
    with pytest.raises(BadInput, match="can not write files for coreml"):
        targets.target_of("coreml")
