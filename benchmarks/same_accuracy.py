"""Bytes at the same accuracy: which networks are compared, and what comes out.

Every tool offers points: networks of some bytes and some accuracy. A point is worth having if no
smaller one of the same tool is as accurate. Against each of these stands our smallest point that is
at least as accurate; the result is our bytes over the peer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

FLOOR = {"top1": 0.05, "agreement": 0.15, "sqnr_db": 60.0}  # what a useful network loses at most
WHOLE = {"agreement": 1.0, "sqnr_db": 80.0}  # scores of a network that lost nothing
LOWEST = 0.5  # of the smallest peer's bytes: the smallest that is asked of ours


@dataclass(frozen=True)
class Point:
    """One network.

    Args:
        tool, setting: who made it, and how.
        size: bytes of the download.
        scores: metric -> the larger, the better.
        by: the compressor that got to this size.
    """

    tool: str
    setting: str
    size: int
    scores: dict[str, float]
    by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As the results hold it."""
        return {**vars(self)}


@dataclass(frozen=True)
class Match:
    """A peer's point and our smallest that is at least as accurate, if there is one."""

    metric: str
    peer: Point
    ours: Point | None

    @property
    def ratio(self) -> float | None:
        """Our bytes, as a share of the peer's."""
        return None if self.ours is None else self.ours.size / self.peer.size


def score(point: Point, metric: str, whole: float) -> float:
    """A point's score, at most the original's: what a network has above it is chance."""
    return min(point.scores[metric], whole)


def frontier(points: Iterable[Point], metric: str, whole: float) -> list[Point]:
    """The points that no other beats, the smallest first.

    A point beats another that is as small and no better, or as good and no smaller.
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each.size, -score(each, metric, whole))):
        if not best or score(point, metric, whole) > score(best[-1], metric, whole):
            best.append(point)
    return best


def worth_having(points: Iterable[Point], metric: str, whole: float) -> list[Point]:
    """The frontier without networks that lost more than `FLOOR`."""
    least = whole - FLOOR[metric]
    return [
        point for point in frontier(points, metric, whole) if score(point, metric, whole) >= least
    ]


def match(peers: Iterable[Point], ours: Sequence[Point], metric: str, whole: float) -> list[Match]:
    """Every peer's point worth having beside ours.

    Args:
        peers: points of one peer, or of all of them, which leaves the best at each accuracy.
        ours: our points.
        metric: a key of their scores.
        whole: the original's score.
    """
    matches = []
    for peer in worth_having(peers, metric, whole):
        least = score(peer, metric, whole)
        good = [point for point in ours if score(point, metric, whole) >= least]
        matches.append(Match(metric, peer, min(good, key=lambda each: each.size, default=None)))
    return matches


def ladder(points: Iterable[Point], metrics: dict[str, float], step: float) -> list[int]:
    """Sizes to ask of ours: from `LOWEST` of the smallest point worth having up to the largest.

    Args:
        points: the peers'.
        metrics: metric -> the original's score.
        step: factor from one size to the next.
    """
    points = list(points)
    sizes = [
        point.size
        for metric, whole in metrics.items()
        for point in worth_having(points, metric, whole)
    ]
    if not sizes:
        return []
    asked, size = [], float(max(sizes))
    while size >= LOWEST * min(sizes):
        asked.append(round(size))
        size *= step
    return asked[::-1]
