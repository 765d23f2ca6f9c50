"""One number sets every layer's step: the search for the grid coarseness that meets a budget.

At coarseness c a layer with sensitivity s and conditional variances of geometric mean h, of its
inputs times of its outputs, gets the step c / sqrt(s h): every weight then costs the loss the same
on average, which is where bits are best spent (reverse water-filling). A bit is worth 0.05 c^2 of
loss, so one constant rules both the step and the rate term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from packlight.network import Network
from packlight.shrink import quantize
from packlight.shrink.curvature import Curvature
from packlight.shrink.layers import Layer, weight_array
from packlight.shrink.workers import HERE, Each, Workers, one_thread
from packlight.types import Array

BIT_PRICE = 0.05  # loss that one bit is worth, in units of c^2
TRELLIS_STEP = 0.6  # of the uniform grid's step: the trellis then errs as much
STRANGERS = 0.98  # of what a row costs by itself, if others leave more than that it stays so
#: whose rows lie one after the other in the file
TRELLIS_KINDS = ("conv", "linear", "matmul", "recurrent")


@dataclass(frozen=True)
class Prepared:
    """A layer ready to be quantised at any coarseness.

    Args:
        layer: the layer.
        weights: (G, R, n) float64.
        bias: (channels,) float64 or None.
        mean: (G, n) mean inputs; zeros where the bias can absorb nothing.
        factors: of H, one per block of columns.
        spread: h, the geometric mean of the conditional variances; 1 without factors and rows.
        unit: the step at coarseness 1.
        top: the largest level.
        of_bias: how sensitive the loss is to a bias; 0 where nothing is known.
        rows: how the loss listens to them together, or None.
    """

    layer: Layer
    weights: Array
    bias: Array | None
    mean: Array
    factors: list[quantize.Factor]
    spread: float
    unit: float
    top: int = quantize.LEVELS
    of_bias: float = 0.0
    rows: quantize.Rows | None = None

    @property
    def sensitivity(self) -> float:
        """s: times the squared error in the norm of H it is the rise of the loss."""
        return float(1 / (self.unit**2 * self.spread))

    @property
    def conditional(self) -> Array:
        """(G, n) the conditional variance of every column: what a squared error in it costs."""
        found = np.ones(self.mean.shape)
        start = 0
        for factor in self.factors:
            found[:, start + factor.order] = factor.spread
            start += len(factor.order)
        return found

    @property
    def finest(self) -> float:
        """The coarseness at which the wanted step is as fine as int8 can be."""
        return float(np.abs(self.weights).max()) / self.top / self.unit


@dataclass(frozen=True)
class Solved:
    """A layer at some coarseness.

    Args:
        levels: int8, the stored weight's shape.
        scale: (channels,) float32.
        bias: (channels,) float64 with the mean correction, or None.
        damage: estimated rise of the loss.
        bias_step: biases may be written in steps as coarse as this.
    """

    levels: Array
    scale: Array
    bias: Array | None
    damage: float
    bias_step: float = 0.0

    def state(self) -> dict[str, Any]:
        """As tensors and numbers, to be kept in a file."""
        return {
            "levels": torch.from_numpy(self.levels),
            "scale": torch.from_numpy(self.scale),
            "bias": None if self.bias is None else torch.from_numpy(self.bias),
            "damage": self.damage,
            "bias_step": self.bias_step,
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> Solved:
        """The inverse of `state`."""
        bias = state["bias"]
        return cls(
            levels=state["levels"].numpy(),
            scale=state["scale"].numpy(),
            bias=None if bias is None else bias.numpy(),
            damage=state["damage"],
            bias_step=state["bias_step"],
        )


def prepare(
    network: Network,
    layers: Sequence[Layer],
    curvatures: dict[str, Curvature],
    top: int = quantize.LEVELS,
) -> list[Prepared]:
    """Factorise every layer once; `solve` is then quick at any coarseness. `top`: largest level."""
    known = [curvature.sensitivity for curvature in curvatures.values()]
    positive = [value for value in known if value > 0]
    # a layer that no sample's gradient reached is taken for the least sensitive, not for free
    floor = min(positive, default=1.0) * 1e-2
    with one_thread():
        return [_prepare(network, one, curvatures.get(one.name), floor, top) for one in layers]


def _prepare(
    network: Network, layer: Layer, curvature: Curvature | None, floor: float, top: int
) -> Prepared:
    weights = layer.rows(weight_array(network, layer.weight))
    bias = None if layer.bias is None else weight_array(network, layer.bias)
    groups, _, columns = weights.shape
    sensitivity = max(curvature.sensitivity if curvature else 0.0, floor)
    moments = curvature.moments if curvature else ()
    factors = [quantize.factorize(block) for block in moments]
    logs = [np.log(factor.spread).ravel() for factor in factors]
    spread = float(np.exp(np.concatenate(logs).mean())) if logs else 1.0
    mean = np.zeros((groups, columns))
    if curvature is not None and layer.centred:
        mean = curvature.mean
    return Prepared(
        layer=layer,
        weights=weights,
        bias=bias,
        mean=mean,
        factors=factors,
        spread=spread,
        unit=1.0 / float(np.sqrt(sensitivity * spread)),
        top=top,
        of_bias=curvature.of_bias if curvature else 0.0,
    )


def bound(prepared: Prepared, moments: Sequence[Array]) -> Prepared:
    """A layer whose rows make good each other's errors, where there is something to be gained.

    Args:
        prepared: whose rows do not.
        moments: of its outputs, as from `outputs.collect`.
    """
    with one_thread():
        rows = quantize.between_rows(moments)
    if rows is None or rows.spread > STRANGERS:
        return prepared
    spread, unit = prepared.spread * rows.spread, prepared.unit / np.sqrt(rows.spread)
    return replace(prepared, spread=spread, unit=float(unit), rows=rows)


def each(prepared: Sequence[Prepared], workers: Workers = HERE) -> Each[Prepared]:
    """Layers whose solutions can be had from several processes."""
    # a column is rounded after the other, each handed on to all that are left
    sizes = [float(one.weights.size) * one.weights.shape[2] for one in prepared]
    return Each(workers, prepared, sizes)


def solve(prepared: Prepared, coarseness: float) -> Solved:
    """Quantise one layer at a coarseness; 0 gives the finest int8 grid."""
    layer, weights = prepared.layer, prepared.weights
    step, along_trellis = steps_of(prepared, coarseness)
    if prepared.factors:
        levels, errors = quantize.quantize(
            *(weights, prepared.factors, step),
            price=price_of(prepared, coarseness),
            along_trellis=along_trellis,
            top=prepared.top,
            rows=prepared.rows,
        )
    else:
        scaled = weights / step[:, :, None]
        levels = np.clip(np.rint(scaled), -prepared.top, prepared.top).astype(np.int8)
        errors = [weights - levels * step[:, :, None]]
    lost = weights - levels * step[:, :, None]
    return Solved(
        levels=layer.stored(levels),
        scale=layer.channels(step).astype(np.float32),
        bias=bias_after(prepared, lost),
        damage=_damage(prepared, errors),
        bias_step=bias_step(prepared, coarseness),
    )


def steps_of(prepared: Prepared, coarseness: float) -> tuple[Array, bool]:
    """(G, R) the steps of a layer's rows, and whether its levels go along the trellis."""
    layer, weights = prepared.layer, prepared.weights
    wanted = coarseness * prepared.unit
    # levels are bounded, so a row's largest weight bounds its step from below
    reach = np.abs(weights).max(2) / prepared.top
    if layer.kind == "conv_transpose":
        taps = reach.reshape(-1, layer.shape[1], reach.shape[1] // layer.shape[1])
        reach = np.broadcast_to(taps.max(2, keepdims=True), taps.shape).reshape(reach.shape)
    # the trellis wants one step in all rows: where a row needs a larger one, the grid is fine
    fine = TRELLIS_STEP * wanted
    widest = reach.max() * prepared.top / (2 * quantize.TOP)
    along_trellis = layer.kind in TRELLIS_KINDS and bool(prepared.factors) and widest <= fine
    step = np.maximum(np.maximum(reach, fine if along_trellis else wanted), 1e-12)
    return quantize.short(step), along_trellis


def price_of(prepared: Prepared, coarseness: float) -> float:
    """Error that one bit is worth, in the units of weight^2 x moment."""
    return BIT_PRICE * (coarseness * prepared.unit) ** 2 * prepared.spread


def bias_step(prepared: Prepared, coarseness: float) -> float:
    """The step of a bias that does as much harm as a weight's; 0 where nothing is known."""
    return coarseness / float(np.sqrt(prepared.of_bias)) if prepared.of_bias > 0 else 0.0


def coarse(values: Array, step: float) -> Array:
    """Values in multiples of the power of two next below a step: short to write, whatever the form.

    Args:
        values: any shape.
        step: 0 leaves them as they are.
    """
    if not step:
        return values
    grid = 2.0 ** np.floor(np.log2(step))
    return np.asarray(np.rint(values / grid) * grid)


def bias_after(prepared: Prepared, lost: Array) -> Array | None:
    """(channels,) the bias that absorbs what the lost part of the weights (G, R, n) gave on
    average, or None where there is no bias."""
    if prepared.bias is None:
        return None
    mean = np.einsum("grn,gn->gr", lost, prepared.mean)
    return np.asarray(prepared.bias + prepared.layer.channels(mean))


def damage_of(prepared: Prepared, lost: Array) -> float:
    """The estimated rise of the loss, s tr(B dW H dW^T), dW the part lost (G, R, n)."""
    errors, start = [], 0
    for factor in prepared.factors:
        part = lost[:, :, start + factor.order]
        start += len(factor.order)
        # H = U^-1 U^-T, so dW H dW^T is the squared length of U^-T dW^T
        upper, moved = torch.from_numpy(factor.upper), torch.from_numpy(part)
        moved = torch.linalg.solve_triangular(upper, moved, upper=True, left=False)
        errors.append(moved.numpy())
    return _damage(prepared, errors if prepared.factors else [lost])


def _damage(prepared: Prepared, errors: Sequence[Array]) -> float:
    """The same of errors as `quantize.round_columns` counts them."""
    rows = prepared.rows
    costs = [float(np.vdot(one, one)) if rows is None else rows.cost(one) for one in errors]
    return sum(costs) * prepared.sensitivity
