"""What a student sees and is marked by: samples in an order of every epoch's own, in views, and
others that it never learns from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from packlight import data as samples_of
from packlight.data.inputs import layout_of
from packlight.judge import Task
from packlight.learning.distributed import Batch
from packlight.learning.parting import Parts, part
from packlight.learning.pupils import Pupil
from packlight.learning.shelves import Scaling, Shelf, shelve
from packlight.learning.teachers import Teacher
from packlight.learning.views import Views, find_views
from packlight.progress import Progress
from packlight.shrink.recover import squared_loss

BATCH = 128  # samples of a step
TRIED = 512  # samples on which views are tried


class Course:
    """The samples of one distillation.

    Args:
        parts: what is learnt from, what chooses, what judges.
        pixels: the samples as pixels, where they are images.
        teacher: whose answers count.
        task: what the teacher is for.
        spec: of the teacher's first input.
        labels: whether labels count.
        seed: for every random choice.
        progress: told of every stage.
    """

    def __init__(
        self,
        parts: Parts,
        pixels: tuple[samples_of.Dataset, Scaling] | None,
        teacher: Teacher,
        task: Task,
        spec: Any,
        *,
        labels: bool,
        seed: int,
        progress: Progress,
    ) -> None:
        self._teacher, self._task, self._progress = teacher, task, progress
        self._seed, self._spec = seed, spec
        self._labels = parts.learn.labels if labels else None
        self._held_labels, self._marks = parts.held.labels, parts.held.labels if labels else None
        self.shelf, self._held = _shelved(parts, pixels, seed, progress)
        self.batch = min(BATCH, len(self.shelf))
        self.rounds = max(len(self.shelf) // self.batch, 1)  # steps of an epoch
        self.views = self._views()
        self._wanted: tuple[Tensor, ...] | None = None

    def batches(self, steps: int) -> Callable[[int], Batch]:
        """The samples of each step; every sample comes once in an epoch."""
        targets = None if self._labels is None else torch.from_numpy(self._labels)
        orders: dict[int, Tensor] = {}

        def batch_of(step: int) -> Batch:
            epoch, place = divmod(step, self.rounds)
            if epoch not in orders:
                orders.clear()
                generator = _generator(self._seed, epoch)
                orders[epoch] = torch.randperm(len(self.shelf), generator=generator)
            chosen = orders[epoch][place * self.batch : (place + 1) * self.batch]
            taken = self.shelf.take(chosen)
            if len(taken) == 1:
                views = self.views.fading(step / steps)
                taken = (views(taken[0], _generator(self._seed, epoch, place)),)
            return taken if targets is None else (*taken, targets[chosen])

        return batch_of

    def score(self, pupil: nn.Module) -> float:
        """Share of held samples answered right, or as the teacher; else minus the error."""
        assert isinstance(pupil, Pupil)
        if self._wanted is None:
            self._wanted = self._answers()
        outputs = _over(self._held, lambda inputs: pupil.learning(*inputs))
        if self._task.classifier:
            return float((outputs[0].argmax(1) == self._wanted[0]).double().mean())
        return -float(squared_loss(outputs, self._wanted))

    def _answers(self) -> tuple[Tensor, ...]:
        """What the held samples should be answered with."""
        if self._marks is not None:
            return (torch.from_numpy(self._marks),)
        outputs = _over(self._held, lambda inputs: self._teacher(inputs)[0])
        return (outputs[0].argmax(1),) if self._task.classifier else outputs

    def _views(self) -> Views:
        """How far pictures may be turned and moved while the teacher still answers as before."""
        taken = self._held.take(torch.arange(min(len(self._held), TRIED)))
        layout = layout_of(self._spec)
        if len(taken) != 1 or taken[0].ndim != 4 or not self._task.classifier or layout is None:
            return Views()

        def answers(pictures: Tensor) -> Tensor:
            (values,) = self._held.numbers((pictures,))
            found = [self._teacher((few,))[0][0] for few in values.split(BATCH)]
            return torch.cat(found).argmax(1)

        right = self._held_labels
        known = answers(taken[0]) if right is None else torch.from_numpy(right[: len(taken[0])])

        def good(pictures: Tensor) -> float:
            return float((answers(pictures) == known).double().mean())

        with self._progress.stage("try views"):
            return find_views(taken[0], layout.last, good, self._seed)


def _shelved(
    parts: Parts, pixels: tuple[samples_of.Dataset, Scaling] | None, seed: int, progress: Progress
) -> tuple[Shelf, Shelf]:
    """The samples to learn from, and those that choose, in memory."""
    shelves = []
    for samples, take in ((parts.learn, "learn"), (parts.held, "held")):
        source = None
        if pixels is not None:
            dataset, scaling = pixels
            source = (getattr(part(dataset, seed, parts.judge), take), scaling)
        shelves.append(shelve(samples, source, progress))
    learn, held = shelves
    return learn, held


def _generator(*numbers: int) -> torch.Generator:
    """Random numbers of their own for every row of numbers."""
    words = np.random.SeedSequence([abs(one) for one in numbers]).generate_state(2)
    return torch.Generator().manual_seed(int(words[0]) << 32 | int(words[1]))


def _over(
    shelf: Shelf, answer: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Answers on all samples of a shelf."""
    with torch.no_grad():
        parts = [
            answer(shelf.numbers(shelf.take(chosen)))
            for chosen in torch.arange(len(shelf)).split(BATCH)
        ]
    return tuple(torch.cat(values) for values in zip(*parts, strict=True))
