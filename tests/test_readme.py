"""What the README tells a newcomer to type is typed here, word by word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from packlight import benching
from packlight.demo import train, write_images
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from tests.commands import run
from tests.native.compiling import run as build
from tests.native.compiling import tool
from tests.runtimes.at_once import at_once

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXPORT = (ROOT / "docs" / "export.md").read_text()
BENCH = (ROOT / "docs" / "bench.md").read_text()
TUNE = (ROOT / "docs" / "tune.md").read_text()
DISTILL = (ROOT / "docs" / "distill.md").read_text()
ZOO = (ROOT / "docs" / "zoo.md").read_text()
NEW = (ROOT / "docs" / "new.md").read_text()
GUIDES = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]

SECONDS = 0.5  # for the files that are timed: no figure is looked at
CONVERTING = (
    *("runtimes.coreml", "runtimes.executorch"),
    *("layerwise.executorch", "layerwise.onnx", "layerwise.tflite"),
)


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """`bench` and `check` do all that they do, with fewer turns; converters are imported once."""
    turns = benching.take_turns
    monkeypatch.setattr(benching, "take_turns", lambda runners, _: turns(runners, SECONDS))
    for name in CONVERTING:
        monkeypatch.setattr(f"packlight.{name}.apart", at_once)


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def typed(line: str, capsys) -> str:
    """A line's output, once it ended with the exit code that its comment promises, or 0."""
    command, _, comment = line.partition("#")
    promised = re.search(r"exit code (\d+)", comment)
    code = run(*shlex.split(command)[1:])
    said = capsys.readouterr()
    assert (code or 0) == (int(promised[1]) if promised else 0), f"{line}\n{said.err}"
    return said.out


def commands() -> list[str]:
    """The README's, then those of the pages that go on where it ends."""
    pages = README, EXPORT, BENCH, TUNE, ZOO, NEW, DISTILL
    found = [block for page in pages for block in blocks("sh", page)]
    lines = [line.partition("#")[0].strip() for block in found for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where `make demo` has run, with less training and fewer images."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "demo-out").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("packlight.demo.FIT_IMAGES", 500)
        patch.setattr("packlight.demo.JUDGE_IMAGES", 500)
        write_images(folder / "demo-out" / "letters.npz", seed=0)
    import torch

    network = Network.from_module(train(steps=100), (torch.zeros(2, 1, 32, 32),))
    onnx_file.write(network, folder / "demo-out" / "letters.onnx")
    return folder


def test_every_make_target_named_exists():
    named = {words[1] for words in map(shlex.split, commands()) if words[0] == "make"}
    makefile = (ROOT / "Makefile").read_text()
    assert named
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in named)


def test_every_command_runs_in_the_order_given(folder, monkeypatch, capsys):
    for line in commands():
        if line.startswith("export "):
            monkeypatch.setenv(*shlex.split(line)[1].split("=", 1))
    lines = [line for line in commands() if line.startswith(".venv/bin/packlight ")]
    assert len(lines) >= 3
    monkeypatch.chdir(folder)
    for line in lines:
        assert typed(line, capsys).strip()


@pytest.mark.parametrize(
    ("page", "written"),
    [
        (README, "smaller/model.onnx.plt"),
        (EXPORT, "from-python/model.tflite"),
        (BENCH, "small/model.tflite"),
        (TUNE, "(1, 36)"),
        (ZOO, "213,586 parameters"),
        (NEW, "resnet8:"),
        (DISTILL, "taught-on/student.onnx"),
    ],
)
def test_the_python_example_runs(page, written, folder, monkeypatch, capsys):
    (example,) = blocks("python", page)
    monkeypatch.chdir(folder)
    exec(compile(example, "example", "exec"), {})
    assert written in capsys.readouterr().out


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_does_what_it_says(page, folder, monkeypatch, capsys):
    """Its commands and its Python, in the order of the page, in one folder with those above."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    found = re.findall(
        r"^```(sh|python|yaml)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found
    for language, block in found:
        if language == "python":
            exec(compile(block, page.name, "exec"), names)
            continue
        start = r"\.venv/bin/packlight .+" if language == "sh" else r"(?<=run: )packlight .+"
        lines = re.findall(start, block)
        assert lines
        for line in lines:
            assert typed(line, capsys).strip(), line


def test_the_java_of_the_tutorial_compiles(tmp_path):
    (java,) = blocks("java", GUIDES[0].read_text())
    (tmp_path / "Digits.java").write_text(java)
    sources = [ROOT / "native" / "jni" / "Packlight.java", tmp_path / "Digits.java"]
    build(tool("javac"), "-Xlint:all", "-Werror", "-d", tmp_path, *sources)


def test_every_file_linked_exists():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
