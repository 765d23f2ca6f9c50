"""Put one layer's weights on a coarse grid, each rounding error made good by the rest.

Columns are rounded one after the other, the one that matters most first. What a column loses is
taken over by the columns still free, in the proportions that keep the layer's output best
(optimal brain surgeon in Cholesky form, as in GPTQ). Which level a weight takes is decided by what
it costs in both currencies: error, and bits. The rows of a column either choose by themselves on
one uniform grid, or together along the trellis of `packlight.coding.trellis`, which holds the same
error in fewer bits but only half of the levels. Rows may make good each other's errors as well,
within a column, where the loss listens to several outputs together.

Shapes: G groups, R rows (outputs) per group, n columns (inputs). Everything is float64.

Sources: Hassibi & Stork, NIPS 1992; Frantar et al., arXiv:2210.17323 (GPTQ); Frantar & Alistarh,
arXiv:2208.11580 (OBQ); Tseng et al., arXiv:2505.22988 (YAQA: rows as well). Differs: rate enters
the choice of level, columns are taken in the order of falling moment, and rows hand on their errors
along every path of the trellis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

from packlight.coding import rate, trellis
from packlight.shrink import _choose
from packlight.types import Array

Choose = Callable[[Array, Array], Array]
"""Targets in steps and what a squared step of error costs, (G, R) each -> levels, (G, R).

Levels are integers on a grid; with steps of 1 they may be any numbers, such as a codebook's."""


class ChooseAgain(Protocol):
    """A `Choose` that may be told what the levels are in an earlier version."""

    def __call__(self, scaled: Array, cost: Array, earlier: Array | None = None) -> Array:
        """As of `Choose`, `earlier` (G, R)."""


LEVELS = 64
"""The largest level where activations are integers. Processors without int8 instructions (x86
before VNNI) multiply uint8 by int8 and add pairs of products in 16 bits: 2 x 255 x 64 is the most
that fits. Larger levels would answer differently there; float kernels take all of int8."""

TOP = LEVELS // 2  # the largest index along a trellis
STEP_BITS = 8  # significant bits of a step: the rest of a float32 would be packed for nothing
DAMPING = 0.01  # of the mean moment, added to every moment so that H can be inverted
BLOCK = 64  # columns updated together
ENOUGH = 1 << 18  # weights tell how often each level is taken


def short(step: float | Array) -> Array:
    """Steps in STEP_BITS significant bits, none smaller than it was; float64, positive."""
    share, exponent = np.frexp(step)
    return np.asarray(np.ldexp(np.ceil(np.ldexp(share, STEP_BITS)), exponent - STEP_BITS))


@dataclass(frozen=True)
class Factor:
    """H of one block of columns, ready for rounding.

    Args:
        order: (n,) columns in the order they are rounded.
        upper: (G, n, n) U with H^-1 = U^T U in that order, upper triangular.
    """

    order: Array
    upper: Array

    @property
    def spread(self) -> Array:
        """(G, n) conditional variances 1 / U_jj^2: what an error in a column costs, once the
        columns after it have made good what they can."""
        diagonal = np.diagonal(self.upper, axis1=1, axis2=2)
        return 1.0 / np.square(diagonal)

    @cached_property
    def moments(self) -> Array:
        """(G, n, n) H as it was inverted, damped, its columns in their own order."""
        upper = torch.from_numpy(self.upper)
        identity = torch.eye(upper.shape[1], dtype=upper.dtype).expand_as(upper)
        inverse = torch.linalg.solve_triangular(upper, identity, upper=True)
        moments = np.empty_like(self.upper)
        product = (inverse @ inverse.transpose(1, 2)).numpy()
        moments[:, self.order[:, None], self.order] = product
        return moments


def factorize(moments: Array) -> Factor:
    """Order and factorise H for `round_columns`.

    Args:
        moments: (G, n, n) H, finite and positive semi-definite but for rounding.
    """
    groups, count, _ = moments.shape
    H = torch.from_numpy(moments).double()
    diagonal = H.diagonal(dim1=1, dim2=2)
    mean = diagonal.mean(1).clamp_min(0)
    ridge = torch.where(mean > 0, DAMPING * mean, 1.0)
    order = torch.argsort(diagonal.sum(0), descending=True, stable=True)
    H = H[:, order][:, :, order]
    identity = torch.eye(count, dtype=H.dtype).expand(groups, count, count)
    # M upper triangular with H = M M^T, found as the Cholesky factor of H read backwards;
    # then H^-1 = M^-T M^-1, so U = M^-1
    failed = torch.ones(1)
    while failed.any():
        damped = H + ridge[:, None, None] * identity
        lower, failed = torch.linalg.cholesky_ex(damped.flip(1, 2))
        ridge = torch.where(failed > 0, 10 * ridge, ridge)  # moments that rounding made indefinite
    upper = torch.linalg.solve_triangular(lower.flip(1, 2), identity, upper=True)
    return Factor(order.numpy(), upper.numpy())


