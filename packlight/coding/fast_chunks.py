"""Chunks of the fast codec: the spans that share one, and the smallest records for each."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from mmap import mmap

from packlight.coding import _native, fast
from packlight.coding.openers.tensor import Derived
from packlight.coding.spans import Span, parted

#: smaller tensors may share a record with the bytes between them
SMALL = 1 << 10
#: bytes on which a tensor is tried for repeats
SAMPLE = 1 << 16


def runs(spans: Iterable[Span], limit: int) -> list[list[Span]]:
    """Spans that share a chunk of at most `limit` bytes."""
    found: list[list[Span]] = []
    size = limit
    for span in chain.from_iterable(parted(span, limit) for span in spans):
        if size + span.size > limit:
            found.append([])
            size = 0
        found[-1].append(span)
        size += span.size
    return found


def pack(raw: bytes, run: Sequence[Span]) -> bytes:
    """The records of a chunk.

    Args:
        raw: the chunk's bytes.
        run: its spans; their offsets count from the first one's.
    """
    start = run[0].offset
    index = mmap(-1, _native.index_size())  # most of it is never touched
    seen: dict[bytes, int] = {}
    records = []

    def repeats(at: int, end: int, likely: int = 0) -> bytes:
        return _native.pack_repeats(raw, at, end, likely, index)

    for is_rest, group in groupby(run, _is_rest):
        spans = list(group)
        alone = []
        for span in spans:
            at, end = span.offset - start, span.offset - start + span.size
            data = raw[at:end]
            record = product(raw, span, start) or fast.pack(data, span.found)
            back = at - seen.setdefault(data, at)
            if back or is_rest or _repeats(data, len(record)):
                record = min(record, repeats(at, end, back), key=len)
            alone.append(record)
        together = b"".join(alone)
        if is_rest:
            first, last = spans[0], spans[-1]
            shared = repeats(first.offset - start, last.offset - start + last.size)
            together = min(together, shared, key=len)
        records.append(together)
    return b"".join(records)


def product(raw: bytes, span: Span, start: int) -> bytes | None:
    """A record of numbers that follow from others in the chunk; None if some do not."""
    found = span.found
    if not isinstance(found, Derived) or not start <= found.source < found.offset:
        return None
    at, source = found.offset - start, found.source - start
    return fast.product(raw[at : at + found.size], raw[source : source + found.size],
                        found.factor, at - source)  # fmt: skip


def _is_rest(span: Span) -> bool:
    return span.found is None or (span.size < SMALL and not isinstance(span.found, Derived))


def _repeats(data: bytes, packed: int) -> bool:
    """Whether a look at its middle promises that repeats pack a tensor below `packed` bytes."""
    at = max(0, len(data) - SAMPLE) // 2
    sample = data[at : at + SAMPLE]
    return len(zlib.compress(sample, 1)) * len(data) < packed * len(sample)
