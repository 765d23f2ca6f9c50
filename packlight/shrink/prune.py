"""Set single weights to zero, and let the others make good what they can.

A weight, a block of weights, or so many of every few may go; `Pattern` says which. What goes is
what the loss misses least: small (`magnitude`), small where the inputs are (`saliency`), or cheap
once the weights left in its row have taken over (`obs`, optimal brain surgeon).

Shapes: G groups, R rows (outputs) per group, n columns (inputs). Everything is float64.

Sources: LeCun et al., Optimal Brain Damage, NIPS 1989; Hassibi & Stork, Optimal Brain Surgeon,
NIPS 1992; Frantar & Alistarh, arXiv:2208.11580 (rows by themselves, joined by what they cost).
Differs: rows share their budget by the largest cost so far, which is the greedy choice over all
of them; weights come from one least squares fit at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from packlight.errors import BadInput
from packlight.shrink.quantize import DAMPING
from packlight.types import Array

EXACT = 2e10  # products that going one by one may take: a minute; larger layers go in rounds
ROUNDS = 16  # in which the weights of larger layers go
MEMORY = 2**26  # bytes of inverses held at once
STEPS = 300  # of conjugate gradients at most
TOLERANCE = 1e-10  # of the gradient, where they end; between rounds they end earlier
ROUGH = 1e-3


@dataclass(frozen=True)
class Pattern:
    """Which weights go together.

    Args:
        rows, columns: of a block that goes as a whole.
        keep, of: in a row, this many of so many neighbouring columns stay; 0 for any number.
    """

    rows: int = 1
    columns: int = 1
    keep: int = 0
    of: int = 0

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read "free", "2:4" (2 of 4 inputs stay) or "1x4" (blocks of 1 output x 4 inputs)."""
        if text == "free":
            return cls()
        found = re.fullmatch(r"([1-9]\d*)([:x])([1-9]\d*)", text)
        if found and found[2] == "x":
            return cls(rows=int(found[1]), columns=int(found[3]))
        if found and int(found[1]) < int(found[3]):
            return cls(keep=int(found[1]), of=int(found[3]))
        raise BadInput(f"the pattern {text!r} is not known; give free, N:M as 2:4, or RxC as 1x4")

    def check(self, weights: Array) -> None:
        """Make sure that weights (G, R, n) can be cut like this."""
        _, rows, columns = weights.shape
        width = self.of or self.columns
        if rows % self.rows or columns % width:
            raise BadInput(
                f"{rows} outputs x {columns} inputs can not be cut into {self.rows} x {width}; "
                "leave this layer as it is, or choose the pattern free"
            )


FREE = Pattern()


def magnitude(weights: Array) -> Array:
    """How large each weight is."""
    return np.abs(weights)


def saliency(weights: Array, diagonal: Array, sensitivity: float = 1.0) -> Array:
    """How much the loss rises without each weight, the others left as they are: s w^2 h / 2.

    Args:
        weights: (G, R, n).
        diagonal: (G, n) of H.
        sensitivity: s, of the layer.
    """
    return 0.5 * sensitivity * np.square(weights) * diagonal[:, None, :]


