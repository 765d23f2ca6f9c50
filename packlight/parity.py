"""`check` of a folder: every file that was exported into it, on the runtime that it is for.

Each file answers in a process of its own, and is timed by `packlight.bench`. One that fails there
has the reason in its row; the other rows stand.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from packlight import data as samples_of
from packlight.benching import Timed, bench
from packlight.coding.packing import compress
from packlight.errors import BadInput
from packlight.exporting import PACKED, STEM
from packlight.files import size_of
from packlight.judge import Interval, Task, compare, find_task, proportion
from packlight.layerwise import SAMPLES, RuntimeLayers, compare_layers
from packlight.progress import Progress
from packlight.runtimes.apart import apart
from packlight.runtimes.onnxruntime import Session
from packlight.runtimes.targets import SUFFIXES, runner_of
from packlight.types import Array

BATCH = 16
_NOT_HERE = ".mlpackage"


@dataclass(frozen=True)
class Checked:
    """One file.

    Args:
        file: its name.
        runtime: that ran it; "coreml" where nothing here can.
        bytes, packed_bytes: of the file, and of its download.
        problem: why figures are missing, in a sentence; otherwise None.
        top1: share of samples right, with its 95 % interval; None without labels.
        agreement: share of samples with the first row's answer; None unless it classifies.
        sqnr_db: power of the first row's outputs over that of the difference, in dB.
        timed: latency, load time and memory, as `bench` finds them.
    """

    file: str
    runtime: str
    bytes: int
    packed_bytes: int
    problem: str | None = None
    top1: Interval | None = None
    agreement: Interval | None = None
    sqnr_db: float | None = None
    timed: Timed | None = None


@dataclass(frozen=True)
class ParityResult:
    """Every file's figures; agreement is with the first.

    Args:
        files: the original where one was given, then the folder's.
        n: samples that judged.
        judged_on: which, in a sentence.
        notes: about the times, in sentences.
        layers: of each file that ran, if they were asked for.
    """

    files: tuple[Checked, ...]
    n: int
    judged_on: str
    notes: tuple[str, ...]
    layers: tuple[RuntimeLayers, ...] = ()

    def require(self) -> None:
        """Raise BadInput if a file that should run here did not; says which, and why."""
        broken = [
            f"{one.file} was not checked: {one.problem}"
            for one in self.files
            if one.problem and not one.file.endswith(_NOT_HERE)
        ]
        if broken:
            raise BadInput("; ".join(broken))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    def __rich__(self) -> Any:
        from packlight.report.parity import shown

        return shown(self)


def check_folder(
    folder: str | os.PathLike[str],
    data: Any,
    *,
    original: str | os.PathLike[str] | None = None,
    preprocess: samples_of.Preprocess | None = None,
    calibrate: int = 300,
    seed: int = 0,
    seconds: float = 10.0,
    layers: bool = False,
    progress: Progress | None = None,
) -> ParityResult:
    """Compare the files of a fit's or an export's folder, each on its runtime.

    Args:
        folder: with model.onnx, and what `export` wrote beside it.
        data: whatever `packlight.data.open_data` reads.
        original: the ONNX file that all are compared with; default: the folder's model.onnx.
        preprocess, calibrate, seed: as for `packlight.check`.
        seconds: how long to time, all files together.
        layers: whether to compare layer by layer too, and name the first that departs: from the
            original where that has the folder's layers, otherwise from the folder's model.onnx.
        progress: told of every stage.
    Raises:
        BadInput: there is no model.onnx, or it or the original does not run or fit the data.
    """
    place = Path(folder)
    own = place / f"{STEM}.onnx"
    if not own.is_file():
        raise BadInput(f"{place} holds no {own.name}; give a folder that fit or export wrote")
    first = Path(original) if original is not None else own
    if not first.is_file():
        raise BadInput(f"{first} does not exist, or is no file")
    found = [path for path in (place / f"{STEM}{suffix}" for suffix in SUFFIXES) if path.is_file()]
    paths = found if first == own else [first, *found]
    progress = progress or Progress()
    session = Session(first)
    split = samples_of.split(
        samples_of.open_data(data, session.inputs, preprocess), calibrate, seed
    )
    judge = split.judge
    (sample,) = judge.take([0]).batches(1)
    with tempfile.TemporaryDirectory() as work:
        inputs = [Path(work) / f"{index}.npy" for index in range(len(session.inputs))]
        for path, values in zip(inputs, judge.arrays(), strict=True):
            np.save(path, values)
        answers = [
            _asked(path, inputs) for path in progress.each("asking every file", paths, len(paths))
        ]
    wanted = answers[0]
    if isinstance(wanted, str):
        raise BadInput(f"{first.name}: {wanted}")
    task = find_task(sample, wanted, labelled=judge.labels is not None)
    if task.classifier:
        samples_of.check_labels(judge, task.classes)
    timed = bench(paths, seconds=seconds, progress=progress)
    files = zip(paths, answers, timed.files, strict=True)
    rows = [
        _row(path, wanted, given, judge.labels, task, one)
        for path, given, one in progress.each("packing every file", files, len(paths))
    ]
    package = place / f"{STEM}{_NOT_HERE}"
    if package.exists():
        rows.append(Checked(package.name, "coreml", *_sizes(package), problem="not run here"))
    watched = _layers(paths, answers, first, own, judge, progress) if layers else ()
    return ParityResult(tuple(rows), len(judge), split.description, timed.notes, watched)


def _layers(
    paths: Sequence[Path],
    answers: Sequence[tuple[Array, ...] | str],
    first: Path,
    own: Path,
    judge: samples_of.Samples,
    progress: Progress,
) -> tuple[RuntimeLayers, ...]:
    """What the layers of each file that ran give."""
    from packlight.layerwise.onnx import same_layers

    reference = first if same_layers(first, own) else own
    samples = judge.take(range(min(SAMPLES, len(judge)))).arrays()
    found = []
    asked = progress.each("layer by layer", zip(paths, answers, strict=True), len(paths))
    for path, given in asked:
        if isinstance(given, str) or (path == first and reference == own != first):
            continue
        runtime, _ = runner_of(path)
        some = [values[: len(samples[0])] for values in given]
        found.append(compare_layers(path, runtime, reference, samples, some))
    return tuple(found)


def _asked(path: Path, inputs: Sequence[Path]) -> tuple[Array, ...] | str:
    """A file's answers, one array per output, or why there are none."""
    _, module = runner_of(path)
    try:
        return apart("", _answers, path, module, list(inputs))
    except BadInput as problem:
        return str(problem).removeprefix(": ")


