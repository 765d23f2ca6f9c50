"""Runs of bytes that an older file holds too, wherever they moved.

The old file is indexed by hashes of its 16-byte windows at every 8th place, the new one is looked
up at every place, and what is found is extended in both directions: rsync's idea (Tridgell &
Mackerras 1996) with the hashes of all windows computed at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from packlight.types import Array

WINDOW = 16
STRIDE = 8
_BLOCK = 1 << 18  # windows hashed at once: their numbers stay in the cache
LEAST = 24  # a shorter run is not worth its place in the plan


class Matcher:
    """Finds runs of an old file.

    Args:
        old: its bytes.
    """

    def __init__(self, old: bytes) -> None:
        self._old = np.frombuffer(old, np.uint8)
        hashes = _hashes(self._old)[::STRIDE]
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._places = hashes[order], order * STRIDE

    def runs(self, new: bytes, near: int = 0) -> Iterator[tuple[int, int, int]]:
        """(place in new, place in old, size) of runs, in order and apart from each other.

        Args:
            new: bytes to look up.
            near: of several places in the old file, the one closest to where the last run ended is
                taken; the first to here.
        """
        values = np.frombuffer(new, np.uint8)
        hashes = _hashes(values)
        if not len(hashes) or not len(self._hashes):
            return
        first = np.searchsorted(self._hashes, hashes)
        last = np.searchsorted(self._hashes, hashes, side="right")
        at = 0
        for place in np.flatnonzero(last > first):
            if place < at:
                continue
            sources = self._places[first[place] : last[place]]
            source = int(sources[np.abs(sources - near).argmin()])
            start, old_start, size = self._extend(values, int(place), source, at)
            if size >= LEAST:
                yield start, old_start, size
                at, near = start + size, old_start + size

    def _extend(self, new: Array, place: int, source: int, floor: int) -> tuple[int, int, int]:
        """The whole run around one window: (place in new, in old, size)."""
        old = self._old
        ahead = _same(new[place:], old[source:])
        back = min(place - floor, source)
        behind = _same(new[place - back : place][::-1], old[source - back : source][::-1])
        return place - behind, source - behind, ahead + behind


def repeated(data: bytes, distance: int) -> float:
    """About which share of the bytes were there before, but not within `distance`.

    Windows are taken where their hash says so: the same ones wherever the same bytes stand.
    """
    values = np.frombuffer(data, np.uint8)
    hashes, places = [], []
    for start in range(0, len(values), _BLOCK):
        found = _hashes(values[start : start + _BLOCK + WINDOW - 1])
        taken = np.flatnonzero(found < np.uint64(1 << 58))
        hashes.append(found[taken])
        places.append(taken + start)
    if sum(map(len, places)) < 2:
        return 0.0
    all_hashes, all_places = np.concatenate(hashes), np.concatenate(places)
    order = np.argsort(all_hashes, kind="stable")
    same = np.diff(all_hashes[order]) == 0
    return float((same & (np.diff(all_places[order]) > distance)).mean())


def _same(a: Array, b: Array) -> int:
    """How many leading bytes are equal."""
    size, done, step = min(len(a), len(b)), 0, 64
    while done < size:
        end = min(done + step, size)
        different = np.flatnonzero(a[done:end] != b[done:end])
        if len(different):
            return done + int(different[0])
        done, step = end, min(step * 4, 1 << 20)
    return size


def _hashes(values: Array) -> Array:
    """One number for every window of WINDOW bytes: of halves of windows, of quarters, and so on."""
    if len(values) < WINDOW:
        return np.zeros(0, np.uint64)
    total = values.astype(np.uint64)
    size, factor = 1, 0x9E3779B97F4A7C15
    while size < WINDOW:
        total = total[:-size] * np.uint64(factor) + total[size:]
        size, factor = 2 * size, factor * factor & 0xFFFFFFFFFFFFFFFF
    return total
