"""The command line as a careless user types it: one sentence, the right exit code, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from tests import commands
from tests.networks import images, plain
from tests.schemas import conforms


def run(*arguments, cwd=None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "packlight.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with plain.onnx and data.npz."""
    folder = tmp_path_factory.mktemp("files")
    network = plain()
    onnx_file.write(network, folder / "plain.onnx")
    x = images(420, seed=1)
    with torch.no_grad():
        labels = network(x)[0].argmax(1)
    np.savez(folder / "data.npz", x=x.numpy(), y=labels.numpy())
    return folder


@pytest.fixture
def here(capfd, monkeypatch):
    """`run` in this process, where torch is loaded already; all that is printed counts."""

    def run_here(*arguments, cwd=None) -> subprocess.CompletedProcess[str]:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capfd.readouterr()
        code = commands.run(*arguments)
        return subprocess.CompletedProcess(arguments, code or 0, *capfd.readouterr())

    return run_here


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 4


def test_help_loads_nothing_heavy():
    script = (
        "import sys, packlight.cli\n"
        "try: packlight.cli.cli.main(['--help'], standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime', 'PIL', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "packlight fit" in done.stdout


def test_fit_and_check_print_what_they_found(files, tmp_path, here):
    out = tmp_path / "out"
    done = run("fit", files / "plain.onnx", "--data", files / "data.npz",
               "--target-size", "8KB", "--calibrate", "100", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "packed download" in done.stdout
    assert " pt [" in done.stdout
    assert (out / "model.onnx.plt").stat().st_size <= 8000
    checked = here("check", files / "plain.onnx", out / "model.onnx", "--data", files / "data.npz",
                   "--calibrate", "100", "--json")  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert '"agreement"' in checked.stdout
    conforms("check", json.loads(checked.stdout))


def test_a_budget_that_can_not_be_met_is_exit_code_3(files, tmp_path, here):
    done = here("fit", files / "plain.onnx", "--data", files / "data.npz",
                "--target-size", "300", "--calibrate", "100",
                "--out", tmp_path / "out", "--quiet")  # fmt: skip
    assert done.returncode == 3
    assert "nearest.onnx" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [(), ("--target-size", "huge"), ("--max-drop", "200%")])
def test_budgets_that_make_no_sense_are_refused(files, tmp_path, options, here):
    refused(here("fit", files / "plain.onnx", "--data", files / "data.npz", *options,
                 "--out", tmp_path / "out"))  # fmt: skip
    assert not (tmp_path / "out").exists()


def bad_model(path: Path, what: str) -> None:
    good = onnx_file.to_bytes(plain())
    if what == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif what == "a photo":
        path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(5000))
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "nan":
        network = plain()
        network.module.get_parameter("fc.weight").data[2, 3] = float("nan")
        onnx_file.write(network, path)
    elif what == "no weights":
        onnx_file.write(Network.from_module(nn.ReLU(), (images(2),)), path)
    elif what == "open sizes":
        node = helper.make_node("Relu", ["x"], ["y"], name="r")
        open_shape = ["n", 3, "height", "width"]
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, open_shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, open_shape)],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    elif what == "two inputs":

        class Two(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.fc = nn.Linear(4, 4)

            def forward(self, left, right):
                return self.fc(left) + right

        network = Network.from_module(Two(), (torch.randn(2, 4), torch.randn(2, 4)))
        onnx_file.write(network, path)


BAD_MODELS = {
    "truncated": ["model.onnx"],
    "a photo": ["model.onnx"],
    "empty": ["model.onnx"],
    "nan": ["fc.weight", "NaN"],
    "no weights": ["no weights"],
    "open sizes": ["height", "--input-shape"],
    "two inputs": ["2 inputs", "left", "right"],
}


@pytest.mark.parametrize("what", BAD_MODELS)
def test_bad_models_are_told_in_one_sentence(files, tmp_path, what, here):
    bad_model(tmp_path / "model.onnx", what)
    done = here("fit", tmp_path / "model.onnx", "--data", files / "data.npz",
               "--max-drop", "1%", "--out", tmp_path / "out")  # fmt: skip
    refused(done, *BAD_MODELS[what])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "absent.onnx", "--data", "data.npz", "--max-drop", "1%"], ["absent.onnx"]),
        (["fit", "plain.onnx", "--data", "absent.npz", "--max-drop", "1%"], ["absent.npz"]),
        (["fit", "plain.onnx", "--max-drop", "1%"], ["--data"]),
        (["fit", "data.npz", "--data", "data.npz", "--max-drop", "1%"], [".npz", ".onnx"]),
        (["fit", "plain.onnx", "--data", "wrong.npz", "--max-drop", "1%"], ["3x16x16"]),
        (["fit", "plain.onnx", "--data", "data.npz", "--calibrate", "9999", "--max-drop", "1%"],
         ["--calibrate"]),
        (["fit", "plain.onnx", "--data", "data.npz", "--mean", "a,b", "--max-drop", "1%"],
         ["--mean"]),
        (["fit", "plain.onnx", "--data", "data.npz", "--max-drop", "1%", "--out", "/proc/nowhere"],
         ["/proc/nowhere"]),
        (["check", "plain.onnx", "data.npz", "--data", "data.npz"], ["data.npz"]),
        (["fot", "plain.onnx"], ["fot"]),
    ],
)  # fmt: skip
def test_careless_commands_are_answered_in_one_sentence(files, arguments, words, here):
    np.savez(files / "wrong.npz", x=np.zeros((400, 3, 5, 5), np.float32))
    refused(here(*arguments, cwd=files), *words)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "plain.plt", "--data", "data.npz", "--max-drop", "1%"],
        ["check", "plain.onnx", "plain.plt", "--data", "data.npz"],
        ["export", "plain.plt", "--to", "onnx"],
        ["bench", "plain.onnx", "plain.plt"],
        ["tune", "plain.plt"],
        ["distill", "plain.plt", "--student", "lenet5", "--data", "data.npz"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_download_has_to_be_unpacked_first(files, arguments, here):
    (files / "plain.plt").write_bytes(b"whatever")
    refused(here(*arguments, cwd=files), "plain.plt is packed", "packlight unpack plain.plt")
