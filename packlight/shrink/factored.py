"""Low rank inside the graph: one layer becomes two or three.

`candidates` lists what a layer could become, with what each costs in error, parameters and MACs,
so that a search can choose by loss + lambda * cost. `replace` puts a choice into the graph: the
factors are ordinary convolutions, linear layers or products, and the bias goes with the last.

A stage of a convolution strides, pads and dilates in those dimensions in which it is the first to
have the whole kernel. Convolutions in groups, transposed ones and weights whose inputs are not
seen have no candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import fx

from packlight.errors import BadInput
from packlight.graph import (
    add_weight,
    argument,
    is_symbolic,
    is_weight,
    per_dimension,
    set_value,
    value_of,
)
from packlight.network import Network
from packlight.shrink import factorize
from packlight.shrink.curvature import Curvature
from packlight.shrink.factorize import Factors
from packlight.shrink.layers import Layer, find_layers
from packlight.shrink.prune import damped
from packlight.types import Array

KINDS = ("conv", "linear", "matmul")
SHARES = (0.75, 0.5, 0.25, 0.125)  # of a layer's parameters that candidates keep


@dataclass(frozen=True)
class Candidate:
    """What a layer could become.

    Args:
        form, rank: as in `packlight.shrink.factorize`.
        error: squared, in the norm of the damped H; times the sensitivity it is the rise of the
            loss, as for quantised layers.
        parameters: numbers held.
        macs: multiplications for one sample.
        factors: the weights.
        shift: (R,) what the bias takes over, because the mean input was taken out of H.
    """

    form: str
    rank: tuple[int, ...]
    error: float
    parameters: int
    macs: int
    factors: Factors
    shift: Array


def candidates(
    layer: Layer, weights: Array, curvature: Curvature, shares: Sequence[float] = SHARES
) -> list[Candidate]:
    """Every form of a layer at every share of its parameters.

    Args:
        layer: of a traced network.
        weights: (G, R, n), as `layer.rows` gives them.
        curvature: of the layer; H gets the damping that rounding gives it.
        shares: of the layer's parameters to keep.
    Returns:
        Nothing for a layer in groups, or one whose inputs are not seen.
    """
    if not _factorable(layer) or not curvature.moments:
        return []
    norm = factorize.Norm(tuple(damped(block[0].astype(np.float64)) for block in curvature.moments))
    matrix = weights[0]
    weight = matrix.reshape(layer.shape) if layer.kind == "conv" else matrix
    found = []
    for factors in _forms(weight, norm, shares):
        lost = matrix - factors.composed().reshape(matrix.shape)
        shift = lost @ curvature.mean[0] if layer.centred else np.zeros(len(matrix))
        macs = _macs(layer, factors)
        found.append(
            Candidate(
                factors.form, factors.rank, factors.error, factors.parameters, macs, factors, shift
            )
        )
    return found


def replace(network: Network, chosen: Mapping[str, Candidate]) -> Network:
    """A copy of a network with layers in factors.

    Args:
        network: left as it is.
        chosen: layer name -> what it becomes.
    Raises:
        BadInput: there is no such layer, it can not be factored, or its weight has another shape.
    """
    rewritten = network.copy()
    module = rewritten.module
    layers = {layer.name: layer for layer in find_layers(rewritten)}
    for name, candidate in chosen.items():
        layer = layers.get(name)
        if layer is None:
            raise BadInput(f"the network has no layer {name!r} that could be factored")
        weight = next(
            source
            for source in layer.node.all_input_nodes
            if is_weight(source) and source.target == layer.weight
        )
        if not _factorable(layer) or len(weight.users) > 1:
            why = (
                "has a weight that is read more than once"
                if _factorable(layer)
                else f"is of kind {layer.kind} in {layer.groups} groups"
            )
            raise BadInput(f"layer {name} {why}: it can not be factored; leave it whole")
        whole = layer.shape[::-1] if layer.kind == "matmul" else layer.shape
        made = candidate.factors.composed().shape
        if made != whole:
            raise BadInput(f"layer {name} has shape {layer.shape}, its factors make {made}")
        if layer.bias is not None and candidate.shift.any():
            bias = argument(layer.node, 2, "bias")
            moved = value_of(module, bias) + torch.from_numpy(candidate.shift)
            set_value(module, layer.bias, moved.to(value_of(module, bias).dtype))
        _insert(module, layer, weight, candidate.factors)
    return rewritten.refreshed()


def names_of(weight: str, factors: Factors) -> tuple[str, ...]:
    """The parameters that hold a weight's factors, the first stage first."""
    return tuple(f"{weight}_{at + 1}" for at in range(len(factors.stages)))


