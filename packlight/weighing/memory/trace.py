"""Traces of buffers as CSV: id,lower,upper,size, and alignment where a file has it."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from packlight.errors import BadInput
from packlight.weighing.memory.buffers import Buffer

_COLUMNS = ("id", "lower", "upper", "size")


def read_trace(path: str | os.PathLike[str]) -> list[Buffer]:
    """The buffers of a trace, in the file's order.

    Raises:
        BadInput: not such a file; the line that is wrong.
    """
    path = Path(path)
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise BadInput(f"{path} can not be read as a trace ({problem})") from problem
    header = [name.strip() for name in lines[0]] if lines else []
    if missing := [name for name in _COLUMNS if name not in header]:
        raise BadInput(
            f"{path} has no column {missing[0]!r} in its first line; a trace begins with "
            "id,lower,upper,size and may have alignment"
        )
    return [
        _buffer(dict(zip(header, line, strict=False)), f"line {number} of {path}")
        for number, line in enumerate(lines[1:], start=2)
        if line
    ]


def _buffer(cells: dict[str, str], where: str) -> Buffer:
    try:
        lower, upper, size = (int(cells[name]) for name in _COLUMNS[1:])
        alignment = int(cells.get("alignment") or 1)
    except (KeyError, ValueError):
        raise BadInput(f"{where} does not hold whole numbers for lower, upper and size") from None
    if not (lower < upper and size >= 0 and alignment > 0):
        raise BadInput(
            f"{where} is not a buffer: lower must be below upper, size not negative and "
            "alignment positive"
        )
    return Buffer(cells["id"], lower, upper, size, alignment)
