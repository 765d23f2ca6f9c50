"""Which weights to keep, one weight at a time: slow and obvious."""

from __future__ import annotations

from math import log2


def density(kept: list[list[bool]], prior: float) -> list[list[float]]:
    """The probability of every place, from its row and its column."""
    rows, columns = len(kept), len(kept[0])
    total = sum(sum(row) for row in kept)
    overall = (total + 0.5) / (rows * columns + 1)
    result = []
    for r in range(rows):
        line = []
        for c in range(columns):
            row = (sum(kept[r]) + prior * overall) / (columns + prior)
            column = (sum(kept[i][c] for i in range(rows)) + prior * overall) / (rows + prior)
            line.append(min(max(row * column / overall, 1e-5), 0.7))
        result.append(line)
    return result


def bits(kept: list[list[bool]], value_bits: float, prior: float, row_bits: float = 0.0) -> float:
    """What the places and the values of a layer cost, and its rows that hold any."""
    total = sum(row_bits for places in kept if any(places))
    for places, chances in zip(kept, density(kept, prior), strict=True):
        for here, chance in zip(places, chances, strict=True):
            total += value_bits - log2(chance) if here else -log2(1 - chance)
    return total


def choose(
    worth: list[list[float]],
    before: list[list[bool]],
    value_bits: float,
    budget: float,
    prior: float,
    row_bits: float = 0.0,
) -> list[list[bool]]:
    """The best weights of one layer, added one by one as long as all of them fit the budget.

    Of all numbers of weights that fit, the largest below the first that does not: what `choose`
    finds where the cost rises with the number.
    """
    chances = density(before, prior)

    def price(r: int, c: int) -> float:
        """A weight's place and value, and its part of the row as it was before."""
        place = log2((1 - chances[r][c]) / chances[r][c])
        return max(place + value_bits + row_bits / max(sum(before[r]), 1), 1.0)

    ranked = sorted(
        (
            (worth[r][c] / price(r, c), r, c)
            for r in range(len(worth))
            for c in range(len(worth[0]))
        ),
        reverse=True,
    )
    kept = [[False] * len(worth[0]) for _ in worth]
    for _, r, c in ranked:
        kept[r][c] = True
        if bits(kept, value_bits, prior, row_bits) > budget:
            kept[r][c] = False
            break
    return kept
