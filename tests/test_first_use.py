"""The first minutes with packlight: help, completion, colours, and what is told when parts fail."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import packlight
from packlight import weighing
from packlight.cli import cli
from packlight.errors import MissingExtra
from packlight.runtimes import onnx as onnx_file
from packlight.shrink.ray_cluster import RayCluster
from packlight.weighing.memory import solver
from tests.commands import run
from tests.networks import plain

COLOURED = (
    "from rich.text import Text\n"
    "from packlight.cli.output import show\n"
    "show(Text('packed', style='red'))\n"
)
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "command-line.md").read_text()
VERBS = {
    f"{name} {inner}".strip(): one
    for name, command in cli.commands.items()
    for inner, one in getattr(command, "commands", {"": command}).items()
}
RESULTS = set(VERBS) - {"demo", "unpack"}  # of those, one tells a story, one a path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return onnx_file.write(plain(), tmp_path_factory.mktemp("first") / "plain.onnx")


def test_packlight_alone_shows_the_journey(capsys):
    assert not run()
    said = capsys.readouterr()
    assert "packlight fit MODEL.onnx" in said.out
    assert not said.err


def test_the_help_names_every_verb_in_a_whole_sentence(capsys):
    run()
    lines = [line.split() for line in capsys.readouterr().out.split("Commands:")[1].splitlines()]
    told = {words[0]: words[-1] for words in lines if words}
    assert list(told) == list(cli.commands)
    assert all(last.endswith(".") and not last.endswith("..") for last in told.values())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_quiet_and_every_result_be_read_by_programs(verb):
    options = {name for option in VERBS[verb].params for name in option.opts}
    assert "--quiet" in options
    assert ("--json" in options) == (verb in RESULTS)


def test_json_of_a_packed_file_holds_its_sizes(model, tmp_path, capsys):
    out = tmp_path / "plain.plt"
    assert not run("pack", model, "-o", out, "--json", "--quiet")
    said = capsys.readouterr()
    told = {"file": str(out), "bytes": model.stat().st_size, "packed_bytes": out.stat().st_size}
    assert json.loads(said.out) == told
    assert not said.err


def test_json_of_an_export_is_its_record(model, tmp_path, capsys):
    assert not run("export", model, "-o", tmp_path, "--json", "--quiet")
    assert json.loads(capsys.readouterr().out) == json.loads(
        (tmp_path / "export.json").read_bytes()
    )


def test_an_unforeseen_error_is_a_sentence(monkeypatch, model, capsys):
    monkeypatch.setattr(weighing, "weigh", lambda *_, **__: [][1])
    assert run("weigh", model) == 1
    told = capsys.readouterr().err
    assert "does not know: IndexError: list index out of range; this is a fault" in told
    assert len(told.splitlines()) == 1


def test_with_verbose_it_is_also_a_traceback(monkeypatch, model, capsys):
    monkeypatch.setattr(weighing, "weigh", lambda *_, **__: [][1])
    assert run("--verbose", "weigh", model) == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert "this is a fault of packlight" in told.splitlines()[-1]


@pytest.mark.parametrize("by_torch", [False, True])
def test_too_little_memory_is_no_fault_of_packlight(monkeypatch, model, capsys, by_torch):
    def full(*_, **__):
        if by_torch:
            torch.empty(1 << 60, dtype=torch.uint8)
        raise MemoryError

    monkeypatch.setattr(weighing, "weigh", full)
    assert run("weigh", model) == 1
    told = capsys.readouterr().err
    assert told.startswith("packlight: there is not enough memory")
    assert len(told.splitlines()) == 1


def test_a_full_disk_is_no_fault_of_packlight(monkeypatch, model, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "file")

    monkeypatch.setattr(weighing, "weigh", full)
    assert run("weigh", model) == 1
    told = capsys.readouterr().err
    assert told.startswith("packlight: the system refuses: ")
    assert "No space left" in told
    assert "fault" not in told


@pytest.mark.parametrize("shell", re.findall(r"_PACKLIGHT_COMPLETE=(\w+)_source", PAGE))
def test_each_shell_gets_its_completion(shell, monkeypatch, capsys):
    monkeypatch.setenv("_PACKLIGHT_COMPLETE", f"{shell}_source")
    assert not run()
    assert f"_PACKLIGHT_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_completion_knows_verbs_and_options(monkeypatch, capsys):
    monkeypatch.setenv("_PACKLIGHT_COMPLETE", "bash_complete")
    for typed, wanted in (("we", "weigh"), ("weigh --max-d", "--max-download")):
        monkeypatch.setenv("COMP_WORDS", f"packlight {typed}")
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
        assert not run()
        assert capsys.readouterr().out.strip() == f"plain,{wanted}"


def shown(on_terminal: bool, **environment: str) -> bytes:
    """What a coloured text becomes."""
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    env = kept | {"TERM": "xterm-256color"} | environment
    command = [sys.executable, "-c", COLOURED]
    if not on_terminal:
        return subprocess.run(command, capture_output=True, check=True, env=env).stdout
    ours, theirs = pty.openpty()
    subprocess.run(command, stdout=theirs, check=True, env=env)
    os.close(theirs)
    said = os.read(ours, 4096)
    os.close(ours)
    return said


def test_colour_is_for_terminals_that_want_it():
    assert b"\x1b[31mpacked" in shown(on_terminal=True)
    assert b"\x1b" not in shown(on_terminal=True, NO_COLOR="1")
    assert b"\x1b" not in shown(on_terminal=False)


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("ai_edge_litert", "ai-edge-litert", "litert"),
        ("flatbuffers", "flatbuffers", "litert"),
        ("executorch", "executorch", "executorch"),
        ("torchao", "torchao", "executorch"),
        ("coremltools", "coremltools", "coreml"),
    ],
)
def test_a_missing_runtime_is_told_with_its_command_before_any_work(
    module, package, extra, monkeypatch, model, tmp_path, capsys
):
    monkeypatch.setitem(sys.modules, module, None)
    data = tmp_path / "data.npz"
    np.savez(data, x=np.zeros((2, 3, 16, 16), np.float32))
    sentence = f"packlight: {package} is not installed; try: pip install 'packlight[{extra}]'\n"
    export = ("export", model, "--to", f"onnx,{extra}", "--out", tmp_path / "out")
    fit = ("fit", model, "--data", data, "--max-drop", "1%", "--to", extra)
    for command in (export, fit):
        assert run(*command) == 2
        assert capsys.readouterr().err == sentence
    assert not (tmp_path / "out").exists()


def test_the_page_names_every_extra_that_a_user_may_want():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(declared["optional-dependencies"]) - {"dev", "docs", "keras"}
    assert set(re.findall(r"packlight\[(\w+)\]", PAGE)) == extras


def test_a_missing_codec_is_told_with_its_command(monkeypatch, model, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "liblzfse", None)
    assert run("pack", model, "--codec", "lzfse", "-o", tmp_path / "p.plt", "--quiet") == 2
    told = capsys.readouterr().err
    assert told == "packlight: pyliblzfse is not installed; try: pip install 'packlight[lzfse]'\n"
    assert not list(tmp_path.iterdir())


def test_a_missing_ray_is_told_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'packlight\[ray\]'"):
        RayCluster("ray://local")


def test_a_missing_solver_is_told_only_where_it_could_help(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "ortools", None)
    assert not solver.is_installed()
    assert not packlight.weigh(model).notes
    table = weighing._weigh_listing

    def unproved(*arguments):
        found = table(*arguments)
        plan = replace(found.memory.plan, lower_bound=found.memory.lower_bound - 64)
        return replace(found, memory=replace(found.memory, plan=plan))

    monkeypatch.setattr(weighing, "_weigh_listing", unproved)
    (note,) = packlight.weigh(model).notes
    assert note.endswith("pip install 'packlight[solver]'")
