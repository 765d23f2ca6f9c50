"""Where a file's bytes go: its tensors, what each is estimated to cost packed, and what is wasted.

Works on the file itself, whatever its format, through the openers of `packlight.coding`; torch is
not needed. Packing everything would take a second per two megabytes, so each tensor is tried on a
sample of whole rows from its middle, half a megabyte in all: on real networks the estimate is
within a tenth of what `packlight pack` writes, mostly within a few percent. Small files are packed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from packlight.coding import _native
from packlight.coding.archive import read_paths
from packlight.coding.container import Member
from packlight.coding.openers import find_tensors
from packlight.coding.openers import onnx as onnx_opener
from packlight.coding.openers.tensor import Tensor
from packlight.coding.packing import compress
from packlight.coding.segments import best, cost, quickly
from packlight.errors import BadInput
from packlight.progress import Progress
from packlight.types import Array
from packlight.weighing.unread import unread

SMALL = 1 << 18  # bytes of a file that is packed as a whole
SAMPLE = 1 << 19  # bytes that are packed on trial, in all
LEAST = 1 << 14  # bytes of one tensor: fewer would teach a model too little
_SIGNED = {"int8": "i1", "int16": "<i2"}
_FLOATS = {"float32": 0x7FFFFFFF, "float16": 0x7FFF, "bfloat16": 0x7FFF}  # all but the sign


@dataclass(frozen=True)
class FileTensor:
    """One tensor as it lies in the file.

    Args:
        name: in the file, or "".
        shape: as stored.
        bytes: as stored.
        packed: estimated bytes once packed; 0 for a copy.
        zero_channels: slices along its first axis, or along its input channels, that are zero.
        zero_bytes: what those slices take, each counted once.
        copy_of: the name of an earlier tensor with the same bytes, or None.
        unused: whether nothing in the file reads it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    packed: int
    zero_channels: int = 0
    zero_bytes: int = 0
    copy_of: str | None = None
    unused: bool = False


@dataclass(frozen=True)
class FileBytes:
    """A file's bytes.

    Args:
        bytes: of the file, or of the folder's and the named external files together.
        packed: what `packlight pack` makes of it, at level default.
        packed_is_exact: whether it was packed, not estimated.
        tensors: in the order they lie in.
    """

    bytes: int
    packed: int
    tensors: tuple[FileTensor, ...] = ()
    packed_is_exact: bool = False

    @property
    def copies(self) -> tuple[FileTensor, ...]:
        """Tensors whose bytes stand earlier in the file too."""
        return tuple(tensor for tensor in self.tensors if tensor.copy_of is not None)

    @property
    def dead(self) -> tuple[FileTensor, ...]:
        """Tensors that nothing reads, or with channels that are all zero."""
        return tuple(tensor for tensor in self.tensors if tensor.unused or tensor.zero_channels)

    @property
    def dead_bytes(self) -> int:
        """Bytes of what nothing reads and of channels that are all zero."""
        return sum(item.bytes if item.unused else item.zero_bytes for item in self.dead)


def bytes_of(path: str | Path) -> FileBytes:
    """Look into a model file or folder.

    Args:
        path: of any format; what no opener understands counts as bytes outside tensors.
    Raises:
        BadInput: the path is not there or can not be read.
    """
    raw, members = _read(Path(path))
    found = [tensor for tensor in find_tensors(raw, members) if isinstance(tensor, Tensor)]
    first = _first_copies(raw, found)
    alone = [tensor for tensor in found if first[tensor.offset] is tensor]
    packed = _packed(raw, alone)
    unread = _unread(raw, members)
    tensors = []
    for tensor in found:
        original = first[tensor.offset]
        channels, dead = _zeros(raw, tensor)
        tensors.append(
            FileTensor(
                name=tensor.name,
                dtype=tensor.dtype,
                shape=tensor.shape,
                bytes=tensor.size,
                packed=packed[tensor.offset] if original is tensor else 0,
                zero_channels=channels,
                zero_bytes=dead,
                copy_of=None if original is tensor else original.name,
                unused=tensor.name in unread,
            )
        )
    if len(raw) <= SMALL:
        whole = len(compress(raw, members=members, verify=False))
        return FileBytes(len(raw), whole, tuple(tensors), packed_is_exact=True)
    rest = _without(raw, found)
    between = min(len(rest), round(quickly(rest))) if rest else 0
    return FileBytes(len(raw), sum(packed.values()) + between, tuple(tensors))


def really_packed(path: str | Path, progress: Progress | None = None) -> int:
    """The bytes that `packlight pack` makes of a file or folder, by packing it."""
    raw, members = _read(Path(path))
    return len(compress(raw, members=members, verify=False, progress=progress))


def _read(path: Path) -> tuple[bytes, list[Member] | None]:
    """A file or a folder; with an ONNX file, the files beside it that hold its tensors."""
    raw, members = read_paths([path])
    if members is not None or path.suffix.lower() != ".onnx":
        return raw, members
    try:
        named = {tensor.file for tensor in onnx_opener.tensors(raw) if tensor.file is not None}
    except (ValueError, LookupError):
        named = set()
    beside = [path.parent / name for name in sorted(named) if Path(name).name == name]
    files = [file for file in beside if file.is_file() and file != path]
    try:
        return read_paths([path, *files]) if files else (raw, members)
    except BadInput:
        return raw, members


