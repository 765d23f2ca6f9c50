"""kill -9 at random moments: the repository and the device are whole after each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 5
LEAST = 10  # moments; an idle machine reaches several times as many


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("what", ["publish", "fetch"])
def test_a_kill_leaves_everything_whole(what, repo, tmp_path):
    command = [sys.executable, "-m", "tests.delivery.killing", what, tmp_path, str(SECONDS), "0"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= LEAST
