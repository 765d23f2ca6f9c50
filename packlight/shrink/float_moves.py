"""Networks that stay float: weights pruned to zero, or shared by a codebook.

Columns are solved one after the other with their errors handed on, as on a grid, and the bias
takes over the mean of what is lost. What differs is the choice for one weight:

    prune       keep it as it is, or zero, whichever costs less: the loss w^2 s / [H^-1]_jj that
                goes with it against c^2, c the coarseness; weights kept end at their optimum
                beside the zeros (least squares)
    palettize   the centre that costs least in error and bits; centres start as a grid of the step
                that int8 weights would have, and move to where weights are, as exactly as matters

A shared weight is held as a byte per weight and a codebook, or as plain floats with few different
values: installed, bytes are a quarter; packed, either may be smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch

from packlight.graph import set_value
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import quantize, sharing
from packlight.shrink.grid_search import (
    BIT_PRICE,
    Prepared,
    bias_after,
    bias_step,
    coarse,
    damage_of,
    each,
)
from packlight.shrink.layers import Layer
from packlight.shrink.moves import REACH, LayerFigures
from packlight.shrink.palettize import MAX_CENTRES, Codebook, handed_on, palettize
from packlight.shrink.prune import FREE, Pattern, kept, refit
from packlight.shrink.workers import HERE, Workers
from packlight.types import Array

CENTRE_STEP = 1 / 16  # of the step that int8 weights would have: all that centres need to say
REFITTED = 1e-4  # of the gradient is left where the weights kept are at their optimum
FIRST_GONE = 0.05  # share of a layer's weights that cost less than where pruning starts


@dataclass(frozen=True)
class Changed:
    """A layer with other weights.

    Args:
        layer: the layer.
        weight: float32, the stored weight's shape.
        bias: (channels,) float32 with the mean correction, or None.
        damage: estimated rise of the loss.
        codebook: that makes the weight, where it is shared.
    """

    layer: Layer
    weight: Array
    bias: Array | None
    damage: float
    codebook: Codebook | None = None


def prune(prepared: Prepared, coarseness: float, pattern: Pattern = FREE) -> Changed:
    """Zero the weights of one layer whose loss is below coarseness^2; the others stay float.

    Args:
        prepared: the layer.
        coarseness: as above.
        pattern: of what goes together. Blocks go by the mean loss of their weights; N:M, which
            leaves no choice, is made where the mean loss of all that goes is small enough, and only
            in layers that it divides. Neighbours are input channels, taps of a kernel apart.
    """
    weights, worth = prepared.weights, coarseness**2 / prepared.sensitivity
    if pattern != FREE:
        return _changed(prepared, _refitted(prepared, _patterned(prepared, worth, pattern)))

    def choose(weights: Array, cost: Array) -> Array:
        return np.where(cost * np.square(weights) < worth, 0.0, weights)

    if not prepared.factors:
        return _changed(prepared, prepared.layer.stored(choose(weights, np.ones(1))))
    ones = np.ones(weights.shape[:2])
    rounded, _ = quantize.round_blocks(weights, prepared.factors, ones, choose)
    return _changed(prepared, _refitted(prepared, rounded != 0))


def fits(prepared: Prepared, pattern: Pattern) -> bool:
    """Whether a pattern divides the outputs and the input channels of a layer."""
    _, rows, columns = prepared.weights.shape
    channels = columns // int(np.prod(prepared.layer.shape[2:]))
    return rows % pattern.rows == 0 and channels % (pattern.of or pattern.columns) == 0


def _patterned(prepared: Prepared, worth: float, pattern: Pattern) -> Array:
    """(G, R, n) which weights stay."""
    weights = prepared.weights
    if not fits(prepared, pattern):
        return np.ones(weights.shape, dtype=bool)
    cost = np.square(weights) * prepared.conditional[:, None, :]
    cost = _channels_last(prepared, cost)
    if pattern.of:
        stays = kept(cost, 0.0, pattern)
        if cost[~stays].mean() >= worth:
            stays[:] = True
    else:
        groups, rows, columns = cost.shape
        r, c = pattern.rows, pattern.columns
        blocks = cost.reshape(groups, rows // r, r, columns // c, c).mean((2, 4))
        stays = (blocks >= worth).repeat(r, 1).repeat(c, 2)
    return _channels_last(prepared, stays, back=True)


def _channels_last(prepared: Prepared, values: Array, *, back: bool = False) -> Array:
    """(G, R, n) with the input channels of one tap of the kernel side by side, or `back` again."""
    groups, rows, columns = values.shape
    taps = int(np.prod(prepared.layer.shape[2:]))
    split = (taps, columns // taps) if back else (columns // taps, taps)
    return values.reshape(groups, rows, *split).swapaxes(2, 3).reshape(values.shape)


def _refitted(prepared: Prepared, stays: Array) -> Array:
    """The stored weight with the weights that stay at their optimum, in the least squares sense."""
    weights, pieces, start = prepared.weights, [], 0
    for factor in prepared.factors:
        part = slice(start, start + len(factor.order))
        start = part.stop
        pieces.append(refit(weights[:, :, part], factor.moments, stays[:, :, part], REFITTED))
    left = np.concatenate(pieces, axis=2) if pieces else weights
    stored: Array = prepared.layer.stored(np.where(stays, left, 0.0))
    return stored


def share(prepared: Prepared, coarseness: float, *, zero: bool = False) -> Changed:
    """Share the weights of one layer.

    Args:
        prepared: the layer.
        coarseness: a bit is worth 0.05 coarseness^2 of loss; 0 asks for as many centres as there
            may be.
        zero: 0 is one of the centres.
    """
    layer, weights = prepared.layer, prepared.weights
    stored = layer.stored(weights)
    costs = np.broadcast_to(prepared.conditional[:, None, :], weights.shape)
    wanted = coarseness * prepared.unit
    price = BIT_PRICE * wanted**2 * prepared.spread
    codebook = palettize(
        stored,
        MAX_CENTRES,
        axis=layer.axis,
        importance=layer.stored(np.ascontiguousarray(costs)),
        zero=zero,
        price=price,
        start=_even(stored, wanted),
    )
    centres = coarse(codebook.centres, CENTRE_STEP * wanted).astype(np.float32)
    codebook = replace(codebook, centres=centres)
    codebook = handed_on(layer, weights, prepared.factors, codebook, price=price)
    return _changed(prepared, codebook.decoded(), codebook, bias_step(prepared, coarseness))


def _even(weights: Array, step: float) -> Array:
    """Centres a step apart through zero, as far as weights reach and a byte can count."""
    low, high = float(weights.min()), float(weights.max())
    # rounding outwards adds one centre at either end
    step = max(step, (max(high, 0.0) - min(low, 0.0)) / (MAX_CENTRES - 3), 1e-12)
    return step * np.arange(np.floor(min(low, 0.0) / step), np.ceil(max(high, 0.0) / step) + 1)


def _changed(
    prepared: Prepared, weight: Array, codebook: Codebook | None = None, step: float = 0.0
) -> Changed:
    """The layer with another weight; `step`: of its bias."""
    weight = weight.astype(np.float32)
    lost = prepared.weights - prepared.layer.rows(weight.astype(np.float64))
    bias = bias_after(prepared, lost)
    return Changed(
        layer=prepared.layer,
        weight=weight,
        bias=None if bias is None else coarse(bias, step).astype(np.float32),
        damage=damage_of(prepared, lost),
        codebook=codebook,
    )


class Template:
    """A float network's file, written again and again with other numbers in it.

    Args:
        network: holds placeholders.
        names: of the parameters that will be replaced.
    """

    def __init__(self, network: Network, names: Sequence[str]) -> None:
        self._network = network
        self._proto = onnx_file.to_proto(network)
        held = {tensor.name for tensor in self._proto.graph.initializer}
        reads = [
            (str(node.target), len(node.users))
            for node in network.module.graph.nodes
            if node.op == "get_attr"
        ]
        # a number that is read twice may be in the file twice, once of them computed ahead
        once = {name for name, users in reads if users == 1}
        counts = [name for name, _ in reads]
        self._refillable = all(
            name in held and name in once and counts.count(name) == 1 for name in names
        )

    def network(self, values: dict[str, Array]) -> Network:
        """The graph that holds these values."""
        filled = self._network.copy()
        for name, value in values.items():
            set_value(filled.module, name, torch.from_numpy(value))
        return filled

    def file(self, values: dict[str, Array]) -> bytes:
        """The ONNX file that holds these values."""
        if not self._refillable:
            return onnx_file.to_bytes(self.network(values))
        return onnx_file.refilled(self._proto, values).SerializeToString(deterministic=True)


@dataclass(frozen=True)
class Floats:
    """A float network with other weights in it (a `moves.Form`).

    Args:
        template: of the network.
        changed: every layer.
        bytewise: whether shared weights are held as bytes and a codebook.
    """

    template: Template = field(repr=False)
    changed: Sequence[Changed] = field(repr=False)
    bytewise: bool = False

    @cached_property
    def _values(self) -> dict[str, Array]:
        values: dict[str, Array] = {}
        for one in self.changed:
            for name, value in zip(self._names(one), self._numbers(one), strict=True):
                values[name] = np.ascontiguousarray(value)
            if one.bias is not None and one.layer.bias is not None:
                values[one.layer.bias] = one.bias
        return values

    def _names(self, one: Changed) -> tuple[str, ...]:
        return sharing.names_of(one.layer.weight) if self.bytewise else (one.layer.weight,)

    def _numbers(self, one: Changed) -> tuple[Array, ...]:
        if not self.bytewise:
            return (one.weight,)
        assert one.codebook is not None
        return one.codebook.centres.reshape(-1, 1), one.codebook.indices

    @cached_property
    def file(self) -> bytes:
        """The ONNX file."""
        return self.template.file(self._values)

    def network(self) -> Network:
        """The graph."""
        return self.template.network(self._values)

    def layers(self) -> list[LayerFigures]:
        """What became of each layer."""
        return [self._figures(one) for one in self.changed]

    def _figures(self, one: Changed) -> LayerFigures:
        bias = 0 if one.bias is None else one.bias.nbytes
        return LayerFigures.in_floats(
            *(one.layer, "float" if one.codebook is None else "shared", one.weight),
            tensors=self._names(one),
            installed=sum(value.nbytes for value in self._numbers(one)) + bias,
            damage=one.damage,
        )

    def notes(self) -> list[str]:
        """What was decided, in sentences."""
        if any(one.codebook is not None for one in self.changed):
            how = "a byte per weight and a codebook" if self.bytewise else "floats of few values"
            return [f"shared weights are held as {how}, the smaller file of the two"]
        return []


class Pruning:
    """Weights to zero, the coarser the more (a `moves.Move`).

    Args:
        network: float.
        prepared: its layers.
        pattern: of what goes together.
        workers: where layers are solved.
    """

    def __init__(
        self,
        network: Network,
        prepared: Sequence[Prepared],
        pattern: Pattern = FREE,
        workers: Workers = HERE,
    ) -> None:
        self._each, self._prune = each(prepared, workers), partial(prune, pattern=pattern)
        self._template = Template(network, _parameters([one.layer for one in prepared]))
        worth = [
            np.sqrt(layer.sensitivity * layer.conditional)[:, None, :] * np.abs(layer.weights)
            for layer in prepared
        ]
        first = [float(np.quantile(values, FIRST_GONE)) for values in worth]
        self.last = max(float(values.max()) for values in worth)
        self.start = float(np.median(first)) or self.last / REACH**2

    def forms(self, coarseness: float) -> list[Floats]:
        """Every layer pruned at a coarseness."""
        return [Floats(self._template, self._each(self._prune, coarseness))]


class SharedFiles:
    """A network's files with shared weights, in bytes and in plain floats.

    Args:
        network: float.
        layers: whose weights are shared.
        form: what is made of them.
    """

    def __init__(
        self, network: Network, layers: Sequence[Layer], form: type[Floats] = Floats
    ) -> None:
        self._form = form
        self._plain = Template(network, _parameters(layers))
        noise = np.random.default_rng(0)
        looked_up = sharing.shared(network, {one.weight: _fake(one, noise) for one in layers})
        names = [name for one in layers for name in sharing.names_of(one.weight)]
        biases = [one.bias for one in layers if one.bias is not None]
        self._bytewise = Template(looked_up, [*names, *biases])

    def forms(self, changed: Sequence[Changed]) -> list[Floats]:
        """Both, with these codebooks."""
        bytewise = self._form(self._bytewise, changed, bytewise=True)
        return [bytewise, self._form(self._plain, changed)]


class Sharing:
    """Weights to few centres, the coarser the fewer (a `moves.Move`).

    Args:
        network: float.
        prepared: its layers.
        zero: 0 is a centre of every layer.
        workers: where layers are solved.
    """

    def __init__(
        self, network: Network, prepared: Sequence[Prepared], zero: bool, workers: Workers = HERE
    ) -> None:
        self._each, self._share = each(prepared, workers), partial(share, zero=zero)
        self._files = SharedFiles(network, [one.layer for one in prepared])
        self.start = float(np.median([layer.finest for layer in prepared]))
        self.last = REACH * self.start

    def forms(self, coarseness: float) -> list[Floats]:
        """Every layer shared at a coarseness, in bytes and in plain floats."""
        return self._files.forms(self._each(self._share, coarseness))


def _parameters(layers: Sequence[Layer]) -> list[str]:
    return [name for one in layers for name in (one.weight, one.bias) if name is not None]


def _fake(layer: Layer, noise: np.random.Generator) -> Codebook:
    """A placeholder unlike any other, so that no exporter merges two."""
    shape = layer.shape
    centres = noise.uniform(0.5, 1, (1, MAX_CENTRES, 1)).astype(np.float32)
    indices = noise.integers(0, MAX_CENTRES, shape, dtype=np.uint8)
    return Codebook(centres, indices, layer.axis, shape[layer.axis])