def _first_copies(raw: bytes, tensors: Sequence[Tensor]) -> dict[int, Tensor]:
    """By offset, the first tensor with the same type and bytes: mostly the tensor itself."""
    alike: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        alike[tensor.dtype, tensor.size].append(tensor)
    first: dict[int, Tensor] = {}
    for group in alike.values():
        known: dict[bytes, Tensor] = {}
        for tensor in group:
            # one of its size is unique; short ones are alike by chance, as zeros are
            single = len(group) == 1 or prod(tensor.shape) < 16
            content = b"" if single else _digest(_bytes(raw, tensor))
            first[tensor.offset] = tensor if single else known.setdefault(content, tensor)
    return first


def _digest(content: memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _bytes(raw: bytes, tensor: Tensor) -> memoryview:
    return memoryview(raw)[tensor.offset : tensor.offset + tensor.size]


def _packed(raw: bytes, tensors: Iterable[Tensor]) -> dict[int, int]:
    """Estimated packed bytes by offset; when the trials are used up, the ratio so far."""
    work = bytearray(_native.work_size())
    largest = sorted(tensors, key=lambda tensor: -tensor.size)
    total = sum(tensor.size for tensor in largest)
    spent = seen = costs = 0
    packed = {}
    for tensor in largest:
        if spent < SAMPLE:
            part, content = _sample(raw, tensor, max(LEAST, SAMPLE * tensor.size // total))
            segment, tried = best(part, content, work, thorough=False)
            price = tried or cost(segment, content, work)
            spent += len(content)
            value = min(round(price * tensor.size / len(content)), tensor.size)
            seen, costs = seen + tensor.size, costs + value
        else:
            value = round(tensor.size * costs / seen)
        packed[tensor.offset] = value
    return packed


def _sample(raw: bytes, tensor: Tensor, size: int) -> tuple[Tensor, bytes]:
    """About `size` bytes from a tensor's middle, in whole rows where rows are short enough."""
    if tensor.size <= size:
        return tensor, bytes(_bytes(raw, tensor))
    row = tensor.size // tensor.shape[0]
    if len(tensor.shape) > 1 and row <= size:
        count = size // row
        part = replace(tensor, shape=(count, *tensor.shape[1:]))
        start = (tensor.shape[0] - count) // 2 * row
    else:
        count = size // tensor.width
        part = replace(tensor, shape=(count,))
        start = (tensor.size // tensor.width - count) // 2 * tensor.width
    part = part.moved(start)
    return part, bytes(_bytes(raw, part))


def _zeros(raw: bytes, tensor: Tensor) -> tuple[int, int]:
    """How many output and input channels are zero throughout, and the bytes they take.

    Unsigned integers are left out, as their zero lies elsewhere, and those of 32 bits, as they are
    paddings and places.
    """
    if len(tensor.shape) < 2 or tensor.big_endian:
        return 0, 0
    if tensor.dtype in _SIGNED:
        filled = np.frombuffer(_bytes(raw, tensor), _SIGNED[tensor.dtype]) != 0
    elif tensor.dtype in _FLOATS:
        bits = np.frombuffer(_bytes(raw, tensor), f"<u{tensor.width}")
        filled = (bits & bits.dtype.type(_FLOATS[tensor.dtype])) != 0
    else:
        return 0, 0
    if filled.all():
        return 0, 0
    inputs = len(tensor.shape) - 1 if tensor.channels_last else 1
    shaped = np.moveaxis(filled.reshape(tensor.shape), inputs, 1)
    rows = _any_but(shaped, 0)
    columns = _any_but(shaped, 1)
    dead_rows, dead_columns = int((~rows).sum()), int((~columns).sum())
    if len(columns) == 1:
        dead_columns = 0
    share = 1 - (1 - dead_rows / len(rows)) * (1 - dead_columns / len(columns))
    return dead_rows + dead_columns, round(share * tensor.size)


def _any_but(filled: Array, axis: int) -> Array:
    """Whether anything is filled at each place of an axis."""
    others = tuple(other for other in range(filled.ndim) if other != axis)
    return np.asarray(filled.any(others))


def _unread(raw: bytes, members: Sequence[Member] | None) -> set[str]:
    """Names of an ONNX file's initialisers that no node and no output reads."""
    if raw[:1] not in (b"\x08", b"\x12", b"\x3a"):
        return set()
    try:
        return unread(raw[: members[0].size] if members else raw)
    except (ValueError, LookupError):
        return set()


def _without(raw: bytes, tensors: Sequence[Tensor]) -> bytes:
    """What lies outside all tensors: the graph, names, shapes."""
    parts, at = [], 0
    for tensor in tensors:
        parts.append(raw[at : tensor.offset])
        at = tensor.offset + tensor.size
    return b"".join([*parts, raw[at:]])
