"""One fit, stage by stage: what `fit` does between reading a network and writing it.

Everything that is fitted (activation ranges, curvature, the search, recovery) sees the samples of
`split.fit`, `split.learn` and `split.steer`. The figures reported come from `split.judge`, measured
in onnxruntime on the bytes that are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from packlight import data as samples_of
from packlight.coding.packing import compress
from packlight.errors import BadInput, BudgetNotMet
from packlight.judge import Flip, Task, Verdict, compare, find_task, flips
from packlight.network import Network
from packlight.progress import Progress
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnxruntime import VERSION, Session, latencies
from packlight.shrink import (
    activations,
    curvature,
    factored,
    factoring,
    grid_search,
    narrowing,
    thinning,
)
from packlight.shrink.assembly import Assembly, Integers, Quantizing, assemble
from packlight.shrink.budget import Budget
from packlight.shrink.deep_compression import DeepCompression, InOrder
from packlight.shrink.explaining import Blame, explain
from packlight.shrink.fallback import harmful_places
from packlight.shrink.float_moves import Pruning, Sharing, fits
from packlight.shrink.following import Following, solve_in_order
from packlight.shrink.grid_search import Solved
from packlight.shrink.layers import find_layers
from packlight.shrink.moves import Form, Move
from packlight.shrink.prune import Pattern
from packlight.shrink.recover import Loss, classifier_loss, squared_loss
from packlight.shrink.search import Found, Point, Visit, go_on, search
from packlight.shrink.stages import Stages
from packlight.shrink.teaching import Levels, Teaching
from packlight.shrink.workers import HERE, Workers, on_one_thread
from packlight.types import Array
from packlight.units import show_size

EvalFn = Callable[[Callable[..., tuple[Array, ...]]], float]

BATCH = 16  # samples run at once
FALLBACK_SAMPLES = 48  # on which activations are tried in int8
CURVE_SAMPLES = 256  # on which every visited point is scored
DECIDING = 1024  # on which one of two ways to a size is chosen
TIMINGS = 3  # of the written file: a busy machine only makes it slower
LOOKS = 8  # times the judges may send a point back
FINER = 0.85  # factor on the coarseness when they do


@dataclass(frozen=True)
class Outcome:
    """Where the search ended.

    Args:
        point: the network chosen.
        verdict: the judges' comparison with the original.
        score: `eval_fn` of the original and of the compressed network, if there is one.
        flips: the judges' samples that are answered differently; None unless they are classified.
        met: whether every budget is met; `why` says which is not.
        binding: the budget that decided.
        looks: how often the judges were asked.
        visited: every point of the search.
        notes: what was decided on the way, in sentences.
        blames: each layer's measured damage, the worst first; None where that was not asked for.
    """

    point: Point
    verdict: Verdict
    score: tuple[float, float] | None
    flips: list[Flip] | None
    met: bool
    why: str
    binding: str
    looks: int
    visited: list[Visit]
    notes: list[str]
    blames: list[Blame] | None


@dataclass
class Job:
    """One fit, stage by stage.

    Args:
        network: fused.
        original: the path or the bytes of the file that answers are compared with.
        split: the samples.
        budget: at least one bound.
        moves: from `moves.parse`.
        effort: "fast", "normal" or "best".
        pattern: of what pruning takes together.
        recipe: one of `moves.RECIPES`, or None.
        labels: whether training is to learn from labels as well.
        lessons: how many samples training sees, as they are; None where the effort says it.
        explain: whether to measure each layer's damage.
        macs: multiply-adds of one sample, if known.
        seed: for every random choice.
        eval_fn: judges instead of accuracy, if given.
        progress: told of every stage.
        stages: where finished stages are kept.
        workers: where independent pieces run.
    """

    network: Network
    original: str | bytes
    split: samples_of.Split
    budget: Budget
    moves: tuple[str, ...]
    effort: str
    pattern: Pattern
    recipe: str | None
    labels: bool
    lessons: int | None
    explain: bool
    macs: int | None
    seed: int
    eval_fn: EvalFn | None
    progress: Progress
    stages: Stages
    workers: Workers = HERE
    notes: list[str] = field(default_factory=list)
    narrowed: str = ""  # goes before the names of stages, once channels are out

    def run(self) -> Outcome:
        """All stages."""
        self.layers = find_layers(self.network)
        self.reference = self.session(self.original)
        self.task = self._find_task()
        if self.budget.max_drop is not None and not self.task.classifier and not self.eval_fn:
            raise BadInput(
                "max-drop needs a network that classifies, or eval_fn to score it; "
                "for this one give a target size"
            )
        if self.task.classifier:
            samples_of.check_labels(self.split.judge, self.task.classes)
        if self.labels:
            self._look_at_labels()
        self._look_at_steering()
        self.teacher = self.network
        if self.budget.speedup is not None:
            self._speed_up(self.budget.speedup)
        if self.budget.max_ram is not None:
            self._spare_ram(self.budget.max_ram)

        move, found = self._found()
        return self._chosen(move, found)

    @property
    def original_file(self) -> bytes:
        """The bytes of the network that was given."""
        return onnx_file.bytes_of(self.original)

    def assembled(self, network: Network, stage: str) -> Assembly:
        """A float network made ready for integers: its activations measured and put on grids.

        Args:
            network: with the same inputs and outputs as the one that is fitted.
            stage: goes before the names under which the results are kept.
        """
        layers = find_layers(network)
        places = activations.find_places(network, layers)
        grids = self._grids(network, places, f"{stage}grids")
        harmful = self._harmful(network, places, grids, f"{stage}fallback")
        return assemble(network, layers, places, grids, harmful)

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

    def _size(self, file: bytes, packed: bytes) -> tuple[bool, int]:
        """What forms are chosen by: that the bounds are met, then the size that is asked for."""
        alone = self.budget.target_size is None and self.budget.target_installed_size is not None
        fits = self.budget.fits(len(packed), len(file))
        return not fits, len(file) if alone else len(packed)

    def drop(self, point: Point) -> float:
        """Accuracy lost on the samples that may steer."""
        session = self.session(point.file)
        if self.eval_fn:
            return self._base - self.eval_fn(session)
        outputs = session.over(self._steered)
        labels = self._steer.labels
        found = compare(self._steered_wanted, outputs, labels, classifier=True).drop
        assert found is not None
        return found

    def tensors(self, samples: samples_of.Samples, size: int = BATCH) -> Tensors:
        """Samples as the tensors of one run after the other."""
        return Tensors(samples, self.network, size)

    def session(self, model: str | bytes) -> Session:
        """A file in onnxruntime, fed as the original is."""
        return Session(model, inputs=self.network.inputs)

    def _find_task(self) -> Task:
        few = self.split.fit.take(range(min(len(self.split.fit), 64)))
        inputs = few.arrays()
        outputs = self.reference.over([inputs])
        return find_task(inputs, outputs, labelled=self.split.judge.labels is not None)

    def _look_at_labels(self) -> None:
        """Labels can be learnt from only where there are any."""
        if not self.task.classifier:
            raise BadInput("--labels needs a network that classifies; leave it out for this one")
        if self.split.learn.labels is None:
            raise BadInput(
                "--labels needs samples with labels to learn from, and these have none; give class "
                "folders, a labels.csv or an .npz with labels, or leave it out"
            )
        samples_of.check_labels(self.split.learn, self.task.classes)

    def _look_at_steering(self) -> None:
        """The original's answers on the samples that guide the search."""
        self._steer = self.split.steer or self.split.fit
        self._curve = self._steer.take(range(min(len(self._steer), CURVE_SAMPLES)))
        self._curve_inputs: list[Sequence[Array]] = list(self._curve.batches(BATCH))
        self._curve_wanted = self.reference.over(self._curve_inputs)
        self._steered: list[Sequence[Array]] = []
        self._steered_wanted: tuple[Array, ...] = ()
        if self.budget.max_drop is not None:
            self._steered = list(self._steer.batches(BATCH))
            self._steered_wanted = self.reference.over(self._steered)
        self._base = self.eval_fn(self.reference) if self.eval_fn else 0.0

    def _grids(
        self, network: Network, places: Sequence[activations.Place], stage: str
    ) -> dict[str, activations.Grid]:
        def compute() -> dict[str, list[float]]:
            batches = self.tensors(self.split.fit)
            with self.progress.stage("calibrate activations", 2 * len(batches)) as tick:
                grids = activations.observe(network, places, batches, tick, self.workers)
            return {name: [grid.scale, grid.zero] for name, grid in grids.items()}

        stored = self.stages.run(stage, compute)
        return {name: activations.Grid(scale, int(zero)) for name, (scale, zero) in stored.items()}

    def _curvatures(self, network: Network, stage: str) -> dict[str, curvature.Curvature]:
        def compute() -> dict[str, dict[str, Any]]:
            watched = network.copy()
            layers = find_layers(watched)
            singles = self.tensors(self.split.fit, 1)
            chunks = min(len(singles), curvature.CHUNKS)
            with self.progress.stage("curvature", chunks) as tick:
                found = curvature.collect(
                    *(watched, layers, singles, self._loss()),
                    seed=self.seed,
                    workers=self.workers,
                    tick=tick,
                )
            return {
                name: {
                    "moments": [torch.from_numpy(block) for block in value.moments],
                    "mean": torch.from_numpy(value.mean),
                    "sensitivity": value.sensitivity,
                }
                for name, value in found.items()
            }

        stored = self.stages.run(f"{stage}curvature", compute)
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
        self,
        network: Network,
        places: Sequence[activations.Place],
        grids: dict[str, activations.Grid],
        stage: str,
    ) -> dict[str, float]:
        def compute() -> dict[str, float]:
            few = self.split.fit.take(range(min(len(self.split.fit), FALLBACK_SAMPLES)))
            batches = list(self.tensors(few))
            with self.progress.stage("try int8 activations") as tick:
                return harmful_places(network, places, grids, batches, tick)

        found: dict[str, float] = self.stages.run(stage, compute)
        return found

    def _found(self) -> tuple[Move, Found]:
        """The moves wanted, searched over."""
        if self.recipe is not None:
            classic = DeepCompression(self.network, self.layers)
            return classic, self._search(classic)
        stage = self.narrowed
        assembly = self.assembled(self.network, stage) if "quantize" in self.moves else None
        curvatures = self._curvatures(self.network, stage)
        with self.progress.stage("prepare"):
            prepared = grid_search.prepare(self.network, self.layers, curvatures)
        options: list[factoring.Options] = []
        if "factorize" in self.moves:
            with self.progress.stage("factorize"):
                options = factoring.options(prepared, curvatures)
        if assembly is not None:
            grids = Quantizing(assembly, prepared, self.workers)
            found = self._search(grids)
            if "factorize" in self.moves:
                return self._factored(grids, found, options)
            return self._followed(grids, found, self.network, stage)
        move: Move
        if "palettize" in self.moves:
            move = Sharing(self.network, prepared, "prune" in self.moves, self.workers)
        elif "prune" in self.moves:
            move = Pruning(self.network, prepared, self.pattern, self.workers)
            whole = [one.layer.name for one in prepared if not fits(one, self.pattern)]
            if whole:
                self.notes.append(f"the pattern does not divide {', '.join(whole)}: left as it was")
        else:
            move = factoring.Factoring(self.network, prepared, options)
        return move, self._search(move)

    def _speed_up(self, speedup: float) -> None:
        """Take out channels until the file is as fast as asked."""

        def measure(network: Network) -> float:
            return self.speedup(self._like(network)) / speedup

        alone = measure(self.network)
        if alone >= 1:
            self.notes.append(f"{alone * speedup:.2f} times as fast with all of its channels")
            return
        try:
            cost = thinning.macs_by_weight(self.network)
            self._narrow(cost, measure, 1 / speedup, "faster-")
        except narrowing.NotNarrowEnough as problem:
            raise BudgetNotMet(
                f"a speedup of {speedup:g} can not be reached by taking out channels: the "
                f"narrowest network tried is {problem.best * speedup:.2f} times as fast; ask for "
                "less"
            ) from None

    def _spare_ram(self, most: int) -> None:
        """Take out channels until the file needs no more RAM than asked."""

        def measure(network: Network) -> float:
            return most / max(self.ram(self._like(network)), 1)

        alone = measure(self.network)
        if alone >= 1:
            return
        try:
            cost = narrowing.values_by_weight(self.network)
            self._narrow(cost, measure, alone, "sparer-")
        except narrowing.NotNarrowEnough as problem:
            raise BudgetNotMet(
                f"{show_size(most)} of RAM can not be reached by taking out channels: the "
                f"narrowest network tried needs {show_size(most / max(problem.best, 1e-9))}; ask "
                "for more"
            ) from None

    def _narrow(
        self,
        cost: dict[str, float],
        measure: Callable[[Network], float],
        start: float,
        stage: str,
    ) -> None:
        """Take out channels until a measure is met, and teach what is left."""
        curvatures = self._curvatures(self.network, self.narrowed)

        def choose() -> dict[str, Any]:
            with self.progress.stage("narrow") as tick:
                found = narrowing.narrow(self.network, curvatures, cost, measure, start, tick=tick)
            return {name: torch.from_numpy(stays) for name, stays in found.keep.items()}

        chosen = self.stages.run(f"{stage}narrow", choose)
        keep = {name: stays.numpy() for name, stays in chosen.items()}
        batches = list(self.tensors(self.split.fit))
        with self.progress.stage("repair"):
            self.network = thinning.without(self.network, curvatures, keep, batches)
        widths = [f"{name} {len(k)} -> {int(k.sum())}" for name, k in keep.items() if not k.all()]
        self.notes.append(f"channels: {', '.join(widths)}")
        self.narrowed += stage
        if self.effort != "fast":
            self.network = Teaching(self).distilled()
        self.layers = find_layers(self.network)

    def _like(self, network: Network) -> bytes:
        """A file as fast and as large in RAM as the one that will be written, whatever it says."""
        if "quantize" not in self.moves:
            return onnx_file.to_bytes(network)
        layers = find_layers(network)
        places = activations.find_places(network, layers)
        few = list(self.tensors(self.split.fit.take(range(min(len(self.split.fit), BATCH)))))
        grids = activations.observe(network, places, few)
        return assemble(network, layers, places, grids, {}).template.SerializeToString()

    def speedup(self, file: bytes) -> float:
        """How many times as fast as the original a file is, measured."""
        (sample,) = self.split.fit.take([0]).batches(1)
        ((called, _),) = samples_of.runs(sample, self.network.inputs, self.network.batch)
        return narrowing.speedup_of(self.original, file, called)

    def ram(self, file: bytes) -> int:
        """Bytes of RAM that a file needs, planned."""
        return narrowing.ram_of(file, self.stages.folder)

    def _search(self, move: Move) -> Found:
        with self.progress.stage("search") as tick:

            def build(coarseness: float) -> Point:
                tick()
                return self.point(move.forms(coarseness), coarseness)

            return search(build, self.drop, self.budget, move.start, move.last)

    def _followed(
        self, grids: Quantizing, found: Found, network: Network, stage: str
    ) -> tuple[Quantizing, Found]:
        """The layers solved again in the order of the graph, where that is better.

        Args:
            grids, found: the search over every layer by itself, and its end.
            network: in floats, that the layers are of.
            stage: goes before the names under which the results are kept.
        """
        form, visit = found.point.form, found.point.visit
        assert isinstance(form, Integers)
        before = form.solved
        if visit.coarseness == 0:
            return grids, found  # hardly anything was lost that could be made good
        if not self.budget.fits(visit.packed_bytes, visit.bytes):
            return grids, found  # nor is any size reached by it
        batches = self.tensors(self.split.fit)

        def solve(coarseness: float) -> list[Solved]:
            def compute() -> list[dict[str, Any]]:
                with self.progress.stage("solve in order", len(before)) as tick:
                    solved = on_one_thread(
                        *(solve_in_order, network, grids.assembly, grids.prepared),
                        *(before, coarseness, batches),
                        folder=self.stages.folder,
                        tick=tick,
                    )
                return [one.state() for one in solved]

            stored = self.stages.run(f"{stage}in-order-{coarseness:.6g}", compute)
            return [Solved.of(state) for state in stored]

        move = Following(grids, solve)

        def build(coarseness: float) -> Point:
            return self.point(move.forms(coarseness), coarseness)

        point, trials = go_on(build, self.drop, self.budget, visit.coarseness)
        found = replace(found, visited=[*found.visited, *trials])
        if point is not None and self._better(point, found.point):
            return move, replace(found, point=point)
        return grids, found

    def _factored(
        self, whole: Quantizing, before: Found, options: Sequence[factoring.Options]
    ) -> tuple[Move, Found]:
        """The layers that had better be in factors at the coarseness found, and the search again.

        The better of the two networks is taken.
        """
        form, coarseness = before.point.form, before.point.visit.coarseness
        assert isinstance(form, Integers)
        picked = factoring.worth_it(options, whole.prepared, form.solved, coarseness)
        if not picked:
            self.notes.append(factoring.notes_on(picked))
            return self._followed(whole, before, self.network, self.narrowed)
        network = factored.replace(self.network, picked)
        layers = find_layers(network)
        curvatures = self._curvatures(network, "factored-")
        prepared = grid_search.prepare(network, layers, curvatures)
        grids = Quantizing(self.assembled(network, "factored-"), prepared, self.workers)
        after = self._search(grids)
        visited = [*before.visited, *after.visited]
        if self._better(after.point, before.point):
            self.notes.append(factoring.notes_on(picked))
            return self._followed(grids, replace(after, visited=visited), network, "factored-")
        self.notes.append(f"{factoring.notes_on(picked)}: tried, and worse; all stay whole")
        before = replace(before, visited=visited)
        return self._followed(whole, before, self.network, self.narrowed)

    def _better(self, point: Point, other: Point) -> bool:
        """Whether a point is nearer to what was asked: more exact in the size, or smaller."""
        a, b = point.visit, other.visit
        fits = [self.budget.fits(one.packed_bytes, one.bytes) for one in (a, b)]
        if not self.budget.sized or fits != [True, True]:
            return fits[0] >= fits[1] and a.packed_bytes < b.packed_bytes
        return self.nearer(point, other, self._steer.take(range(min(len(self._steer), DECIDING))))

    def nearer(self, point: Point, other: Point, samples: samples_of.Samples) -> bool:
        """Whether a point answers nearer to the original than another."""
        batches = list(samples.batches(BATCH))
        wanted = self.reference.over(batches)
        one, two = (self.distance_on(batches, wanted, p.file) for p in (point, other))
        return one < two

    def _chosen(self, move: Move, found: Found) -> Outcome:
        """Retraining, if it is wanted, and the judges' word on where the search ended."""
        safer: list[Point] = []
        if self.effort != "fast":
            teaching = Teaching(self)
            if isinstance(move, Quantizing):
                found, safer = teaching.go_on(found, Levels(teaching, move.assembly))
            elif isinstance(move, DeepCompression):
                found, safer = teaching.go_on(found, InOrder(teaching, move))
        point, visited = found.point, found.visited

        looks = 0
        with self.progress.stage("judge") as tick:
            while True:
                verdict, score, flipped = self._judge(point)
                looks += 1
                tick()
                lost = verdict.drop if score is None else score[0] - score[1]
                kept = self._kept(lost)
                if kept or looks == LOOKS or self.budget.sized or point.visit.coarseness == 0:
                    break
                # the judges see a larger drop than the steering samples did
                if safer:
                    point = safer.pop()
                    continue
                finer = point.visit.coarseness * FINER if looks < LOOKS - 1 else 0.0
                point = self.point(move.forms(finer), finer)
                visited.append(point.visit)
        blames = self._blames(move, point) if self.explain else None
        why = self._broken(point, verdict, lost)
        return Outcome(
            point=point,
            verdict=verdict,
            score=score,
            flips=flipped,
            met=why is None,
            why=why or "",
            binding=found.binding,
            looks=looks,
            visited=visited,
            notes=self.notes,
            blames=blames,
        )

    def _blames(self, move: Move, point: Point) -> list[Blame] | None:
        """Which layer breaks it, measured one layer after the other."""
        form = point.form
        if not isinstance(form, Integers) or not isinstance(move, Quantizing):
            self.notes.append(
                "--explain mends layers on finer int8 grids, which this network lacks"
            )
            return None
        if form.assembly is not move.assembly:
            self.notes.append("--explain can not mend a retrained layer; give --effort fast for it")
            return None

        def measure(solved: list[Solved]) -> tuple[float, int]:
            file = Integers(form.assembly, solved).file
            return self.distance(file), len(compress(file, "max", verify=False))

        with self.progress.stage("explain", len(move.prepared)) as tick:
            names = [slot.layer.name for slot in move.assembly.slots]
            finest = dict(zip(names, move.each(grid_search.solve, 0.0), strict=True))
            return explain(list(form.solved), finest, measure, tick)

    def distance(self, file: bytes) -> float:
        """How far a file's answers are from the original's, on samples that may steer."""
        return self.distance_on(self._curve_inputs, self._curve_wanted, file)

    def distance_on(
        self, batches: Sequence[Sequence[Array]], wanted: Sequence[Array], file: bytes
    ) -> float:
        """The same on given samples, to which the original gives the answers wanted."""
        outputs = [torch.from_numpy(value) for value in self.session(file).over(batches)]
        right = [torch.from_numpy(value) for value in wanted]
        return float(self.output_loss(tuple(outputs), tuple(right)))

    @property
    def output_loss(self) -> Loss:
        """What retraining makes small."""
        if self.task.classifier:
            return classifier_loss(self.task.probabilities)
        return squared_loss

    def _kept(self, lost: float | None) -> bool:
        allowed = self.budget.max_drop
        return allowed is None or (lost is not None and lost <= allowed + 1e-12)

    def _broken(self, point: Point, verdict: Verdict, lost: float | None) -> str | None:
        """A sentence about a budget that is not met."""
        size = self.budget.broken_size(point.visit.packed_bytes, point.visit.bytes)
        if size is not None:
            return size
        if self._kept(lost):
            return self._too_slow(point) or self._too_much_ram(point)
        what = "eval_fn's loss" if self.eval_fn else "the drop"
        at = show_size(point.visit.packed_bytes)
        return (
            f"{what} is {lost:.2%} on {verdict.n} samples at {at} packed, "
            f"max-drop allows {self.budget.max_drop:.2%}"
        )

    def _too_slow(self, point: Point) -> str | None:
        """A sentence about the speed, if it is asked for and not there."""
        wanted = self.budget.speedup
        if wanted is None:
            return None
        measured = max(self.speedup(point.file) for _ in range(TIMINGS))
        if measured >= wanted:
            return None
        return (
            f"the file is {measured:.2f} times as fast as the original, speedup asks for {wanted:g}"
        )

    def _too_much_ram(self, point: Point) -> str | None:
        """A sentence about the RAM, if it is bounded and more is needed."""
        most = self.budget.max_ram
        needed = 0 if most is None else self.ram(point.file)
        if most is None or needed <= most:
            return None
        return f"the file needs {show_size(needed)} of RAM, max-ram allows {show_size(most)}"

    def _judge(self, point: Point) -> tuple[Verdict, tuple[float, float] | None, list[Flip] | None]:
        judge = self.split.judge
        if not hasattr(self, "_judged"):
            self._judged = self.reference.over(judge.batches(BATCH))
        session = self.session(point.file)
        outputs = session.over(judge.batches(BATCH))
        classifier = self.task.classifier
        verdict = compare(self._judged, outputs, judge.labels, classifier=classifier)
        score = (self._base, self.eval_fn(session)) if self.eval_fn else None
        flipped = flips(self._judged, outputs, judge.labels) if classifier else None
        return verdict, score, flipped

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