def _forms(weight: Array, norm: factorize.Norm, shares: Sequence[float]) -> Iterator[Factors]:
    """Every form at the largest rank that keeps within each share."""
    outputs, inputs, *kernel = weight.shape
    taps = prod(kernel)

    def ranks(each: int, most: int) -> list[int]:
        """Where a rank costs `each` parameters."""
        wanted = {min(int(share * weight.size / each), most) for share in shares}
        return sorted(wanted - {0}, reverse=True)

    most = min(outputs, inputs * taps)
    yield from factorize.svd(weight, norm, ranks(outputs + inputs * taps, most))
    if taps == 1:
        return
    yield from factorize.channel(weight, norm, ranks(inputs + outputs * taps, inputs))
    pairs = {_tucker_ranks(outputs, inputs, taps, share) for share in shares}
    yield from factorize.tucker(weight, norm, sorted(pairs, reverse=True))
    if len(kernel) == 2 and min(kernel) > 1:
        height, width = kernel
        each, most = inputs * height + outputs * width, min(inputs * height, outputs * width)
        yield from factorize.spatial(weight, norm, ranks(each, most))
    # beyond as many terms as columns or outputs and taps there is nothing left to describe
    most = min(inputs * taps, outputs * inputs, outputs * taps)
    yield from factorize.cp(weight, norm, ranks(inputs + taps + outputs, most))


def _tucker_ranks(outputs: int, inputs: int, taps: int, share: float) -> tuple[int, int]:
    """Ranks of inputs and outputs in the layer's own proportion, within a share.

    With r C inputs and r R outputs kept, the parameters are r (C^2 + R^2) + r^2 C R K.
    """
    linear, square = inputs**2 + outputs**2, inputs * outputs * taps
    kept = (np.sqrt(linear**2 + 4 * share * square**2) - linear) / (2 * square)
    ranks = (int(np.clip(kept * size, 1, size)) for size in (inputs, outputs))
    return next(ranks), next(ranks)


def _factorable(layer: Layer) -> bool:
    return layer.kind in KINDS and layer.groups == 1


def _macs(layer: Layer, factors: Factors) -> int:
    value = layer.input.meta["val"]
    sizes = [1 if is_symbolic(size) else int(size) for size in value.shape]
    if layer.kind != "conv":
        return prod(sizes[1:-1]) * factors.parameters
    size, total = np.array(sizes[2:]), 0
    for stage, move in zip(factors.stages, _geometries(layer, factors), strict=True):
        if not isinstance(move.padding, str):  # "same" leaves the size as it is
            reach = np.array(move.dilation) * (np.array(stage.shape[2:]) - 1)
            size = (size + 2 * np.array(move.padding) - reach - 1) // move.stride + 1
        total += int(size.prod()) * stage.size
    return total


@dataclass(frozen=True)
class _Geometry:
    """How one stage of a convolution moves, one number per dimension."""

    stride: list[int]
    padding: list[int] | str
    dilation: list[int]


def _geometries(layer: Layer, factors: Factors) -> list[_Geometry]:
    kernel, node = layer.shape[2:], layer.node
    stride, padding, dilation = (
        _numbers(argument(node, position, name, default), len(kernel))
        for position, name, default in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
    )
    first = [
        next(at for at, stage in enumerate(factors.stages) if stage.shape[2 + dim] == taps)
        for dim, taps in enumerate(kernel)
    ]

    def at_stage(stage: int, numbers: list[int] | str, neutral: int) -> Any:
        if isinstance(numbers, str):
            return numbers
        return [
            number if at == stage else neutral for number, at in zip(numbers, first, strict=True)
        ]

    return [
        _Geometry(at_stage(at, stride, 1), at_stage(at, padding, 0), at_stage(at, dilation, 1))
        for at in range(len(factors.stages))
    ]


def _numbers(value: Any, dims: int) -> list[int] | str:
    """One number per dimension, or "same"."""
    return "same" if value == "same" else per_dimension(0 if value == "valid" else value, dims)


def _insert(module: fx.GraphModule, layer: Layer, weight: fx.Node, factors: Factors) -> None:
    """The stages in place of the layer's call."""
    node, graph = layer.node, module.graph
    dtype = value_of(module, weight).dtype
    bias = argument(node, 2, "bias") if layer.kind != "matmul" else None
    geometries = _geometries(layer, factors) if layer.kind == "conv" else []
    names = names_of(layer.weight, factors)
    value, channels = node.args[0], layer.shape[1]
    for at, stage in enumerate(factors.stages):
        stored = stage.T if layer.kind == "matmul" else stage
        tensor = torch.from_numpy(np.ascontiguousarray(stored)).to(dtype)
        source = add_weight(module, node, names[at], tensor)
        last = bias if at + 1 == len(factors.stages) else None
        args: tuple[Any, ...] = (value, source)
        if layer.kind == "conv":
            move = geometries[at]
            groups = channels // stage.shape[1]
            args = (value, source, last, move.stride, move.padding, move.dilation, groups)
            channels = len(stage)
        elif layer.kind == "linear":
            args = (value, source, last)
        with graph.inserting_before(node):
            # whichever overload takes this padding
            value = graph.call_function(getattr(node.target, "overloadpacket", node.target), args)
    node.replace_all_uses_with(value)
    graph.erase_node(node)
    graph.erase_node(weight)
