"""pack, unpack and info: any bytes smaller, and back to the byte."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from packlight.coding import _native, container
from packlight.coding.container import Chunk, Header, Member
from packlight.errors import BadInput

Level = Literal["fast", "default", "max"]
LEVELS: tuple[Level, ...] = ("fast", "default", "max")
#: what unpack allows to be allocated unless told otherwise
MAX_OUTPUT = 4 << 30
#: files up to this size are also tried with LZMA as a whole
_WHOLE_LIMIT = 64 << 20


def pack(
    source: bytes | Path,
    level: Level = "max",
    *,
    codec: str | None = None,
    verify: bool = True,
    tick: Callable[[int], None] = lambda done: None,
) -> bytes:
    """Pack bytes, a file or a folder into a .plt container.

    Args:
        source: bytes, or the path of a file or folder (which becomes an archive).
        level: "max" is smallest, "fast" quickest to unpack.
        codec: a general codec's name instead of packlight's own.
        verify: unpack the result and compare before it is returned.
        tick: called with the number of bytes done.
    Raises:
        BadInput: the path, the level or the codec is not known.
    """
    if level not in LEVELS:
        raise BadInput(f"level {level!r} is not one of {', '.join(LEVELS)}")
    members: list[Member] | None = None
    if isinstance(source, Path):
        from packlight.coding.archive import read_path

        raw, members = read_path(source)
    else:
        raw = bytes(source)
    packed = container.write(raw, _chunks(raw, level, codec, members, tick), members)
    if verify and unpack(packed, max_output=len(raw)) != raw:
        raise AssertionError("the packed bytes do not restore the original; nothing was written")
    return packed


def unpack(data: bytes, *, max_output: int = MAX_OUTPUT) -> bytes:
    """The bytes that `pack` was given; an archive's files one after the other.

    Raises:
        BadInput: the container is cut, damaged, or larger than `max_output` when unpacked.
    """
    header = container.read(data)
    if header.size > max_output:
        raise BadInput(
            f"the .plt unpacks to {header.size:,} bytes, but no more than {max_output:,} are "
            "allowed; raise the limit with --max-output"
        )
    out = bytearray(header.size)
    work = bytearray(_native.work_size())
    for chunk in header.chunks:
        packed = memoryview(data)[chunk.packed_offset : chunk.packed_offset + chunk.packed_size]
        target = memoryview(out)[chunk.offset : chunk.offset + chunk.size]
        if chunk.codec in container.FOREIGN.values():
            from packlight.coding.codecs import decode

            target[:] = decode(chunk.codec, bytes(packed), chunk.size)
            continue
        try:
            _native.decode_chunk(
                chunk.codec, chunk.continues, chunk.crc32, chunk.size, packed, target, work, None
            )
        except ValueError as problem:
            raise BadInput(f"the .plt can not be unpacked: {problem}") from problem
    if hashlib.sha256(out).digest() != header.sha256:
        raise BadInput("the .plt can not be unpacked: the file is damaged")
    return bytes(out)


def info(data: bytes) -> Header:
    """What a container says about itself, without unpacking it."""
    return container.read(data)


def _chunks(
    raw: bytes,
    level: Level,
    codec: str | None,
    members: list[Member] | None,
    tick: Callable[[int], None],
) -> list[Chunk]:
    if not raw:
        return []
    if codec is not None:
        from packlight.coding.codecs import encode

        return [encode(codec, raw)]
    from packlight.coding.planning import lzma_or_stored, model_chunks

    candidates = [model_chunks(raw, level == "max", tick)]
    if level == "max" and len(raw) <= _WHOLE_LIMIT:
        candidates.append([lzma_or_stored(raw)])
    return min(candidates, key=lambda chunks: sum(len(chunk.packed) for chunk in chunks))
