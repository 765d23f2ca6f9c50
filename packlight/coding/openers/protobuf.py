"""Protobuf's wire format, read directly (protobuf.dev, "Encoding")."""

from __future__ import annotations

from collections.abc import Iterator


def numbers(data: bytes, at: int, end: int) -> Iterator[int]:
    """Packed varints, or one alone."""
    while at < end:
        value, at = varint(data, at, end)
        yield value


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, first byte, end) of every field's content, up to the first that is malformed."""
    while at < end:
        key, at = varint(data, at, end)
        start = at
        match key & 7:
            case 0:
                _, at = varint(data, at, end)
            case 1:
                at += 8
            case 2:
                size, start = varint(data, at, end)
                at = start + size
            case 5:
                at += 4
            case _:
                raise ValueError("a group or an unknown wire type")
        if at > end:
            raise ValueError("a field is longer than what holds it")
        yield key >> 3, start, at


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """(number, first byte behind it)."""
    value = shift = 0
    while True:
        if at >= end or shift > 63:
            raise ValueError("a number does not end")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def parts(data: bytes, start: int, end: int, *path: int) -> Iterator[tuple[int, int]]:
    """(first byte, end) of every field reached by the numbers of `path`, one message deep each."""
    for field, at, to in fields(data, start, end):
        if field == path[0]:
            if len(path) == 1:
                yield at, to
            else:
                yield from parts(data, at, to, *path[1:])


def number(data: bytes, start: int, end: int, *path: int) -> int:
    """The first number found there, 0 if none is."""
    for at, to in parts(data, start, end, *path):
        return varint(data, at, to)[0]
    return 0


def text(data: bytes, start: int, end: int, *path: int) -> str:
    """The first text found there, empty if none is."""
    for at, to in parts(data, start, end, *path):
        return data[at:to].decode("utf-8", "replace")
    return ""
