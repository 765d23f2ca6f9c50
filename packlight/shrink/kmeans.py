"""Few centres for many values: exact k-means on the line, Lloyd's algorithm for vectors.

On a line the clusters are intervals of the sorted values, so the best partition is found by
dynamic programming: the cheapest split of the first i values into c clusters ends in the interval
that begins at `split`, and `split` never moves left as i grows. Each row of the table is therefore
filled from the middle outwards, every position searching between its neighbours' splits.

Sizes: m values, k centres, d numbers per vector. Everything is float64.

Sources: Wu, J. Algorithms 12 (1991) 663 (monotone splits); Grønlund et al., arXiv:1701.07204
(k-means in one dimension); Chou, Lookabaugh & Gray, IEEE Trans. ASSP 37 (1989) 31 (a centre's
price in bits); Arthur & Vassilvitskii, SODA 2007 (k-means++).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from packlight.types import Array

MAX_DISTINCT = 1 << 14  # values that are told apart exactly; more are first joined into so many
PASSES = 100  # of Lloyd's algorithm at most; it settles earlier
SETTLED = 1e-4  # share of the cost that a pass must save for another to follow
DRAWS = 4  # starts of which k-means++ keeps the best, per centre
CHUNK = 1 << 22  # distances held at once


def centres_of(
    values: Array, k: int, importance: Array | None = None, *, zero: bool = False
) -> Array:
    """The k centres with the least weighted squared error.

    Exact up to MAX_DISTINCT distinct values. Of more, neighbours are first joined into runs, and
    Lloyd's algorithm then moves the centres on the values themselves.

    Args:
        values: any shape, finite.
        k: at least 1.
        importance: of each value, same shape, not negative; default: all the same.
        zero: one of the centres is exactly 0, so that zeros stay zeros.
    Returns:
        (k,) ascending, or fewer where fewer describe the values exactly.
    """
    points = _Points.of(values, importance)
    fixed = points.value if not zero else np.union1d(points.value, [0.0])
    if len(fixed) <= k:
        return fixed
    joined = points.joined(MAX_DISTINCT)
    centres = _solve(joined, k, zero)
    if len(joined.value) < len(points.value):
        centres = settled(values, centres, importance, zero=zero)
    return centres


def settled(
    values: Array,
    centres: Array,
    importance: Array | None = None,
    *,
    price: float = 0.0,
    zero: bool = False,
) -> Array:
    """Lloyd's algorithm on the line, with a price on bits if wanted.

    With a price, a value goes to the centre that costs least in error and bits together, a centre
    costing -log2 of its share of the values; centres that nobody wants any more go.

    Args:
        values, importance, zero: as above.
        centres: (k,) where to start.
        price: weighted squared error that one bit is worth.
    Returns:
        Centres, ascending, at most k.
    """
    points = _Points.of(values, importance)
    bits, cost = bits_of(np.ones(len(centres))), np.inf  # all alike, to begin with
    for _ in range(PASSES):
        chosen = nearest(points.value, centres, points.weight / points.count, price * bits)
        error = points.weight @ np.square(points.value - centres[chosen])
        before, cost = cost, float(error + price * points.count @ bits[chosen])
        count = np.bincount(chosen, points.count, len(centres))
        weight = np.bincount(chosen, points.weight, len(centres))
        total = np.bincount(chosen, points.weight * points.value, len(centres))
        moved = np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), centres)
        kept = count > 0
        if zero:
            moved[centres == 0] = 0.0
            kept |= centres == 0
        if kept.all() and cost >= (1 - SETTLED) * before:
            break
        centres, bits = moved[kept], bits_of(count[kept])
    return np.unique(centres)


def bits_of(count: Array) -> Array:
    """What each centre costs when it is chosen so often; one that never was, as if it were once."""
    return np.asarray(-np.log2(np.maximum(count, 1) / max(float(count.sum()), 1.0)))


def nearest(
    values: Array, centres: Array, importance: Array | float = 1.0, bit_costs: Array | float = 0.0
) -> Array:
    """The centre that each value is cheapest at; of equal ones the first.

    Args:
        values: (m,).
        centres: (k,) ascending.
        importance: (m,) of a squared error.
        bit_costs: (k,) the price of each centre, already in units of error.
    Returns:
        (m,) int64.
    """
    if not np.any(bit_costs):
        return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
    importance = np.broadcast_to(importance, values.shape)
    chosen = np.empty(len(values), np.int64)
    size = max(CHUNK // len(centres), 1)
    for start in range(0, len(values), size):
        part = slice(start, start + size)
        distance = np.square(values[part, None] - centres)
        chosen[part] = (importance[part, None] * distance + bit_costs).argmin(1)
    return chosen


def vector_centres(
    vectors: Array, k: int, importance: Array | None = None, *, seed: int = 0
) -> Array:
    """Centres of vectors: k-means++, then Lloyd's algorithm.

    Args:
        vectors: (m, d), finite.
        k: at least 1.
        importance: (m,) of each vector; default: all the same.
        seed: for the start.
    Returns:
        (k, d) in lexicographic order, or fewer where so many differ.
    """
    distinct, inverse = np.unique(vectors, axis=0, return_inverse=True)
    weight = np.bincount(inverse.ravel(), None if importance is None else importance.ravel())
    if len(distinct) <= k:
        return np.asarray(distinct)
    centres = _spread_start(distinct, weight, k, np.random.default_rng(seed))
    k, error = len(centres), np.inf
    for _ in range(PASSES):
        chosen, distance = nearest_vectors(distinct, centres)
        before, error = error, float(weight @ distance)
        if error >= (1 - SETTLED) * before:
            break
        total = np.bincount(chosen, weight, k)
        filled = total > 0
        moved = centres.copy()
        for axis in range(distinct.shape[1]):
            sums = np.bincount(chosen, weight * distinct[:, axis], k)
            moved[filled, axis] = sums[filled] / total[filled]
        centres = moved
    return np.asarray(np.unique(centres, axis=0))


def nearest_vectors(vectors: Array, centres: Array) -> tuple[Array, Array]:
    """The nearest centre of each vector, and the squared distance to it.

    Args:
        vectors: (m, d).
        centres: (k, d).
    Returns:
        (m,) int64 and (m,) float64.
    """
    chosen = np.empty(len(vectors), np.int64)
    distance = np.empty(len(vectors))
    length = np.square(centres).sum(1)
    size = max(CHUNK // len(centres), 1)
    for start in range(0, len(vectors), size):
        part = vectors[start : start + size]
        relative = length - 2 * part @ centres.T  # the vector's own length is the same for all
        chosen[start : start + size] = relative.argmin(1)
        gap = part - centres[chosen[start : start + size]]
        distance[start : start + size] = np.square(gap).sum(1)
    return chosen, distance


@dataclass(frozen=True)
class _Points:
    """Distinct values, ascending.

    Args:
        value, weight, count: (m,) each; the weights of equal values added up.
    """

    value: Array
    weight: Array
    count: Array

    @classmethod
    def of(cls, values: Array, importance: Array | None) -> _Points:
        value, inverse = np.unique(values.astype(np.float64), return_inverse=True)
        count = np.bincount(inverse.ravel()).astype(np.float64)
        if importance is None:
            return cls(value, count, count)
        flat = np.asarray(importance, np.float64).ravel()
        if not flat.any():  # nothing tells the values apart
            return cls(value, count, count)
        return cls(value, np.bincount(inverse.ravel(), flat), count)

    def joined(self, size: int) -> _Points:
        """Neighbours joined at their weighted mean, `size` of them left."""
        if len(self.value) <= size:
            return self
        starts = np.arange(size) * len(self.value) // size
        weight = np.add.reduceat(self.weight, starts)
        count = np.add.reduceat(self.count, starts)
        # runs without weight are placed by their counts
        by = np.where(np.repeat(weight > 0, np.diff([*starts, len(self.value)])), 1.0, 0.0)
        share = by * self.weight + (1 - by) * self.count
        mean = np.add.reduceat(share * self.value, starts) / np.add.reduceat(share, starts)
        return _Points(mean, weight, count)


class _Sums:
    """What an interval of the points costs, from running sums."""

    def __init__(self, points: _Points) -> None:
        self.shift = float(np.average(points.value, weights=points.count))
        centred = points.value - self.shift  # small numbers lose fewer digits
        self.weight, self.first, self.second = (
            np.concatenate([[0.0], np.cumsum(points.weight * power)])
            for power in (1.0, centred, centred**2)
        )
        about_zero = points.weight * np.square(points.value)
        self.about_zero = np.concatenate([[0.0], np.cumsum(about_zero)])

    def cost(self, start: Array, stop: Array) -> Array:
        """Squared error of the points [start, stop) around their mean."""
        weight = self.weight[stop] - self.weight[start]
        first = self.first[stop] - self.first[start]
        second = self.second[stop] - self.second[start]
        spread = second - np.square(first) / np.where(weight > 0, weight, 1.0)
        return np.maximum(spread, 0.0)

    def mean(self, start: int, stop: int) -> float:
        weight = self.weight[stop] - self.weight[start]
        if weight == 0:
            return 0.0
        return float((self.first[stop] - self.first[start]) / weight) + self.shift


def _solve(points: _Points, k: int, zero: bool) -> Array:
    """The dynamic program: rows are numbers of clusters, columns numbers of points split."""
    sums = _Sums(points)
    ends = np.arange(len(points.value) + 1)
    errors, splits = [sums.cost(np.zeros_like(ends), ends)], [np.zeros_like(ends)]
    for _ in range(k - 1):
        error, split = _row(errors[-1], sums)
        errors.append(error)
        splits.append(split)
    if zero:
        return _with_zero(sums, errors, splits)
    return _means(sums, splits, int(ends[-1]))


def _with_zero(sums: _Sums, errors: list[Array], splits: list[Array]) -> Array:
    """The same with a cluster around 0 among the clusters.

    That cluster costs the same for each of its points wherever it begins, so its best start is a
    running minimum; it may be the last of the clusters so far, or one before.

    Args:
        errors, splits: of clusters around their means alone, by their number.
    """
    ends = np.arange(len(errors[0]))
    error = sums.about_zero
    starts, is_last = [np.zeros_like(ends)], [np.ones(len(ends), bool)]
    for free in errors[:-1]:
        before = free - sums.about_zero
        least = np.minimum.accumulate(before)
        begin = np.maximum.accumulate(np.where(before == least, ends, 0))
        last = least + sums.about_zero
        earlier, split = _row(error, sums)
        is_last.append(last < earlier)
        starts.append(np.where(last < earlier, begin, split))
        error = np.minimum(last, earlier)
    centres, stop = [0.0], int(ends[-1])
    for number in range(len(starts) - 1, -1, -1):
        start = int(starts[number][stop])
        if is_last[number][stop]:
            centres.extend(_means(sums, splits[:number], start))
            break
        centres.append(sums.mean(start, stop))
        stop = start
    return np.unique(centres)


def _row(before: Array, sums: _Sums) -> tuple[Array, Array]:
    """One cluster more: min over start of before[start] + cost(start, stop), for every stop.

    Stops are taken in halving strides; those between two that are known search between their
    starts, all of a stride at once.
    """
    size = len(before)
    best = np.full(size, np.inf)
    split = np.zeros(size, np.int64)
    stride = 1 << size.bit_length()
    while stride:
        stops = np.arange(stride - 1, size, 2 * stride)
        low = np.where(stops >= stride, split[stops - stride], 0)
        beyond = stops + stride
        high = np.where(beyond < size, split[np.minimum(beyond, size - 1)], size - 1)
        high = np.maximum(np.minimum(high, stops), low)
        lengths = high - low + 1
        firsts = np.cumsum(lengths) - lengths
        owner = np.repeat(np.arange(len(stops)), lengths)
        starts = np.arange(int(lengths.sum())) - firsts[owner] + low[owner]
        totals = before[starts] + sums.cost(starts, stops[owner])
        if len(stops):
            best[stops] = np.minimum.reduceat(totals, firsts)
            hits = np.where(totals == best[stops][owner], starts, size)
            split[stops] = np.minimum.reduceat(hits, firsts)  # of equal ones the first
        stride //= 2
    return best, split


def _means(sums: _Sums, splits: list[Array], stop: int) -> Array:
    """Follow the splits back from `stop`, and take each cluster's mean."""
    centres: list[float] = []
    for split in reversed(splits):
        start = int(split[stop])
        if stop > start:
            centres.append(sums.mean(start, stop))
        stop = start
    return np.unique(centres)


def _spread_start(vectors: Array, weight: Array, k: int, noise: np.random.Generator) -> Array:
    """k-means++: each new centre drawn by its distance from the others, the best of some draws."""
    chance = weight / weight.sum() if weight.any() else np.full(len(weight), 1 / len(weight))
    centres = [vectors[noise.choice(len(vectors), p=chance)]]
    gap = np.square(vectors - centres[0]).sum(1)
    while len(centres) < k:
        pull = weight * gap
        if not pull.any():
            break
        tried = vectors[noise.choice(len(vectors), DRAWS, p=pull / pull.sum())]
        gaps = np.minimum(gap, np.square(vectors - tried[:, None]).sum(2))
        pick = int((gaps @ weight).argmin())
        centres.append(tried[pick])
        gap = gaps[pick]
    return np.array(centres)
