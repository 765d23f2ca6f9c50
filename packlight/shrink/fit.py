"""The main job: a network made to fit a budget, with the proof.

    load -> fuse -> calibrate -> curvature -> fallback -> search -> judge -> write

Everything that is fitted (activation ranges, curvature, the search itself) sees the samples of
`split.fit` and `split.steer`. The figures reported come from `split.judge`, measured in onnxruntime
on the bytes that are written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

import packlight
from packlight import data as samples_of
from packlight import readers
from packlight.coding.files import SUFFIX
from packlight.coding.packing import compress, decompress
from packlight.errors import BadInput, BudgetNotMet
from packlight.files import replace_file, sha256
from packlight.fuse import fuse
from packlight.judge import Task, Verdict, compare, find_task
from packlight.network import Network
from packlight.progress import Progress
from packlight.report import html
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnxruntime import VERSION, Session, latencies
from packlight.shrink import activations, curvature, grid_search, weights
from packlight.shrink.budget import Budget
from packlight.shrink.fallback import harmful_places
from packlight.shrink.layers import find_layers
from packlight.shrink.record import describe, to_json
from packlight.shrink.search import Point, Visit, search
from packlight.shrink.stages import FOLDER, Stages
from packlight.types import Array
from packlight.units import show_size
from packlight.weighing import weigh

EvalFn = Callable[[Callable[..., tuple[Array, ...]]], float]

BATCH = 16  # samples run at once
FALLBACK_SAMPLES = 48  # on which activations are tried in int8
CURVE_SAMPLES = 256  # on which every visited point is scored
STEER_MACS = 5e11  # that one look at the steering samples may take: some ten seconds
STEER_SAMPLES = (500, 10_000)  # and how many they are at least and at most
LOOKS = 8  # times the judges may send a point back
FINER = 0.85  # factor on the coarseness when they do


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
    out: str | os.PathLike[str] | None = None,
    preprocess: samples_of.Preprocess | None = None,
    calibrate: int = 300,
    seed: int = 0,
    force: bool = False,
    eval_fn: EvalFn | None = None,
    example_inputs: Sequence[Any] | None = None,
    constants: dict[str, Any] | None = None,
    progress: Progress | None = None,
    command: str | None = None,
) -> FitResult:
    """Make a network fit.

    Args:
        model: whatever `packlight.load` reads.
        data: whatever `packlight.data.open_data` reads. Labels are used to measure, never to fit.
        target_size: bound on the packed download, the network file as
            `packlight pack` packs it: "700KB" (1000s),
            "700KiB" (1024s) or bytes.
        target_installed_size: bound on the network file itself.
        max_drop: bound on the accuracy lost, in points: "1%" or 0.01. Without labels it bounds
            the share of answers that differ from the original's; with `eval_fn`, its loss.
        out: the output folder; default: the model's name with `-fitted`.
        preprocess: how images become inputs.
        calibrate: how many samples are fitted on; the others judge.
        seed: for every random choice.
        force: write into a folder that holds files.
        eval_fn: takes a function that runs a network (arrays in, a tuple of arrays out) and
            returns a score, larger is better; judges instead of accuracy.
        example_inputs, constants: as in `packlight.load`.
        progress: told of every stage.
        command: what the user typed, for the report.
    Returns:
        FitResult: the files, measured.
    Raises:
        BadInput: the model, the data or an argument can not be used.
        BudgetNotMet: no network meets the budgets; the nearest one is written as `nearest.onnx`.
    """
    budget = Budget.parse(target_size, target_installed_size, max_drop)
    progress = progress or Progress()
    torch.manual_seed(seed)
    preprocess = preprocess or samples_of.Preprocess()

    with progress.stage("load"):
        network = readers.load(model, example_inputs, constants=constants)
        if not find_layers(network):
            raise BadInput(f"{_name(network)} has no weights that can be quantised")
        dataset = samples_of.open_data(data, network.inputs, preprocess)
        macs = weigh(network).totals.macs
        split = samples_of.split(dataset, calibrate, seed, _steering(macs))
        fused = fuse(network)
    folder = _output_folder(out, network, force)
    original = _original(network)
    stages = Stages(
        folder,
        {
            "packlight": packlight.__version__,
            "model": sha256(_bytes_of(original)),
            "data": _fingerprint(split.fit),
            "settings": [str(preprocess), calibrate, seed, str(constants)],
        },
    )
    job = Job(
        network=fused.network,
        original=original,
        split=split,
        budget=budget,
        seed=seed,
        eval_fn=eval_fn,
        progress=progress,
        stages=stages,
    )
    outcome = job.run()
    if stages.resumed:
        progress.say(f"resumed: {', '.join(stages.resumed)} had been finished before")
    return _written(
        folder,
        job,
        outcome,
        asked={
            **budget.to_dict(),
            "calibrate": calibrate,
            "seed": seed,
            "model": _name(network),
            "data": Path(data).name if isinstance(data, (str, Path)) else type(data).__name__,
            "preprocess": vars(preprocess),
        },
        fused=fused.changes,
        macs=macs,
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
    command: str | None,
) -> FitResult:
    stem = "model" if outcome.met else "nearest"
    with job.progress.stage("write"):
        file = replace_file(folder / f"{stem}.onnx", outcome.point.file)
        if decompress(outcome.point.packed) != outcome.point.file:
            raise AssertionError("the packed network does not unpack to the network")
        packed = replace_file(folder / f"{stem}.onnx{SUFFIX}", outcome.point.packed)
        report = describe(
            job, outcome, file, packed, asked=asked, fused=fused, macs=macs, command=command
        )
        replace_file(folder / "report.json", to_json(report))
        replace_file(folder / "report.html", html.render(report).encode())
    job.stages.clear()
    result = FitResult(file, packed, report, outcome.met, outcome.network)
    if not outcome.met:
        raise BudgetNotMet(f"{outcome.why}; the nearest network is {file}", result)
    return result


@dataclass(frozen=True)
class Outcome:
    """Where the search ended.

    Args:
        point: the network chosen.
        network: the same as a graph.
        verdict: the judges' comparison with the original.
        score: `eval_fn` of the original and of the compressed network, if there is one.
        met: whether every budget is met; `why` says which is not.
        binding: the budget that decided.
        looks: how often the judges were asked.
        visited: every point of the search.
    """

    point: Point
    network: Network
    verdict: Verdict
    score: tuple[float, float] | None
    met: bool
    why: str
    binding: str
    looks: int
    visited: list[Visit]


@dataclass
class Job:
    """One fit, stage by stage."""

    network: Network
    original: str | bytes
    split: samples_of.Split
    budget: Budget
    seed: int
    eval_fn: EvalFn | None
    progress: Progress
    stages: Stages

    def run(self) -> Outcome:
        self.layers = find_layers(self.network)
        self.reference = self._session(self.original)
        self.task = self._find_task()
        if self.budget.max_drop is not None and not self.task.classifier and not self.eval_fn:
            raise BadInput(
                "max-drop needs a network that classifies, or eval_fn to score it; "
                "for this one give a target size"
            )
        if self.task.classifier:
            samples_of.check_labels(self.split.judge, self.task.classes)

        places = activations.find_places(self.network, self.layers)
        grids = self._grids(places)
        curvatures = self._curvatures()
        self.harmful = self._harmful(places, grids)
        kept = [place for place in places if place.name not in self.harmful]
        self.places = places

        with self.progress.stage("prepare"):
            rounded = activations.insert(self.network, kept, grids)
            quantized, slots = weights.insert(rounded, self.layers)
            template = onnx_file.to_proto(quantized)
            prepared = grid_search.prepare(self.network, self.layers, curvatures)
        self.slots = slots
        return self._search(quantized, slots, template, prepared)

    @property
    def original_file(self) -> bytes:
        """The bytes of the network that was given."""
        return _bytes_of(self.original)

    def _session(self, model: str | bytes) -> Session:
        return Session(model, inputs=self.network.inputs)

    def _find_task(self) -> Task:
        few = self.split.fit.take(range(min(len(self.split.fit), 64)))
        inputs = few.arrays()
        outputs = self.reference.over([inputs])
        return find_task(inputs, outputs, labelled=self.split.judge.labels is not None)

    def _batches(self, samples: samples_of.Samples) -> _Tensors:
        return _Tensors(samples, self.network, BATCH)

    def _grids(self, places: Sequence[activations.Place]) -> dict[str, activations.Grid]:
        def compute() -> dict[str, list[float]]:
            batches = self._batches(self.split.fit)
            with self.progress.stage("calibrate activations", 2 * len(batches)) as tick:
                grids = activations.observe(self.network, places, batches, tick)
            return {name: [grid.scale, grid.zero] for name, grid in grids.items()}

        stored = self.stages.run("grids", compute)
        return {name: activations.Grid(scale, int(zero)) for name, (scale, zero) in stored.items()}

    def _curvatures(self) -> dict[str, curvature.Curvature]:
        def compute() -> dict[str, dict[str, Any]]:
            watched = self.network.copy()
            layers = find_layers(watched)
            curvature.require_gradients(watched, layers)
            singles = _Tensors(self.split.fit, self.network, 1)
            shown = self.progress.each("curvature", singles, len(singles))
            found = curvature.collect(watched, layers, shown, self._loss(), seed=self.seed)
            return {
                name: {
                    "moments": [torch.from_numpy(block) for block in value.moments],
                    "mean": torch.from_numpy(value.mean),
                    "sensitivity": value.sensitivity,
                }
                for name, value in found.items()
            }

        stored = self.stages.run("curvature", compute)
        return {
            name: curvature.Curvature(
                tuple(block.numpy() for block in value["moments"]),
                value["mean"].numpy(),
                value["sensitivity"],
            )
            for name, value in stored.items()
        }

    def _loss(self) -> curvature.Loss:
        if self.task.classifier:
            return curvature.classifier_loss(self.task.probabilities)
        few = self.split.fit.take(range(min(len(self.split.fit), 16)))
        outputs = self.reference.over([few.arrays()])
        return curvature.projection_loss(
            [float(np.sqrt(np.square(value.astype(np.float64)).mean())) for value in outputs]
        )

    def _harmful(
        self, places: Sequence[activations.Place], grids: dict[str, activations.Grid]
    ) -> dict[str, float]:
        def compute() -> dict[str, float]:
            few = self.split.fit.take(range(min(len(self.split.fit), FALLBACK_SAMPLES)))
            batches = list(self._batches(few))
            with self.progress.stage("try int8 activations") as tick:
                return harmful_places(self.network, places, grids, batches, tick)

        found: dict[str, float] = self.stages.run("fallback", compute)
        return found

    def _search(
        self,
        quantized: Network,
        slots: Sequence[weights.Slot],
        template: onnx.ModelProto,
        prepared: Sequence[grid_search.Prepared],
    ) -> Outcome:
        steer = self.split.steer or self.split.fit
        curve = steer.take(range(min(len(steer), CURVE_SAMPLES)))
        inputs: list[Sequence[Array]] = list(curve.batches(BATCH))
        wanted = self.reference.over(inputs)
        steered = list(steer.batches(BATCH)) if self.budget.max_drop is not None else []
        steered_wanted = self.reference.over(steered) if steered else ()
        base = self.eval_fn(self.reference) if self.eval_fn else 0.0

        def build(coarseness: float) -> Point:
            solved = [grid_search.solve(layer, coarseness) for layer in prepared]
            values: dict[str, Array] = {}
            for slot, solution in zip(slots, solved, strict=True):
                values.update(slot.values(solution.levels, solution.scale, solution.bias))
            file = onnx_file.refilled(template, values).SerializeToString(deterministic=True)
            packed = compress(file, "max", verify=False)
            outputs = self._session(file).over(inputs)
            verdict = compare(wanted, outputs, curve.labels, classifier=self.task.classifier)
            visit = Visit(coarseness, len(file), len(packed), verdict)
            tick()
            return Point(visit, file, packed, solved, values)

        def drop(point: Point) -> float:
            """Accuracy lost on the samples that may steer."""
            session = self._session(point.file)
            if self.eval_fn:
                return base - self.eval_fn(session)
            outputs = session.over(steered)
            found = compare(steered_wanted, outputs, steer.labels, classifier=True).drop
            assert found is not None
            return found

        with self.progress.stage("search") as tick:
            start = float(np.median([layer.finest for layer in prepared]))
            found = search(build, drop, self.budget, start)
            point, visited = found.point, found.visited

        looks = 0
        with self.progress.stage("judge") as tick:
            while True:
                verdict, score = self._judge(point, base)
                looks += 1
                tick()
                lost = verdict.drop if score is None else score[0] - score[1]
                kept = self._kept(lost)
                if kept or looks == LOOKS or self.budget.sized or point.visit.coarseness == 0:
                    break
                # the judges see a larger drop than the steering samples did: a finer grid
                point = build(point.visit.coarseness * FINER if looks < LOOKS - 1 else 0.0)
                visited.append(point.visit)
        weights.fill(quantized, point.values)
        why = self._broken(point, verdict, lost)
        return Outcome(
            point=point,
            network=quantized,
            verdict=verdict,
            score=score,
            met=why is None,
            why=why or "",
            binding=found.binding,
            looks=looks,
            visited=visited,
        )

    def _kept(self, lost: float | None) -> bool:
        allowed = self.budget.max_drop
        return allowed is None or (lost is not None and lost <= allowed + 1e-12)

    def _broken(self, point: Point, verdict: Verdict, lost: float | None) -> str | None:
        """A sentence about a budget that is not met."""
        size = self.budget.broken_size(point.visit.packed_bytes, point.visit.bytes)
        if size is not None or self._kept(lost):
            return size
        what = "eval_fn's loss" if self.eval_fn else "the drop"
        at = show_size(point.visit.packed_bytes)
        return (
            f"{what} is {lost:.2%} on {verdict.n} samples at {at} packed, "
            f"max-drop allows {self.budget.max_drop:.2%}"
        )

    def _judge(self, point: Point, base: float) -> tuple[Verdict, tuple[float, float] | None]:
        judge = self.split.judge
        if not hasattr(self, "_judged"):
            self._judged = self.reference.over(judge.batches(BATCH))
        session = self._session(point.file)
        outputs = session.over(judge.batches(BATCH))
        verdict = compare(self._judged, outputs, judge.labels, classifier=self.task.classifier)
        return verdict, (base, self.eval_fn(session)) if self.eval_fn else None

    def latency(self, point: Point) -> dict[str, Any] | None:
        """Milliseconds of both networks on one sample, as the report holds them."""
        (sample,) = self.split.judge.take([0]).batches(1)
        ((called, _),) = samples_of.runs(sample, self.network.inputs, self.network.batch)
        size = self.network.batch or 1
        before, after = latencies([self.original, point.file], called)
        return {
            "runtime": VERSION,
            "original": vars(before),
            "compressed": vars(after),
            "ratio": after.median / before.median,
            "threads": 1,
            "batch": size,
        }


class _Tensors:
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


def _steering(macs: int | None) -> int:
    """How many samples steer: the drop on few of them is mostly chance."""
    least, most = STEER_SAMPLES
    return int(np.clip(STEER_MACS / max(macs or 0, 1), least, most))


def _name(network: Network) -> str:
    return network.source.name if network.source else "the network"


def _original(network: Network) -> str | bytes:
    """What answers are compared with: the user's own ONNX file, or the network written as one."""
    if network.source is not None and network.source.suffix == ".onnx":
        return str(network.source)
    return onnx_file.to_bytes(network)


def _bytes_of(model: str | bytes) -> bytes:
    return model if isinstance(model, bytes) else Path(model).read_bytes()


def _fingerprint(samples: samples_of.Samples) -> str:
    few = samples.take(range(min(len(samples), 16)))
    return sha256(b"".join(value.tobytes() for value in few.arrays()) + str(len(samples)).encode())


def _output_folder(out: str | os.PathLike[str] | None, network: Network, force: bool) -> Path:
    """Make the output folder, or make sure that nothing of the user's is in it."""
    if out is None:
        stem = network.source.stem if network.source else "network"
        out = f"{stem}-fitted"
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; give a folder for the output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(f"{folder} can not be made ({problem.strerror})") from problem
    others = sorted(path.name for path in folder.iterdir() if path.name != FOLDER)
    if others and not force:
        raise BadInput(
            f"{folder} already holds {others[0]}"
            + (f" and {len(others) - 1} more" if len(others) > 1 else "")
            + "; give another folder, or --force to replace what a fit writes"
        )
    return folder
