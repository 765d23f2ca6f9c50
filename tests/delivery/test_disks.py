"""A disk that is full, or that can not be written to, costs one sentence and harms nothing."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import run

UNSHARE = shutil.which("unshare")


@pytest.fixture
def phone(published, repo, tmp_path) -> Path:
    """A device with 1.2.0, where the host has 1.3.0."""
    shutil.copytree(published / "newer", repo, dirs_exist_ok=True)
    return Path(shutil.copytree(published / "phone", tmp_path / "phone", symlinks=True))


def test_real_disks(phone, host, repo, tmp_path):
    """In memory, in a mount namespace of the test's own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    own = [UNSHARE or "unshare", "-rm"]
    if not UNSHARE or subprocess.run([*own, "mount", "-t", "tmpfs", "tmpfs", disk]).returncode:
        pytest.skip("this system lets no test mount a disk of its own")
    trust = repo / "metadata" / "1.root.json"
    command = [*own, sys.executable, "-m", "tests.delivery.disks", host.url, trust, phone, disk]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stderr.splitlines()
    assert all(line.startswith("packlight: /") for line in told), done.stderr
    assert sum("No space left on device" in line for line in told) == len(told) - 2 > 2
    assert sum("can not be written to (Read-only file system)" in line for line in told) == 2


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("where", ["filelock.FileLock.acquire", "tempfile.mkstemp"])
def test_wherever_the_system_refuses(code, where, phone, host, monkeypatch, capsys):
    def refuses(*_, **__):
        raise OSError(code, os.strerror(code))

    whole = {path: path.read_bytes() for path in phone.rglob("model.onnx")}
    before = (phone / "current.json").read_bytes()
    monkeypatch.setattr(where, refuses)
    assert run("fetch", host.url, "letters", "--into", phone, "--quiet") == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert f"({os.strerror(code)})" in told
    assert (phone / "current.json").read_bytes() == before
    assert {path: path.read_bytes() for path in whole} == whole


def test_a_file_in_the_folders_place_is_one_sentence(host, tmp_path, capsys):
    (tmp_path / "phone").write_bytes(b"")
    assert run("fetch", host.url, "letters", "--into", tmp_path / "phone", "--quiet") == 2
    assert "can not be written to (Not a directory)" in capsys.readouterr().err
