"""One file through every codec: bytes, ratio, speed in and out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from packlight.coding.archive import read_paths
from packlight.coding.codecs import CODECS
from packlight.coding.packing import LEVELS, compress, decompress
from packlight.errors import BadInput, MissingExtra
from packlight.progress import Progress


@dataclass(frozen=True)
class Row:
    """One codec on one file.

    Args:
        codec: its name and setting.
        packed: bytes; None where its library is not installed.
        ratio: original bytes over packed ones.
        mb_in, mb_out: millions of original bytes a second, packing and unpacking, on one thread.
    """

    codec: str
    packed: int | None
    ratio: float | None = None
    mb_in: float | None = None
    mb_out: float | None = None


def compare(source: str | Path, progress: Progress | None = None) -> list[Row]:
    """Pack and unpack a file or folder with every codec; each result is checked.

    Raises:
        BadInput: the path is not there, or there is nothing in it.
    """
    raw, _ = read_paths([Path(source)])
    if not raw:
        raise BadInput(f"{source} is empty; there is nothing to compare")
    steps = (progress or Progress()).each("codecs", _rows(raw), len(CODECS) + len(LEVELS))
    return list(steps)


def _rows(raw: bytes) -> Iterator[Row]:
    for codec in CODECS.values():
        try:
            yield _row(codec.title, raw, codec.encode, codec.decoder(len(raw)))
        except MissingExtra:
            yield Row(codec.title, None)
    for level in LEVELS:
        yield _row(
            f"packlight {level}",
            raw,
            partial(compress, level=level, verify=False, jobs=1),
            decompress,
        )


def _row(
    title: str, raw: bytes, encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes]
) -> Row:
    start = time.perf_counter()
    packed = encode(raw)
    middle = time.perf_counter()
    back = decode(packed)
    end = time.perf_counter()
    if back != raw:
        raise AssertionError(f"{title} did not restore the bytes")
    speed = len(raw) / 1e6
    return Row(
        title, len(packed), len(raw) / len(packed), speed / (middle - start), speed / (end - middle)
    )
