"""Recovery: the compressed network taught by the original, through its own discrete weights.

What is learnt are the original's outputs (knowledge distillation), on whatever samples are given,
distorted as far as the original's answers allow and less and less so towards the end, when little
capacity is left for it; labels only where they are given as well. The
weights are rounded and most of them zero while they learn (`discrete`), and the budget of bits
shrinks as training goes on, so that what is taken away is made good by what is left.

Phases, as shares of the work: the budget shrinks until SHRUNK, in equal ratios and slower towards
the end; weights are rounded from ROUNDED on; from SETTLED on, the choice of weights stays. Channels
that died are taken out now and then, and a step of what is left is less work: there are more.

Sources: Hinton et al., arXiv:1503.02531 (distillation); Zhu & Gupta, arXiv:1710.01878 (gradual
pruning); Oktay et al., arXiv:1906.06624 (rate in the training of a network).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from packlight.learning.memory_order import fastest_order, laid_out
from packlight.network import Network
from packlight.shrink.augment import Distortion
from packlight.shrink.grid_search import Solved
from packlight.shrink.layers import Layer
from packlight.shrink.student import Student, left_of
from packlight.shrink.thinning import macs_by_weight

SHRUNK, ROUNDED, SETTLED = 0.5, 0.3, 0.9
MEASURED = tuple(np.arange(0.3, 0.9, 0.05).tolist())  # when the file is packed to see its cost
NARROWED = tuple(np.arange(0.1, 0.9, 0.05).tolist())  # when dead channels are taken out
BACKWARD = 3  # a step costs this many times what running costs
LEAST_WORK = 0.5  # of a step, whatever is gone: narrow layers run on kernels made for wide ones
LEAST_SHARE = 0.1  # of the budget that goes to weights, whatever the rest costs
TOUCHES, TOUCH_MORE = 6, 1.5  # rounds at the end, and how much more than the excess goes
CHOOSE_EVERY, CHOICES = 50, 100  # steps between two, and how many there are at least
TEMPERATURE = 2.0
LOWEST = 1e-12  # probability, before its logarithm is taken
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
class Lesson:
    """What is taught.

    Args:
        teacher: the original.
        inputs: one tensor per network input, samples along the first axis.
        loss: of the student's outputs against the teacher's.
        labels: (samples,) classes, for a network that classifies: right answers then count as much
            as the teacher's.
        probabilities: the first output holds probabilities; otherwise logits.
    """

    teacher: Network
    inputs: Sequence[Tensor]
    loss: Loss
    labels: Tensor | None = None
    probabilities: bool = False

    def __len__(self) -> int:
        return len(self.inputs[0])

    def missed(self, outputs: tuple[Tensor, ...], chosen: Tensor) -> Tensor:
        """Cross-entropy of the outputs against the labels of the samples chosen; 0 without."""
        if self.labels is None:
            return torch.zeros(())
        return F.cross_entropy(logits_of(outputs[0], self.probabilities), self.labels[chosen])


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    Args:
        budget: bits of the file.
        steps: of training, were the network as large all the time.
        batch: samples of a step.
        distortion: of the samples.
        seed: for the order of the samples and their distortions.
        pace: factor on all learning rates.
    """

    budget: float
    steps: int
    batch: int
    distortion: Distortion = field(default_factory=Distortion)
    seed: int = 0
    pace: float = 1.0


