"""One process at a time in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packlight.errors import BadInput, MissingExtra


@contextmanager
def locked(folder: Path, patience: float) -> Iterator[None]:
    """Alone in a folder, until the end or until this process dies.

    Args:
        folder: made if need be; the lock is a file `.lock` in it.
        patience: seconds to wait for another process.
    Raises:
        BadInput: the folder can not be written to, or another process does not end.
        MissingExtra: the extra `delivery` is not installed.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError as problem:
        raise MissingExtra("filelock", "delivery") from problem
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=patience)
    except Timeout:
        raise BadInput(
            f"another packlight works in {folder}; wait for it to end, then try again"
        ) from None
    except OSError as problem:
        raise BadInput(f"{folder} can not be written to ({problem.strerror})") from problem
    try:
        yield
    finally:
        lock.release()
