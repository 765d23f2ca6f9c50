"""The reference for files that were written from a Network's graph: the graph in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from packlight.data.samples import runs
from packlight.errors import BadInput
from packlight.graph import CLAMPS, aten, is_call, is_weight, quantized
from packlight.layerwise.measure import Place, Tally
from packlight.network import Network
from packlight.types import Array

#: calls that kernels take in behind others; a layer ends after them
ENDINGS = (aten.batch_norm, *CLAMPS, quantized.quantize_per_tensor)
#: calls that give their input's numbers
PASSING = (
    aten._to_copy,
    aten.alias,
    aten.clone,
    aten.contiguous,
    aten.dropout,
    aten.flatten,
    aten.permute,
    aten.reshape,
    aten.squeeze,
    aten.t,
    aten.to,
    aten.transpose,
    aten.unsqueeze,
    aten.view,
    quantized.dequantize_per_channel,
    quantized.dequantize_per_tensor,
)


def place_of(node: fx.Node) -> Place:
    """What a layer that ends at a node is called."""
    start = node
    while is_call(start, *ENDINGS) and isinstance(start.args[0], fx.Node):
        before = start.args[0]
        if before.op != "call_function" or len(before.users) > 1 or is_call(before, *PASSING):
            break
        start = before
    kind = str(getattr(start.target, "overloadpacket", start.target)).rpartition(".")[2]
    kind = kind.removesuffix("_per_tensor")
    return Place(node.name, _owner(start) or start.name, kind, _step(node))


def is_constant(node: fx.Node) -> bool:
    """Whether a node depends on no input."""
    if node.op == "placeholder":
        return False
    return node.op == "get_attr" or all(map(is_constant, node.all_input_nodes))


def add_runs(
    network: Network,
    tallies: Mapping[str, Tally],
    given: Mapping[str, Array],
    samples: Sequence[Array],
) -> None:
    """Compare what a runtime made with what the graph makes of it.

    Args:
        network: whose graph is the reference.
        tallies: place -> where the figures go.
        given: place -> what the runtime made there, (runs, ...), as real numbers.
        samples: one array per network input.
    """
    for index, (called, _) in enumerate(runs(samples, network.inputs, network.batch)):
        inputs = [torch.from_numpy(value) for value in called]
        clean = _Judge(network.module, dict.fromkeys(given)).values(inputs)
        own = _Judge(network.module, {key: value[index] for key, value in given.items()})
        computed = own.values(inputs)
        for key, tally in tallies.items():
            tally.add(computed[key], given[key][index], clean[key])


class _Judge(fx.Interpreter):
    """Runs a graph, with another's values put in behind every place."""

    def __init__(self, module: fx.GraphModule, given: Mapping[str, Array | None]) -> None:
        super().__init__(module)
        self._given = given
        self._seen: dict[str, Array] = {}

    def values(self, inputs: Sequence[Tensor]) -> dict[str, Array]:
        """What every place's node makes, as real numbers."""
        with torch.no_grad():
            self.run(*inputs)
        return self._seen

    def run_node(self, node: fx.Node) -> Any:
        made = super().run_node(node)
        if node.name not in self._given:
            return made
        scale, zero = _grid(node) or (1.0, 0)
        self._seen[node.name] = (made.numpy().astype(np.float64) - zero) * scale
        put = self._given[node.name]
        if put is None:
            return made
        if put.shape != tuple(made.shape):
            raise BadInput(f"layer {node.name} has shape {put.shape}, not {tuple(made.shape)}")
        values = put.astype(np.float64) / scale + zero
        if not made.is_floating_point():
            values = np.rint(values)
        return torch.from_numpy(values).to(made.dtype)


def _owner(node: fx.Node) -> str | None:
    """The module that holds a node's weight."""
    for source in node.all_input_nodes:
        if not is_constant(source):
            continue
        while not is_weight(source) and source.all_input_nodes:
            source = source.all_input_nodes[0]
        name = str(source.target).removesuffix("_quantized")
        return name.rpartition(".")[0] or name
    return None


def _grid(node: fx.Node) -> tuple[float, int] | None:
    if not is_call(node, quantized.quantize_per_tensor):
        return None
    return float(np.float32(node.args[1])), int(node.args[2])


def _step(node: fx.Node) -> float | None:
    """Of the grid that a node's value is on, if it can be seen to be on one."""
    found = _grid(node)
    return None if found is None else found[0]
