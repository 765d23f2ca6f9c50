"""The file of a quantised network, written again and again with other integers in it.

network -> activations on grids -> placeholders for weights -> ONNX once -> refilled per solution
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx

from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import activations, weights
from packlight.shrink.grid_search import Solved
from packlight.shrink.layers import Layer
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
    """

    network: Network = field(repr=False)
    slots: list[weights.Slot] = field(repr=False)
    places: Sequence[activations.Place]
    harmful: dict[str, float]
    template: onnx.ModelProto = field(repr=False)

    def values(self, solved: Sequence[Solved]) -> dict[str, Array]:
        """What the graph's buffers hold for a solution of every layer."""
        values: dict[str, Array] = {}
        for slot, solution in zip(self.slots, solved, strict=True):
            values.update(slot.values(solution.levels, solution.scale, solution.bias))
        return values

    def file(self, values: dict[str, Array]) -> bytes:
        """The ONNX file that holds these values."""
        filled = onnx_file.refilled(self.template, values)
        return filled.SerializeToString(deterministic=True)


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
