"""Folders are replaced whole: whoever looks finds the old one or the new one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from packlight import files
from packlight.errors import BadInput
from packlight.runtimes.apart import surroundings


@pytest.fixture
def folders(tmp_path):
    """(the folder in place, the one to replace it), each with a file that says which."""
    old, new = tmp_path / "model", tmp_path / "made"
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "part").write_text(text)
    return old, new


def _found(folder):
    return (folder / "part").read_text()


_KILLED = """
import os, sys
from pathlib import Path
from packlight import files

moved = os.replace

def move_and_die(*names):
    moved(*names)
    os._exit(0)  # no handler runs, nothing is cleaned

files.os.replace = move_and_die
files.replace_folder(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges folders in one step")
def test_nothing_is_missing_where_a_process_is_killed_after_its_first_move(folders):
    old, new = folders
    subprocess.run([sys.executable, "-c", _KILLED, old, new], check=True, env=surroundings())
    assert _found(old) == "new"


def test_a_move_that_fails_brings_the_old_folder_back(folders, monkeypatch):
    old, new = folders
    moved = os.replace

    def refuse_the_new_one(source, target):
        if source.name == "new":
            raise OSError(28, "No space left on device")
        moved(source, target)

    monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    monkeypatch.setattr(files.os, "replace", refuse_the_new_one)
    with pytest.raises(BadInput, match="could not be written"):
        files.replace_folder(old, new)
    assert _found(old) == "old"
    assert sorted(entry.name for entry in old.parent.iterdir()) == ["made", "model"]


def test_a_system_without_the_exchange_replaces_in_two_moves(folders, monkeypatch):
    old, new = folders
    monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    assert _found(files.replace_folder(old, new)) == "new"
    assert sorted(entry.name for entry in old.parent.iterdir()) == ["made", "model"]
