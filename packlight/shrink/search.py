"""Find the coarseness that meets the budget, between what was written and what would follow.

A coarser grid makes a smaller file and a less exact network, and so does the coarseness of any
other move. With a bound on size the finest grid that meets it is wanted; with a bound on the drop
alone, the coarsest grid that keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from packlight.judge import Verdict
from packlight.shrink.budget import Budget
from packlight.shrink.moves import REACH, Form

GROWTH = 2.0  # factor between trials until the answer is bracketed
FARTHEST = 2.0**16  # where sizes hardly change
CLOSE_SIZE = 0.995  # of the bound: a file this near to it is near enough
CLOSE_COARSENESS = 1.03  # between the last two trials
TRIALS = 18
FLATTEST = 0.01  # of the lines that are followed no farther than to what is known
INNER = 0.02  # of the way between two trials: nearer to either is no news
FINEST_PART = 64  # of the start: what is finer is no different from the finest
LOOKS = 4  # trials of `go_on`
LOOKS_FORETOLD = 6  # of them where sizes are foretold: so many only where they jump
NEAR_SIZE = 0.99  # there, as each takes long
STRIDES = 1.03, 1.2  # between them: sizes are known well, drops are not
SHRINKS = (
    0.5  # a packed file is as large as coarseness to this power is small, before two are known
)


@dataclass(frozen=True)
class Visit:
    """One network that was tried: its sizes, and how it answers on steering samples.

    `coarseness` is not a number where the network was retrained.
    """

    coarseness: float
    bytes: int
    packed_bytes: int
    verdict: Verdict


@dataclass(frozen=True)
class Point:
    """One network of the search.

    Args:
        visit: its figures.
        file, packed: the bytes as they would be written.
        form: the network itself.
    """

    visit: Visit
    file: bytes
    packed: bytes
    form: Form


@dataclass(frozen=True)
class Found:
    """Where the search ended, what it tried, and which bound decided."""

    point: Point
    visited: list[Visit]
    binding: str


def search(
    build: Callable[[float], Point],
    drop: Callable[[Point], float],
    budget: Budget,
    start: float,
    last: float | None = None,
) -> Found:
    """Find the point to choose.

    Args:
        build: coarseness -> point; 0 is the finest grid there is.
        drop: accuracy a point loses; asked only when the size is not bounded.
        budget: at least one bound.
        start: a coarseness where grids begin to be coarser than the finest.
        last: beyond it the search ends where files get no smaller; default: 8 times the start.
    """
    last = REACH * start if last is None else last
    visited: list[Visit] = []

    def at(coarseness: float) -> Point:
        point = build(coarseness)
        visited.append(point.visit)
        return point

    if budget.sized:
        size = "target_size" if budget.target_size is not None else "target_installed_size"
        point, bound = _finest_that_fits(at, visited, budget, start, last)
        return Found(point, visited, size if bound else "none")
    if budget.max_drop is None:
        return Found(at(0.0), visited, "max_ram" if budget.speedup is None else "speedup")
    point, bound = _coarsest_that_keeps(at, drop, budget.max_drop, start, last)
    return Found(point, visited, "max_drop" if bound else "none")


def go_on(
    build: Callable[[float], Point],
    drop: Callable[[Point], float],
    budget: Budget,
    coarseness: float,
) -> tuple[Point | None, list[Visit]]:
    """From where a search ended, on among networks that take long to make: a few trials near it.

    Args:
        build, drop, budget: as of `search`.
        coarseness: of its end.
    Returns:
        The best trial, None where none meets the budget; and all of them.
    """
    visited: list[Visit] = []
    best: Point | None = None
    met = missed = 0.0  # the last coarseness that met the budget, and that did not
    for _ in range(LOOKS_FORETOLD if _foretells(budget) else LOOKS):
        point = build(coarseness)
        visited.append(point.visit)
        if budget.sized:
            good = budget.fits(point.visit.packed_bytes, point.visit.bytes)
            onwards = 1 / STRIDES[0]  # finer, until it is too large
        else:
            good = budget.max_drop is None or drop(point) <= budget.max_drop
            onwards = STRIDES[1]  # coarser, until it loses too much
        if good:
            if best is None or not budget.sized or _size(point) >= _size(best):
                best = point
            met = coarseness
            if _close(point, budget, NEAR_SIZE):
                break
        else:
            missed = coarseness
        foretold = _foretold(budget, visited)
        between = float(np.sqrt(met * missed))
        if foretold and (not between or min(met, missed) < foretold < max(met, missed)):
            coarseness = foretold
        elif between:
            coarseness = between
        else:
            coarseness *= onwards if good else 1 / onwards
    return best, visited


def _foretells(budget: Budget) -> bool:
    """Whether the packed size alone is bounded, which follows from coarseness."""
    return budget.target_size is not None and budget.target_installed_size is None


def _foretold(budget: Budget, visited: list[Visit], flattest: float = 0.2) -> float | None:
    """Where the packed file should be as large as it may be: a line through the last two trials.

    Args:
        budget, visited: as above.
        flattest: a line that is flatter leads too far.
    Returns:
        None where other sizes are bounded, of which nothing is foretold.
    """
    if budget.target_size is None or not _foretells(budget):
        return None
    last, power = visited[-1], SHRINKS
    if len(visited) > 1 and visited[-2].coarseness > 0:
        before = visited[-2]
        sizes = np.log(before.packed_bytes / last.packed_bytes)
        power = float(np.clip(sizes / np.log(last.coarseness / before.coarseness), flattest, 2.0))
    wanted = budget.target_size * (1 + CLOSE_SIZE) / 2
    return float(last.coarseness * (last.packed_bytes / wanted) ** (1 / power))


def _size(point: Point) -> int:
    return point.visit.packed_bytes


def _finest_that_fits(
    at: Callable[[float], Point],
    visited: list[Visit],
    budget: Budget,
    start: float,
    last: float,
) -> tuple[Point, bool]:
    def fits(point: Point) -> bool:
        return budget.fits(point.visit.packed_bytes, point.visit.bytes)

    def between(low: float, high: float, usual: float) -> float:
        return float(np.clip(_foretold(budget, visited, FLATTEST) or usual, low, high))

    finest = at(0.0)
    if fits(finest):
        return finest, False
    # coarser until it fits; once a larger step makes no smaller file, nothing will
    too_fine, coarse, smaller = 0.0, start, True
    best = at(coarse)
    while not fits(best):
        too_fine, most = coarse, coarse * GROWTH
        coarse = between(coarse * CLOSE_COARSENESS, most, most) if smaller else most
        following = at(coarse)
        smaller = following.visit.packed_bytes < 0.995 * best.visit.packed_bytes
        if not smaller and too_fine > last and coarse == most:
            return min(best, following, key=lambda point: point.visit.packed_bytes), True
        best = following
    stride = GROWTH
    low = too_fine or coarse / stride
    for trial in range(TRIALS):
        if _close(best, budget) or (too_fine and coarse / low < 1.002):
            break
        middle, inner = float(np.sqrt(low * coarse)), (coarse / low) ** INNER
        if not too_fine:
            middle = between(low, coarse / inner, low)
        elif trial % 3 < 2:  # a line may lead to the same end again and again
            middle = between(low * inner, coarse / inner, middle)
        point = at(middle)
        if not fits(point):
            low = too_fine = middle
            continue
        best, coarse = point, middle
        if not too_fine:  # even this fits: finer still, by more and more
            stride = min(stride**2, FARTHEST)
            low = middle / stride
    return best, True


def _close(point: Point, budget: Budget, share: float = CLOSE_SIZE) -> bool:
    return budget.target_size is not None and _size(point) >= share * budget.target_size


def _coarsest_that_keeps(
    at: Callable[[float], Point],
    drop: Callable[[Point], float],
    allowed: float,
    start: float,
    last: float,
) -> tuple[Point, bool]:
    best = at(0.0)
    if drop(best) > allowed:
        return best, True
    low, high = start / GROWTH, start
    point = at(high)
    while drop(point) <= allowed:
        smaller = point.visit.packed_bytes < 0.995 * best.visit.packed_bytes
        best, low, high = point, high, high * GROWTH
        if not smaller and low > last:
            return best, False
        point = at(high)
    while best.visit.coarseness == 0:  # finer until one keeps it
        point = at(low)
        if drop(point) <= allowed:
            best = point
        elif low < start / FINEST_PART:
            return best, True
        else:
            low, high = low / GROWTH, low
    while high / low > CLOSE_COARSENESS:
        middle = float(np.sqrt(low * high))
        point = at(middle)
        if drop(point) <= allowed:
            best, low = point, middle
        else:
            high = middle
    return best, True
