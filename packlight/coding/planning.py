"""From the bytes of a file, or of an archive's files, to chunks.

    spans     tensors, and what lies between them
    segments  the model for every span, chosen by trial
    plans     segments laid into chunks of a bounded size
    chunks    every plan packed

Chunks of one chain learn from each other and are packed in order; chains are independent, so
threads share them, and so does an app that unpacks or reads a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from threading import local
from typing import TypeVar

from packlight.coding import _native, fast, fast_chunks, segments
from packlight.coding.base import Base
from packlight.coding.container import FAST, LZMA, MODEL, STORED, Chunk, Member
from packlight.coding.likeness import find_like
from packlight.coding.matching import repeated
from packlight.coding.openers.tensor import Derived, Tensor
from packlight.coding.segments import Segment
from packlight.coding.spans import Span, find_spans, parted
from packlight.progress import Progress

#: a modelled chunk's bytes when unpacked: bounds what a streaming decoder needs to hold
CHUNK_LIMIT = 4 << 20
#: bytes in chunks that learn from each other; more would keep threads and readers of a part waiting
CHAIN_LIMIT = 8 * CHUNK_LIMIT
#: more plain bytes in one run are LZMA's: it is faster, and remembers farther back
PLAIN_LIMIT = 1 << 20
#: fewer are not worth a chunk of their own
PLAIN_LEAST = 1 << 12
#: at level fast a chunk of fewer plain bytes, or of which LZMA makes more than this part, is not
#: LZMA's, which takes ten times as long to unpack
FAST_PLAIN_LIMIT = 1 << 14
FAST_LZMA_WORTH = 0.95
#: smaller tensors are not worth leaving the models for speed; in small files twice as large ones
FAST_LEAST = 1 << 13
SMALL_FILE = 1 << 17
#: at level default a record of the fast codec may be this much larger than what the models make
FAST_WORTH = 1.04
DEDUPE_LEAST = 64

T = TypeVar("T")
U = TypeVar("U")


@dataclass
class Plan:
    """What becomes one chunk."""

    offset: int
    codec: int
    size: int = 0
    continues: bool = False
    segments: list[Segment] = field(default_factory=list)


class Packer:
    """Packs with threads, each with a work area of its own."""

    def __init__(self, raw: bytes, jobs: int, progress: Progress, base: Base | None = None) -> None:
        self._raw, self._jobs, self._progress, self._base = raw, jobs, progress, base
        self._pairs: dict[int, int] = {}  # tensor -> where its old values lie in the base
        self._like: dict[int, int] = {}  # tensor -> the earlier one that it is like
        self._liked: set[int] = set()  # those
        self._own = local()

    def models(self, members: Sequence[Member] | None, *, thorough: bool) -> list[Chunk]:
        """Tensors by their models, everything between them as bytes."""
        spans = find_spans(self._raw, members)
        if self._base is not None:
            self._pairs = self._base.pair([span.found for span in spans if span.found])
        else:
            tensors = [span.found for span in spans if isinstance(span.found, Tensor)]
            self._like = find_like(self._raw, tensors, CHUNK_LIMIT)
            self._liked = set(self._like.values())
        chosen = self._each("choosing models", lambda span: self._segments(span, thorough), spans)
        chains: list[list[Plan]] = []
        model: list[Plan] = []
        for plan in lay(self._raw, spans, chosen):
            if plan.continues:
                model.append(plan)  # chunks of other codecs may lie between
                continue
            chains.append([plan])
            if plan.codec == MODEL:
                model = chains[-1]
        packed = self._each("packing", self._pack_chain, chains)
        return [chunk for _, chunk in sorted(chain.from_iterable(packed))]

    def fast(self, members: Sequence[Member] | None) -> list[Chunk]:
        """Records of the fast codec, in chunks that stand alone."""
        runs = fast_chunks.runs(find_spans(self._raw, members), CHUNK_LIMIT)
        return self._each("packing", self._pack_fast, runs)

    def general(self, less_than: int) -> list[Chunk] | None:
        """Everything as LZMA, or as it is; None if a quick trial says that it would be larger."""
        new = 1 - repeated(self._raw, segments.SAMPLE // 4)
        if segments.without_far_repeats(self._raw) * new > 1.02 * less_than:
            return None
        with self._progress.stage("trying LZMA on the whole"):
            return [lzma_or_stored(self._raw)]

    def _each(self, stage: str, call: Callable[[T], U], items: Sequence[T]) -> list[U]:
        with ThreadPoolExecutor(self._jobs) as pool:
            results = pool.map(call, items)
            return list(self._progress.each(stage, results, len(items)))

    @property
    def _work(self) -> bytearray:
        if not hasattr(self._own, "work"):
            self._own.work = bytearray(_native.work_size())
        work: bytearray = self._own.work
        return work

    def _segments(self, span: Span, thorough: bool) -> list[Segment]:
        """The models for a span: one, or more where parts of it come from the base."""
        data = self._bytes(span)
        if self._base is None:
            return self._alone(span, data, thorough)
        place = self._pairs.get(span.offset)
        same = self._base.same(data, place)
        if same is not None:
            return [segments.base_copy(span.size, same)]
        if place is not None and isinstance(span.found, Tensor):
            alone, cost = segments.best(span.found, data, self._work, thorough)
            told = segments.changed(span.found, data, place)
            cost = cost or segments.cost(alone, data, self._work)
            less = segments.cost(told, data, self._work, self._base.raw) <= cost
            return [told if less else alone]
        found: list[Segment] = []
        at = 0
        for start, source, size in self._base.matcher.runs(data, self._near(span)):
            found += self._between(span, data, at, start, thorough)
            found.append(segments.base_copy(size, source))
            at = start + size
        return found + self._between(span, data, at, span.size, thorough)

    def _between(
        self, span: Span, data: bytes, start: int, end: int, thorough: bool
    ) -> list[Segment]:
        """What the base does not hold of a span."""
        if start == end:
            return []
        whole = end - start == span.size
        part = span if whole else Span(span.offset + start, end - start, None)
        return self._alone(part, data[start:end], thorough)

    def _near(self, span: Span) -> int:
        """About where the base holds what this span holds here: behind the tensor before."""
        before = [place for place in self._pairs if place < span.offset]
        if not before:
            return span.offset
        last = max(before)
        return self._pairs[last] + span.offset - last

    def _alone(self, span: Span, data: bytes, thorough: bool) -> list[Segment]:
        """The models for a span without a base: one, or quick records where those are nearly as
        good."""
        if isinstance(span.found, Derived):
            rows = span.found.rows
            if rows is not None and rows.offset < span.offset:
                return [segments.limits(span.found, rows)]
            return [segments.product(span.found)]
        if span.found is None:
            if span.size > PLAIN_LIMIT:
                return [Segment(span.size, as_lzma=True)]
            if span.size < PLAIN_LEAST:
                return [segments.plain(span.size)]
            return [segments.best_plain(data, self._work)]
        segment, cost = segments.best(span.found, data, self._work, thorough)
        like = self._like.get(span.offset)
        if like is not None:
            before = self._raw[like : like + span.size]
            distance = span.offset - like
            segment = segments.told_from(span.found, data, before, distance, segment, self._work)
        if segment.otherwise or span.offset in self._liked:
            return [segment]  # both in modelled chunks
        whole = segment.as_lzma or (
            span.found.width > 1 and segment.values["kind"] != segments.PALETTE
        )
        least = FAST_LEAST * (2 if len(self._raw) < SMALL_FILE else 1)
        if thorough or whole or span.size < least:
            return [segment]
        quick = [
            Segment(part.size, record=fast.pack(self._bytes(part), part.found, kernels=True))
            for part in parted(span, CHUNK_LIMIT)
        ]
        size = sum(len(part.record) for part in quick)
        cost = cost or segments.cost(segment, data, self._work)
        return quick if size <= FAST_WORTH * cost else [segment]

    def _bytes(self, span: Span) -> bytes:
        return self._raw[span.offset : span.offset + span.size]

    def _pack_chain(self, plans: list[Plan]) -> list[tuple[int, Chunk]]:
        return [(plan.offset, self._pack(plan)) for plan in plans]

    def _pack(self, plan: Plan) -> Chunk:
        raw = memoryview(self._raw)[plan.offset : plan.offset + plan.size]
        if plan.codec == LZMA:
            return lzma_or_stored(bytes(raw), plan.segments[0].record)
        if plan.codec == FAST:
            return Chunk(FAST, plan.size, plan.segments[0].record)
        fields = b"".join(segment.to_bytes() for segment in plan.segments)
        palettes = b"".join(segment.palette for segment in plan.segments)
        base = self._base.raw if self._base else None
        packed = _native.pack_chunk(raw, fields, palettes, plan.continues, self._work, False, base)
        return Chunk(MODEL, plan.size, packed, plan.continues)

    def _pack_fast(self, run: list[Span]) -> Chunk:
        start, end = run[0].offset, run[-1].offset + run[-1].size
        raw = self._raw[start:end]
        packed = fast_chunks.pack(raw, run)
        if len(run) == 1 and run[0].found is None and len(raw) >= FAST_PLAIN_LIMIT:
            other = lzma_or_stored(raw)
            if len(other.packed) < FAST_LZMA_WORTH * len(packed):
                return other
        return Chunk(FAST, len(raw), packed) if len(packed) < len(raw) else _stored(raw)


def lay(raw: bytes, spans: Sequence[Span], chosen: Iterable[list[Segment]]) -> list[Plan]:
    """Segments laid into chunks; a tensor too long for one goes on in the next."""
    layout = _Layout()
    seen: dict[bytes, int] = {}
    for span, parts in zip(spans, chosen, strict=True):
        if span.found is not None and span.size >= DEDUPE_LEAST:
            first = seen.setdefault(raw[span.offset : span.offset + span.size], span.offset)
            if first != span.offset and layout.reaches(first, span.size):
                parts = [segments.copy(span.size, span.offset - first)]
        for segment in parts:
            layout.add(segment)
    return layout.plans


class _Layout:
    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self._at = 0
        self._chain = 0  # bytes in the chain that may go on
        self._open: Plan | None = None

    def reaches(self, source: int, size: int) -> bool:
        """Whether the open chunk holds `source` and has room for `size` more bytes."""
        return self._open is not None and source >= self._open.offset and size <= self._room()

    def add(self, segment: Segment) -> None:
        if segment.otherwise and not self.reaches(
            self._at - segment.values["distance"], segment.size
        ):
            segment = segment.otherwise
        if segment.as_lzma:
            self.plans.append(Plan(self._at, LZMA, segment.size, segments=[segment]))
            self._at += segment.size
            self._open = None
            return
        if segment.record:
            self.plans.append(Plan(self._at, FAST, segment.size, segments=[segment]))
            self._at += segment.size
            self._open = None
            return
        kind = segment.values["kind"]
        if kind in (segments.COPY, segments.PRODUCT, segments.LIMITS):
            back = max(segment.values["distance"], segment.values.get("weights", 0))
            if not self.reaches(self._at - back, segment.size):
                segment = segments.plain(segment.size)
                kind = segments.BYTES
            else:
                self._append(segment, segment.size)
                return
        width = 1 if kind in (segments.BYTES, segments.BASE_COPY) else segment.values["width"]
        left = segment.size
        cut: Segment | None = segment
        while left:
            if self._room() < width:
                self._open = None
            part = min(left, self._room() // width * width)
            if kind == segments.BYTES:
                cut = segments.plain(part)
            elif kind == segments.BASE_COPY:
                done = segment.size - left
                cut = segments.base_copy(part, segment.values["reference"] - 1 + done)
            self._append(cut, part)
            left -= part
            if left:
                self._open = None
            cut = None

    def _room(self) -> int:
        return CHUNK_LIMIT - (self._open.size if self._open else 0)

    def _append(self, segment: Segment | None, size: int) -> None:
        if self._open is None:
            continues = segment is None or 0 < self._chain < CHAIN_LIMIT
            self._chain = self._chain + size if continues else size
            self._open = Plan(self._at, MODEL, continues=continues)
            self.plans.append(self._open)
        else:
            self._chain += size
        done = self._open.segments
        if segment is not None and done and segments.goes_on(done[-1], segment):
            place = done[-1].values["reference"] - 1
            done[-1] = segments.base_copy(done[-1].size + size, place)
        elif segment is not None:
            done.append(segment)
        self._open.size += size
        self._at += size


def lzma_or_stored(raw: bytes, packed: bytes = b"") -> Chunk:
    """The better of LZMA, which may have been packed already, and the bytes as they are."""
    packed = packed or segments.lzma_best(raw)
    return Chunk(LZMA, len(raw), packed) if len(packed) < len(raw) else _stored(raw)


def _stored(raw: bytes) -> Chunk:
    return Chunk(STORED, len(raw), raw)
