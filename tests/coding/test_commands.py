"""pack, unpack, info and codecs as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.coding.samples import onnx_model, weights
from tests.test_cli import refused, run


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "m.onnx").write_bytes(onnx_model({"w": weights((32, 16, 3, 3))}))
    return tmp_path


def typed(folder, *arguments):
    done = run(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_goes_there_and_back(folder):
    raw = (folder / "m.onnx").read_bytes()
    assert "m.onnx.plt" in typed(folder, "pack", "m.onnx", "--level", "max")
    assert "float32" in typed(folder, "info", "m.onnx.plt")
    assert json.loads(typed(folder, "info", "m.onnx.plt", "--json"))["size"] == len(raw)
    (folder / "m.onnx").unlink()
    typed(folder, "unpack", "m.onnx.plt")
    assert (folder / "m.onnx").read_bytes() == raw


def test_codecs_are_listed(folder):
    rows = json.loads(typed(folder, "codecs", "m.onnx", "--json"))
    assert {"Huffman", "LZFSE", "packlight max"} <= {row["codec"] for row in rows}
    assert "zstd 19" in typed(folder, "codecs", "m.onnx")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pack"], ["nothing to pack"]),
        (["pack", "nowhere.onnx"], ["nowhere.onnx", "does not exist"]),
        (["pack", "m.onnx", "-o", "m.onnx"], ["--force"]),
        (["pack", "m.onnx", "--level", "best"], ["fast", "max"]),
        (["pack", "m.onnx", "--codec", "rar"], ["rar", "brotli"]),
        (["pack", "m.onnx", "-o", "no/such/folder.plt"], ["no folder that can be written to"]),
        (["unpack", "m.onnx"], ["does not end in .plt"]),
        (["unpack", "m.onnx", "-o", "x"], ["not a .plt file"]),
        (["unpack", "m.onnx", "-o", "x", "--max-output", "lots"], ["--max-output", "lots"]),
        (["info", "m.onnx"], ["not a .plt file"]),
        (["codecs", "nowhere"], ["does not exist"]),
    ],
)
def test_careless_commands_are_answered_in_one_sentence(folder, arguments, words):
    before = (folder / "m.onnx").read_bytes()
    refused(run(*arguments, cwd=folder), *words)
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]
    assert (folder / "m.onnx").read_bytes() == before


def test_packing_loads_no_torch(folder):
    script = (
        "import sys\nfrom packlight.coding.files import pack\npack(sys.argv[1])\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script, str(folder / "m.onnx")], check=True)
