"""One layer's integers taken over from an earlier version, changed only where it pays.

A device that has the earlier version receives what changed, so a level that stays saves bits twice.
Start from the earlier levels on the earlier steps, and go through the columns: each moves to where
it is best while all others stay as they are, if that is worth the bits that tell of it:

    least of   s tr(B (W - D L) H (W - D L)^T)  +  price x (bits of L + weight x bits of change)

W are the layer's weights, L levels, D steps, H moments of inputs, B of outputs, s the loss's
sensitivity; the weight says what a bit of the update is worth beside one of the whole file. The
loss is that of `quantize`. But there a column's error is handed on to all that come after it, so
that the least change at the start changes everything; a descent moves what it must.

Shapes: G groups, R rows (outputs) per group, n columns (inputs). Everything is float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from packlight.coding import rate, trellis
from packlight.shrink import grid_search, quantize
from packlight.shrink.grid_search import BIT_PRICE, TRELLIS_KINDS, TRELLIS_STEP, Prepared, Solved
from packlight.shrink.quantize import ChooseAgain, Factor
from packlight.types import Array

PASSES = 3  # through all columns
FIRST_SHARE = 0.02  # of the levels is thought to change, before any did
NEW_BITS = 2.0  # say what a changed level is now
BIAS_BITS = 8.0  # say what a changed bias is now


def revise(prepared: Prepared, earlier: Solved, coarseness: float, weight: float = 1.0) -> Solved:
    """One layer at a coarseness, as near to its earlier version as is worth the bits.

    Args:
        prepared: the layer as it is now.
        earlier: its earlier version.
        coarseness: says what a bit is worth, as of `grid_search.solve`.
        weight: of a bit of the update, in bits of the whole file.
    Returns:
        The layer on its earlier steps; or made anew, where it changed so much that this costs less.
    """
    layer = prepared.layer
    before = layer.rows(earlier.levels.astype(np.float64))
    step = layer.per_row(earlier.scale.astype(np.float64))
    price = BIT_PRICE * (coarseness * prepared.unit) ** 2 * prepared.spread
    levels = change(
        *(prepared.weights, prepared.factors, step, before),
        price=price,
        weight=weight,
        along_trellis=_on_trellis(prepared, before),
        top=prepared.top,
        rows=prepared.rows,
    )
    lost = prepared.weights - levels * step[:, :, None]
    bias = grid_search.bias_after(prepared, lost)
    bias_step = grid_search.bias_step(prepared, coarseness)
    if bias is not None and earlier.bias is not None:
        worth = weight * BIAS_BITS * BIT_PRICE * bias_step**2
        bias = np.where(np.square(bias - earlier.bias) < worth, earlier.bias, bias)
    damage = grid_search.damage_of(prepared, lost)
    # half the step, so that what stays is on the grid whose step is next to it
    kept = Solved(layer.stored(levels), earlier.scale, bias, damage, bias_step / 2)
    anew = grid_search.solve(prepared, coarseness)

    def cost(solved: Solved, told: float) -> float:
        bits = rate.estimate(solved.levels) + weight * told
        return solved.damage + BIT_PRICE * coarseness**2 * bits

    as_new = cost(anew, rate.estimate(anew.levels))
    return kept if cost(kept, _bits_of(levels - before)) <= as_new else anew


def coarseness_of(prepared: Sequence[Prepared], earlier: Sequence[Solved]) -> float:
    """The coarseness at which an earlier version's steps would be the ones wanted, or most of them.

    Args:
        prepared, earlier: the same layers.
    """
    found = []
    for one, was in zip(prepared, earlier, strict=True):
        along = _on_trellis(one, one.layer.rows(was.levels.astype(np.float64)))
        found.append(np.median(was.scale) / one.unit / (TRELLIS_STEP if along else 1))
    return float(np.median(found))


def change(
    weights: Array,
    factors: Sequence[Factor],
    step: Array,
    before: Array,
    *,
    price: float,
    weight: float = 1.0,
    along_trellis: bool = False,
    top: int = quantize.LEVELS,
    rows: quantize.Rows | None = None,
) -> Array:
    """Descend from earlier levels.

    Args:
        weights: (G, R, n).
        factors: of H, one per block of columns; none where H is the identity.
        step: (G, R).
        before: (G, R, n) the earlier levels.
        price: error that one bit is worth, in the units of weight^2 x moment.
        weight: as of `revise`.
        along_trellis: keep to the trellis, along which the earlier levels lie.
        top: the largest level.
        rows: of B, or None where it is the identity.
    Returns:
        (G, R, n) int8.
    """
    levels, share = before.copy(), FIRST_SHARE
    for _ in range(PASSES):
        last = levels.copy()
        stay = weight * (float(np.log2((1 - share) / share)) + NEW_BITS)
        choose = quantize.priced(
            levels.astype(np.int8), price, stay, along_trellis=along_trellis, top=top, rows=rows
        )
        for columns, moments in _blocks(factors, weights.shape):
            _descend(
                weights[:, :, columns] - levels[:, :, columns] * step[:, :, None],
                *(moments, step, levels[:, :, columns], before[:, :, columns], choose),
            )
        if (levels == last).all():
            break
        share = float(np.clip((levels != before).mean(), 1 / levels.size, 0.5))
    return levels.astype(np.int8)


def _descend(
    rest: Array, moments: Array, step: Array, levels: Array, before: Array, choose: ChooseAgain
) -> None:
    """Move every column of `levels` to its best, in place; `rest` (G, R, n) is what they lack."""
    for column in np.argsort(-np.einsum("gnn->n", moments), kind="stable"):
        own = moments[:, column, column][:, None]
        pull = np.einsum("grn,gn->gr", rest, moments[:, :, column])
        target = levels[:, :, column] + pull / (own * step)
        found = choose(target, own * np.square(step), before[:, :, column])
        rest[:, :, column] -= (found - levels[:, :, column]) * step
        levels[:, :, column] = found


def _blocks(factors: Sequence[Factor], shape: tuple[int, ...]) -> Iterator[tuple[slice, Array]]:
    """The columns of each block, and its H."""
    groups, _, columns = shape
    if not factors:
        yield slice(columns), np.broadcast_to(np.eye(columns), (groups, columns, columns))
    start = 0
    for factor in factors:
        yield slice(start, start + len(factor.order)), factor.moments
        start += len(factor.order)


def _on_trellis(prepared: Prepared, before: Array) -> bool:
    if prepared.layer.kind not in TRELLIS_KINDS:
        return False
    levels = before.reshape(-1, before.shape[2])
    return bool((levels % 2).any()) and trellis.indices(levels) is not None


def _bits_of(moved: Array) -> float:
    """Bits that tell how far each level moved, by the entropy of that."""
    _, counts = np.unique(moved, return_counts=True)
    return float(-(counts * np.log2(counts / moved.size)).sum())
