"""Recovery: the compressed network taught by the original, through its own discrete weights.

No labels: what is learnt are the original's outputs (knowledge distillation), on whatever samples
are given, distorted as far as the original's answers allow. The weights are rounded and most of
them zero while they learn (`discrete`), and the budget of bits shrinks as training goes on, so that
what is taken away is made good by what is left.

Phases, as shares of the steps: the budget shrinks until SHRUNK, in equal ratios and slower towards
the end; weights are rounded from ROUNDED on; from SETTLED on, the choice of weights stays.

Sources: Hinton et al., arXiv:1503.02531 (distillation); Zhu & Gupta, arXiv:1710.01878 (gradual
pruning); Oktay et al., arXiv:1906.06624 (rate in the training of a network).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from packlight.graph import is_weight
from packlight.network import Network, flat
from packlight.shrink import discrete
from packlight.shrink.augment import Distortion
from packlight.shrink.discrete import DiscreteWeight
from packlight.shrink.grid_search import Solved
from packlight.shrink.layers import Layer, value_of_name

SHRUNK, ROUNDED, SETTLED = 0.65, 0.35, 0.9
MEASURED = (0.4, 0.65, 0.88)  # when the file is packed to see what it costs
LEAST_SHARE = 0.1  # of the budget that goes to weights, whatever the rest costs
TOUCHES, TOUCH_MORE = 6, 1.5  # rounds at the end, and how much more than the excess goes
CHOOSE_EVERY, CHOICES = 50, 100  # steps between two, and how many there are at least
LEARNING_RATE = 0.01  # of a weight's usual size, a step
STEP_RATE = 1e-4  # of the logarithm of a grid's step, a step of training
TEMPERATURE = 2.0
LEAST_RATE = 0.01  # of the learning rate, at the end

Cost = Callable[[list[Solved]], float]
"""What the file costs with these layers, in bits."""

Loss = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]
"""The network's outputs and the original's -> what to make small."""


class Memory(Protocol):
    """Keeps a training, so that one that is cut off goes on."""

    def restore(self, training: Any) -> None:
        """Put a training where the last one of its kind was cut off."""

    def keep(self, training: Any) -> None:
        """Called after every step."""


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    Args:
        budget: bits of the file.
        steps: of training.
        batch: samples of a step.
        distortion: of the samples.
        seed: for the order of the samples and their distortions.
    """

    budget: float
    steps: int
    batch: int
    distortion: Distortion = field(default_factory=Distortion)
    seed: int = 0


