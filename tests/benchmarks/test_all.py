"""`python -m benchmarks` runs everything, whatever fails in between."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as everything


@pytest.mark.parametrize("full", [False, True])
def test_one_that_fails_does_not_stop_the_others(
    full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {"benchmarks.lossless": 3, "benchmarks.weigh": 1}
    run: list[list[str]] = []

    def ran(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        run.append(command[2:])
        return subprocess.CompletedProcess(command, codes.get(command[2], 0))

    monkeypatch.setattr(everything, "SHARED", tmp_path)
    monkeypatch.setattr(everything.subprocess, "run", ran)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *(["--full"] if full else [])])
    with pytest.raises(SystemExit) as ended:
        everything.main()
    assert ended.value.code == 3
    modules = [command[0] for command in run]
    assert modules[:3] == ["benchmarks.lossless", "benchmarks.weigh", "benchmarks.lossy"]
    assert all(find_spec(module) for module in modules)
    assert all(("--docs" in command) == full for command in run)
    assert all("--cache" in command for command in run)


def test_without_shared_files_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(everything, "SHARED", tmp_path / "shared")
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    with pytest.raises(SystemExit) as ended:
        everything.main()
    assert ended.value.code == 2
    assert "shared is not beside the project" in capsys.readouterr().err
