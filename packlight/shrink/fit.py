"""The main job: a network made to fit a budget, with the proof.

    load -> fuse -> calibrate -> curvature -> fallback -> search -> teach -> judge -> write

This file reads what the user gave and writes what the user gets; the steps between are in `job`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import packlight
from packlight import data as samples_of
from packlight import readers
from packlight.coding.files import SUFFIX
from packlight.coding.packing import decompress
from packlight.errors import BadInput, BudgetNotMet
from packlight.files import replace_file, sha256
from packlight.fuse import fuse
from packlight.memory import freed_memory_kept
from packlight.network import Network
from packlight.plain import to_json
from packlight.progress import Progress
from packlight.report import html
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import executing
from packlight.shrink.budget import Budget
from packlight.shrink.flipped import pictures
from packlight.shrink.job import Job, Outcome
from packlight.shrink.layers import find_layers
from packlight.shrink.measuring import BATCH, EvalFn
from packlight.shrink.moves import ACTIVATIONS, DEFAULT
from packlight.shrink.moves import parse as parse_moves
from packlight.shrink.prune import FREE, Pattern
from packlight.shrink.record import describe
from packlight.shrink.revising import read as read_earlier
from packlight.shrink.stages import Stages, output_folder
from packlight.shrink.teaching import EFFORTS
from packlight.weighing import LayerTable, weigh

STEER_MACS = 5e11  # that one look at the steering samples may take: some ten seconds
VALUES = 4e9  # bytes that threads may hold at once
STEER_SAMPLES = (500, 10_000)  # and how many they are at least and at most


@dataclass(frozen=True)
class FitResult:
    """What `fit` made.

    Args:
        model: the ONNX file.
        packed: the same, as the user downloads it.
        report: every figure, as in report.json.
        met: whether every budget was met.
        network: the compressed network, for other runtimes.
    """

    model: Path
    packed: Path
    report: dict[str, Any]
    met: bool
    network: Network = field(repr=False)


def fit(
    model: Any,
    data: Any,
    *,
    target_size: str | int | None = None,
    target_installed_size: str | int | None = None,
    max_drop: str | float | None = None,
    speedup: float | None = None,
    max_ram: str | int | None = None,
    effort: str = "fast",
    only: str | Sequence[str] | None = None,
    activations: str = "int8",
    pattern: str = "free",
    recipe: str | None = None,
    labels: bool = False,
    lessons: int | None = None,
    runtimes: str | Sequence[str] = "onnx",
    base: str | os.PathLike[str] | None = None,
    explain: bool = False,
    out: str | os.PathLike[str] | None = None,
    preprocess: samples_of.Preprocess | None = None,
    calibrate: int = 300,
    seed: int = 0,
    force: bool = False,
    eval_fn: EvalFn | None = None,
    example_inputs: Sequence[Any] | None = None,
    constants: dict[str, Any] | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    progress: Progress | None = None,
    command: str | None = None,
) -> FitResult:
    """Make a network fit.

    Args:
        model: whatever `packlight.load` reads.
        data: whatever `packlight.data.open_data` reads. Labels are used to measure; to fit only
            with `labels`.
        target_size: bound on the packed download, the network file as
            `packlight pack` packs it: "700KB" (1000s),
            "700KiB" (1024s) or bytes.
        target_installed_size: bound on the network file itself.
        max_drop: bound on the accuracy lost, in points: "1%" or 0.01. Without labels it bounds
            the share of answers that differ from the original's; with `eval_fn`, its loss.
        speedup: how many times as fast as the original the network has to be, on one thread of
            each of `runtimes`: where rounding alone is not enough, means are taken earlier and
            channels out.
        max_ram: bound on RAM as `packlight weigh` plans it, weights and the values of one sample:
            "256KB"; met in the same way.
        effort: "fast" rounds; "normal" and "best" also retrain the network through its rounded
            weights, with the original's answers on the samples for a teacher, for some 5 and
            30 times as long.
        only: the moves to make, where not those that `fit` makes by itself: "quantize", "prune",
            "palettize" or "factorize", or two of them (`packlight.shrink.moves`).
        activations: "int8" for kernels on integers; "float" leaves them as they are, so that the
            answers are nearer to the original's at the same size, and it runs as fast.
        pattern: what `only="prune"` takes together: "2:4" leaves 2 of 4 neighbouring inputs, "1x4"
            takes blocks of 1 output and 4 inputs, "free" single weights.
        recipe: "deep-compression" prunes, shares and codes in that paper's own order, to be
            compared with.
        labels: retraining learns from the samples' labels as well; needs the effort "normal" or
            "best".
        lessons: how many samples retraining sees, repeats included, and each as it is: for samples
            made to measure. By default the effort says how many, and they are distorted as far as
            the original's answers allow.
        runtimes: that the speed is asked for on, as `packlight.export` takes them: "onnx,litert".
        base: an earlier fit of the network, its folder or `model.onnx` in it: weights stay as they
            are there unless a change is worth the bits that tell of it, so that whoever has the
            earlier version downloads little.
        explain: measure which layer does the damage, and the bytes that mending it would cost.
        out: the output folder; default: the model's name with `-fitted`.
        preprocess: how images become inputs.
        calibrate: how many samples are fitted on; the others judge.
        seed: for every random choice.
        force: write into a folder that holds files.
        eval_fn: takes a function that runs a network (arrays in, a tuple of arrays out) and
            returns a score, larger is better; judges instead of accuracy.
        example_inputs, constants: as in `packlight.load`.
        jobs: processes that share the work; the result is the same. 1 is this one alone, with a
            thread for every core that torch may use.
        cluster: shares it over a Ray cluster instead: "ray://host:port", or "ray://local".
        progress: told of every stage.
        command: what the user typed, for the report.
    Returns:
        FitResult: the files, measured.
    Raises:
        BadInput: the model, the data or an argument can not be used.
        BudgetNotMet: no network meets the budgets; the nearest one is written as `nearest.onnx`.
        PacklightError: a process was ended from outside.
    """
    executing.check(jobs, cluster)
    budget = Budget.parse(target_size, target_installed_size, max_drop, speedup, max_ram)
    if effort not in EFFORTS:
        raise BadInput(f"effort {effort!r} is none of {', '.join(EFFORTS)}")
    moves = parse_moves(only, effort, budget, recipe)
    if activations not in ACTIVATIONS:
        raise BadInput(f"activations {activations!r} are none of {', '.join(ACTIVATIONS)}")
    if activations == "float" and "quantize" not in moves:
        raise BadInput(
            "--activations float says what quantised layers read; the moves asked for leave "
            "activations in float by themselves"
        )
    together = Pattern.parse(pattern)
    if together != FREE and moves != ("prune",):
        raise BadInput(f"--pattern {pattern} says how to prune; give it with --only prune")
    if labels and effort == "fast":
        raise BadInput(
            "--labels says what to learn from, and effort 'fast' learns nothing; "
            "give --effort normal or best"
        )
    if lessons is not None and (effort == "fast" or lessons < 1):
        raise BadInput(
            f"lessons={lessons} with effort {effort!r} is not possible; give 1 or more, and the "
            "effort normal or best"
        )
    if base is not None and (
        moves != DEFAULT or effort != "fast" or budget.speedup or budget.max_ram
    ):
        raise BadInput(
            "--base keeps the integers of an earlier fit; give it without --only, --recipe, "
            "--speedup and --max-ram, and leave the effort at fast"
        )
    if calibrate == 0:
        raise BadInput("--calibrate 0 leaves no sample to fit on; give 1 or more")
    if speedup is None:
        runtimes = "onnx"  # whatever is asked for, no clock decides
    progress = progress or Progress()
    torch.manual_seed(seed)
    preprocess = preprocess or samples_of.Preprocess()

    with progress.stage("load"):
        network = readers.load(model, example_inputs, constants=constants)
        fused = fuse(network)  # after which weights that are computed are weights
        layers = find_layers(fused.network)
        if not layers:
            raise BadInput(f"{_name(network)} has no weights that can be made smaller")
        dataset = samples_of.open_data(data, network.inputs, preprocess)
        weighed = weigh(network)
        macs = weighed.totals.macs
        split = samples_of.split(
            dataset, calibrate, seed, _steering(macs), learning=effort != "fast"
        )
        top = ACTIVATIONS[activations]
        earlier = None if base is None else read_earlier(base, layers, top)
    folder = output_folder(out or f"{_stem(network)}-fitted", force, "a fit writes")
    original = onnx_file.source_of(network)
    stages = Stages(
        folder,
        {
            "packlight": packlight.__version__,
            "model": sha256(onnx_file.bytes_of(original)),
            "data": _fingerprint(split.fit),
            "settings": [
                str(preprocess),
                calibrate,
                seed,
                str(constants),
                str(budget),
                effort,
                moves,
                activations,
                pattern,
                recipe,
                labels,
                lessons,
                str(runtimes),
                None if earlier is None else sha256(earlier.file),
            ],
        },
    )
    job = Job(
        network=fused.network,
        original=original,
        split=split,
        budget=budget,
        moves=moves,
        activations=activations,
        effort=effort,
        pattern=together,
        recipe=recipe,
        labels=labels,
        lessons=lessons,
        explain=explain,
        macs=macs,
        seed=seed,
        eval_fn=eval_fn,
        runtimes=runtimes,
        progress=progress,
        stages=stages,
        base=earlier,
    )
    threads = _threads(network, weighed)
    place = executing.workers(jobs, cluster, stages.folder, threads)
    with freed_memory_kept(), place as job.workers:
        outcome = job.run()
    if stages.resumed:
        progress.say(f"resumed: {', '.join(stages.resumed)} had been finished before")
    return _written(
        folder,
        job,
        outcome,
        asked={
            **budget.to_dict(),
            "effort": effort,
            "only": list(moves) if only else None,
            "activations": None if activations == "int8" else activations,
            "pattern": None if together == FREE else pattern,
            "recipe": recipe,
            "labels": labels or None,
            "lessons": lessons,
            "base": None if base is None else Path(base).name,
            "calibrate": calibrate,
            "seed": seed,
            "model": _name(network),
            "data": Path(data).name if isinstance(data, (str, Path)) else type(data).__name__,
            "preprocess": vars(preprocess),
        },
        fused=fused.changes,
        macs=macs,
        ram=weighed.ram_bytes,
        preprocess=preprocess,
        command=command,
    )


def _written(
    folder: Path,
    job: Job,
    outcome: Outcome,
    *,
    asked: dict[str, Any],
    fused: dict[str, int],
    macs: int | None,
    ram: int | None,
    preprocess: samples_of.Preprocess,
    command: str | None,
) -> FitResult:
    stem = "model" if outcome.met else "nearest"
    with job.progress.stage("write"):
        file = replace_file(folder / f"{stem}.onnx", outcome.point.file)
        if decompress(outcome.point.packed) != outcome.point.file:
            raise AssertionError("the packed network does not unpack to the network")
        packed = replace_file(folder / f"{stem}.onnx{SUFFIX}", outcome.point.packed)
        report = describe(
            *(job, outcome, file, packed),
            asked=asked,
            fused=fused,
            macs=macs,
            ram=ram,
            command=command,
        )
        seen = pictures(outcome.flips or [], job.split.judge, job.network.inputs, preprocess)
        replace_file(folder / "report.json", to_json(report))
        replace_file(folder / "report.html", html.render(report, seen).encode())
    job.stages.clear()
    result = FitResult(file, packed, report, outcome.met, outcome.point.form.network())
    if not outcome.met:
        raise BudgetNotMet(f"{outcome.why}; the nearest network is {file}", result)
    return result


def _steering(macs: int | None) -> int:
    """How many samples steer: the drop on few of them is mostly chance."""
    least, most = STEER_SAMPLES
    return int(np.clip(STEER_MACS / max(macs or 0, 1), least, most))


def _threads(network: Network, weighed: LayerTable) -> int:
    """How many threads may hold values at once: a batch of samples, or all values of one."""
    memory = weighed.memory
    if memory is None:
        return 1
    batch = (network.batch or BATCH) * memory.timeline.peak / weighed.batch
    return max(int(VALUES / max(batch, 2 * memory.activation_bytes, 1)), 1)


def _name(network: Network) -> str:
    return network.source.name if network.source else "the network"


def _stem(network: Network) -> str:
    return network.source.stem if network.source else "network"


def _fingerprint(samples: samples_of.Samples) -> str:
    """Of all samples: what was measured on others is not gone on from."""
    batches = (b"".join(value.tobytes() for value in batch) for batch in samples.batches(16))
    return sha256("".join(map(sha256, batches)).encode())
