"""The search gone on with retraining: smaller than rounding alone allows.

With a bound on size, the network is trained into that size and taken if it answers nearer to the
original than the one that was only rounded. With a bound on the drop alone, it is trained into one
size after the other, a bisection between the smallest that kept the drop and the largest that did
not. What is compared here are samples that were not trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from packlight import data as samples_of
from packlight.coding.packing import compress
from packlight.learning.checkpoints import Checkpoints
from packlight.learning.threads import threads_for
from packlight.network import Network
from packlight.shrink import preparing, recover
from packlight.shrink.assembly import Assembly, Integers
from packlight.shrink.augment import Distortion, find_distortion
from packlight.shrink.grid_search import Solved
from packlight.shrink.layers import find_layers, put, value_of_name
from packlight.shrink.search import Found, Point
from packlight.shrink.sweeping import sweep
from packlight.types import Array

if TYPE_CHECKING:
    from packlight.shrink.job import Job

EFFORTS = ("fast", "normal", "best")
MACS = {"normal": 4e12, "best": 2.5e13}  # that training may take, forward and backward
SAMPLES = {"normal": 1.2e6, "best": 6e6}  # and how many samples it sees at most
FEWEST_STEPS = 200
BATCHES = ((5e7, 128), (2e8, 32), (np.inf, 16))  # MACs of a sample, samples of a step
BYTES = 2_000_000_000  # of samples held at once
HELD_BACK = 0.2  # of the samples, where no others can say whether training helped
RUNS = 4  # trainings of a bisection
SHRINK = 0.5  # factor on the size at the first of them
SPARE = 8  # bytes, and one of 2,000, that a training leaves of its size
CLOSE_SIZE = 0.95  # sizes this near to each other are not worth a training
DISTORTED = 512  # samples on which distortions are tried
HELD = 512  # samples that decide whether teaching floats helped


def within(size: int) -> int:
    """The packed bytes to train into, so that a size holds afterwards."""
    return size - SPARE - size // 2000


Trained = Callable[[int, int, str], "Point"]
"""Packed bytes, steps of training, name of the stage -> the network trained into that size."""


Tick = Callable[[], None]
Train = Callable[[recover.Plan, Checkpoints, Tick], Any]


class Teaching:
    """Retraining of one fit: what is taught, for how long, and into which sizes.

    Args:
        job: as far as the search without training.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        network = job.network
        learn = job.split.learn
        self.held: samples_of.Samples | None = None
        if job.split.steer is None:
            kept = max(int(len(learn) * (1 - HELD_BACK)), 1)
            learn, self.held = learn.take(range(kept)), learn.take(range(kept, len(learn)))
        self.learn = learn
        enough = len(learn) >= (network.batch or 1) and (self.held is None or len(self.held) > 0)
        self.possible = enough and all(spec.batched for spec in network.inputs)

    def go_on(self, found: Found, trained: Trained) -> tuple[Found, list[Point]]:
        """Train.

        Args:
            found: where the search without training ended.
            trained: how.
        Returns:
            Where it ends with training, and points to go back to, the safest first.
        """
        budget = self.job.budget
        if not self.possible or found.point.visit.coarseness == 0:
            return found, []
        self._prepare()
        if not budget.sized:
            return self._smallest(found, trained)
        wanted = budget.target_size or found.point.visit.packed_bytes
        point = trained(wanted, self._steps(1), "taught")
        visited = [*found.visited, point.visit]
        fits = budget.fits(point.visit.packed_bytes, point.visit.bytes)
        met = budget.fits(found.point.visit.packed_bytes, found.point.visit.bytes)
        held = self.held or self.job.split.steer
        assert held is not None
        if fits and (not met or self.job.measuring.nearer(point, found.point, held)):
            return Found(point, visited, found.binding), []
        return Found(found.point, visited, found.binding), []

    def distilled(self) -> Network:
        """The job's network as it is, floats and all, taught to answer as the original."""
        job = self.job
        if not self.possible:
            return job.network
        self._prepare()

        taught = job.network.copy()
        put(taught, self.floats(job.network, self._steps(1), f"{job.narrowed}floats"))
        return taught if self.distance(taught) < self.distance(job.network) else job.network

    def distance(self, network: Network) -> float:
        """How far a network's answers are from the original's, on samples not trained on."""
        loss = self.job.measuring.output_loss
        with torch.no_grad():
            return sum(float(loss(network(*batch), wanted)) for batch, wanted in self._answered)

    @cached_property
    def _answered(self) -> list[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
        """Samples not trained on, and the original's answers."""
        job = self.job
        held = self.held or job.split.steer or self.learn
        batches = job.measuring.tensors(held.first(HELD), self.batch)
        with torch.no_grad():
            return [(batch, job.teacher(*batch)) for batch in batches]

    def floats(
        self,
        network: Network,
        steps: int,
        stage: str,
        tied: Mapping[str, nn.Module] | None = None,
        *,
        shown: str = "teach floats",
        **plan: Any,
    ) -> dict[str, Tensor]:
        """A network's parameters, trained as floats; `tied` as of `recover.distil`."""

        def train(plan: recover.Plan, memory: Checkpoints, tick: Tick) -> dict[str, Tensor]:
            return recover.distil(network, self.lesson, plan, tied=tied, memory=memory, tick=tick)

        trained: dict[str, Tensor] = self.run(stage, shown, 0, steps, train, **plan)
        return trained

    def run(self, stage: str, shown: str, size: int, steps: int, train: Train, **plan: Any) -> Any:
        """One training, kept: finished it is not repeated, cut off it goes on.

        Args:
            stage: its name.
            shown: what the progress bar says.
            size: packed bytes to train into.
            steps: of training.
            train: the training itself; what it returns, `Stages` can keep.
            plan: what else its plan says, as the samples of a step.
        """
        job = self.job

        def compute() -> Any:
            usual = recover.Plan(8.0 * size, steps, self.batch, self.distortion, job.seed)
            planned = replace(usual, **plan)
            memory = Checkpoints(job.stages.folder / f"{stage}.part")
            work = (job.macs or np.inf) * planned.batch
            with threads_for(work), job.progress.stage(shown, steps) as tick:
                result = train(planned, memory, tick)
            memory.forget()
            return result

        return job.stages.run(stage, compute)

    def _smallest(self, found: Found, trained: Trained) -> tuple[Found, list[Point]]:
        """The smallest that keeps the drop."""
        allowed = self.job.budget.max_drop or 0.0
        kept = [found.point]  # largest first
        visited = list(found.visited)
        too_small = 0.0
        for run in range(RUNS):
            best = kept[-1].visit.packed_bytes
            wanted = SHRINK * best if not too_small else float(np.sqrt(too_small * best))
            if too_small > CLOSE_SIZE * best:
                break
            point = trained(int(wanted), self._steps(RUNS), f"taught-{run}")
            visited.append(point.visit)
            if point.visit.packed_bytes < best and self.job.measuring.drop(point) <= allowed:
                kept.append(point)
            else:
                too_small = wanted
        binding = "max_drop" if len(kept) > 1 else found.binding
        return Found(kept[-1], visited, binding), kept[:-1]

    def _prepare(self) -> None:
        job = self.job
        sample_bytes = sum(value.nbytes for value in self.learn.take([0]).arrays())
        most = max(int(BYTES / max(sample_bytes, 1)), 1)
        with job.progress.stage("read samples"):
            learn = self.learn.first(most)
            inputs = tuple(torch.from_numpy(value) for value in learn.arrays())
        labels = None
        if job.labels:
            assert learn.labels is not None  # `Job` has looked
            labels = torch.from_numpy(learn.labels)
        self.lesson = recover.Lesson(
            job.teacher, inputs, job.measuring.output_loss, labels, job.measuring.task.probabilities
        )
        few = tuple(value[:DISTORTED] for value in inputs)
        self.distortion = Distortion()
        if job.measuring.task.classifier and job.lessons is None:
            self.distortion = find_distortion(few, self._answers, job.seed)

    def _answers(self, batch: Tensor) -> Tensor:
        with torch.no_grad():
            parts = [
                self.job.teacher(part)[0].flatten(1).argmax(1) for part in batch.split(self.batch)
            ]
        return torch.cat(parts)

    @property
    def batch(self) -> int:
        """Samples of a step."""
        if self.job.network.batch is not None:
            return self.job.network.batch
        macs = self.job.macs or 0
        return next(size for most, size in BATCHES if macs <= most)

    def _steps(self, parts: int) -> int:
        """Of one training, where the effort is shared by so many."""
        effort = self.job.effort
        samples = min(
            MACS[effort] / (recover.BACKWARD * max(self.job.macs or 0, 1)), SAMPLES[effort]
        )
        samples = self.job.lessons or samples
        return max(int(samples / self.batch / parts), FEWEST_STEPS)


class Levels:
    """Trains a network's weights on integer grids (`recover`).

    Args:
        teaching: what and how long.
        assembly: of the job's network, whose levels are trained.
    """

    def __init__(self, teaching: Teaching, assembly: Assembly) -> None:
        self.teaching, self.job, self.assembly = teaching, teaching.job, assembly

    def __call__(self, size: int, steps: int, stage: str) -> Point:
        """The network trained into a packed size, as a point of the search."""
        job = self.job
        layers = find_layers(job.network)

        def cost(solved: list[Solved]) -> float:
            _, left = self._swept(solved)
            file = self.assembly.file(self.assembly.values(left))  # its sizes are right
            return 8.0 * len(compress(file, "max", verify=False))

        def train(plan: recover.Plan, memory: Checkpoints, tick: Tick) -> list[dict[str, Any]]:
            lesson = self.teaching.lesson
            solved = recover.recover(
                job.network, layers, lesson, plan, cost, memory=memory, tick=tick
            )
            return [one.state() for one in solved]

        # activations are calibrated anew afterwards, which costs some bytes more, or less
        taught = self.teaching.run(stage, "teach", within(size), steps, train)
        return self._point([Solved.of(state) for state in taught], stage)

    def _point(self, solved: list[Solved], stage: str) -> Point:
        """The trained levels in the graph."""
        swept, left = self._swept(solved)
        assembly = preparing.assembled(self.job, swept, f"{stage}-")
        return self.job.measuring.point([Integers(assembly, left)], float("nan"))

    def _swept(self, solved: Sequence[Solved]) -> tuple[Network, list[Solved]]:
        """The network with these levels, without the channels that are dead, and its own levels."""
        network = self.job.network.copy()
        layers = find_layers(network)
        with torch.no_grad():
            for layer, one in zip(layers, solved, strict=True):
                weight = torch.from_numpy(one.levels).float() * float(one.scale[0])
                value_of_name(network, layer.weight).copy_(weight)
                if layer.bias is not None and one.bias is not None:
                    value_of_name(network, layer.bias).copy_(torch.from_numpy(one.bias))
        teaching = self.teaching
        few = tuple(value[: teaching.batch] for value in teaching.lesson.inputs)
        swept = sweep(network, [few]).network
        left = []
        for layer, one in zip(find_layers(swept), solved, strict=True):
            weight = value_of_name(swept, layer.weight).detach().numpy()
            levels = np.rint(weight / one.scale[0]).astype(np.int8)
            bias: Array | None = None
            if layer.bias is not None:
                bias = value_of_name(swept, layer.bias).detach().double().numpy()
            scale = np.full(layer.shape[layer.axis], one.scale[0])
            left.append(Solved(levels, scale, bias, one.damage, one.bias_step))
        return swept, left
