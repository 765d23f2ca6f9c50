"""From the tensors of a file to its chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from packlight.coding import _native, segments
from packlight.coding.container import LZMA, MODEL, STORED, Chunk
from packlight.coding.openers import find_tensors
from packlight.coding.openers.tensor import Derived
from packlight.coding.segments import Segment

#: a modelled chunk's bytes when unpacked: bounds what a streaming decoder needs to hold
CHUNK_LIMIT = 4 << 20
#: more plain bytes in one run are LZMA's: it is faster, and remembers farther back
_PLAIN_LIMIT = 1 << 20
_DEDUPE_LEAST = 64


def model_chunks(
    raw: bytes, thorough: bool, tick: Callable[[int], None] = lambda done: None
) -> list[Chunk]:
    """Chunks that code tensors by their models and everything between them as bytes."""
    work = bytearray(_native.work_size())
    builder = _Builder(raw, bytearray(_native.work_size()))
    for segment in _segments(raw, work, thorough):
        builder.add(segment)
        tick(builder.at)
    return builder.finish()


def _segments(raw: bytes, work: bytearray, thorough: bool) -> Iterator[Segment]:
    at = 0
    seen: dict[bytes, int] = {}
    for found in find_tensors(raw):
        if found.offset > at:
            yield from _gap(raw, at, found.offset)
        at = found.offset + found.size
        data = raw[found.offset : at]
        if isinstance(found, Derived):
            yield segments.product(found)
            continue
        if len(data) >= _DEDUPE_LEAST:
            first = seen.setdefault(data, found.offset)
            if first != found.offset and at - first < CHUNK_LIMIT:
                yield segments.copy(len(data), found.offset - first)
                continue
        yield segments.best(found, data, work, thorough)
    if at < len(raw):
        yield from _gap(raw, at, len(raw))


def _gap(raw: bytes, at: int, end: int) -> Iterator[Segment]:
    size = end - at
    if size > _PLAIN_LIMIT:
        yield Segment(size, as_lzma=True)
    else:
        yield segments.plain(size)


@dataclass
class _Builder:
    """Puts segments into chunks and packs each chunk once it is full."""

    raw: bytes
    work: bytearray
    at: int = 0
    _start: int = 0
    _plan: list[Segment] = field(default_factory=list)
    _chunks: list[Chunk] = field(default_factory=list)
    _modelled: bool = False

    def add(self, segment: Segment) -> None:
        if segment.as_lzma:
            self._close()
            raw = self.raw[self.at : self.at + segment.size]
            self._chunks.append(lzma_or_stored(raw))
            self.at += segment.size
            self._start = self.at
            return
        kind = segment.values["kind"]
        if kind in (segments.COPY, segments.PRODUCT):
            if segment.values["distance"] > self.at - self._start or self._room() < segment.size:
                segment = segments.plain(segment.size)
                kind = segments.BYTES
            else:
                self._append(segment, segment.size)
                return
        if kind == segments.BYTES:
            left = segment.size
            while left:
                part = min(left, self._room())
                self._append(segments.plain(part), part)
                left -= part
            return
        width = segment.values["width"]
        if self._room() < width:
            self._close()
        left, planned = segment.size, False
        while left:
            part = min(left, self._room() // width * width)
            self._append(None if planned else segment, part, full=part < left)
            planned = True
            left -= part

    def finish(self) -> list[Chunk]:
        self._close()
        return self._chunks

    def _room(self) -> int:
        return CHUNK_LIMIT - (self.at - self._start)

    def _append(self, segment: Segment | None, size: int, full: bool = False) -> None:
        if segment is not None:
            self._plan.append(segment)
        self.at += size
        if full or not self._room():
            self._close()

    def _close(self) -> None:
        if self.at == self._start:
            return
        raw = memoryview(self.raw)[self._start : self.at]
        plan = b"".join(segment.to_bytes() for segment in self._plan)
        palettes = b"".join(segment.palette for segment in self._plan)
        packed = _native.pack_chunk(raw, plan, palettes, self._modelled, self.work, False)
        self._chunks.append(Chunk(MODEL, len(raw), packed, self._modelled))
        self._modelled = True
        self._plan.clear()
        self._start = self.at


def lzma_or_stored(raw: bytes) -> Chunk:
    """The better of LZMA and the bytes as they are."""
    packed = segments.lzma_best(raw)
    return Chunk(LZMA, len(raw), packed) if len(packed) < len(raw) else Chunk(STORED, len(raw), raw)
