"""Writing files so that a reader sees the old one or the whole new one, never a part."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from packlight.errors import BadInput

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def replace_file(path: Path, data: bytes) -> Path:
    """Write `data` under a temporary name beside `path`, then move it into place.

    Raises:
        BadInput: the folder can not be written to, or the disk is full.
    """
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as problem:
        raise BadInput(f"{path.parent} can not be written to ({problem.strerror})") from problem
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as problem:
        raise BadInput(f"{path} could not be written ({problem.strerror})") from problem
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def refuse_packed(path: Path) -> None:
    """A download holds a network, and no runtime loads it.

    Raises:
        BadInput: the file is packed; says how to unpack it.
    """
    if path.suffix.lower() == ".plt":
        raise BadInput(f"{path.name} is packed; unpack it first: packlight unpack {path}")


def replace_folder(path: Path, made: Path) -> Path:
    """Copy a folder beside `path`, then move it into place; what was there goes last.

    On Linux the two change places in one step. Elsewhere a process that is killed between two moves
    leaves the old folder in a hidden one beside `path`.

    Raises:
        BadInput: the folder can not be written to, or the disk is full.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as work:
            fresh, old = Path(work) / "new", Path(work) / "old"
            shutil.copytree(made, fresh)
            if path.exists() and _exchanged(fresh, path):
                return path
            if path.exists():
                os.replace(path, old)
            try:
                os.replace(fresh, path)
            except BaseException:
                if old.exists():
                    os.replace(old, path)
                raise
    except OSError as problem:
        raise BadInput(f"{path} could not be written ({problem.strerror})") from problem
    return path


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    inside = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in inside if file.is_file())


def sha256(data: bytes | Path) -> str:
    """The SHA-256 of bytes, or of a file's, in hexadecimal."""
    if isinstance(data, Path):
        with data.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(data).hexdigest()


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system can not."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # another system, or an old one
        return False
    names = os.fsencode(one), os.fsencode(other)
    failed: int = renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE)
    return failed == 0


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