def classifier_loss(probabilities: bool) -> Loss:
    """Divergence of the softened answers.

    Args:
        probabilities: the first output holds probabilities; otherwise logits.
    """

    def loss(outputs: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
        student = F.log_softmax(logits_of(outputs[0], probabilities) / TEMPERATURE, 1)
        teacher = F.log_softmax(logits_of(wanted[0], probabilities) / TEMPERATURE, 1)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * TEMPERATURE**2

    return loss


def logits_of(scores: Tensor, probabilities: bool) -> Tensor:
    """(n, ...) scores as (n, classes) logits."""
    rows = scores.flatten(1)
    return rows.clamp_min(LOWEST).log() if probabilities else rows


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
    layers: Sequence[Layer],
    lesson: Lesson,
    plan: Plan,
    cost: Cost,
    *,
    memory: Memory | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[Solved]:
    """Train a network into a budget of bits.

    Args:
        network: to be trained, fused; left as it is.
        layers: of the network, whose weights become discrete.
        lesson: what it learns.
        plan: how long, and into what budget.
        cost: of the file with these layers, in bits; asked a few times.
        memory: keeps what an interrupted training had reached.
        tick: called once for every step of the plan.
    Returns:
        Every layer's levels, with a scale that all its channels share.
    """
    training = _Training(Student(network, layers), lesson, plan, cost)
    training.run(memory, tick)
    training.touch_up()
    return training.student.solved()


def distil(
    network: Network,
    lesson: Lesson,
    plan: Plan,
    *,
    tied: Mapping[str, nn.Module] | None = None,
    memory: Memory | None = None,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Train a float network, as one from which channels were taken, to answer as the original.

    Args:
        network: left as it is; fused.
        lesson, memory, tick: as of `recover`.
        plan: its budget is not looked at.
        tied: parameter name -> what makes its value, as of `Student`; these modules are trained.
    Returns:
        Every parameter that was trained, by name.
    """
    training = _Training(Student(network, (), tied), lesson, plan, lambda _: 0.0)
    training.run(memory, tick)
    return {name: value.detach() for name, value in training.student.floats().items()}


def scheduled(most: float, budget: float, done: float) -> float:
    """The budget when a share of the shrinking is done: equal ratios, slower towards the end."""
    left = max(1.0 - done, 0.0) ** 2
    return float(np.exp(left * np.log(max(most, budget)) + (1 - left) * np.log(budget)))


def _optimizer(student: Student) -> torch.optim.Adam:
    return torch.optim.Adam(student.groups(), betas=(0.9, 0.99))


class _Training:
    """A training under way: everything that the next step depends on.

    Args:
        student: that is trained.
        lesson, plan, cost: as of `recover`.
    """

    def __init__(self, student: Student, lesson: Lesson, plan: Plan, cost: Cost) -> None:
        self.student, self.lesson, self.plan, self.cost = student, lesson, plan, cost
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.optimizer = _optimizer(student)
        self.rates = [plan.pace * group["lr"] for group in self.optimizer.param_groups]
        self.network = student.network
        self.work = 1.0  # of a step, in steps of the whole network
        self.done = 0.0  # share of the plan's work
        self.narrowings = 0
        self.order = fastest_order(student.module)
        self.most = student.bits()
        self.rest = cost(student.nothing())  # bits of the file beside what the student counts
        self.measured = 0
        self.every = max(min(CHOOSE_EVERY, plan.steps // CHOICES), 1)
        self.step = 0
        self.left = torch.zeros(0, dtype=torch.int64)  # samples of this round still to come

    def run(self, memory: Memory | None, tick: Callable[[], None]) -> None:
        """All steps, or those that a memory says are left."""
        if memory is not None:
            memory.restore(self)
        shown = 0
        while True:
            for _ in range(shown, int(self.done * self.plan.steps)):
                tick()
            shown = int(self.done * self.plan.steps)
            if self.done >= 1.0:
                return
            self.advance()
            if memory is not None:
                memory.keep(self)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, as tensors and numbers."""
        return {
            "student": self.student.state(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "numbers": [self.rest, self.measured, self.step, self.done, self.narrowings],
            "left": self.left,
            "places": [
                [name, axis, torch.from_numpy(left)]
                for (name, axis), left in self.student.places.items()
            ],
            "plan": [self.plan.budget, self.plan.steps],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        if state["plan"] != [self.plan.budget, self.plan.steps]:
            raise ValueError("a state of another plan")
        places = {(name, axis): left.numpy() for name, axis, left in state["places"]}
        if places:
            self._go_on_with(self.student.narrowed_to(places, self._few()))
        self.student.load_state(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.rest, self.measured, self.step, self.done, self.narrowings = state["numbers"]
        self.left = state["left"]

    def advance(self) -> None:
        """One step."""
        done = self.done
        slowed = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + np.cos(np.pi * done))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = float(rate * slowed)
        if self.student.layers and self.step % self.every == 0 < self.step and done < SETTLED:
            if self.narrowings < len(NARROWED) and done >= NARROWED[self.narrowings]:
                self.narrowings += 1
                self._narrow()
            self._choose(done)
        self.student.round(done >= ROUNDED)
        self._learn()
        self.step += 1
        done += self.work / self.plan.steps
        self.done = 1.0 if self.plan.steps * (1.0 - done) < 1e-6 else done  # sums are inexact

    def _narrow(self) -> None:
        narrow, places = self.student.narrowed(self._few())
        if not places:
            return
        state = self.optimizer.state_dict()
        for group in state["param_groups"]:
            for number in group["params"]:
                held = state["state"].get(number, {})
                held.update({key: left_of(places, group["name"], held[key]) for key in held})
        self._go_on_with(narrow)
        self.optimizer.load_state_dict(state)

    def _go_on_with(self, student: Student) -> None:
        self.student = student
        self.optimizer = _optimizer(student)
        macs, whole = (
            sum(macs_by_weight(network).values()) for network in (student.network, self.network)
        )
        if whole:  # the original runs as before
            work = (BACKWARD * macs + whole) / (BACKWARD * whole + whole)
            self.work = max(work, LEAST_WORK)
        self.order = fastest_order(student.module)

    def _few(self) -> tuple[Tensor, ...]:
        return tuple(value[: self.plan.batch] for value in self.lesson.inputs)

    def _choose(self, done: float) -> None:
        if self.measured < len(MEASURED) and done >= MEASURED[self.measured]:
            self.measured += 1
            self.rest = self.cost(self.student.solved()) - self.student.bits()
        aim = max(self.plan.budget - self.rest, LEAST_SHARE * self.plan.budget)
        self.student.choose(scheduled(self.most, aim, done / SHRUNK), place=done < ROUNDED)

    def _learn(self) -> None:
        chosen = self._next()
        samples = tuple(value[chosen] for value in self.lesson.inputs)
        if len(samples) == 1:
            distortion = self.plan.distortion.fading(self.done)
            samples = (distortion(samples[0], self.generator),)
        # not before: what is distorted lies in the usual order again
        samples = laid_out(samples, self.order)
        with torch.no_grad():
            wanted = self.lesson.teacher(*samples)
        outputs = self.student(*samples)
        value = self.lesson.loss(outputs, wanted) + self.lesson.missed(outputs, chosen)
        self.optimizer.zero_grad()
        value.backward()
        self.student.learn()
        self.optimizer.step()

    def _next(self) -> Tensor:
        """A batch of samples' numbers; all samples come once before any comes again."""
        count, batch = len(self.lesson), self.plan.batch
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
