"""What every network of a fit is measured by: bytes, answers beside the original's, clock and RAM.

Two kinds of samples: those that may steer the search (`split.steer`, or `split.fit` where there are
no others), and those that only judge (`split.judge`). All answers come from onnxruntime, on the
bytes that would be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from packlight import data as samples_of
from packlight.coding.packing import compress
from packlight.errors import BadInput
from packlight.judge import Flip, Verdict, compare, find_task, flips
from packlight.network import Network
from packlight.runtimes.onnxruntime import Session
from packlight.shrink import curvature, narrowing
from packlight.shrink.budget import Budget
from packlight.shrink.moves import Form
from packlight.shrink.pace import Pace
from packlight.shrink.recover import Loss, classifier_loss, squared_loss
from packlight.shrink.search import Point, Visit
from packlight.types import Array
from packlight.units import show_size

EvalFn = Callable[[Callable[..., tuple[Array, ...]]], float]

BATCH = 16  # samples run at once
FEW = 64  # samples whose answers show what a network is for
CURVE_SAMPLES = 256  # on which every visited point is scored
DECIDING = 1024  # on which one of two ways to a size is chosen


class Measuring:
    """The original's answers, and how far those of other networks are from them.

    Args:
        network: fused, with the inputs that every network of the fit has.
        original: the path or the bytes of the file that answers are compared with.
        split: the samples.
        budget: what is asked for.
        eval_fn: judges instead of accuracy, if given.
        runtimes: that a speed is asked for on.
        folder: where files may lie while their RAM is planned, or they are timed.
    Raises:
        BadInput: a largest drop of what has no accuracy, or labels that the network does not have.
    """

    def __init__(
        self,
        network: Network,
        original: str | bytes,
        split: samples_of.Split,
        budget: Budget,
        eval_fn: EvalFn | None,
        runtimes: str | Sequence[str],
        folder: Path,
    ) -> None:
        self._network, self._original, self._split = network, original, split
        self._budget, self._eval_fn, self._folder = budget, eval_fn, folder
        self._reference = self.session(original)
        self._pace = Pace(network, original, runtimes, folder)
        inputs = split.fit.first(FEW).arrays()
        outputs = self._reference.over([inputs])
        self.task = find_task(inputs, outputs, labelled=split.judge.labels is not None)
        self._checked()
        self._steer = split.steer or split.fit
        self._curve = self._steer.first(CURVE_SAMPLES)
        self._curve_inputs: list[Sequence[Array]] = list(self._curve.batches(BATCH))
        self._curve_wanted = self._reference.over(self._curve_inputs)
        self._steered: list[Sequence[Array]] = []
        self._steered_wanted: tuple[Array, ...] = ()
        if budget.max_drop is not None:
            self._steered = list(self._steer.batches(BATCH))
            self._steered_wanted = self._reference.over(self._steered)
        self._base = eval_fn(self._reference) if eval_fn else 0.0
        self._judged: tuple[Array, ...] | None = None

    def session(self, model: str | bytes) -> Session:
        """A file in onnxruntime, fed as the original is."""
        return Session(model, inputs=self._network.inputs)

    def tensors(self, samples: samples_of.Samples, size: int = BATCH) -> Tensors:
        """Samples as the tensors of one run after the other."""
        return Tensors(samples, self._network, size)

    def point(self, forms: Sequence[Form], coarseness: float) -> Point:
        """The smallest of forms that compute the same, packed, and scored on steering samples."""
        sizes = [(form, compress(form.file, "max", verify=False)) for form in forms]
        form, packed = min(sizes, key=lambda pair: self._size(pair[0].file, pair[1]))
        file = form.file
        outputs = self.session(file).over(self._curve_inputs)
        verdict = compare(
            self._curve_wanted, outputs, self._curve.labels, classifier=self.task.classifier
        )
        visit = Visit(coarseness, len(file), len(packed), verdict)
        return Point(visit, file, packed, form)

    def drop(self, point: Point) -> float:
        """Accuracy lost on the samples that may steer."""
        session = self.session(point.file)
        if self._eval_fn:
            return self._base - self._eval_fn(session)
        outputs = session.over(self._steered)
        labels = self._steer.labels
        found = compare(self._steered_wanted, outputs, labels, classifier=True).drop
        assert found is not None
        return found

    def better(self, point: Point, other: Point) -> bool:
        """Whether a point is nearer to what was asked: more exact in the size, or smaller."""
        a, b = point.visit, other.visit
        fits = [self._budget.fits(one.packed_bytes, one.bytes) for one in (a, b)]
        if not self._budget.sized or fits != [True, True]:
            return fits[0] >= fits[1] and a.packed_bytes < b.packed_bytes
        return self.nearer(point, other, self._steer.first(DECIDING))

    def nearer(self, point: Point, other: Point, samples: samples_of.Samples) -> bool:
        """Whether a point answers nearer to the original than another."""
        batches = list(samples.batches(BATCH))
        wanted = self._reference.over(batches)
        one, two = (self._distance(batches, wanted, p.file) for p in (point, other))
        return one < two

    def distance(self, file: bytes) -> float:
        """How far a file's answers are from the original's, on samples that may steer."""
        return self._distance(self._curve_inputs, self._curve_wanted, file)

    @property
    def output_loss(self) -> Loss:
        """What retraining makes small."""
        if self.task.classifier:
            return classifier_loss(self.task.probabilities)
        return squared_loss

    @property
    def curvature_loss(self) -> curvature.Loss:
        """What sensitivities are measured with."""
        if self.task.classifier:
            return curvature.classifier_loss(self.task.probabilities)
        few = self._split.fit.first(16)
        outputs = self._reference.over([few.arrays()])
        return curvature.projection_loss(
            [float(np.sqrt(np.square(value.astype(np.float64)).mean())) for value in outputs]
        )

    def speedup(self, file: bytes) -> float:
        """How many times as fast as the original a file is."""
        return self._pace.speedup(file, self._one(self._split.fit))

    def ram(self, file: bytes) -> int:
        """Bytes of RAM that a file needs, planned."""
        return narrowing.ram_of(file, self._folder)

    def latency(self, point: Point) -> dict[str, Any]:
        """Milliseconds of both networks on one sample, as the report holds them."""
        found = self._pace.beside(point.file, self._one(self._split.judge))
        return {
            "runtime": found.runtime,
            "original": vars(found.original),
            "compressed": vars(found.compressed),
            "ratio": found.ratio,
            "threads": 1,
            "batch": self._network.batch or 1,
        }

    def judge(self, point: Point) -> tuple[Verdict, tuple[float, float] | None, list[Flip] | None]:
        """The judging samples' word on a point.

        Returns:
            The comparison with the original; `eval_fn` of both, if there is one; the samples that
            are answered differently, if they are classified.
        """
        judge = self._split.judge
        if self._judged is None:
            self._judged = self._reference.over(judge.batches(BATCH))
        session = self.session(point.file)
        outputs = session.over(judge.batches(BATCH))
        classifier = self.task.classifier
        verdict = compare(self._judged, outputs, judge.labels, classifier=classifier)
        score = (self._base, self._eval_fn(session)) if self._eval_fn else None
        flipped = flips(self._judged, outputs, judge.labels) if classifier else None
        return verdict, score, flipped

    def kept(self, lost: float | None) -> bool:
        """Whether no more is lost than is allowed."""
        allowed = self._budget.max_drop
        return allowed is None or (lost is not None and lost <= allowed + 1e-12)

    def broken(self, point: Point, verdict: Verdict, lost: float | None) -> str | None:
        """A sentence about a budget that is not met."""
        size = self._budget.broken_size(point.visit.packed_bytes, point.visit.bytes)
        if size is not None:
            return size
        if self.kept(lost):
            return self._too_slow(point) or self._too_much_ram(point)
        what = "eval_fn's loss" if self._eval_fn else "the drop"
        at = show_size(point.visit.packed_bytes)
        return (
            f"{what} is {lost:.2%} on {verdict.n} samples at {at} packed, "
            f"max-drop allows {self._budget.max_drop:.2%}"
        )

    def _checked(self) -> None:
        """What is asked for can be measured, or a sentence."""
        if self._budget.max_drop is not None and not self.task.classifier and not self._eval_fn:
            raise BadInput(
                "max-drop needs a network that classifies, or eval_fn to score it; "
                "for this one give a target size"
            )
        if self.task.classifier:
            samples_of.check_labels(self._split.judge, self.task.classes)

    def _too_slow(self, point: Point) -> str | None:
        """A sentence about the speed, if it is asked for and not there."""
        wanted = self._budget.speedup
        if wanted is None:
            return None
        measured = self.speedup(point.file)
        if measured >= wanted:
            return None
        return (
            f"the file is {measured:.2f} times as fast as the original in {self._pace.runtimes}, "
            f"speedup asks for {wanted:g}"
        )

    def _too_much_ram(self, point: Point) -> str | None:
        """A sentence about the RAM, if it is bounded and more is needed."""
        most = self._budget.max_ram
        needed = 0 if most is None else self.ram(point.file)
        if most is None or needed <= most:
            return None
        return f"the file needs {show_size(needed)} of RAM, max-ram allows {show_size(most)}"

    def _size(self, file: bytes, packed: bytes) -> tuple[bool, int]:
        """What forms are chosen by: that the bounds are met, then the size that is asked for."""
        budget = self._budget
        alone = budget.target_size is None and budget.target_installed_size is not None
        return not budget.fits(len(packed), len(file)), len(file) if alone else len(packed)

    def _distance(
        self, batches: Sequence[Sequence[Array]], wanted: Sequence[Array], file: bytes
    ) -> float:
        """How far a file's answers are from those wanted."""
        outputs = [torch.from_numpy(value) for value in self.session(file).over(batches)]
        right = [torch.from_numpy(value) for value in wanted]
        return float(self.output_loss(tuple(outputs), tuple(right)))

    def _one(self, samples: samples_of.Samples) -> Sequence[Array]:
        """What one run is called with."""
        (sample,) = samples.take([0]).batches(1)
        ((called, _),) = samples_of.runs(sample, self._network.inputs, self._network.batch)
        return called


class Tensors:
    """Samples as the tensors of one run after the other, as often as they are iterated.

    Args:
        samples: to run.
        network: whose inputs they are.
        size: samples of a run, where the network leaves that open.
    """

    def __init__(self, samples: samples_of.Samples, network: Network, size: int) -> None:
        self._samples, self._inputs = samples, network.inputs
        alone = any(not spec.batched and spec.shape for spec in self._inputs)
        self._size = network.batch or (1 if alone else size)

    def __len__(self) -> int:
        return -(-len(self._samples) // self._size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        for batch in self._samples.batches(self._size):
            for called, _ in samples_of.runs(batch, self._inputs, self._size):
                yield tuple(torch.from_numpy(value) for value in called)