@dataclass(frozen=True)
class Rows:
    """How the loss listens to the rows of a layer together, ready for rounding.

    Args:
        moments: B, (G, b, b) for each block of rows, its diagonal 1 on average.
        below: (G x R, width) B = A^T D A, A unit lower triangular: a row's entries of A left of the
            diagonal, then its entry of D; zeros behind.
    """

    moments: tuple[Array, ...]
    below: Array

    @property
    def spread(self) -> float:
        """The geometric mean of D: what an error costs, once the rows after it have made good what
        they can."""
        logs = sum(np.linalg.slogdet(block).logabsdet.sum() for block in self.moments)
        return float(np.exp(logs / len(self.below)))

    def cost(self, errors: Array) -> float:
        """sum_j e_j^T B e_j over columns of errors, (G, R, n)."""
        total, start = 0.0, 0
        for block in self.moments:
            part = errors[:, start : start + block.shape[1]]
            total += float(np.vdot(block @ part, part))
            start += block.shape[1]
        return total


def between_rows(moments: Sequence[Array]) -> Rows | None:
    """Factorise B for rounding.

    Args:
        moments: (G, b, b) for each block of rows, all but the last of one size; finite and positive
            semi-definite but for rounding.
    Returns:
        None where nothing is known: no blocks, or nothing in them.
    """
    diagonals = [np.diagonal(block, axis1=1, axis2=2) for block in moments]
    mean = float(np.concatenate(diagonals, axis=1).mean()) if moments else 0.0
    if not 0 < mean < np.inf:
        return None
    blocks, factors = [], []
    for block in moments:
        size = block.shape[1]
        B = (block.astype(np.float64) / mean + DAMPING * np.eye(size)) / (1 + DAMPING)
        # B = M M^T with M upper triangular, so A^T is M with a diagonal of ones
        M = np.linalg.cholesky(B[:, ::-1, ::-1])[:, ::-1, ::-1]
        root = np.diagonal(M, axis1=1, axis2=2)
        A = (M / root[:, None, :]).swapaxes(1, 2).copy()
        A[:, np.arange(size), np.arange(size)] = np.square(root)
        blocks.append(B)
        factors.append(np.pad(A, ((0, 0), (0, 0), (0, moments[0].shape[1] - size))))
    below = np.concatenate(factors, axis=1).reshape(-1, moments[0].shape[1])
    return Rows(tuple(blocks), np.ascontiguousarray(below))


def round_columns(
    weights: Array, factor: Factor, step: Array, choose: Choose
) -> tuple[Array, Array]:
    """Round every column, handing its errors on.

    Args:
        weights: (G, R, n).
        factor: of this layer's H.
        step: (G, R) the grid's step of each row.
        choose: the levels of one column.
    Returns:
        (G, R, n) float64 levels: level x step approximates the weights. And (G, R, n) errors, as
        of `round_next`: the sum of their squares is what the rows lose, dW H dW^T.
    """
    rest = weights[:, :, factor.order].astype(np.float64)
    levels = np.zeros(rest.shape)
    round_next(rest, levels, factor, step, choose, 0, rest.shape[2])
    restored = np.empty_like(levels)
    restored[:, :, factor.order] = levels
    return restored, rest


def round_next(
    rest: Array, levels: Array, factor: Factor, step: Array, choose: Choose, first: int, end: int
) -> None:
    """Round some columns, handing their errors on to all that come later, in place.

    Args:
        rest: (G, R, n) the weights in the factor's order; those before `first` are not looked at.
            In place of those that are rounded come their errors, in units of what errors cost: once
            the columns after them have made good what they can, their squares are what is lost.
        levels: (G, R, n) in the same order, where the levels go.
        factor, step, choose: as above.
        first, end: which columns, counted in the factor's order.
    """
    count = rest.shape[2]
    U = factor.upper
    free, upper = torch.from_numpy(rest), torch.from_numpy(U)  # to be added to without a copy
    for start in range(first, end, BLOCK):
        stop = min(start + BLOCK, end)
        columns = np.ascontiguousarray(rest[:, :, start:stop].swapaxes(1, 2))
        errors = np.zeros_like(columns)
        for place, column in enumerate(range(start, stop)):
            diagonal = U[:, column, column][:, None]
            passed = U[:, None, start:column, column] @ errors[:, :place]
            weight = columns[:, place] - passed[:, 0]
            level = choose(weight / step, np.square(step / diagonal))
            errors[:, place] = (weight - level * step) / diagonal
            columns[:, place] = level
        levels[:, :, start:stop] = columns.swapaxes(1, 2)
        rest[:, :, start:stop] = errors.swapaxes(1, 2)
        if stop < count:
            lost = torch.from_numpy(errors).transpose(1, 2)
            free[:, :, stop:].baddbmm_(lost, upper[:, start:stop, stop:], alpha=-1)