def _answers(path: Path, module: str, inputs: Sequence[Path]) -> tuple[Array, ...]:
    """In the other process: run every sample."""
    session = import_module(module).Session(path, threads=1)
    samples = [np.load(one, mmap_mode="r") for one in inputs]
    samples = session.turned(samples)
    batches = (
        [value[start : start + BATCH] for value in samples]
        for start in range(0, len(samples[0]), BATCH)
    )
    made: tuple[Array, ...] = session.over(batches)
    return made


def _row(
    path: Path,
    wanted: tuple[Array, ...],
    given: tuple[Array, ...] | str,
    labels: Array | None,
    task: Task,
    timed: Timed,
) -> Checked:
    name, sizes = timed.runtime, _sizes(path)
    if isinstance(given, str):
        return Checked(path.name, name, *sizes, problem=given)
    shapes = [[value.shape for value in outputs] for outputs in (wanted, given)]
    if shapes[0] != shapes[1]:
        problem = f"its outputs have shapes {shapes[1]}, the first file's {shapes[0]}"
        return Checked(path.name, name, *sizes, problem=problem)
    verdict = compare(wanted, given, labels, classifier=task.classifier)
    top1 = None
    if verdict.top1 is not None:
        top1 = proportion(round(verdict.top1[1] * verdict.n), verdict.n)
    return Checked(
        path.name,
        name,
        *sizes,
        problem=timed.problem,
        top1=top1,
        agreement=verdict.agreement,
        sqnr_db=verdict.sqnr_db,
        timed=timed,
    )


def _sizes(path: Path) -> tuple[int, int]:
    """Bytes of a file or folder, and of its download: the one beside it, or as it would pack."""
    size, packed = size_of(path), Path(f"{path}{PACKED}")
    if packed.is_file():
        return size, packed.stat().st_size
    inside = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
    return size, sum(len(compress(one.read_bytes(), "max")) for one in inside)
