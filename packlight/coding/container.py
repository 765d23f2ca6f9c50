"""The .plt container: header, chunk table, checksums; docs/format.md is the source of truth."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from packlight.coding import _native
from packlight.errors import BadInput

MAGIC = b"\x9cPLT"
VERSION = 1
_FLAG_ARCHIVE, _FLAG_BASE, _CONTINUES = 1, 2, 0x80

STORED, MODEL, LZMA, FAST = 0, 1, 2, 3
#: the first of the codecs that the native library leaves to the caller
FOREIGN = 16


@dataclass(frozen=True)
class Chunk:
    """`raw_size` bytes of the original, packed by one codec."""

    codec: int
    raw_size: int
    packed: bytes
    continues: bool = False


@dataclass(frozen=True)
class ChunkEntry:
    """Where a chunk lies, packed and unpacked."""

    codec: int
    continues: bool
    offset: int
    size: int
    packed_offset: int
    packed_size: int
    crc32: int


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive; `name` has its parts joined by '/'."""

    name: str
    offset: int
    size: int
    is_folder: bool = False


@dataclass(frozen=True)
class Header:
    """What a container says about itself."""

    size: int
    packed_size: int
    sha256: bytes
    members: tuple[Member, ...] | None
    chunks: tuple[ChunkEntry, ...]
    base_sha256: bytes | None = None


def write(
    raw: bytes,
    chunks: Sequence[Chunk],
    members: Sequence[Member] | None = None,
    base: bytes | None = None,
) -> bytes:
    """The container of chunks that make up `raw`, perhaps as a difference to `base`."""
    body = bytearray(number(len(raw)))
    body += hashlib.sha256(raw).digest()
    if base is not None:
        body += hashlib.sha256(base).digest()
    if members is not None:
        body += number(len(members))
        for member in members:
            name = (member.name + "/" * member.is_folder).encode()
            body += number(len(name)) + name + number(member.size)
    body += number(len(chunks))
    for chunk in chunks:
        body.append(chunk.codec | _CONTINUES * chunk.continues)
        body += number(chunk.raw_size) + number(len(chunk.packed))
        body += zlib.crc32(chunk.packed).to_bytes(4, "little")
    flags = _FLAG_ARCHIVE * (members is not None) | _FLAG_BASE * (base is not None)
    size = len(MAGIC) + 2 + 4 + len(body) + 4
    header = MAGIC + bytes([VERSION, flags]) + size.to_bytes(4, "little") + bytes(body)
    header += zlib.crc32(header).to_bytes(4, "little")
    return header + b"".join(chunk.packed for chunk in chunks)


def read(data: bytes) -> Header:
    """The header of a container.

    Raises:
        BadInput: it is no container, or it is cut or damaged.
    """
    try:
        size, packed_size, sha256, base, members, chunks = _native.open(data)
    except ValueError as problem:
        raise BadInput(f"the .plt can not be read: {problem}") from problem
    if packed_size != len(data):
        raise BadInput("the .plt can not be read: the file ends too early")
    listed = None
    if members is not None:
        listed = tuple(Member(name, at, size, bool(folder)) for name, at, size, folder in members)
        _check_names(listed)
    return Header(
        size,
        packed_size,
        sha256,
        listed,
        tuple(ChunkEntry(codec, bool(more), *rest) for codec, more, *rest in chunks),
        base,
    )


def _check_names(members: Sequence[Member]) -> None:
    """No two names may meet on any system, and no file may stand where a folder must."""
    folders: set[str] = set()
    names: set[str] = set()
    for member in members:
        name = member.name.casefold()
        if name in names:
            raise BadInput(f"the .plt can not be read: two files in it are named {member.name!r}")
        names.add(name)
        folders.update(str(parent) for parent in PurePosixPath(name).parents)
    for member in members:
        if not member.is_folder and member.name.casefold() in folders:
            raise BadInput(f"the .plt can not be read: file {member.name!r} has files below it")


def number(value: int) -> bytes:
    """Seven bits a byte, lowest first; the top bit says that more follow."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
