"""The network that learns: weights that are discrete, tied or free, with their learning rates.

No gradient reaches a row without weights: what is dead stays dead. So it may go on without,
`narrowed`, and learns the same in less time. A channel that nobody reads is not dead yet: gradients
reach the weights that could read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from packlight.graph import is_weight
from packlight.network import Network, flat
from packlight.shrink import discrete
from packlight.shrink.discrete import DiscreteWeight
from packlight.shrink.grid_search import Solved
from packlight.shrink.layers import Layer, find_layers, value_of_name
from packlight.shrink.sweeping import Places, composed, sweep
from packlight.types import Array

LEARNING_RATE = 0.01  # of a weight's usual size, a step
STEP_RATE = 1e-4  # of the logarithm of a grid's step, a step of training
ROW_BITS = 6.0  # of a bias, packed
BIAS_SHARE = 1 / 8  # of the step that does a weight's harm: biases are not trained on their grid


class Student:
    """The network that learns.

    Args:
        network: left as it is.
        layers: whose weights are discrete.
        tied: parameter name -> what makes its value from parameters of its own
            (`packlight.shrink.tying`); all others are free.
        whole: the layers of the student that this one is narrowed from.
        places: which parts of its weights these are.
    """

    def __init__(
        self,
        network: Network,
        layers: Sequence[Layer],
        tied: Mapping[str, nn.Module] | None = None,
        *,
        whole: Sequence[Layer] | None = None,
        places: Places | None = None,
    ) -> None:
        self.network = network
        self.module = network.copy().module
        self.tied = dict(tied or {})
        self.layers = layers
        self.whole, self.places = whole or layers, places or {}
        ends = _ends(network)
        # that go with the last weight of their row; a gate without weights still is one
        self.biases = {
            layer.bias: layer.weight
            for layer in layers
            if layer.bias is not None and layer.kind != "recurrent" and layer.node not in ends
        }
        self.weights = {
            layer.weight: DiscreteWeight(
                layer,
                value_of_name(network, layer.weight),
                ROW_BITS if layer.bias in self.biases else 0.0,
            )
            for layer in layers
        }
        self.free = {
            name: value.detach().clone().requires_grad_()
            for name, value in _free(network)
            if name not in self.weights and name not in self.tied
        }
        self.fisher = {
            layer.bias: torch.zeros_like(self.free[layer.bias])
            for layer in layers
            if layer.bias in self.free
        }

    def __call__(self, *samples: Tensor) -> tuple[Tensor, ...]:
        values: dict[str, Tensor] = {name: weight() for name, weight in self.weights.items()}
        values.update(self.floats())
        return flat(torch.func.functional_call(self.module, values, samples))

    def floats(self) -> dict[str, Tensor]:
        """The parameters that are not discrete, tied and free."""
        made = {name: tied() for name, tied in self.tied.items()}
        return made | {name: self._free(name) for name in self.free}

    def _free(self, name: str) -> Tensor:
        """A free parameter; the bias of a row without weights is zero, so that the row can go."""
        value, weight = self.free[name], self.biases.get(name)
        return value if weight is None else value * self.weights[weight].alive()

    def groups(self) -> list[dict[str, Any]]:
        """Parameters with their learning rates, in proportion to their sizes."""
        groups: list[dict[str, Any]] = []
        sizes = {name: _size(weight.shadow) for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            own = {"name": name}
            groups.append({"params": [weight.shadow], "lr": LEARNING_RATE * sizes[name], **own})
            groups.append({"params": [weight.log_step], "lr": STEP_RATE, **own})
        for name, tied in self.tied.items():
            for value in tied.parameters():
                rate = LEARNING_RATE * _size(value)
                groups.append({"params": [value], "lr": rate, "name": name})
        usual = float(np.median(list(sizes.values()))) if sizes else 0.0
        for name, value in self.free.items():
            rate = LEARNING_RATE * max(_size(value), usual)
            groups.append({"params": [value], "lr": rate, "name": name})
        return groups

    def state(self) -> dict[str, Any]:
        """Everything that training changes."""
        weights = {
            name: {
                "shadow": weight.shadow.detach(),
                "log_step": weight.log_step.detach(),
                "kept": weight.kept,
                "fisher": weight.fisher,
                "rounding": weight.rounding,
            }
            for name, weight in self.weights.items()
        }
        return {
            "weights": weights,
            "tied": {name: tied.state_dict() for name, tied in self.tied.items()},
            "free": {name: value.detach() for name, value in self.free.items()},
            "fisher": self.fisher,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Put everything where `state` had it."""
        with torch.no_grad():
            for name, value in state["free"].items():
                self.free[name].copy_(value)
            for name, value in state["fisher"].items():
                self.fisher[name].copy_(value)
            for name, held in state["tied"].items():
                self.tied[name].load_state_dict(held)
            for name, held in state["weights"].items():
                weight = self.weights[name]
                weight.shadow.copy_(held["shadow"])
                weight.log_step.copy_(held["log_step"])
                weight.kept, weight.fisher = held["kept"], held["fisher"]
                weight.rounding = held["rounding"]

    def bits(self) -> float:
        """Of all weights."""
        return sum(weight.bits() for weight in self.weights.values())

    def choose(self, budget: float, *, place: bool = False) -> None:
        """Choose the weights to keep, in all layers at once.

        Args:
            budget: bits of all weights.
            place: put every grid where it belongs, too.
        """
        layers = list(self.weights.values())
        chosen = discrete.choose([weight.choice() for weight in layers], budget)
        for weight, kept in zip(layers, chosen, strict=True):
            weight.keep(kept)
            if place:
                weight.place_step()

    def round(self, rounding: bool) -> None:
        """Whether the network runs on rounded weights."""
        for weight in self.weights.values():
            weight.rounding = rounding

    def learn(self) -> None:
        """Take up the gradients of a step."""
        for weight in self.weights.values():
            weight.learn()
        for name, fisher in self.fisher.items():
            gradient = self.free[name].grad
            if gradient is not None:
                discrete.take_up(fisher, gradient)

    def nothing(self) -> list[Solved]:
        """The layers with all of their weights zero, and the biases that go with them."""
        return [
            replace(
                one,
                levels=0 * one.levels,
                bias=0 * one.bias
                if one.bias is not None and layer.bias in self.biases
                else one.bias,
            )
            for layer, one in zip(self.layers, self.solved(), strict=True)
        ]

    def narrowed(self, samples: tuple[Tensor, ...]) -> tuple[Student, Places]:
        """The student without what is dead, in the same state.

        Args:
            samples: a batch, on which the answers are compared.
        Returns:
            Itself and no places where nothing is dead; otherwise another, and what it has of this.
        """
        masked = self.network.copy()
        with torch.no_grad():
            for name, weight in self.weights.items():
                value_of_name(masked, name).copy_(weight.shadow * (weight.kept | weight.fresh()))
            for name in self.free:
                value_of_name(masked, name).copy_(self._free(name))
        swept = sweep(masked, [samples], unread=False)
        if not swept.places:
            return self, {}
        places = composed(self.places, swept.places)
        layers = find_layers(swept.network)
        narrow = Student(swept.network, layers, whole=self.whole, places=places)
        narrow.load_state(_at(swept.places, self.state()))
        return narrow, swept.places

    def narrowed_to(self, places: Places, samples: tuple[Tensor, ...]) -> Student:
        """The student with these places alone, as `narrowed` had left them."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.kept = torch.zeros_like(weight.kept)
                weight.kept[_grid(places, name, weight.kept.shape)] = True
                weight.shadow.fill_(1.0)
                weight.fisher.zero_()
        return self.narrowed(samples)[0]

    def solved(self) -> list[Solved]:
        """The layers as they are now, the whole of them."""
        found = self._solved()
        if not self.places:
            return found
        by_name = {layer.weight: one for layer, one in zip(self.layers, found, strict=True)}
        return [_widened(layer, by_name[layer.weight], self.places) for layer in self.whole]

    def _solved(self) -> list[Solved]:
        found = []
        for layer in self.layers:
            weight = self.weights[layer.weight]
            step = np.float32(weight.step)
            scale = np.full(layer.shape[layer.axis], step)
            if layer.bias is None:
                found.append(Solved(weight.levels(), scale, None, np.nan))
                continue
            bias = self._free(layer.bias).detach().double().numpy()
            fisher = self.fisher[layer.bias]
            if layer.bias in self.biases:
                fisher = fisher[weight.alive()]
            coarse = BIAS_SHARE * weight.step_like(fisher)
            found.append(Solved(weight.levels(), scale, bias, np.nan, coarse))
        return found


def _grid(places: Places, name: str, shape: Sequence[int]) -> tuple[Array, ...]:
    """Indices of what is left of a weight."""
    return np.ix_(*[places.get((name, axis), np.arange(size)) for axis, size in enumerate(shape)])


def left_of(places: Places, name: str, value: Any) -> Any:
    """What is left of a tensor of a weight's shape; what is none stays as it is."""
    whole = not torch.is_tensor(value) or value.ndim == 0
    return value if whole else value[_grid(places, name, value.shape)]


