"""`packlight weigh` as it is typed: the gate, the page, JSON as documented, careless options."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from packlight import load, weigh
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from tests.schemas import conforms

DOCS = (Path(__file__).parents[2] / "docs" / "weigh.md").read_text()


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "packlight.cli", "weigh", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 50))
    )
    path = tmp_path_factory.mktemp("weigh") / "m.onnx"
    onnx_file.write(Network.from_module(module, (torch.zeros(2, 3, 16, 16),)), path)
    return path


def test_a_gate_that_holds_is_exit_code_0(model: Path) -> None:
    done = run(model, "--max-download", "1MB", "--max-installed", "1MB", "--max-ram", "1MB")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("✓ met") == 3
    assert " packed (" in done.stdout
    assert "about" not in done.stdout  # it was really packed


def test_a_gate_that_fails_is_exit_code_3_and_one_sentence(model: Path) -> None:
    done = run(model, "--max-download", "10KB", "--max-ram", "1MB", "--quiet")
    assert done.returncode == 3
    (line,) = done.stderr.strip().splitlines()
    assert re.search(r"packed download takes .* more than --max-download allows \(10 KB\)$", line)
    assert "✗ over by" in done.stdout


def test_limits_are_listed_with_what_is_met(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[[limit]]\nname = "ours"\nmeasures = "installed"\nat_most = "1KB"\n')
    done = run(model, "--limits", "--limits-file", own, "--quiet")
    assert done.returncode == 3
    assert "more than ours allows" in done.stderr
    assert re.search(r"App Store: an app, uncompressed +4 GB .*✓ met", done.stdout)
    assert "4G" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_the_page_holds_treemap_table_and_verdicts(model: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run(model, "--limits", "--html", page, "--quiet")
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert len(text) < 1_000_000
    for part in ("treemap-title", "timeline-title", "memory", "limits", "layers"):
        assert f'id="{part}"' in text
    assert "Content-Security-Policy" in text
    assert not re.search(r'(?:src|href)="http', text)
    assert "<script" not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sort", "colour"), "'colour'"),
        (("--max-download", "huge"), "--max-download 'huge'"),
        (("--max-ram", "0"), "--max-ram '0'"),
        (("--limits-file", "absent.toml"), "absent.toml"),
        (("--batch", "0"), "a batch of 0"),
        (("--html", "nowhere/page.html"), "nowhere"),
    ],
)
def test_careless_options_are_answered_in_one_sentence(
    model: Path, options: tuple[str, ...], words: str
) -> None:
    done = run(model, *options, "--quiet", cwd=model.parent)
    assert done.returncode == 2, done.stdout
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_onnx_file_is_weighed_without_torch(model: Path) -> None:
    script = (
        "import sys, packlight\n"
        "print(packlight.weigh(sys.argv[1]))\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(model)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_file_and_its_graph_are_weighed_alike(model: Path) -> None:
    listed, traced = weigh(model), weigh(load(model))
    assert [row.read_bytes for row in listed.rows] == [row.read_bytes for row in traced.rows]
    assert [row.tensors for row in listed.rows] == [row.tensors for row in traced.rows]
    assert listed.ram_bytes == traced.ram_bytes
    assert listed.file == traced.file


def documented() -> set[str]:
    """Every key that docs/weigh.md names, as a path."""
    section = DOCS.partition("## JSON")[2]
    found: set[str] = set()
    for cell, meaning in re.findall(r"^\| (`.*?`) \| (.*) \|$", section, re.MULTILINE):
        base = ""
        paths = []
        for name in re.findall(r"`([^`]+)`", cell):
            if name.startswith("."):
                paths.append(base + name)
            else:
                base = name.rpartition(".")[0]
                paths.append(name)
        found.update(path.removesuffix("[]") for path in paths)
        for name in re.findall(r"`(\w+)`", meaning) if paths[0] != "judged" else []:
            found.update(f"{path}.{name}" for path in paths)
    return found


def keys(value: object, path: str = "") -> set[str]:
    """Every key of a JSON value, as a path; what is inside `memory` has its own home."""
    if isinstance(value, list):
        return set().union(*(keys(item, f"{path}[]") for item in value))
    if not isinstance(value, dict) or path == "memory":
        return set()
    return {
        found
        for name, item in value.items()
        for here in [f"{path}.{name}" if path else name]
        for found in {here} | keys(item, here)
    }


def test_json_is_what_the_documentation_says(model: Path) -> None:
    done = run(model, "--max-download", "1MB", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    conforms("weigh", data)
    found = {key for key in keys(data) if not key.startswith("judged.")}
    named = {key for key in documented() if not re.match(r"summary\.(copies|dead)\[\]", key)}
    assert found == named
    assert set(data["judged"]) == {"sizes", "limits", "links"}
    whole, number = (int,), (int, float, type(None))
    for layer in data["layers"]:
        for key in ("elements", "data_bytes", "parameter_count", "macs", "bytes", "zeros"):
            assert isinstance(layer[key], whole)
        for key in ("packed_bytes", "read_bytes", "reuse", "intensity", "bits_per_weight"):
            assert isinstance(layer[key], number)
        assert all(isinstance(size, (int, type(None))) for size in layer["shape"])
    assert data["totals"]["macs"] == sum(layer["macs"] for layer in data["layers"])
    assert data["summary"]["packed_is_exact"] is True


def test_a_batch_counts_for_data_arithmetic_and_memory(model: Path) -> None:
    one, four = weigh(model), weigh(model, batch=4)
    assert four.totals.macs == 4 * one.totals.macs
    assert one.memory is not None
    assert four.memory is not None
    assert 3.9 * one.memory.peak < four.memory.peak < 4.1 * one.memory.peak
    assert four.to_dict()["batch"] == 4
