"""Which layers become low-rank factors, and how far: one exchange rate over all of them.

Every layer has a list of forms (`factored.candidates`), each with the loss it costs and the
parameters it holds. At coarseness c a parameter is worth c^2 of loss, and every layer takes the
form with the least loss + c^2 parameters by itself; staying whole is one of the forms. That is the
lower convex hull of the best network for each number of parameters (Lagrange).

Source: Shoham & Gersho, IEEE Trans. ASSP 36 (1988) 1445 (allocation by one multiplier).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from packlight.coding import rate
from packlight.errors import BadInput
from packlight.graph import is_weight
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import factored
from packlight.shrink.curvature import Curvature
from packlight.shrink.factored import Candidate
from packlight.shrink.grid_search import BIT_PRICE, Prepared, Solved
from packlight.shrink.layers import Layer, value_of_name
from packlight.shrink.moves import LayerFigures
from packlight.types import Array

SHARES = (0.85, 0.7, 0.5, 0.35, 0.25, 0.125, 0.06)  # of a layer's parameters that forms keep


@dataclass(frozen=True)
class Options:
    """What a layer could become.

    Args:
        layer: the layer.
        parameters: that it holds whole, without the bias.
        forms: with fewer parameters.
        losses: of each form, the estimated rise of the loss.
    """

    layer: Layer
    parameters: int
    forms: list[Candidate] = field(repr=False)
    losses: list[float]

    def best(self, price: float) -> tuple[Candidate | None, float]:
        """The form to take where a parameter is worth so much loss, and its loss; None: whole."""
        choice, loss, least = None, 0.0, price * self.parameters
        for form, rise in zip(self.forms, self.losses, strict=True):
            if rise + price * form.parameters < least:
                choice, loss, least = form, rise, rise + price * form.parameters
        return choice, loss

    def prices(self) -> tuple[float, float]:
        """The worth of a parameter at which a layer is first factored, and last goes further."""
        points = [(self.parameters, 0.0)]
        points += [(f.parameters, rise) for f, rise in zip(self.forms, self.losses, strict=True)]
        first = min(_slope(points[0], point) for point in points[1:])
        smallest = min(points)
        last = max(_slope(point, smallest) for point in points if point[0] > smallest[0])
        return first, last


def _slope(larger: tuple[int, float], smaller: tuple[int, float]) -> float:
    """Loss per parameter saved between (parameters, loss) of two forms."""
    return max(smaller[1] - larger[1], 0.0) / (larger[0] - smaller[0])


def options(prepared: Sequence[Prepared], curvatures: Mapping[str, Curvature]) -> list[Options]:
    """Every layer that can be in factors, with its forms.

    Args:
        prepared: the layers.
        curvatures: by layer name.
    """
    found = []
    for one in prepared:
        layer = one.layer
        if layer.name not in curvatures or _read_twice(layer):
            continue
        size = one.weights.size
        forms = factored.candidates(layer, one.weights, curvatures[layer.name], SHARES)
        forms = [form for form in forms if form.parameters < size]
        if forms:
            losses = [one.sensitivity * form.error for form in forms]
            found.append(Options(layer, size, forms, losses))
    return found


def _read_twice(layer: Layer) -> bool:
    return any(
        is_weight(source) and source.target == layer.weight and len(source.users) > 1
        for source in layer.node.all_input_nodes
    )


class Factoring:
    """Layers to factors, the coarser the fewer parameters (a `moves.Move`).

    Raises:
        BadInput: no layer can be factored.
    """

    def __init__(
        self, network: Network, prepared: Sequence[Prepared], found: Sequence[Options]
    ) -> None:
        if not found:
            raise BadInput(
                "no layer of this network can be factored: that takes convolutions in one group, "
                "linear layers or products, larger than their factors; leave out --only factorize"
            )
        self._network, self._prepared, self._options = network, prepared, found
        prices = [option.prices() for option in found]
        self.start = float(np.sqrt(np.median([first for first, _ in prices]))) or 1e-12
        self.last = float(np.sqrt(max(last for _, last in prices)))
        self._made: dict[tuple[int, ...], Factors] = {}

    def forms(self, coarseness: float) -> list[Factors]:
        """The network whose layers take the form that is worth it at a coarseness."""
        chosen = [option.best(coarseness**2) for option in self._options]
        key = tuple(id(form) for form, _ in chosen)  # the forms live as long as this
        if key not in self._made:
            picked = {
                option.layer.name: (form, loss)
                for option, (form, loss) in zip(self._options, chosen, strict=True)
                if form is not None
            }
            self._made[key] = Factors(self._network, self._prepared, picked)
        return [self._made[key]]


@dataclass(frozen=True)
class Factors:
    """A float network with some layers in factors (a `moves.Form`).

    Args:
        whole: the network before.
        prepared: its layers.
        picked: layer name -> its form and the estimated rise of the loss.
    """

    whole: Network = field(repr=False)
    prepared: Sequence[Prepared] = field(repr=False)
    picked: Mapping[str, tuple[Candidate, float]] = field(repr=False)

    @cached_property
    def _network(self) -> Network:
        return factored.replace(self.whole, {name: form for name, (form, _) in self.picked.items()})

    @cached_property
    def file(self) -> bytes:
        """The ONNX file."""
        return onnx_file.to_bytes(self._network)

    def network(self) -> Network:
        """The graph."""
        return self._network

    def layers(self) -> list[LayerFigures]:
        """What became of each layer, all its factors in one line."""
        return [self._figures(one) for one in self.prepared]

    def _figures(self, one: Prepared) -> LayerFigures:
        layer = one.layer
        form, damage = self.picked.get(layer.name, (None, 0.0))
        tensors: tuple[str, ...] = (layer.weight,)
        if form is not None:
            tensors = factored.names_of(layer.weight, form.factors)
        numbers: Array = np.concatenate(
            [value_of_name(self._network, name).detach().numpy().ravel() for name in tensors]
        )
        bias = 0 if one.bias is None else 4 * one.bias.size
        return LayerFigures.in_floats(
            *(layer, "float" if form is None else _called(form), numbers),
            tensors=tensors,
            installed=numbers.nbytes + bias,
            damage=damage,
        )

    def notes(self) -> list[str]:
        """What was decided, in sentences."""
        return [notes_on({name: form for name, (form, _) in self.picked.items()})]


def worth_it(
    found: Sequence[Options], prepared: Sequence[Prepared], solved: Sequence[Solved], c: float
) -> dict[str, Candidate]:
    """Layers that lose less in factors than whole, both on grids of coarseness c.

    A layer on its grid costs its damage and the price of its bits; so do its factors, in
    proportion to the numbers they hold, on top of what the rank loses.

    Args:
        found: what the layers could become.
        prepared, solved: every layer, and its grid at that coarseness.
        c: the coarseness.
    Returns:
        Layer name -> what it had better become.
    """
    grids = {one.layer.name: solution for one, solution in zip(prepared, solved, strict=True)}
    better = {}
    for option in found:
        grid = grids[option.layer.name]
        cost = grid.damage + BIT_PRICE * c**2 * rate.estimate(grid.levels)
        form, _ = option.best(cost / option.parameters)
        if form is not None:
            better[option.layer.name] = form
    return better


def notes_on(picked: Mapping[str, Candidate]) -> str:
    """Which layers are in factors, in a sentence."""
    if not picked:
        return "no layer is in factors: none is worth it at this size"
    told = [f"{name} ({_called(form)})" for name, form in picked.items()]
    shown = ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")
    return f"layers in factors: {shown}"


def _called(form: Candidate) -> str:
    return f"{form.form}, rank {' x '.join(str(rank) for rank in form.rank)}"
