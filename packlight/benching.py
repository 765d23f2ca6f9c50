"""How fast files are that run here, of any mix of runtimes, side by side.

Every file has a process of its own. They take turns: in each turn one file after the other runs for
some hundredths of a second, and the next turn goes the other way round, so that what disturbs the
machine disturbs all alike. Ratios are paired: of times of the same turn. The first file runs in a
second process as well: what that differs by is what the machine makes out of nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packlight.errors import BadInput
from packlight.judge import Interval
from packlight.progress import Progress
from packlight.runtimes.kernels import Kernels
from packlight.runtimes.latency import (
    Latency,
    Verdict,
    median_interval,
    ratio_interval,
    spread,
    verdict,
)
from packlight.runtimes.racing import Runner, load, processors, take_turns
from packlight.runtimes.targets import runner_of
from packlight.runtimes.worker import Worker

RESTLESS = 0.1  # spread of a file's turns from which the machine is said to be busy

_AT_REST = Interval(1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Timed:
    """One file.

    Args:
        file: as given.
        runtime: that runs it: onnx, litert or executorch.
        bytes: of the file.
        problem: why there are no figures, in a sentence; otherwise None.
        load_ms: from the path to a session that can run, once.
        median_ms: of a run: the median over turns of each turn's median.
        p95_ms: that 95 % of all runs did not exceed.
        spread: of the turns' medians: the range of their middle half over their median.
        ratio: times as long as the first file, paired by turn; None for the first file, and where
            that has no figures.
        verdict: "faster" or "slower" than the first file, or "unclear".
        peak_bytes: largest resident size while it was loaded and ran, over what the process with
            the runtime's library had before; None where the system does not tell.
        runs: how many were timed.
        kernels: operators in the file, and what the runtime makes of them; None where unknown.
    """

    file: str
    runtime: str
    bytes: int
    problem: str | None = None
    load_ms: float | None = None
    median_ms: Interval | None = None
    p95_ms: float | None = None
    spread: float | None = None
    ratio: Interval | None = None
    verdict: Verdict | None = None
    peak_bytes: int | None = None
    runs: int = 0
    kernels: Kernels | None = None


@dataclass(frozen=True)
class BenchResult:
    """Every file's figures.

    Args:
        files: in the order given.
        threads: of each runtime.
        cpus: that all processes were bound to; empty where the system can not bind.
        turns: how often each file had its turn.
        same: the first file's times in a second process to those in its first; None with one file.
        notes: what to know about the figures, in sentences.
    """

    files: tuple[Timed, ...]
    threads: int
    cpus: tuple[int, ...]
    turns: int
    same: Interval | None
    notes: tuple[str, ...]

    def require(self) -> None:
        """Raise BadInput if a file could not be run; says which, and why."""
        broken = [f"{one.file} was not timed: {one.problem}" for one in self.files if one.problem]
        if broken:
            raise BadInput("; ".join(broken))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    def __rich__(self) -> Any:
        from packlight.report.benched import table

        return table(self)


def bench(
    models: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    threads: int = 1,
    seconds: float = 10.0,
    progress: Progress | None = None,
) -> BenchResult:
    """Time files on noise of the shapes that they declare, one sample where its size is open.

    Args:
        models: one file or several, .onnx, .ort, .tflite or .pte; ratios are to the first.
        threads: of each runtime; all are bound to the same as many processors.
        seconds: how long to measure, all files together; at least ten turns are taken.
        progress: told of every stage.
    Returns:
        BenchResult: a file that could not be run has its reason there; the others' figures stand.
    Raises:
        BadInput: a file is not there or is none that runs here, a setting is not possible, or no
            file at all could be run.
    """
    progress = progress or Progress()
    paths = [Path(one) for one in ([models] if isinstance(models, (str, os.PathLike)) else models)]
    if not paths:
        raise BadInput("say which files to time: .onnx, .ort, .tflite or .pte")
    for path in paths:
        if not path.exists():
            raise BadInput(f"{path} does not exist")
    runtimes = [runner_of(path) for path in paths]
    if not 0 < seconds < math.inf:
        raise BadInput(f"{seconds} seconds can not be measured; give more than 0")
    cpus = processors(threads)
    sources = [(path, module) for path, (_, module) in zip(paths, runtimes, strict=True)]
    if len(paths) > 1:
        sources.append(sources[0])
    with ExitStack() as open_workers:
        runners = [
            Runner(open_workers.enter_context(Worker(path, module, threads, cpus)))
            for path, module in sources
        ]
        with progress.stage("load"):
            load(runners)
        with progress.stage("take turns"):
            turns = take_turns(runners, seconds)
            for runner in runners[: len(paths)]:
                runner.count_kernels()
    own, twin = runners[: len(paths)], runners[len(paths) :]
    if all(runner.problem for runner in own):
        reasons = (f"{path.name}: {one.problem}" for path, one in zip(paths, own, strict=True))
        raise BadInput("; ".join(reasons))
    same = None
    if twin and not twin[0].problem and not own[0].problem:
        same = ratio_interval(twin[0].medians(), own[0].medians())
    names = [name for name, _ in runtimes]
    files = tuple(
        _figures(path, name, runner, own[0], same)
        for path, name, runner in zip(paths, names, own, strict=True)
    )
    return BenchResult(files, threads, tuple(cpus), turns, same, tuple(_notes(files, same)))


def _figures(
    path: Path, runtime: str, runner: Runner, first: Runner, same: Interval | None
) -> Timed:
    size = path.stat().st_size
    if runner.problem is not None or runner.loaded is None:
        return Timed(str(path), runtime, size, problem=runner.problem)
    medians = runner.medians()
    ratio = None
    if runner is not first and first.problem is None:
        ratio = ratio_interval(medians, first.medians())
    every = [one for turn in runner.turns for one in turn]
    return Timed(
        file=str(path),
        runtime=runtime,
        bytes=size,
        load_ms=runner.loaded.load_ms,
        median_ms=median_interval(medians),
        p95_ms=Latency.of(every).p95,
        spread=spread(medians),
        ratio=ratio,
        verdict=verdict(ratio, same or _AT_REST) if ratio else None,
        peak_bytes=runner.loaded.peak_bytes,
        runs=len(every),
        kernels=runner.kernels,
    )


def _notes(files: Sequence[Timed], same: Interval | None) -> list[str]:
    first = files[0]
    notes = [
        f"{one.file} ({one.runtime}) was not timed: {one.problem}" for one in files if one.problem
    ]
    if same is not None:
        notes.append(
            f"{first.file} against itself, in two processes: {same.value:.3f} "
            f"[{same.low:.3f}, {same.high:.3f}]; what differs less is noise"
        )
    elif len(files) > 1 and not first.problem:
        notes.append(
            f"{first.file} ended in its second process, so how noisy it is here is unknown"
        )
    if first.problem and len(files) > 1:
        notes.append(f"no ratios: {first.file} has no times")
    for one in files:
        if one.verdict == "unclear":
            notes.append(f"too noisy to tell whether {one.file} or {first.file} is faster")
    worst = max((one.spread for one in files if one.spread is not None), default=0.0)
    if worst > RESTLESS:
        notes.append(
            f"this machine is not at rest: a file's turns vary by {worst:.0%} (middle half); "
            "end other work, or give --seconds more"
        )
    return notes
