"""The training loop that every verb uses: steps, validation, early stop, checkpoints.

A batch is a function of the step's number alone, so a training that is cut off goes on from the
weights, their average, the optimizer's memory and a number, to the same end. AdamW learns, at a
rate that `schedule` gives; what is validated and handed out is the weights' average (`averages`).
With several processes (`distributed`), each step is that of one process with the whole batch.

Source: Loshchilov & Hutter, arXiv:1711.05101 (AdamW).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from packlight.errors import BadInput, PacklightError
from packlight.learning.averages import Average, copied, put_state
from packlight.learning.batch_norms import over_all_processes
from packlight.learning.checkpoints import Checkpoints
from packlight.learning.distributed import Batch, World, joined
from packlight.learning.memory_order import fastest_order, laid_out, put_in_usual_order
from packlight.learning.schedule import share_of_rate
from packlight.progress import Progress

BETAS = (0.9, 0.99)  # of AdamW
CURVE = 100  # points of a loss curve that is shown

BatchOf = Callable[[int], Batch]
"""Number of a step, from 0 -> its samples: tensors that count them along their first axis."""

Loss = Callable[[nn.Module, Batch], Tensor]
"""The module in training mode, a batch -> the mean of its samples' losses."""

Validate = Callable[[nn.Module], float]
"""The module in eval mode, with the averaged weights -> its score, larger is better."""


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    Args:
        steps: of training, at least 1.
        rate: of learning, at its highest.
        weight_decay: of weights; biases and the parameters of norms have none.
        warmup: share of the steps in which the rate rises.
        average: decay of the average of the weights; 0 hands out the last step's own.
        every: steps between two validations.
        patience: validations without gain before it stops early; 0 never does.
        seed: for what the network itself draws, as dropout.
    Raises:
        BadInput: a setting is not possible.
    """

    steps: int
    rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup: float = 0.05
    average: float = 0.998
    every: int = 500
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.every < 1 or self.patience < 0:
            raise BadInput(
                f"a training of {self.steps} steps, validated every {self.every}, is not possible; "
                "give 1 or more"
            )
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise BadInput(f"a learning rate of {self.rate:g} is not possible; give one above 0")
        for name in ("warmup", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput(f"{name} {getattr(self, name):g} is not from 0 to below 1")


@dataclass(frozen=True)
class History:
    """How a training went.

    Args:
        losses: of every step, before it.
        scores: (steps done, score) of every validation.
        best: the steps after which the weights handed out were taken.
        stopped: whether it stopped early.
    """

    losses: list[float] = field(repr=False)
    scores: list[tuple[int, float]]
    best: int
    stopped: bool

    def to_dict(self) -> dict[str, Any]:
        """As files hold it."""
        return {**vars(self), "scores": [list(pair) for pair in self.scores]}

    @classmethod
    def of(cls, held: dict[str, Any]) -> History:
        """From what a file holds."""
        return cls(**{**held, "scores": [(step, score) for step, score in held["scores"]]})

    def curve(self, points: int = CURVE) -> list[tuple[int, float]]:
        """(steps done, mean loss of the steps since the last point), at most so many points."""
        length = max(math.ceil(len(self.losses) / points), 1)
        parts = [self.losses[i : i + length] for i in range(0, len(self.losses), length)]
        ends = [min((i + 1) * length, len(self.losses)) for i in range(len(parts))]
        return [(end, sum(part) / len(part)) for end, part in zip(ends, parts, strict=True)]


def train(
    module: nn.Module,
    batch_of: BatchOf,
    loss: Loss,
    plan: Plan,
    *,
    validate: Validate | None = None,
    memory: Checkpoints | None = None,
    progress: Progress | None = None,
    name: str = "train",
) -> History:
    """Train a module in place.

    Args:
        module: left in eval mode, with the best validated weights, or without `validate` with the
            last ones. Tensors of four dimensions lie in `memory_order` meanwhile.
        batch_of: gives every step's samples; the same for the same number, on every process.
        loss: what to make small; a mean over samples.
        plan: for how long, and how fast.
        validate: scores the module between steps; only the leading process asks.
        memory: where the training is kept; an interrupted one goes on. The caller forgets it.
        progress: told of every step.
        name: of the stage that is shown.
    Raises:
        PacklightError: the loss or its gradient is NaN or infinite; says at which step.
    """
    with joined() as world, torch.random.fork_rng(devices=[]):
        shown = (progress if world.leads else None) or Progress()
        order = fastest_order(module)
        module.to(memory_format=order)
        try:
            with over_all_processes(module, world.size), shown.stage(name, plan.steps) as tick:
                training = _Training(module, batch_of, loss, plan, validate, memory, world, order)
                training.run(tick)
        finally:
            put_in_usual_order(module)
            module.eval()
        return History(training.losses, training.scores, training.best_step, training.stopped)


class _Training:
    """A training under way: everything that the next step depends on."""

    def __init__(
        self,
        module: nn.Module,
        batch_of: BatchOf,
        loss: Loss,
        plan: Plan,
        validate: Validate | None,
        memory: Checkpoints | None,
        world: World,
        order: torch.memory_format,
    ) -> None:
        self.module, self.batch_of, self.loss, self.plan = module, batch_of, loss, plan
        self.validate, self.world, self.order = validate, world, order
        self.memory = memory if world.leads else None
        self.parameters = [value for value in module.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(
            _groups(self.parameters, plan.weight_decay), lr=plan.rate, betas=BETAS, fused=True
        )
        self.average = Average(module, plan.average)
        self.step = 0
        self.losses: list[float] = []
        self.scores: list[tuple[int, float]] = []
        self.best: dict[str, Tensor] | None = None
        self.best_step = 0
        self.stopped = False

    def run(self, tick: Callable[[], None]) -> None:
        """All steps, or those that a memory says are left; then the best weights."""
        if self.memory is not None:
            self.memory.restore(self)
        if self.world.size > 1:
            self.load_state(self.world.from_leader(self.state()))
        for _ in range(self.step):
            tick()
        while self.step < self.plan.steps and not self.stopped:
            self._advance()
            tick()
            if self.validate is not None and (
                self.step % self.plan.every == 0 or self.step == self.plan.steps
            ):
                self._look()
            if self.memory is not None:
                self.memory.keep(self)
        if self.best is None:
            self.best, self.best_step = self.average.values, self.step
        put_state(self.module, self.best)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, as tensors and numbers."""
        return {
            "plan": asdict(self.plan),
            "module": copied(self.module),
            "average": self.average.values,
            "averaged": self.average.count,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "losses": self.losses,
            "scores": [list(pair) for pair in self.scores],
            "best": self.best,
            "best_step": self.best_step,
            "stopped": self.stopped,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        if state["plan"] != asdict(self.plan):
            raise ValueError("a state of another plan")
        put_state(self.module, state["module"])
        self.average.values, self.average.count = state["average"], state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.losses = state["step"], state["losses"]
        self.scores = [(step, score) for step, score in state["scores"]]
        self.best, self.best_step = state["best"], state["best_step"]
        self.stopped = state["stopped"]

    def _advance(self) -> None:
        """One step."""
        plan, world = self.plan, self.world
        rate = plan.rate * share_of_rate(self.step, plan.steps, plan.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed((plan.seed * plan.steps + self.step) * world.size + world.rank)
        batch, share = world.slice_of(self.batch_of(self.step))
        self.module.train()
        value = self.loss(self.module, laid_out(batch, self.order)) * share
        self.optimizer.zero_grad()
        value.backward()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        total = value.detach()
        world.add([*gradients, total])
        size = torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(float(total)) or not math.isfinite(float(size)):
            raise PacklightError(self._diverged(float(total)))
        self.optimizer.step()
        self.average.follow()
        self.losses.append(float(total))
        self.step += 1

    def _diverged(self, value: float) -> str:
        what = "the gradient of the loss" if math.isfinite(value) else "the loss"
        kept = ""
        if self.memory is not None:
            if not self.memory.path.exists():
                self.memory.keep_now(self)
            kept = f"; the last good checkpoint is {self.memory.path}"
        return (
            f"{what} is NaN or infinite at step {self.step + 1} of {self.plan.steps}; try a lower "
            f"--rate, as {self.plan.rate / 3:.1g}{kept}"
        )

    def _look(self) -> None:
        """Score the averaged weights; keep the best."""
        assert self.validate is not None
        own = copied(self.module)
        put_state(self.module, self.average.values)
        self.module.eval()
        with torch.no_grad():
            score = self.validate(self.module) if self.world.leads else 0.0
        score = float(self.world.from_leader(score))
        put_state(self.module, own)
        before = [value for _, value in self.scores]
        self.scores.append((self.step, score))
        if not before or score > max(before):
            self.best = {name: value.clone() for name, value in self.average.values.items()}
            self.best_step = self.step
        since = sum(step > self.best_step for step, _ in self.scores)
        self.stopped = bool(self.plan.patience) and since >= self.plan.patience


def _groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Weights, which decay; biases and what norms scale by, which do not."""
    weights = [value for value in parameters if value.ndim > 1]
    others = [value for value in parameters if value.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
