"""Finished stages of a fit, kept beside its output so that an interrupted one goes on.

The folder `.packlight` inside the output folder holds one file per finished stage, and the key
of the fit they belong to. Another fit (another model, other data, another setting) has another key
and starts clean. A stage's file is complete or absent.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from packlight.errors import BadInput
from packlight.files import replace_file, sha256

FOLDER = ".packlight"


class Stages:
    """The finished stages of one fit.

    Args:
        out: the output folder; exists.
        key: what the stages depend on, JSON-able.
        name: of the folder in it; begins with FOLDER.
    """

    def __init__(self, out: Path, key: dict[str, Any], name: str = FOLDER) -> None:
        self.folder = out / name
        self.resumed: list[str] = []
        digest = sha256(json.dumps(key, sort_keys=True, default=str).encode())
        mark = self.folder / "key"
        if not mark.exists() or mark.read_text() != digest:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            replace_file(mark, digest.encode())

    def run(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` returns, from the folder if this stage was finished before.

        The value is made of tensors, numbers, strings, lists and dicts.
        """
        value = self.finished(name)
        if value is None:
            value = compute()
            buffer = io.BytesIO()
            torch.save(value, buffer)
            replace_file(self.folder / f"{name}.pt", buffer.getvalue())
        return value

    def finished(self, name: str) -> Any:
        """What a stage returned that was finished before; None where none was."""
        path = self.folder / f"{name}.pt"
        if not path.exists():
            return None
        try:
            value = torch.load(path, weights_only=True)
        except Exception:  # damaged: computed again
            path.unlink()
            return None
        self.resumed.append(name)
        return value

    def clear(self) -> None:
        """Forget every stage: the fit is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def output_folder(out: str | os.PathLike[str], force: bool, what: str) -> Path:
    """Make an output folder, or make sure that nothing of the user's is in it.

    Args:
        out: the folder; one that holds only stages is free.
        force: whether it may hold files.
        what: what those are that would be replaced, as "a fit writes".
    Raises:
        BadInput: it is a file, can not be made, or holds something.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; give a folder for the output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = sorted(path.name for path in folder.iterdir())
    except OSError as problem:
        raise BadInput(f"{folder} can not be used as a folder ({problem.strerror})") from problem
    others = [name for name in held if not name.startswith(FOLDER)]
    if others and not force:
        raise BadInput(
            f"{folder} already holds {others[0]}"
            + (f" and {len(others) - 1} more" if len(others) > 1 else "")
            + f"; give another folder, or --force to replace what {what}"
        )
    return folder
