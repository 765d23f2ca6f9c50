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


def bits(kept: list[list[bool]], value_bits: float, prior: float) -> float:
    """What the places and the values of a layer cost."""
    total = 0.0
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
) -> list[list[bool]]:
    """The best weights of one layer, added one by one as long as all of them fit the budget.

    Of all numbers of weights that fit, the largest below the first that does not: what `choose`
    finds where the cost rises with the number.
    """
    chances = density(before, prior)
    ranked = sorted(
        (
            (worth[r][c] / max(log2((1 - chances[r][c]) / chances[r][c]) + value_bits, 1.0), r, c)
            for r in range(len(worth))
            for c in range(len(worth[0]))
        ),
        reverse=True,
    )
    kept = [[False] * len(worth[0]) for _ in worth]
    for _, r, c in ranked:
        kept[r][c] = True
        if bits(kept, value_bits, prior) > budget:
            kept[r][c] = False
            break
    return kept