def _at(places: Places, state: dict[str, Any]) -> dict[str, Any]:
    """A student's state with what is left of it."""

    def left(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: left_of(places, name, value) for name, value in values.items()}

    weights = {
        name: {key: left_of(places, name, value) for key, value in held.items()}
        for name, held in state["weights"].items()
    }
    return {
        "weights": weights,
        "tied": state["tied"],
        "free": left(state["free"]),
        "fisher": left(state["fisher"]),
    }


def _widened(layer: Layer, one: Solved, places: Places) -> Solved:
    """A layer in its whole size, with zeros for what is gone."""
    levels = np.zeros(layer.shape, one.levels.dtype)
    levels[_grid(places, layer.weight, layer.shape)] = one.levels
    scale = np.full(layer.shape[layer.axis], one.scale[0])
    bias = one.bias
    if bias is not None:
        assert layer.bias is not None
        bias = np.zeros(len(scale))
        bias[_grid(places, layer.bias, bias.shape)] = one.bias
    return replace(one, levels=levels, scale=scale, bias=bias)


def _size(value: Tensor) -> float:
    return float(value.detach().square().mean().sqrt())


def _free(network: Network) -> list[tuple[str, Tensor]]:
    """Float parameters that some node reads."""
    read = {str(node.target) for node in network.module.graph.nodes if is_weight(node)}
    return [
        (name, value)
        for name, value in network.module.named_parameters()
        if name in read and value.is_floating_point()
    ]


def _ends(network: Network) -> set[fx.Node]:
    """Nodes from which no other layer's weight is reached: their biases are the answers' own."""
    ends: set[fx.Node] = set()
    for node in reversed(network.module.graph.nodes):
        readers = list(node.users)
        weighted = any(is_weight(source) for user in readers for source in user.all_input_nodes)
        if (
            node.op != "placeholder"
            and not weighted
            and all(user.op == "output" or user in ends for user in readers)
        ):
            ends.add(node)
    return ends
