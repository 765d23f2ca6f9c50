"""Other counters beside ours: what they count is told, and how they fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import weigh
from benchmarks.peers import COUNTERS, SCRIPTS
from benchmarks.weigh import counted, markdown

CIRCUMSTANCES = {"date": "2026-01-02", "machine": "2 cores", "commit": "abc", "versions": {}}


def test_a_tool_that_is_not_there_is_a_row_for_each_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weigh, "environment", lambda peer, cache: Path(sys.executable))
    first, second = counted(COUNTERS[0], ["a.onnx", "b.onnx"], tmp_path)
    assert first == second
    assert first["failed"] == "ModuleNotFoundError: No module named 'onnx_tool'"


def test_every_counter_has_its_script_and_a_pinned_version() -> None:
    for peer in COUNTERS:
        assert (SCRIPTS / peer.script).is_file()
        assert peer.version


def test_differences_are_told_in_parameters_and_shares() -> None:
    ours = {"parameters": 100, "macs": 1000}
    theirs = {"parameters": 90, "macs": 1500, "products": 1000}
    rows = [
        {"network": "net", "tool": "tool", **theirs, "ours": ours},
        {"network": "other", "tool": "tool", "failed": "no kernel", "ours": ours},
    ]
    text = markdown({**CIRCUMSTANCES, "rows": rows})
    assert "| net | tool | 90 | −10 | 1,500 | 150.00 % | the same |" in text
    assert "| other | tool | no kernel |" in text
