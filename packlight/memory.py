"""Memory that was freed is kept for the next values of a graph.

The C library gives large blocks back to the system as soon as they are freed, and the next ones
come page by page, filled with zeros: where layers take turns with values of many megabytes, that
can take longer than computing them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KEPT = 1_000_000_000  # bytes, of what lies free at the end of the heap
# of glibc's malloc.h, with what they are if nobody sets them
_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD = -1, 128 * 1024
_MMAP_MAX, _USUAL_MMAP_MAX = -4, 65_536
_ARENA_MAX = -8

_inside = 0  # how many are keeping it


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep it, in all of this process; without the GNU C library nothing changes."""
    global _inside
    library = _gnu()
    if library is None:
        yield
        return
    _inside += 1
    library.mallopt(_TRIM_THRESHOLD, KEPT)
    library.mallopt(_MMAP_MAX, 0)
    try:
        yield
    finally:
        _inside -= 1
        if not _inside:
            library.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD)
            library.mallopt(_MMAP_MAX, _USUAL_MMAP_MAX)
            library.malloc_trim(0)


def one_heap() -> None:
    """Let all threads share one heap, for good: for a process of our own, before it has threads.

    Otherwise each has one of pieces of 64 MB, which go back to the system whenever they are empty.
    """
    library = _gnu()
    if library is not None:
        library.mallopt(_ARENA_MAX, 1)


def _gnu() -> Any:
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - others number what they set otherwise
    except (AttributeError, OSError, TypeError):
        return None
    return library
