"""Any two ONNX files side by side: sizes, answers, speed."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packlight import data as samples_of
from packlight.coding.packing import compress
from packlight.errors import BadInput
from packlight.files import refuse_packed
from packlight.judge import Verdict, compare, find_task
from packlight.progress import Progress
from packlight.runtimes.latency import Latency
from packlight.runtimes.onnxruntime import Session, latencies
from packlight.specs import TensorSpec

BATCH = 16


@dataclass(frozen=True)
class CheckResult:
    """Two networks compared.

    Args:
        names: the two files.
        sizes, packed_sizes: bytes of each, and of each packed.
        verdict: the second's answers against the first's.
        latency: of each, one thread, one batch-1 run.
        judged_on: which samples, in a sentence.
    """

    names: tuple[str, str]
    sizes: tuple[int, int]
    packed_sizes: tuple[int, int]
    verdict: Verdict
    latency: tuple[Latency, Latency]
    judged_on: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the keys are those of report.json."""
        sides = ("original", "compressed")
        accuracy = self.verdict.to_dict() | {"judged_on": self.judged_on}
        result: dict[str, Any] = {
            side: {"file": name, "bytes": size, "packed_bytes": packed}
            for side, name, size, packed in zip(
                sides, self.names, self.sizes, self.packed_sizes, strict=True
            )
        }
        before, after = self.latency
        result["accuracy"] = accuracy
        result["latency_ms"] = {
            "original": vars(before),
            "compressed": vars(after),
            "ratio": after.median / before.median,
            "threads": 1,
        }
        return result

    def __rich__(self) -> Any:
        from packlight.report.terminal import comparison

        return comparison(self.to_dict())


def check(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    data: Any,
    *,
    preprocess: samples_of.Preprocess | None = None,
    calibrate: int = 300,
    seed: int = 0,
    progress: Progress | None = None,
) -> CheckResult:
    """Compare two ONNX files on samples that a fit with the same settings judges on.

    Args:
        first: the original.
        second: what it became; the same inputs and outputs.
        data: whatever `packlight.data.open_data` reads.
        preprocess: how images become inputs.
        calibrate, seed: as given to `fit`, so that its calibration samples are left out; 0 takes
            every sample.
        progress: told of every stage.
    Raises:
        BadInput: a file can not be run, or the two do not fit together or the data.
    """
    paths = (Path(first), Path(second))
    for path in paths:
        if not path.is_file():
            raise BadInput(f"{path} does not exist, or is no file; give two ONNX files")
        refuse_packed(path)
    progress = progress or Progress()
    sessions = [Session(path) for path in paths]
    inputs, other = (session.inputs for session in sessions)
    if not _alike(inputs, other):
        raise BadInput(
            f"{paths[0].name} takes {_names(inputs)} and {paths[1].name} takes {_names(other)}; "
            "compare networks with the same inputs"
        )
    split = samples_of.split(samples_of.open_data(data, inputs, preprocess), calibrate, seed)
    judge = split.judge
    batches = math.ceil(len(judge) / BATCH)
    answers = [
        session.over(progress.each(f"asking {path.name}", judge.batches(BATCH), batches))
        for session, path in zip(sessions, paths, strict=True)
    ]
    shapes = [[value.shape[1:] for value in outputs] for outputs in answers]
    if shapes[0] != shapes[1]:
        raise BadInput(f"the outputs differ in shape: {shapes[0]} and {shapes[1]}")
    (sample,) = judge.take([0]).batches(1)
    task = find_task(sample, answers[0], labelled=judge.labels is not None)
    if task.classifier:
        samples_of.check_labels(judge, task.classes)
    verdict = compare(answers[0], answers[1], judge.labels, classifier=task.classifier)
    ((called, _),) = samples_of.runs(sample, inputs, sessions[0].batch)
    with progress.stage("timing both"):
        before, after = latencies(paths, called)
    files = [path.read_bytes() for path in paths]
    packed = [len(compress(file, "max")) for file in progress.each("packing both", files, 2)]
    return CheckResult(
        names=(paths[0].name, paths[1].name),
        sizes=(len(files[0]), len(files[1])),
        packed_sizes=(packed[0], packed[1]),
        verdict=verdict,
        latency=(before, after),
        judged_on=split.description,
    )


def _alike(specs: Sequence[TensorSpec], others: Sequence[TensorSpec]) -> bool:
    """Whether two networks' inputs have the same names, and sizes where both files fix them."""
    return [spec.name for spec in specs] == [spec.name for spec in others] and all(
        len(spec.shape) == len(other.shape)
        and all(
            size == its or size is None or its is None
            for size, its in zip(spec.shape[1:], other.shape[1:], strict=True)
        )
        for spec, other in zip(specs, others, strict=True)
    )


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(str(spec) for spec in specs)
