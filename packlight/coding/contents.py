"""What a .plt file holds, and where its bytes went."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packlight.coding import _native, container
from packlight.coding.archive import read_paths
from packlight.coding.container import Header
from packlight.coding.files import read_packed
from packlight.coding.openers.tensor import Tensor
from packlight.coding.packing import MAX_OUTPUT, decompress
from packlight.coding.spans import find_spans

CODECS = {
    container.STORED: "stored",
    container.MODEL: "model",
    container.LZMA: "LZMA",
    container.FAST: "fast",
}
KINDS = (
    "bytes",
    "integers",
    "floats",
    "palette",
    "copy",
    "derived",
    "Fourier basis",
    "old bytes",
    "changes",
    "limits",
    "trellis",
    "derived",
)


@dataclass(frozen=True)
class Part:
    """A tensor, or bytes between tensors, inside the container."""

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    how: str
    size: int
    packed: int | None


@dataclass(frozen=True)
class Contents:
    """A container's header, and its parts with what each costs."""

    header: Header
    parts: list[Part]

    def to_dict(self) -> dict[str, Any]:
        """For other programs."""
        header = self.header
        return {
            "size": header.size,
            "packed": header.packed_size,
            "sha256": header.sha256.hex(),
            "files": None
            if header.members is None
            else [{"name": m.name, "size": m.size, "folder": m.is_folder} for m in header.members],
            "parts": [vars(part) for part in self.parts],
        }


def info(
    source: str | Path, *, base: str | Path | None = None, max_output: int = MAX_OUTPUT
) -> Contents:
    """What a .plt file holds: every tensor, how it is coded, and its bytes.

    A part's packed bytes are those that leave the decoder's input while it is decoded, so they
    add up; what is coded with the parts before it counts there. For codecs that take a chunk as a
    whole they are not known and given as None.

    Raises:
        BadInput: the file is no .plt, or cut, damaged or too large.
    """
    data = read_packed(Path(source))
    old = read_paths([Path(base)])[0] if base is not None else None
    raw = decompress(data, base=old, max_output=max_output)
    header = container.read(data)
    costs = _costs(data, header, old)
    starts = [at for at, _ in costs]
    parts = []
    for span in find_spans(raw, header.members):
        found = span.found
        tensor = found if isinstance(found, Tensor) else None
        first = max(bisect_right(starts, span.offset) - 1, 0)  # may have begun before
        last = bisect_left(starts, span.offset + span.size)
        how = costs[first][1][0] if costs else ""
        known = [
            packed if packed is None or at >= span.offset else 0
            for at, (_, packed) in costs[first:last]
        ]
        parts.append(
            Part(
                name=found.name if found else "",
                shape=tensor.shape if tensor else None,
                dtype=tensor.dtype if tensor else "float32" if found else "bytes",
                how=how,
                size=span.size,
                packed=None if None in known else sum(known),  # type: ignore[arg-type]
            )
        )
    return Contents(header, parts)


def _costs(
    data: bytes, header: Header, base: bytes | None
) -> list[tuple[int, tuple[str, int | None]]]:
    """(offset, (how, packed bytes)) of every run of bytes that is coded alike."""
    costs: list[tuple[int, tuple[str, int | None]]] = []
    work = bytearray(_native.work_size())
    for chunk in header.chunks:
        packed = data[chunk.packed_offset : chunk.packed_offset + chunk.packed_size]
        if chunk.codec != container.MODEL:
            name = CODECS.get(chunk.codec, "general codec")
            costs.append((chunk.offset, (name, None)))
            continue
        at = chunk.offset
        for kind, size, cost in _native.segments(chunk.continues, chunk.size, packed, work, base):
            costs.append((at, (KINDS[kind], cost)))
            at += size
    return costs
