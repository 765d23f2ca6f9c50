"""One fit, stage by stage: what `fit` does between reading a network and writing it.

Everything that is fitted (activation ranges, curvature, the search, recovery) sees the samples of
`split.fit`, `split.learn` and `split.steer`. The figures reported come from `split.judge`, measured
in onnxruntime on the bytes that are written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from packlight import data as samples_of
from packlight.coding.packing import compress
from packlight.judge import Flip, Verdict
from packlight.network import Network
from packlight.progress import Progress
from packlight.shrink import factored, factoring, grid_search, preparing, slimming
from packlight.shrink.assembly import Assembly, Integers, Quantizing
from packlight.shrink.budget import Budget
from packlight.shrink.deep_compression import DeepCompression, InOrder
from packlight.shrink.explaining import Blame, explain
from packlight.shrink.fallback import ENOUGH_DB
from packlight.shrink.float_moves import Pruning, Sharing, fits
from packlight.shrink.following import Following, in_order, solve_in_order
from packlight.shrink.grid_search import Prepared, Solved
from packlight.shrink.incremental import Shares
from packlight.shrink.layers import find_layers
from packlight.shrink.measuring import EvalFn, Measuring
from packlight.shrink.moves import ACTIVATIONS, Move
from packlight.shrink.prune import Pattern
from packlight.shrink.revising import WEIGHTS, Earlier, near
from packlight.shrink.search import Found, Point, Visit, go_on, search
from packlight.shrink.stages import Stages
from packlight.shrink.teaching import Teaching
from packlight.shrink.workers import HERE, Workers, on_one_thread

BATCH = 16  # samples run at once
FALLBACK_SAMPLES = 48  # on which activations are tried in int8
CURVE_SAMPLES = 256  # on which every visited point is scored
DECIDING = 1024  # on which one of two ways to a size is chosen
LOOKS = 8  # times the judges may send a point back
FINER = 0.95  # factor on the coarseness when they do, squared the next time, and so on


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
        activations: "int8" or "float", of layers whose weights are quantised.
        effort: "fast", "normal" or "best".
        pattern: of what pruning takes together.
        recipe: one of `moves.RECIPES`, or None.
        labels: whether training is to learn from labels as well.
        lessons: how many samples training sees, as they are; None where the effort says it.
        explain: whether to measure each layer's damage.
        macs: multiply-adds of one sample, if known.
        seed: for every random choice.
        eval_fn: judges instead of accuracy, if given.
        runtimes: that a speed is asked for on.
        progress: told of every stage.
        stages: where finished stages are kept.
        base: the version that whoever updates has, if the difference to it is to be small.
        workers: where independent pieces run.
    """

    network: Network
    original: str | bytes
    split: samples_of.Split
    budget: Budget
    moves: tuple[str, ...]
    activations: str
    effort: str
    pattern: Pattern
    recipe: str | None
    labels: bool
    lessons: int | None
    explain: bool
    macs: int | None
    seed: int
    eval_fn: EvalFn | None
    runtimes: str | Sequence[str]
    progress: Progress
    stages: Stages
    base: Earlier | None = None
    workers: Workers = HERE
    notes: list[str] = field(default_factory=list)
    narrowed: str = ""  # goes before the names of stages, once channels are out

    def run(self) -> Outcome:
        """All stages."""
        self.layers = find_layers(self.network)
        self.measuring = Measuring(
            *(self.network, self.original, self.split, self.budget, self.eval_fn),
            runtimes=self.runtimes,
            folder=self.stages.folder,
        )
        if self.labels:
            classes = self.measuring.task.classes
            samples_of.check_lessons(self.split.learn, classes, "a network")
        self.teacher = self.network
        if self.budget.speedup is not None:
            slimming.speed_up(self, self.budget.speedup)
        if self.budget.max_ram is not None:
            slimming.spare_ram(self, self.budget.max_ram)
        move, found = self._found()
        return self._chosen(move, found)

    def _found(self) -> tuple[Move, Found]:
        """The moves wanted, searched over."""
        if self.recipe is not None:
            classic = DeepCompression(self.network, self.layers)
            return classic, self._search(classic)
        stage = self.narrowed
        assembly = (
            preparing.assembled(self, self.network, stage) if "quantize" in self.moves else None
        )
        curvatures = preparing.curvatures(self, self.network, stage)
        with self.progress.stage("prepare"):
            top = ACTIVATIONS[self.activations]
            prepared = grid_search.prepare(self.network, self.layers, curvatures, top)
        options: list[factoring.Options] = []
        if "factorize" in self.moves:
            with self.progress.stage("factorize"):
                options = factoring.options(prepared, curvatures)
        if assembly is not None:
            prepared = preparing.bound(self, self.network, prepared, stage)
            grids = Quantizing(assembly, prepared, self.workers)
            revised = self._revised(grids)
            if revised is not None:
                return revised
            found = self._search(grids)
            if "factorize" in self.moves:
                return self._factored(grids, found, options)
            grids, found = self._finer(grids, found)
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

    def _search(self, move: Move) -> Found:
        with self.progress.stage("search") as tick:

            def build(coarseness: float) -> Point:
                tick()
                return self.measuring.point(move.forms(coarseness), coarseness)

            return search(build, self.measuring.drop, self.budget, move.start, move.last)

    def _finer(self, grids: Quantizing, found: Found) -> tuple[Quantizing, Found]:
        """Weights, or else activations, left in float where no integers are exact enough.

        Taken only where it fits the budget, and is nearer to what was asked.
        """
        point = found.point
        form = point.form
        assert isinstance(form, Integers)
        if point.visit.coarseness > 0 or point.visit.verdict.sqnr_db >= ENOUGH_DB:
            return grids, found
        floats = preparing.harmful_weights(self, self.network, form)
        prepared = [one for one in grids.prepared if one.layer.weight not in floats]
        assembly: Assembly | None = None
        if not floats:
            assembly = preparing.with_more_floats(self, self.network, form, self.narrowed)
        elif prepared:
            stage = f"{self.narrowed}finer-"
            assembly = preparing.assembled(self, self.network, stage, floats)
        if assembly is None:
            return grids, found
        finer = Quantizing(assembly, prepared, self.workers)
        after = self._search(finer)
        visited = [*found.visited, *after.visited]
        if self.budget.sized:
            better = self.measuring.better(after.point, point)
        else:
            better = self.measuring.nearer(after.point, point, self.split.steer or self.split.fit)
        if better:
            return finer, replace(after, visited=visited)
        return grids, replace(found, visited=visited)

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
        if visit.coarseness == 0:
            return grids, found  # hardly anything was lost that could be made good
        if not self.budget.fits(visit.packed_bytes, visit.bytes):
            return grids, found  # nor is any size reached by it
        move = self._following(grids, lambda _: form.solved, network, stage)

        def build(coarseness: float) -> Point:
            return self.measuring.point(move.forms(coarseness), coarseness)

        point, trials = go_on(build, self.measuring.drop, self.budget, visit.coarseness)
        found = replace(found, visited=[*found.visited, *trials])
        if point is not None and self.measuring.better(point, found.point):
            return move, replace(found, point=point)
        return grids, found

    def _following(
        self,
        grids: Quantizing,
        before: Callable[[float], Sequence[Solved]],
        network: Network,
        stage: str,
        solve: Callable[[Prepared, float], Solved] = grid_search.solve,
    ) -> Following:
        """The layers solved in the order of the graph, at any coarseness.

        Args:
            grids, network, stage: as of `_followed`.
            before: what layers keep at a coarseness that can not be solved so.
            solve: one layer.
        """
        batches = self.measuring.tensors(self.split.fit)

        def run(coarseness: float) -> tuple[list[Prepared], list[Solved]]:
            with self.progress.stage("solve in order", len(grids.prepared)) as tick:
                return on_one_thread(
                    *(solve_in_order, network, grids.assembly, grids.prepared),
                    *(before(coarseness), coarseness, batches),
                    solve=solve,
                    folder=self.stages.folder,
                    tick=tick,
                )

        def solved(coarseness: float) -> list[Solved]:
            stored = self.stages.run(
                f"{stage}in-order-{coarseness:.6g}",
                lambda: [one.state() for one in run(coarseness)[1]],
            )
            return [Solved.of(state) for state in stored]

        return Following(grids, solved, lambda coarseness: run(coarseness)[0])

    def _revised(self, grids: Quantizing) -> tuple[Quantizing, Found] | None:
        """The earlier version changed where that pays, if one that meets the budget is near it."""
        base = self.base
        if base is None:
            return None
        if not all(layer.weight in base.layers for layer in self.layers):
            self.notes.append(f"{base.path} holds weights in float: fitted without it")
            return None
        moves = {weight: self._changing(grids, base, weight) for weight in WEIGHTS}

        def build(coarseness: float, weight: float) -> Point:
            return self.measuring.point(moves[weight].forms(coarseness), coarseness)

        point, weight, visited = near(
            build,
            lambda point: self.measuring.distance(point.file),
            self.measuring.drop,
            self.budget,
            base.coarseness(grids.prepared),
        )
        if point is None:
            self.notes.append(f"nothing near {base.path} meets the budget: fitted without it")
            return None
        return moves[weight], Found(point, visited, "none")

    def _changing(self, grids: Quantizing, base: Earlier, weight: float) -> Following:
        """The layers solved from what they were, a bit of the update at this weight."""
        solve = base.solver(weight)

        def before(coarseness: float) -> list[Solved]:
            return [
                base.layers[one.layer.weight] if in_order(one) else solve(one, coarseness)
                for one in grids.prepared
            ]

        return self._following(grids, before, self.network, f"base-{weight:g}-", solve)

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
        curvatures = preparing.curvatures(self, network, "factored-")
        top = ACTIVATIONS[self.activations]
        prepared = grid_search.prepare(network, layers, curvatures, top)
        prepared = preparing.bound(self, network, prepared, "factored-")
        grids = Quantizing(preparing.assembled(self, network, "factored-"), prepared, self.workers)
        after = self._search(grids)
        visited = [*before.visited, *after.visited]
        if self.measuring.better(after.point, before.point):
            self.notes.append(factoring.notes_on(picked))
            return self._followed(grids, replace(after, visited=visited), network, "factored-")
        self.notes.append(f"{factoring.notes_on(picked)}: tried, and worse; all stay whole")
        before = replace(before, visited=visited)
        return self._followed(whole, before, self.network, self.narrowed)

    def _chosen(self, move: Move, found: Found) -> Outcome:
        """Retraining, if it is wanted, and the judges' word on where the search ended."""
        safer: list[Point] = []
        if self.effort != "fast":
            teaching = Teaching(self)
            if isinstance(move, Quantizing) and not move.assembly.floats:
                found, safer = teaching.go_on(found, Shares(teaching, move, found.point))
            elif isinstance(move, DeepCompression):
                found, safer = teaching.go_on(found, InOrder(teaching, move))
        point, visited = found.point, found.visited

        looks = steps = 0
        with self.progress.stage("judge") as tick:
            while True:
                verdict, score, flipped = self.measuring.judge(point)
                looks += 1
                tick()
                lost = verdict.drop if score is None else score[0] - score[1]
                kept = self.measuring.kept(lost)
                if kept or looks == LOOKS or self.budget.sized or point.visit.coarseness == 0:
                    break
                # the judges see a larger drop than the steering samples did
                if safer:
                    point = safer.pop()
                    continue
                steps += 1
                stride = FINER**steps if looks < LOOKS - 1 else 0.0
                finer = point.visit.coarseness * stride
                point = self.measuring.point(move.forms(finer), finer)
                visited.append(point.visit)
        blames = self._blames(move, point) if self.explain else None
        why = self.measuring.broken(point, verdict, lost)
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
            return self.measuring.distance(file), len(compress(file, "max", verify=False))

        with self.progress.stage("explain", len(move.prepared)) as tick:
            names = [slot.layer.name for slot in move.assembly.slots]
            finest = dict(zip(names, move.each(grid_search.solve, 0.0), strict=True))
            return explain(list(form.solved), finest, measure, tick)
