"""pack and unpack: files and folders on disk, written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from packlight.coding import container
from packlight.coding.archive import read_paths, write_members
from packlight.coding.packing import MAX_OUTPUT, Level, compress, decompress
from packlight.errors import BadInput
from packlight.files import replace_file
from packlight.progress import Progress

SUFFIX = ".plt"


def pack(
    source: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    level: Level = "default",
    codec: str | None = None,
    base: str | Path | None = None,
    verify: bool = True,
    jobs: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Pack a file, a folder or several paths into one .plt file.

    Args:
        source: one path, or several that become one archive.
        out: the file to write; the source's name with .plt unless given.
        level: "max" is smallest, "fast" quickest to unpack.
        codec: a general codec's name instead of packlight's own.
        base: an older version of the source; only the difference is packed, and unpacking needs it.
        verify: unpack the result and compare before it is moved into place.
        jobs: threads; as many as there are cores unless given.
        force: replace `out` if it is there.
        progress: told of every stage.
    Returns:
        What was written.
    Raises:
        BadInput: a path that is not there, an `out` that is, a level or codec that is not known.
    """
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(path) for path in source]
    if not paths:
        raise BadInput("there is nothing to pack; give a file or a folder")
    if out is None:
        if len(paths) > 1:
            raise BadInput(f"{len(paths)} paths become one archive; say which with -o NAME.plt")
        out = Path(f"{paths[0].resolve() if paths[0].name in ('', '..') else paths[0]}{SUFFIX}")
    target = _free(Path(out), force)
    if target.is_dir():
        raise BadInput(f"{target} is a folder; say which file to write with -o NAME.plt")
    raw, members = read_paths(paths)
    old, old_members = read_paths([Path(base)]) if base is not None else (None, None)
    packed = compress(
        raw,
        level,
        members=members,
        codec=codec,
        base=old,
        base_members=old_members,
        verify=verify,
        jobs=jobs,
        progress=progress,
    )
    return replace_file(target, packed)


def unpack(
    source: str | Path,
    out: str | Path | None = None,
    *,
    base: str | Path | None = None,
    max_output: int = MAX_OUTPUT,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Restore what `pack` packed: a file, or a folder if it was an archive.

    Args:
        source: the .plt file.
        out: where to; the source's name without .plt unless given.
        base: the older version that it was packed as the difference to, if it was.
        max_output: bytes that may be unpacked.
        force: replace `out` if it is there.
        progress: told of every stage.
    Returns:
        What was written.
    Raises:
        BadInput: the file is no .plt, or cut, damaged or too large; or `out` is there already.
    """
    path = Path(source)
    data = read_packed(path)
    if out is None:
        if path.suffix != SUFFIX:
            raise BadInput(f"{path.name} does not end in {SUFFIX}; say what to write with -o")
        out = path.with_suffix("")
    target = _free(Path(out), force)
    header = container.read(data)
    old = read_paths([Path(base)])[0] if base is not None else None
    with (progress or Progress()).stage("unpacking"):
        raw = decompress(data, base=old, max_output=max_output)
    if header.members is None:
        return replace_file(target, raw)
    write_members(raw, header.members, target)
    return target


def read_packed(path: Path) -> bytes:
    """The bytes of a .plt file.

    Raises:
        BadInput: it is not there, or can not be read.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder; give a {SUFFIX} file")
    (raw, _) = read_paths([path])
    return raw


def _free(path: Path, force: bool) -> Path:
    if path.exists() and not force:
        raise BadInput(f"{path} is there already; replace it with --force, or say -o elsewhere")
    if not path.parent.is_dir():
        raise BadInput(f"{path.parent} is no folder that can be written to; say -o elsewhere")
    if path.is_dir() and path.name in ("", ".", ".."):
        raise BadInput(f"{path} can not be replaced; say -o NAME")
    return path