def round_blocks(
    weights: Array, factors: Sequence[Factor], step: Array, choose: Choose
) -> tuple[Array, list[Array]]:
    """`round_columns` of a layer whose H is kept as blocks along its diagonal.

    Args:
        weights: (G, R, n).
        factors: one per block of columns, in order; together they cover the n columns.
        step, choose: as above.
    Returns:
        (G, R, n) float64 levels, and each block's errors.
    """
    pieces, errors, start = [], [], 0
    for factor in factors:
        part = weights[:, :, start : start + len(factor.order)]
        levels, lost = round_columns(part, factor, step, choose)
        pieces.append(levels)
        errors.append(lost)
        start += len(factor.order)
    return np.concatenate(pieces, axis=2), errors


def on_grid(
    price: float, bits: Array, stay: float = 0.0, *, top: int = LEVELS, rows: Rows | None = None
) -> ChooseAgain:
    """Every row by itself: the cheapest of the nearest level, its neighbour towards zero, zero, and
    the earlier one.

    Args:
        price: error that one bit is worth, in the units of weight^2 x moment.
        bits: (255,) what each level costs, as of `rate.marginal`.
        stay: bits that a level saves which is as it was.
        top: the largest level.
        rows: how they make good each other's errors; default: not at all.
    """
    return _chooser(_choose.on_grid, price, bits, stay, top, rows)


def on_trellis(
    price: float, bits: Array, stay: float = 0.0, *, rows: Rows | None = None
) -> ChooseAgain:
    """All rows together: the cheapest path through the trellis.

    Args:
        price, stay, rows: as above.
        bits: (2, 2 * TOP + 1) what each index costs on either grid, -TOP first.
    """
    return _chooser(_choose.along_trellis, price, bits, stay, TOP, rows)


def _chooser(
    levels_of: Callable[..., bytes],
    price: float,
    bits: Array,
    stay: float,
    top: int,
    rows: Rows | None,
) -> ChooseAgain:
    prices = _bytes(price * bits)
    below, width = (b"", 0) if rows is None else (_bytes(rows.below), rows.below.shape[1])

    def choose(scaled: Array, cost: Array, earlier: Array | None = None) -> Array:
        had = b"" if earlier is None else np.ascontiguousarray(earlier, dtype=np.int8).tobytes()
        costs = np.broadcast_to(cost, scaled.shape)
        found = levels_of(
            *(_bytes(scaled), _bytes(costs), prices, top, had, price * stay),
            *(below, scaled.shape[1], width),
        )
        return np.frombuffer(found, np.int8).reshape(scaled.shape)

    return choose


def _bytes(values: Array) -> bytes:
    return np.ascontiguousarray(values, dtype=np.float64).tobytes()


def quantize(
    weights: Array,
    factors: list[Factor],
    step: Array,
    *,
    price: float,
    along_trellis: bool = False,
    top: int = LEVELS,
    rows: Rows | None = None,
) -> tuple[Array, list[Array]]:
    """Levels of a whole layer, the price of a level learnt from the layer itself.

    Args:
        weights: (G, R, n).
        factors: one per block of columns, in order; together they cover the n columns.
        step: (G, R).
        price: error that one bit is worth, in the units of weight^2 x moment.
        along_trellis: choose levels along the trellis, which runs over the G x R rows.
        top: the largest level; along the trellis it is 2 * TOP.
        rows: how they make good each other's errors; default: not at all.
    Returns:
        (G, R, n) int8, and each block's errors, as of `round_blocks`.
    """

    def rounded(part: slice, like: Array, rows: Rows | None) -> tuple[Array, list[Array]]:
        choose = priced(like, price, along_trellis=along_trellis, top=top, rows=rows)
        found, errors = round_blocks(weights[:, part], factors, step[:, part], choose)
        return found.astype(np.int8), errors

    # what is left of the first pass is only its histogram, which some rows tell well enough
    some = slice(None, None, max(weights.size // ENOUGH, 1))
    levels = np.clip(np.rint(weights[:, some] / step[:, some, None]), -top, top).astype(np.int8)
    if price > 0:
        levels, _ = rounded(some, levels, None)
    return rounded(slice(None), levels, rows)


def priced(
    levels: Array,
    price: float,
    stay: float = 0.0,
    *,
    along_trellis: bool,
    top: int = LEVELS,
    rows: Rows | None = None,
) -> ChooseAgain:
    """How to choose levels, each at the price that it has among those there are, (G, R, n)."""
    if along_trellis:
        indices = _bits_of_indices(levels.reshape(-1, levels.shape[2]))
        return on_trellis(price, indices, stay, rows=rows)
    return on_grid(price, rate.marginal(levels), stay, top=top, rows=rows)


def _bits_of_indices(levels: Array) -> Array:
    """What indices cost on either grid; levels not yet on the trellis go to the nearest even."""
    found = trellis.indices(levels)
    if found is None:
        even = odd = np.clip(np.rint(levels / 2), -TOP, TOP)
    else:
        index, grid = found
        even, odd = index[grid == 0], index[grid == 1]
    inside = slice(rate.LEVELS - TOP, rate.LEVELS + TOP + 1)
    return np.stack([rate.marginal(index)[inside] for index in (even, odd)])
