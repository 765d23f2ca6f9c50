"""How the loss of one sample pulls at the weights of every layer.

G, the gradient with respect to a layer's rows, is a sum over positions: what pulls at the outputs
of one, times the inputs that they read. Of few positions it is less work as a product,

    G = basis @ others,     basis (R, k) with orthonormal columns, others (k, n),

k little more than there are positions. Of a layer that is linear, whose weight nobody else reads,
both come from what pulls at its outputs: its own gradient, which may hold a hundred million numbers
for one image, is never written out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from packlight.graph import set_value
from packlight.network import Network, flat
from packlight.shrink.layers import Layer, value_of_name
from packlight.types import Array

FEW = 1 / 3  # of a gradient's rows and columns: of a lower rank, two factors are less work
ALL = 1 - 1e-4  # of a gradient's norm
SPARE = 4  # columns

Look = Callable[[Layer, fx.Node, Any], None]
"""A layer, a call of it, and the value that the call multiplies with the weight."""


@dataclass(frozen=True)
class Gradient:
    """G of one layer and one sample.

    Args:
        others: (G, k, n), or G itself.
        basis: (G, R, k); None where `others` is all.
    """

    others: Tensor
    basis: Tensor | None = None

    @property
    def energy(self) -> float:
        """|G|^2."""
        return float(torch.linalg.vector_norm(self.others, dtype=torch.float64)) ** 2


class Pulls(fx.Interpreter):
    """Runs a network on one sample after the other, and tells what a loss of it pulls at.

    Args:
        network: of which, from now on, these layers' weights and biases ask for gradients.
        layers: of this network.
        look: called for each call of a solvable layer, in the order of the graph.
    """

    def __init__(
        self, network: Network, layers: Sequence[Layer], look: Look = lambda *seen: None
    ) -> None:
        super().__init__(network.module)
        require_gradients(network, layers)
        self._network, self._layers, self._look = network, layers, look
        self._calls: dict[fx.Node, list[Layer]] = {}
        for layer in layers:
            for call in layer.calls if layer.solvable else ():
                self._calls.setdefault(call, []).append(layer)
        self._shapes = {layer.name: layer.matrix for layer in layers}
        self._linear = _linear(network, layers)
        self._seen: dict[str, list[tuple[Tensor, Tensor]]] = {}  # of those, what goes in and out
        self._positions: dict[str, int] = {}

    def outputs(self, sample: Sequence[Array]) -> tuple[Tensor, ...]:
        """The network's."""
        self._seen, self._positions = {}, {}
        return flat(self.run(*map(torch.tensor, sample)))

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        for layer in self._calls.get(node, ()):
            read = layer.read_by(node)
            value = result if read is node else self.env[read]
            with torch.no_grad():
                self._look(layer, node, value)
            before = self._positions.get(layer.name, 0)
            self._positions[layer.name] = before + _positions(layer, value, result)
            if layer.name in self._linear:
                self._seen.setdefault(layer.name, []).append((value.detach(), result))
        return result

    def of(self, value: Tensor) -> tuple[dict[str, Gradient], dict[str, Tensor]]:
        """The gradients of a value made of the outputs.

        Returns:
            Of each layer that it depends on; and of the layers' biases, by the layer's name.
        """
        if not value.requires_grad:
            return {}, {}
        few = {layer.name for layer in self._layers if self._few(layer)}
        unwritten = few & self._seen.keys()
        products = [layer for layer in self._layers if layer.name in unwritten]
        wholes = [layer for layer in self._layers if layer.name not in unwritten]
        biased = [layer for layer in self._layers if layer.bias]
        outputs = [out for layer in products for _, out in self._seen[layer.name]]
        weights = [value_of_name(self._network, layer.weight) for layer in wholes]
        biases = [value_of_name(self._network, layer.bias) for layer in biased if layer.bias]
        found = iter(torch.autograd.grad(value, [*outputs, *weights, *biases], allow_unused=True))
        gradients: dict[str, Gradient] = {}
        for layer in products:
            pairs = [(next(found), read) for read, _ in self._seen[layer.name]]
            pulls = [(pull, read) for pull, read in pairs if pull is not None]
            if pulls:
                gradients[layer.name] = _product(pulls)
        for layer in wholes:
            gradient = next(found)
            if gradient is not None:
                rows = _rows_of(layer, gradient)
                thin = in_factors(rows, self._positions[layer.name]) if layer.name in few else None
                gradients[layer.name] = thin or Gradient(rows)
        of_biases = {layer.name: next(found) for layer in biased}
        return gradients, {name: one for name, one in of_biases.items() if one is not None}

    def _few(self, layer: Layer) -> bool:
        """Whether two factors are less work than the whole."""
        _, rows, columns = self._shapes[layer.name]
        return 0 < self._positions.get(layer.name, 0) <= FEW * min(rows, columns)


def _linear(network: Network, layers: Sequence[Layer]) -> set[str]:
    """The layers whose outputs are their inputs times the weight, which nobody else reads."""
    readers: dict[str, set[fx.Node]] = {}
    for node in network.module.graph.nodes:
        if node.op == "get_attr":
            readers.setdefault(node.target, set()).update(node.users)
    linear = [layer for layer in layers if layer.kind in ("linear", "matmul")]
    return {layer.name for layer in linear if readers[layer.weight] <= set(layer.calls)}


def _positions(layer: Layer, value: Any, result: Any) -> int:
    """At how many positions a call reads its inputs."""
    if layer.kind == "conv":
        return int(result.numel()) // layer.shape[0]
    if layer.kind == "conv_transpose":
        return int(value.numel()) // layer.shape[0]
    inputs = value[0] if layer.states is not None else value
    return int(inputs.numel()) // max(int(inputs.shape[-1]), 1)


def _product(pulls: Sequence[tuple[Tensor, Tensor]]) -> Gradient:
    """G of what pulls at the outputs of a layer's calls, and of their inputs."""
    outputs, inputs = (
        torch.cat([value.reshape(-1, value.shape[-1]) for value in values]).float()
        for values in zip(*pulls, strict=True)
    )
    basis, left = torch.linalg.qr(outputs.T)
    return Gradient((left @ inputs)[None], basis[None])


def in_factors(rows: Tensor, positions: int) -> Gradient | None:
    """A gradient that has been written out, as a product.

    Args:
        rows: (G, R, n), of one sample.
        positions: of its inputs, fewer than R and n.
    Returns:
        None where that is not all, as of a weight that is also read in other ways.
    """
    # any so many sums of its columns span all that it spans; and some more, as two may be alike
    count = min(positions + SPARE, *rows.shape[1:])
    sums = torch.randn(rows.shape[2], count, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(rows @ sums)[0]
    found = Gradient(basis.transpose(1, 2) @ rows, basis)
    return found if found.energy >= ALL**2 * Gradient(rows).energy else None


def _rows_of(layer: Layer, gradient: Tensor) -> Tensor:
    """(G, R, n) float32, a gradient with respect to a layer's weight."""
    return torch.from_numpy(np.ascontiguousarray(layer.rows(gradient.numpy()))).float()


def require_gradients(network: Network, layers: Sequence[Layer]) -> None:
    """Make sure that exactly the layers' weights and biases ask for gradients."""
    names = {name for layer in layers for name in (layer.weight, layer.bias) if name}
    for name, value in [*network.module.named_parameters(), *network.module.named_buffers()]:
        if name in names and not isinstance(value, torch.nn.Parameter):
            set_value(network.module, name, value)
    for name, parameter in network.module.named_parameters():
        parameter.requires_grad_(name in names)
