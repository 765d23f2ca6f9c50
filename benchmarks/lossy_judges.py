"""The samples that judge everyone's networks in one run, and what they found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.same_accuracy import WHOLE, Match, Point
from packlight import data as samples_of
from packlight.judge import Verdict, compare, find_task
from packlight.runtimes.onnxruntime import Session
from packlight.types import Array

BATCH = 16


@dataclass
class Judges:
    """The samples that judge, what the original answers, and what everyone answered.

    Args:
        samples: nothing was fitted on them.
        reference: the original.
        wanted: its answers.
        classifier: whether they are scores of classes.
        answers: (tool, setting, bytes) -> outputs.
    """

    samples: samples_of.Samples
    reference: Session
    wanted: tuple[Array, ...]
    classifier: bool
    answers: dict[tuple[str, str, int], tuple[Array, ...]]

    @classmethod
    def of(cls, model: Path, samples: samples_of.Samples) -> Judges:
        """Ask the original first."""
        reference = Session(model)
        wanted = reference.over(samples.batches(BATCH))
        (sample,) = samples.take([0]).batches(1)
        task = find_task(sample, wanted, labelled=samples.labels is not None)
        return cls(samples, reference, wanted, task.classifier, {})

    @property
    def whole(self) -> dict[str, float]:
        """The original's score in every metric."""
        verdict = self._compare(self.wanted, self.wanted)
        if verdict.agreement is None:
            return {"sqnr_db": WHOLE["sqnr_db"]}
        tops = {} if verdict.top1 is None else {"top1": verdict.top1[0]}
        return {"agreement": WHOLE["agreement"], **tops}

    def point(self, tool: str, setting: str, size: int, model: Path, by: str = "") -> Point:
        """Judge a network.

        Raises:
            BadInput: onnxruntime can not run it.
        """
        session = Session(model, inputs=self.reference.inputs)
        answers = session.over(self.samples.batches(BATCH))
        self.answers[tool, setting, size] = answers
        verdict = self._compare(self.wanted, answers)
        scores = {"sqnr_db": verdict.sqnr_db}
        if verdict.agreement is not None:
            scores["agreement"] = verdict.agreement.value
        if verdict.top1 is not None:
            scores["top1"] = verdict.top1[1]
        return Point(tool, setting, size, scores, by)

    def described(self, found: Match) -> dict[str, Any]:
        """A match as the results hold it, with the interval of the difference in its metric."""
        result: dict[str, Any] = {
            "peer": found.peer.to_dict(),
            "ours": found.ours and found.ours.to_dict(),
            "ratio": found.ratio,
        }
        if found.ours is not None and self.classifier:
            theirs, ours = (
                self.answers[point.tool, point.setting, point.size]
                for point in (found.peer, found.ours)
            )
            labels = self.samples.labels if found.metric == "top1" else self._choices()
            drop = compare(theirs, ours, labels, classifier=True).drop1
            result["peers_less_ours"] = drop and drop.to_dict()
        return result

    def _choices(self) -> Array:
        """The original's answers, as labels."""
        return self.wanted[0].reshape(len(self.samples), -1).argmax(1)

    def _compare(self, first: tuple[Array, ...], second: tuple[Array, ...]) -> Verdict:
        return compare(first, second, self.samples.labels, classifier=self.classifier)