def kept(scores: Array, share: float, pattern: Pattern = FREE) -> Array:
    """Which weights stay: those with the largest scores that a pattern allows.

    Args:
        scores: (G, R, n), what is lost with each weight.
        share: of the weights that goes, 0..1; a pattern N:M knows its own.
        pattern: blocks are scored by their sum.
    Returns:
        (G, R, n) bool.
    Raises:
        BadInput: a share outside 0..1, or a shape that the pattern does not divide.
    """
    _check_share(share)
    pattern.check(scores)
    groups, rows, columns = scores.shape
    if pattern.of:
        split = scores.reshape(groups, rows, -1, pattern.of)
        order = np.argsort(split, axis=3, kind="stable")
        stays = np.ones(split.shape, dtype=bool)
        np.put_along_axis(stays, order[..., : pattern.of - pattern.keep], False, axis=3)
        return stays.reshape(scores.shape)
    r, c = pattern.rows, pattern.columns
    blocks = scores.reshape(groups, rows // r, r, columns // c, c).sum((2, 4))
    gone = np.argsort(blocks, axis=None, kind="stable")[: round(share * blocks.size)]
    stays = np.ones(blocks.size, dtype=bool)
    stays[gone] = False
    stays = stays.reshape(blocks.shape).repeat(r, 1).repeat(c, 2)
    return stays


def obs(weights: Array, moments: Array, share: float, pattern: Pattern = FREE) -> Array:
    """Prune a layer, each loss made good by the weights left in its row.

    Weights go one by one, always the cheapest of the layer, and what is left of its row moves to
    its new optimum. A layer too large for that gives its weights up in rounds.

    Args:
        weights: (G, R, n).
        moments: (G, n, n) H, positive semi-definite but for rounding.
        share: of the weights that goes, 0..1; a pattern N:M knows its own.
        pattern: what goes together.
    Returns:
        (G, R, n), what is pruned exactly zero.
    Raises:
        BadInput: a share outside 0..1, or a shape that the pattern does not divide.
    """
    _check_share(share)
    pattern.check(weights)
    H = damped(moments.astype(np.float64))
    groups, rows, columns = weights.shape
    if groups * rows * columns**3 / (pattern.rows * pattern.columns) <= EXACT:
        stays = _one_by_one(weights, H, share, pattern)
    else:
        stays = _in_rounds(weights, H, share, pattern)
    return refit(weights, H, stays)


def refit(weights: Array, moments: Array, stays: Array, tolerance: float = TOLERANCE) -> Array:
    """The nearest outputs that the weights left can give: least squares, all rows at once.

    Args:
        weights: (G, R, n) before pruning.
        moments: (G, n, n) H, positive definite.
        stays: (G, R, n) bool.
        tolerance: gradient left, as a share of that of all weights at zero.
    Returns:
        (G, R, n), zero where a weight does not stay.
    """
    # conjugate gradients on 1/2 (w - w0) H (w - w0)^T over the weights that stay
    mask = stays.astype(np.float64)
    scale = 1 / np.diagonal(moments, axis1=1, axis2=2)[:, None, :]
    current = weights * mask
    residual = (weights - current) @ moments * mask
    target = tolerance * np.linalg.norm(weights @ moments)
    step = residual * scale
    power = (residual * step).sum(2, keepdims=True)
    for _ in range(STEPS):
        if np.linalg.norm(residual) <= target:
            break
        moved = step @ moments * mask
        length = power / np.maximum((step * moved).sum(2, keepdims=True), 1e-300)
        current += length * step
        residual -= length * moved
        scaled = residual * scale
        after = (residual * scaled).sum(2, keepdims=True)
        step = scaled + after / np.maximum(power, 1e-300) * step
        power = after
    return current


def damped(moments: Array) -> Array:
    """Moments (..., n, n) with the ridge that makes them safe to invert."""
    n = moments.shape[-1]
    mean = np.trace(moments, axis1=-2, axis2=-1) / n
    ridge = np.where(mean > 0, DAMPING * mean, 1.0)
    damped: Array = moments + ridge[..., None, None] * np.eye(n)
    return damped


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise BadInput(f"a share of {share} can not be pruned; give a number between 0 and 1")


def _one_by_one(weights: Array, H: Array, share: float, pattern: Pattern) -> Array:
    """(G, R, n) bool: which weights stay after the greedy elimination."""
    groups, rows, columns = weights.shape
    r, c = pattern.rows, pattern.columns
    each = max(1, MEMORY // (8 * columns**2))
    orders, rises = [], []
    for group in range(groups):
        inverse = torch.from_numpy(np.linalg.inv(H[group]))
        blocks = torch.from_numpy(weights[group].reshape(rows // r, r, columns)).double()
        for part in blocks.split(each):
            order, rise = _eliminate(part.clone(), inverse, pattern)
            orders.append(order)
            rises.append(rise)
    order, rise = np.concatenate(orders), np.concatenate(rises)
    lost = np.ones(len(order), dtype=np.int64) * order.shape[1]
    if not pattern.of:
        # joined by the largest cost so far: a row gives its next up when all cheaper ones are gone
        so_far = np.maximum.accumulate(rise, axis=1)
        first = np.argsort(so_far, axis=None, kind="stable")[: round(share * so_far.size)]
        lost = np.bincount(first // so_far.shape[1], minlength=len(order))
    stays = np.ones((len(order), columns // c), dtype=bool)
    for row, count in enumerate(lost):
        stays[row, order[row, :count]] = False
    stays = stays.reshape(groups, rows // r, columns // c)
    return stays.repeat(r, axis=1).repeat(c, axis=2)


def _eliminate(weights: Tensor, inverse: Tensor, pattern: Pattern) -> tuple[Array, Array]:
    """Take the blocks of each row out one by one, each time the cheapest.

    Args:
        weights: (B, r, n) rows that go together; used up.
        inverse: (n, n) H^-1.
        pattern: of `c` columns.
    Returns:
        (B, steps) blocks in the order they go, and what each costs.
    """
    B, r, n = weights.shape
    c = pattern.columns
    units = n // c
    steps = units if not pattern.of else n // pattern.of * (pattern.of - pattern.keep)
    inverse = inverse.expand(B, n, n).clone()
    alive = torch.ones(B, units, dtype=torch.bool)
    open_ = alive.clone()  # alive, and in a group of N:M that may still lose one
    order, rise = torch.zeros(B, steps, dtype=torch.int64), torch.zeros(B, steps).double()
    every = torch.arange(B)
    identity = torch.eye(c, dtype=torch.float64)
    for step in range(steps):
        squares = inverse.view(B, units, c, units, c).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        squares = torch.where(alive[:, :, None, None], squares, identity)
        unit = weights.view(B, r, units, c)
        if c == 1:
            cost = (unit.square().sum(1) / squares[:, :, :, 0])[:, :, 0]
        else:
            gram = torch.einsum("bruc,brud->bucd", unit, unit)
            cost = torch.linalg.solve(squares, gram).diagonal(dim1=2, dim2=3).sum(2)
        cost = cost.masked_fill(~open_, torch.inf)
        value, choice = cost.min(1)
        order[:, step], rise[:, step] = choice, value
        S = choice[:, None] * c + torch.arange(c)
        taken = inverse[every[:, None], S]  # (B, c, n)
        passed = torch.linalg.solve(squares[every, choice], taken)
        held = weights.gather(2, S[:, None].expand(B, r, c))
        weights.baddbmm_(held, passed, alpha=-1)
        inverse.baddbmm_(taken.transpose(1, 2), passed, alpha=-1)
        weights.scatter_(2, S[:, None].expand(B, r, c), 0.0)
        alive[every, choice] = False
        open_[every, choice] = False
        if pattern.of:
            lost = (~alive).view(B, -1, pattern.of).sum(2) >= pattern.of - pattern.keep
            open_ &= ~lost.repeat_interleave(pattern.of, 1)
    return order.numpy(), rise.numpy()


def _in_rounds(weights: Array, H: Array, share: float, pattern: Pattern) -> Array:
    """(G, R, n) bool: the cheapest of all weights go, the rest is refitted, and so on."""
    current, stays = weights, np.ones(weights.shape, dtype=bool)
    price = 1 / np.diagonal(np.linalg.inv(H), axis1=1, axis2=2)
    for number in range(1, ROUNDS + 1):
        scores = np.where(stays, saliency(current, price), -1.0)
        if pattern.of:  # one more of every group, as far as rounds go
            drop = -(-(pattern.of - pattern.keep) * number // ROUNDS)
            stays = kept(scores, 0.0, Pattern(keep=pattern.of - drop, of=pattern.of))
        else:
            stays = kept(scores, share * number / ROUNDS, pattern)
        if number < ROUNDS:
            current = refit(weights, H, stays, ROUGH)
    return stays