def classifier_loss(probabilities: bool) -> Loss:
    """Divergence of the softened answers.

    Args:
        probabilities: the first output holds probabilities; otherwise logits.
    """

    def logits(outputs: tuple[Tensor, ...]) -> Tensor:
        scores = outputs[0].flatten(1)
        return scores.clamp_min(1e-12).log() if probabilities else scores

    def loss(outputs: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
        student = F.log_softmax(logits(outputs) / TEMPERATURE, 1)
        teacher = F.log_softmax(logits(wanted) / TEMPERATURE, 1)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * TEMPERATURE**2

    return loss


def squared_loss(outputs: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
    """Squared difference of every float output, in units of its power."""
    total = torch.zeros(())
    for output, right in zip(outputs, wanted, strict=True):
        if right.is_floating_point():
            power = right.square().mean().clamp_min(1e-12)
            total = total + (output - right).square().mean() / power
    return total


def recover(
    network: Network,
    teacher: Network,
    layers: Sequence[Layer],
    inputs: Sequence[Tensor],
    loss: Loss,
    plan: Plan,
    cost: Cost,
    *,
    memory: Memory | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[Solved]:
    """Train a network into a budget of bits.

    Args:
        network: to be trained, fused; left as it is.
        teacher: the original.
        layers: of the network, whose weights become discrete.
        inputs: one tensor per network input, samples along the first axis.
        loss: against the original's outputs.
        plan: how long, and into what budget.
        cost: of the file with these layers, in bits; asked a few times.
        memory: keeps what an interrupted training had reached.
        tick: called after every step.
    Returns:
        Every layer's levels, with a scale that all its channels share.
    """
    training = _Training(network, teacher, layers, inputs, loss, plan, cost)
    if memory is not None:
        memory.restore(training)
        for _ in range(training.step):
            tick()
    while training.step < plan.steps:
        training.advance()
        if memory is not None:
            memory.keep(training)
        tick()
    training.touch_up()
    return training.student.solved()


def scheduled(most: float, budget: float, done: float) -> float:
    """The budget when a share of the shrinking is done: equal ratios, slower towards the end."""
    left = max(1.0 - done, 0.0) ** 2
    return float(np.exp(left * np.log(max(most, budget)) + (1 - left) * np.log(budget)))


def distil(
    network: Network,
    teacher: Network,
    inputs: Sequence[Tensor],
    loss: Loss,
    plan: Plan,
    *,
    tick: Callable[[], None] = lambda: None,
) -> Network:
    """Train a float network, as one from which channels were taken, to answer as the original.

    Args:
        network: left as it is; fused.
        teacher, inputs, loss, tick: as of `recover`.
        plan: its budget is not looked at.
    """
    training = _Training(network, teacher, (), inputs, loss, plan, lambda _: 0.0)
    while training.step < plan.steps:
        training.advance()
        tick()
    trained = network.copy()
    with torch.no_grad():
        for name, value in training.student.free.items():
            value_of_name(trained, name).copy_(value)
    return trained


class _Training:
    """A training under way: everything that the next step depends on.

    Args: as of `recover`.
    """

    def __init__(
        self,
        network: Network,
        teacher: Network,
        layers: Sequence[Layer],
        inputs: Sequence[Tensor],
        loss: Loss,
        plan: Plan,
        cost: Cost,
    ) -> None:
        self.teacher = teacher
        # convolutions train a third faster with channels last
        self.inputs = [
            value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
            for value in inputs
        ]
        self.loss, self.plan, self.cost = loss, plan, cost
        self.student = Student(network, layers)
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.optimizer = torch.optim.Adam(self.student.groups(), betas=(0.9, 0.99))
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.most = self.student.bits()
        nothing = [replace(one, levels=0 * one.levels) for one in self.student.solved()]
        self.rest = cost(nothing)  # bits of the file beside what the student counts
        self.measured = 0
        self.every = max(min(CHOOSE_EVERY, plan.steps // CHOICES), 1)
        self.step = 0
        self.left = torch.zeros(0, dtype=torch.int64)  # samples of this round still to come

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, as tensors and numbers."""
        return {
            "student": self.student.state(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "numbers": [self.rest, self.measured, self.step],
            "left": self.left,
            "plan": [self.plan.budget, self.plan.steps],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        if state["plan"] != [self.plan.budget, self.plan.steps]:
            raise ValueError("a state of another plan")
        self.student.load_state(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.rest, self.measured, self.step = state["numbers"]
        self.left = state["left"]

    def advance(self) -> None:
        """One step."""
        done = self.step / self.plan.steps
        slowed = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + np.cos(np.pi * done))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = float(rate * slowed)
        if self.student.layers and self.step % self.every == 0 < self.step and done < SETTLED:
            self._choose(done)
        self.student.round(done >= ROUNDED)
        self._learn()
        self.step += 1

    def _choose(self, done: float) -> None:
        if self.measured < len(MEASURED) and done >= MEASURED[self.measured]:
            self.measured += 1
            self.rest = self.cost(self.student.solved()) - self.student.bits()
        aim = max(self.plan.budget - self.rest, LEAST_SHARE * self.plan.budget)
        self.student.choose(scheduled(self.most, aim, done / SHRUNK))
        if done < ROUNDED:
            self.student.place_steps()

    def _learn(self) -> None:
        chosen = self._next()
        samples = tuple(value[chosen] for value in self.inputs)
        if len(samples) == 1:
            samples = (self.plan.distortion(samples[0], self.generator),)
        with torch.no_grad():
            wanted = self.teacher(*samples)
        value = self.loss(self.student(*samples), wanted)
        self.optimizer.zero_grad()
        value.backward()
        self.student.learn()
        self.optimizer.step()

    def _next(self) -> Tensor:
        """A batch of samples' numbers; all samples come once before any comes again."""
        count, batch = len(self.inputs[0]), self.plan.batch
        if len(self.left) < min(batch, count):
            self.left = torch.randperm(count, generator=self.generator)
        chosen, self.left = self.left[:batch], self.left[batch:]
        return chosen

    def touch_up(self) -> None:
        """Where the file is still too large, take more weights away and settle again."""
        for _ in range(TOUCHES):
            size = self.cost(self.student.solved())
            if size <= self.plan.budget:
                return
            self.student.choose(self.student.bits() - TOUCH_MORE * (size - self.plan.budget))
            for _ in range(max(self.plan.steps // 50, 1)):
                self._learn()


class Student:
    """The network that learns: its layers' weights discrete, its other parameters free."""

    def __init__(self, network: Network, layers: Sequence[Layer]) -> None:
        self.module = network.copy().module
        self.layers = layers
        self.weights = {
            layer.weight: DiscreteWeight(layer, value_of_name(network, layer.weight))
            for layer in layers
        }
        self.free = {
            name: value.detach().clone().requires_grad_()
            for name, value in _free(network)
            if name not in self.weights
        }
        ends = _ends(network)
        self.biases = {
            layer.bias: layer.weight
            for layer in layers
            if layer.bias is not None and layer.node not in ends
        }

    def __call__(self, *samples: Tensor) -> tuple[Tensor, ...]:
        values: dict[str, Tensor] = {name: weight() for name, weight in self.weights.items()}
        values.update({name: self._free(name) for name in self.free})
        return flat(torch.func.functional_call(self.module, values, samples))

    def _free(self, name: str) -> Tensor:
        """A free parameter; the bias of a row without weights is zero, so that the row can go."""
        value, weight = self.free[name], self.biases.get(name)
        return value if weight is None else value * self.weights[weight].alive()

    def groups(self) -> list[dict[str, Any]]:
        """Parameters with their learning rates, in proportion to their sizes."""
        groups: list[dict[str, Any]] = []
        sizes = {name: _size(weight.shadow) for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            groups.append({"params": [weight.shadow], "lr": LEARNING_RATE * sizes[name]})
            groups.append({"params": [weight.log_step], "lr": STEP_RATE})
        usual = float(np.median(list(sizes.values()))) if sizes else 0.0
        for value in self.free.values():
            groups.append({"params": [value], "lr": LEARNING_RATE * max(_size(value), usual)})
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
        return {"weights": weights, "free": {k: v.detach() for k, v in self.free.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put everything where `state` had it."""
        with torch.no_grad():
            for name, value in state["free"].items():
                self.free[name].copy_(value)
            for name, held in state["weights"].items():
                weight = self.weights[name]
                weight.shadow.copy_(held["shadow"])
                weight.log_step.copy_(held["log_step"])
                weight.kept, weight.fisher = held["kept"], held["fisher"]
                weight.rounding = held["rounding"]

    def bits(self) -> float:
        """Of all weights."""
        return sum(weight.bits() for weight in self.weights.values())

    def choose(self, budget: float) -> None:
        """Choose the weights to keep, in all layers at once."""
        chosen = discrete.choose([weight.choice() for weight in self.weights.values()], budget)
        for weight, kept in zip(self.weights.values(), chosen, strict=True):
            weight.keep(kept)

    def place_steps(self) -> None:
        """Put every grid where its weights are."""
        for weight in self.weights.values():
            weight.place_step()

    def round(self, rounding: bool) -> None:
        """Whether the network runs on rounded weights."""
        for weight in self.weights.values():
            weight.rounding = rounding

    def learn(self) -> None:
        """Take up the gradients of a step."""
        for weight in self.weights.values():
            weight.learn()

    def solved(self) -> list[Solved]:
        """The layers as they are now."""
        found = []
        for layer in self.layers:
            weight = self.weights[layer.weight]
            step = np.float32(weight.step)
            bias = None if layer.bias is None else self._free(layer.bias).detach().double().numpy()
            found.append(
                Solved(weight.levels(), np.full(layer.shape[layer.axis], step), bias, np.nan)
            )
        return found


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
