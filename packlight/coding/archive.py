"""Files and folders as one run of bytes, and back, without ever leaving the target folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from packlight.coding.container import Member
from packlight.errors import BadInput
from packlight.files import replace_file


def read_paths(paths: Sequence[Path]) -> tuple[bytes, list[Member] | None]:
    """The bytes of one file (no members), or of an archive of a folder or of several paths.

    One folder's files are named from inside it; several paths keep their last part.

    Raises:
        BadInput: a path that is not there, can not be read, or is a link.
    """
    if len(paths) == 1 and not paths[0].is_dir():
        return _content(paths[0]), None
    parts: list[bytes] = []
    members: list[Member] = []
    at = 0
    for path in paths:
        root = path if len(paths) == 1 else path.parent
        inside = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
        for file in inside:
            if file == root:
                continue
            name = file.relative_to(root).as_posix()
            if file.is_symlink():
                raise BadInput(f"{file} is a link; an archive holds files and folders, copy it in")
            data = b"" if file.is_dir() else _content(file)
            members.append(Member(name, at, len(data), file.is_dir()))
            parts.append(data)
            at += len(data)
    names = [member.name for member in members]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"two of the paths are called {name}; rename one or pack them apart")
    return b"".join(parts), members


def write_members(raw: bytes, members: Sequence[Member], out: Path) -> None:
    """Files and folders below `out`, all of them or none.

    Names were checked when the container was read: relative, plain on every system.

    Raises:
        BadInput: the folder can not be written to, or the disk is full.
    """
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as problem:
        raise BadInput(f"{out.parent} can not be written to ({problem.strerror})") from problem
    try:
        for member in members:
            path = staging / member.name
            if member.is_folder:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, raw[member.offset : member.offset + member.size])
        if out.exists():
            shutil.rmtree(out)
        staging.chmod(0o755)
        staging.rename(out)
    except OSError as problem:
        raise BadInput(f"{out} could not be written ({problem.strerror})") from problem
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist") from None
    except OSError as problem:
        raise BadInput(f"{path} can not be read ({problem.strerror})") from problem
