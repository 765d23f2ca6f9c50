"""A file parted into tensors, numbers derived from others, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from packlight.coding.container import Member
from packlight.coding.openers import Found, find_tensors
from packlight.coding.openers.tensor import Tensor


@dataclass(frozen=True)
class Span:
    """Bytes of the file: a tensor, numbers derived from others, or neither."""

    offset: int
    size: int
    found: Found | None


def find_spans(raw: bytes, members: Sequence[Member] | None) -> list[Span]:
    """The whole file, parted into tensors and what lies between them."""
    spans: list[Span] = []
    at = 0
    for found in find_tensors(raw, members):
        if found.offset > at:
            spans.append(Span(at, found.offset - at, None))
        spans.append(Span(found.offset, found.size, found))
        at = found.offset + found.size
    if at < len(raw):
        spans.append(Span(at, len(raw) - at, None))
    return spans


def parted(span: Span, limit: int) -> list[Span]:
    """A span of more than `limit` bytes in parts; those of a tensor have some of its rows each."""
    found = span.found
    if span.size <= limit:
        return [span]
    if not isinstance(found, Tensor):
        places = range(0, span.size, limit)
        return [Span(span.offset + at, min(limit, span.size - at), None) for at in places]
    inner = found.shape[1:] if len(found.shape) > 1 else ()
    row = prod(inner) * found.width
    if row > limit:  # no row fits: its items in a line
        inner, row = (), found.width
    step = limit // row
    parts = []
    for at in range(0, span.size // row, step):
        count = min(step, span.size // row - at)
        offset = span.offset + at * row
        part = replace(found, offset=offset, shape=(count, *inner))
        parts.append(Span(offset, count * row, part))
    return parts
