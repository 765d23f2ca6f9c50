"""Finished stages are kept, damaged ones computed again, others' forgotten."""

from __future__ import annotations

import torch

from packlight.shrink.stages import Stages


def test_a_finished_stage_is_not_computed_twice(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"a": torch.arange(3), "b": [1.5, "x"]}

    first = Stages(tmp_path, {"seed": 0}).run("stage", compute)
    stages = Stages(tmp_path, {"seed": 0})
    second = stages.run("stage", compute)
    assert len(calls) == 1
    assert stages.resumed == ["stage"]
    assert torch.equal(first["a"], second["a"])
    assert second["b"] == [1.5, "x"]


def test_another_setting_starts_clean(tmp_path):
    Stages(tmp_path, {"seed": 0}).run("stage", lambda: 1)
    stages = Stages(tmp_path, {"seed": 1})
    assert stages.run("stage", lambda: 2) == 2
    assert stages.resumed == []


def test_a_damaged_stage_is_computed_again(tmp_path):
    Stages(tmp_path, {}).run("stage", lambda: 1)
    path = tmp_path / ".packlight" / "stage.pt"
    path.write_bytes(path.read_bytes()[:20])
    assert Stages(tmp_path, {}).run("stage", lambda: 2) == 2
