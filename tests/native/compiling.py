"""Runs compilers on the native library."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "native"
INCLUDE = NATIVE / "include"
SOURCES = sorted((NATIVE / "src").glob("*.c"))
DECODER = [source for source in SOURCES if "encode" not in source.name]


def tool(name: str) -> str:
    """The path of a program; skips the test where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}, which is not installed")
    return found


def run(*command: str | Path, cwd: Path | None = None, binary: bool = False):
    """What a command wrote; fails with its complaints if it did not succeed."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True)
    complaints = done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"{command[0]} failed:\n{complaints[-4000:]}"
    return done.stdout if binary else done.stdout.decode()


def objects(folder: Path, *flags: str, sources: Sequence[Path] = DECODER, cc: str = "cc"):
    """Object files of the library, one for each source, in `folder`."""
    run(tool(cc), *flags, f"-I{INCLUDE}", "-c", *sources, cwd=folder)
    return [folder / f"{source.stem}.o" for source in sources]


def program(folder: Path, source: Path, *flags: str, cc: str = "cc") -> Path:
    """`source` and the decoder as a program."""
    out = folder / source.stem
    command = [tool(cc), *(flags or ("-O2",)), f"-I{INCLUDE}", source, *DECODER, "-pthread"]
    run(*command, "-o", out)
    return out
