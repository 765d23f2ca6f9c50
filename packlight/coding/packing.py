"""Any bytes smaller, and back to the byte."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Sequence
from mmap import mmap
from threading import local
from typing import Literal

from packlight.coding import _native, container
from packlight.coding.base import Base
from packlight.coding.container import Chunk, Member
from packlight.errors import BadInput
from packlight.progress import Progress

Level = Literal["fast", "default", "max"]
LEVELS: tuple[Level, ...] = ("fast", "default", "max")
#: what unpack allows to be allocated unless told otherwise
MAX_OUTPUT = 4 << 30
_own = local()


def compress(
    raw: bytes,
    level: Level = "default",
    *,
    members: Sequence[Member] | None = None,
    codec: str | None = None,
    base: bytes | None = None,
    base_members: Sequence[Member] | None = None,
    verify: bool = True,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> bytes:
    """Pack bytes into a .plt container.

    Args:
        raw: a file's bytes, or those of an archive's files one after the other.
        members: of the archive.
        level: "max" is smallest, "fast" quickest to unpack.
        codec: a general codec's name instead of packlight's own.
        base: an older version, as `raw`: what it holds too is not packed again, and unpacking
            needs it.
        base_members: of an older archive.
        verify: unpack the result and compare before it is returned.
        jobs: threads; as many as there are cores unless given. The result does not depend on it.
        progress: told of every stage.
    Raises:
        BadInput: the level or the codec is not known.
    """
    if level not in LEVELS:
        raise BadInput(f"level {level!r} is not one of {', '.join(LEVELS)}")
    progress = progress or Progress()
    if base is not None and (level == "fast" or codec is not None):
        raise BadInput(
            "a difference to a base is packed at level default or max, by no other codec"
        )
    old = None
    if base is not None:
        with progress.stage("reading the base"):
            old = Base(base, base_members)
    chunks = _chunks(raw, level, codec, members, jobs or os.cpu_count() or 1, progress, old)
    packed = container.write(raw, chunks, members, base)
    if verify:
        with progress.stage("unpacking, to compare"):
            if decompress(packed, base=base, max_output=len(raw)) != raw:
                raise AssertionError("the packed bytes do not restore the original")
    return packed


def decompress(data: bytes, *, base: bytes | None = None, max_output: int = MAX_OUTPUT) -> bytes:
    """The bytes that `compress` was given; an archive's files one after the other.

    Args:
        data: the container.
        base: the older version, if it was packed as a difference to one.
        max_output: bytes that may be unpacked.
    Raises:
        BadInput: the container is cut, damaged, or larger than `max_output` when unpacked.
    """
    header = container.read(data)
    if header.size > max_output:
        raise BadInput(
            f"the .plt unpacks to {header.size:,} bytes, but no more than {max_output:,} are "
            "allowed; raise the limit with --max-output"
        )
    if header.base_sha256 is None:
        base = None
    elif base is None or hashlib.sha256(base).digest() != header.base_sha256:
        what = "none was given" if base is None else "another one was given"
        raise BadInput(
            "the .plt is the difference to a base (SHA-256 "
            f"{header.base_sha256.hex()[:16]}...), and {what}; give it with --base"
        )
    out = bytearray(header.size)
    work = _work()
    for chunk in header.chunks:
        packed = memoryview(data)[chunk.packed_offset : chunk.packed_offset + chunk.packed_size]
        target = memoryview(out)[chunk.offset : chunk.offset + chunk.size]
        if chunk.codec >= container.FOREIGN:
            from packlight.coding.codecs import decode

            if zlib.crc32(packed) != chunk.crc32:
                raise BadInput("the .plt can not be unpacked: the file is damaged")
            target[:] = decode(chunk.codec, bytes(packed), chunk.size)
            continue
        try:
            _native.decode_chunk(
                chunk.codec, chunk.continues, chunk.crc32, chunk.size, packed, target, work, base
            )
        except ValueError as problem:
            raise BadInput(f"the .plt can not be unpacked: {problem}") from problem
    if hashlib.sha256(out).digest() != header.sha256:
        raise BadInput("the .plt can not be unpacked: the file is damaged")
    return bytes(out)


def _work() -> mmap:
    """This thread's work memory: kept, as fresh pages take as long as a small network."""
    if not hasattr(_own, "work"):
        _own.work = mmap(-1, _native.work_size())
    work: mmap = _own.work
    return work


def _chunks(
    raw: bytes,
    level: Level,
    codec: str | None,
    members: Sequence[Member] | None,
    jobs: int,
    progress: Progress,
    base: Base | None,
) -> list[Chunk]:
    if not raw:
        return []
    if codec is not None:
        from packlight.coding.codecs import encode

        return [encode(codec, raw)]
    from packlight.coding.planning import Packer

    packer = Packer(raw, jobs, progress, base)
    if level == "fast":
        return packer.fast(members)
    chunks = packer.models(members, thorough=level == "max")
    size = sum(len(chunk.packed) for chunk in chunks)
    whole = packer.general(size) if level == "max" and base is None else None
    return whole if whole and len(whole[0].packed) < size else chunks
