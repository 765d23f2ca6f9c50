"""Chunks of the fast codec: the spans that share one, and the smallest records for each."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import chain, groupby, pairwise
from mmap import mmap
from operator import itemgetter

from packlight.coding import _native, fast
from packlight.coding.openers.tensor import Derived
from packlight.coding.spans import Span, parted

#: smaller tensors may share a record with the bytes between them
SMALL = 1 << 10
#: bytes on which a tensor is tried for repeats
SAMPLE = 1 << 16
#: and so may those that follow from others, unless the record that tells how is this small a part
PRODUCT_WORTH = 0.6
#: about what a record of repeats takes beside what it tells
RECORD = 16
#: spans times bytes of which every beginning is packed, to see what each span adds
PATIENCE = 1 << 24


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
    chunk = _Chunk(raw, run[0].offset)
    return b"".join(
        b"".join(map(chunk.record, group)) if alone else chunk.together(list(group))
        for alone, group in groupby(run, chunk.stands_alone)
    )


class _Chunk:
    """A chunk whose records are made in order.

    Args:
        raw: its bytes.
        start: where they lie in the file.
    """

    def __init__(self, raw: bytes, start: int) -> None:
        self._raw, self._start = raw, start
        self._index = mmap(-1, _native.index_size())  # most of it is never touched
        self._seen: dict[bytes, int] = {}

    def stands_alone(self, span: Span) -> bool:
        """Whether a span shares no record: a tensor that is long or follows from another."""
        if span.found is None:
            return False
        if span.size >= SMALL:
            return True
        told = product(self._raw, span, self._start)
        return told is not None and len(told) < PRODUCT_WORTH * span.size

    def record(self, span: Span, *, small: bool = False) -> bytes:
        """The smallest record of one span; whether small ones repeat others is always tried."""
        at, end = self._place(span)
        data = self._raw[at:end]
        record = fast.pack(data, span.found)
        record = min(product(self._raw, span, self._start) or record, record, key=len)
        back = at - self._seen.setdefault(data, at)
        if back or small or _repeats(data, len(record)):
            record = min(record, self._repeats(at, end, back), key=len)
        return record

    def together(self, spans: Sequence[Span]) -> bytes:
        """The smallest records of small spans, of which neighbours may share repeats."""
        apart = [self.record(span, small=True) for span in spans]
        start, end = self._place(spans[0], spans[-1])
        choices = [b"".join(apart), self._repeats(start, end)]
        if len(spans) * (end - start) <= PATIENCE:
            longer = [len(self._repeats(*self._place(spans[0], span))) for span in spans]
            more = [after - before for before, after in pairwise([0, *longer])]
            shared = sharing([len(record) for record in apart], more)
            parts = groupby(zip(shared, apart, spans, strict=True), itemgetter(0))
            choices.append(b"".join(self._mixed(share, list(part)) for share, part in parts))
        return min(choices, key=len)

    def _mixed(self, share: bool, part: Sequence[tuple[bool, bytes, Span]]) -> bytes:
        if not share:
            return b"".join(record for _, record, _ in part)
        return self._repeats(*self._place(part[0][2], part[-1][2]))

    def _place(self, first: Span, last: Span | None = None) -> tuple[int, int]:
        """Where spans begin and end in the chunk."""
        last = last or first
        return first.offset - self._start, last.offset + last.size - self._start

    def _repeats(self, at: int, end: int, likely: int = 0) -> bytes:
        return _native.pack_repeats(self._raw, at, end, likely, self._index)


def sharing(apart: Sequence[int], more: Sequence[int]) -> list[bool]:
    """Which neighbours should share a record: the path of least bytes.

    Args:
        apart: bytes of a span in a record of its own.
        more: bytes by which it makes a record longer that it shares.
    """
    costs = (0, RECORD)
    paths: list[tuple[bool, bool]] = []  # for every span where either state comes from
    for own, extra in zip(apart, more, strict=True):
        begin, go_on = costs[0] + RECORD, costs[1]
        paths.append((costs[1] < costs[0], go_on <= begin))
        costs = (min(costs) + own, min(begin, go_on) + extra)
    state = costs[1] < costs[0]
    shared = []
    for path in reversed(paths):
        shared.append(state)
        state = path[state]
    return shared[::-1]


def product(raw: bytes, span: Span, start: int) -> bytes | None:
    """A record of numbers that should follow from others in the chunk; None if it can not hold
    them."""
    found = span.found
    if not isinstance(found, Derived) or not start <= found.source < found.offset:
        return None
    at, source = found.offset - start, found.source - start
    return fast.product(raw[at : at + found.size], raw[source : source + found.size],
                        found.factor, at - source)  # fmt: skip


def _repeats(data: bytes, packed: int) -> bool:
    """Whether a look at its middle promises that repeats pack a tensor below `packed` bytes."""
    at = max(0, len(data) - SAMPLE) // 2
    sample = data[at : at + SAMPLE]
    return len(zlib.compress(sample, 1)) * len(data) < packed * len(sample)
