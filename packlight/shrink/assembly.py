"""The file of a quantised network, written again and again with other integers in it.

network -> activations on grids -> placeholders for weights -> ONNX once -> refilled per solution
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx

from packlight.coding import rate
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import activations, grid_search, weights
from packlight.shrink.grid_search import Prepared, Solved
from packlight.shrink.layers import Layer, find_layers, value_of_name
from packlight.shrink.moves import REACH, LayerFigures
from packlight.shrink.workers import HERE, Workers
from packlight.types import Array


@dataclass(frozen=True)
class Assembly:
    """A network with room for its layers' solutions.

    Args:
        network: the quantised graph.
        slots: where each layer's integers go.
        places: values that are, or could be, rounded to uint8.
        harmful: those of them that stay float, with the signal-to-noise ratio (dB) of each alone.
        template: the ONNX file, holding placeholders.
        floats: weights that stay float, with the signal-to-noise ratio (dB) of integers in each.
    """

    network: Network = field(repr=False)
    slots: list[weights.Slot] = field(repr=False)
    places: Sequence[activations.Place]
    harmful: dict[str, float]
    template: onnx.ModelProto = field(repr=False)
    floats: Mapping[str, float] = field(default_factory=dict)

    def values(self, solved: Sequence[Solved]) -> dict[str, Array]:
        """What the graph's buffers hold for a solution of every layer."""
        values: dict[str, Array] = {}
        for slot, solution in zip(self.slots, solved, strict=True):
            values.update(slot.values(solution))
        return values

    def file(self, values: dict[str, Array]) -> bytes:
        """The ONNX file that holds these values."""
        filled = onnx_file.refilled(self.template, values)
        return filled.SerializeToString(deterministic=True)


@dataclass(frozen=True)
class Integers:
    """A quantised network with a solution in it (a `moves.Form`)."""

    assembly: Assembly = field(repr=False)
    solved: Sequence[Solved] = field(repr=False)

    @cached_property
    def _values(self) -> dict[str, Array]:
        return self.assembly.values(self.solved)

    @cached_property
    def file(self) -> bytes:
        """The ONNX file."""
        return self.assembly.file(self._values)

    def network(self) -> Network:
        """The quantised graph, the solution put into it."""
        weights.fill(self.assembly.network, self._values)
        return self.assembly.network

    def layers(self) -> list[LayerFigures]:
        """What became of each layer."""
        slots = zip(self.assembly.slots, self.solved, strict=True)
        found = {slot.layer.name: self._figures(slot, solved) for slot, solved in slots}
        network = self.assembly.network
        left = [one for one in find_layers(network) if one.weight in self.assembly.floats]
        return [*found.values(), *(self._float(network, layer) for layer in left)]

    def _float(self, network: Network, layer: Layer) -> LayerFigures:
        weight = value_of_name(network, layer.weight).detach().numpy()
        bias = 0 if layer.bias is None else value_of_name(network, layer.bias).numel()
        return LayerFigures.in_floats(
            *(layer, "float", weight),
            tensors=(layer.weight,),
            installed=weight.nbytes + 4 * bias,
            damage=0.0,
            why_float=_too_noisy(self.assembly.floats[layer.weight]),
        )

    def _figures(self, slot: weights.Slot, solved: Solved) -> LayerFigures:
        layer, levels = slot.layer, solved.levels
        bias = 0 if solved.bias is None else solved.bias.size
        return LayerFigures(
            name=layer.name,
            kind=layer.kind,
            shape=layer.shape,
            form="int8",
            weights=levels.size,
            tensors=(weights.quantized_name(layer.weight),),
            installed=levels.size + 4 * len(set(solved.scale.tolist())) + 4 * bias,
            bits=rate.estimate(levels) / levels.size,
            step=float(solved.scale.max()),
            zeros=float((levels == 0).mean()),
            levels=len(np.unique(levels)),
            activation="float" if slot.input_scale is None else "int8",
            why_float=self._why_float(layer.input.name) if layer.solvable else None,
            damage=solved.damage,
        )

    def _why_float(self, source: str) -> str | None:
        harmful = self.assembly.harmful
        for place in self.assembly.places:
            if source in place.nodes and place.name in harmful:
                return _too_noisy(harmful[place.name])
        return None

    def notes(self) -> list[str]:
        """What was decided, in sentences."""
        notes = [
            f"activations at {place} stay float: int8 there alone leaves {ratio:.1f} dB of SQNR"
            for place, ratio in self.assembly.harmful.items()
        ]
        notes += [
            f"weights {name} stay float: int8 there alone leaves {ratio:.1f} dB of SQNR"
            for name, ratio in self.assembly.floats.items()
        ]
        rounded = [slot.layer.name for slot in self.assembly.slots if not slot.layer.solvable]
        if rounded:
            shown = ", ".join(rounded[:5]) + (", ..." if len(rounded) > 5 else "")
            notes.append(f"weights rounded without seeing their inputs: {shown}")
        return notes


def _too_noisy(ratio: float) -> str:
    return f"int8 alone leaves the outputs {ratio:.1f} dB above its noise"


class Quantizing:
    """Weights to int8 grids, the coarser the smaller (a `moves.Move`)."""

    def __init__(
        self, assembly: Assembly, prepared: Sequence[Prepared], workers: Workers = HERE
    ) -> None:
        self.assembly, self.prepared = assembly, prepared
        self.each = grid_search.each(prepared, workers)
        self.start = float(np.median([layer.finest for layer in prepared]))
        self.last = REACH * self.start

    def forms(self, coarseness: float) -> list[Integers]:
        """Every layer solved at a coarseness."""
        return [Integers(self.assembly, self.each(grid_search.solve, coarseness))]


def assemble(
    network: Network,
    layers: Sequence[Layer],
    places: Sequence[activations.Place],
    grids: dict[str, activations.Grid],
    harmful: dict[str, float],
) -> Assembly:
    """Put a float network's activations on their grids and make room for its integers."""
    kept = [place for place in places if place.name not in harmful]
    rounded = activations.insert(network, kept, grids)
    quantized, slots = weights.insert(rounded, layers)
    return Assembly(quantized, slots, places, harmful, onnx_file.to_proto(quantized))
