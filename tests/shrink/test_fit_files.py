"""What `fit` finds and leaves in its output folder, also where it is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import packlight
from packlight import files
from packlight.data import open_data, split
from packlight.errors import BadInput
from packlight.progress import Progress
from packlight.shrink.fit import _fingerprint


def test_a_folder_with_files_is_never_overwritten_unless_forced(model, data, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match=r"already holds thesis\.txt"):
        packlight.fit(model, data, target_size="8KB", calibrate=100, out=tmp_path)
    result = packlight.fit(model, data, target_size="8KB", calibrate=100, out=tmp_path, force=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert result.model.parent == tmp_path


def test_an_output_that_can_not_be_a_folder_is_refused(model, data, tmp_path):
    (tmp_path / "file").write_text("")
    for out, what in ((tmp_path / "file", "is a file"), (tmp_path / "file" / "x", "can not be")):
        with pytest.raises(BadInput, match=what):
            packlight.fit(model, data, target_size="8KB", calibrate=100, out=out)


def test_a_full_disk_leaves_no_half_written_file(model, data, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(BadInput, match="No space left"):
        packlight.fit(model, data, target_size="8KB", calibrate=100, out=tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.onnx*"))


def test_a_killed_fit_leaves_nothing_half_written_and_goes_on(model, data, tmp_path):
    np.savez(tmp_path / "data.npz", x=data[0], y=data[1])
    out = tmp_path / "out"
    asked = {"data": str(tmp_path / "data.npz"), "target_size": "8KB", "out": str(out)}
    script = f"import packlight; packlight.fit({str(model)!r}, **{asked!r})"
    running = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 120
    while not (out / ".packlight" / "curvature.pt").exists():
        assert running.poll() is None, "the fit ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert [path.name for path in out.iterdir()] == [".packlight"]
    loud = Loud()
    packlight.fit(str(model), **asked, progress=loud)
    assert any("resumed: grids, fallback, curvature" in text for text in loud.said)
    assert not (out / ".packlight").exists()
    assert os.path.exists(out / "model.onnx")


def test_a_fit_goes_on_from_the_same_samples_alone(model, data):
    images = data[0][:100].copy()
    inputs = packlight.load(model).inputs

    def told(images: np.ndarray) -> str:
        return _fingerprint(split(open_data(images, inputs), 60).fit)

    before = told(images)
    assert told(images.copy()) == before
    changed = {
        told(np.where(np.arange(100)[:, None, None, None] == n, 0, images)) for n in range(100)
    }
    assert len(changed) == 61  # each of those that are fitted on, and none of the others


class Loud(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)
