"""`distill`: a small network taught by a big one, judged on samples that nothing learnt from.

    teacher, data -> student -> train -> student.onnx -> judge -> (fit) -> distill.json

The training part of the data is learnt from, but for a few samples that choose the best weights;
the test part judges the files that were written, in onnxruntime.
"""

from __future__ import annotations

import io
import os
import sys
import time
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

import packlight
from packlight import data as samples_of
from packlight import readers
from packlight.errors import BadInput, BudgetNotMet
from packlight.files import replace_file, replace_folder, sha256
from packlight.fuse import fuse
from packlight.judge import Task, find_task
from packlight.learning import reporting
from packlight.learning.averages import copied, put_state
from packlight.learning.checkpoints import Checkpoints
from packlight.learning.course import Course
from packlight.learning.distributed import World, joined
from packlight.learning.lessons import BALANCE, Lesson
from packlight.learning.memory_order import in_usual_order
from packlight.learning.parting import part
from packlight.learning.shelves import open_pixels
from packlight.learning.students import student_of
from packlight.learning.teachers import Teacher
from packlight.learning.threads import threads_for
from packlight.learning.training import History, Plan, train
from packlight.network import Network, quiet_torch
from packlight.progress import Progress
from packlight.runtimes import onnx as onnx_file
from packlight.shrink.record import circumstances
from packlight.shrink.stages import Stages, output_folder
from packlight.units import parse_size
from packlight.weighing import weigh

MODEL, PROGRAM, RECORD, FITTED = "student.onnx", "student.pt2", "distill.json", "fitted"

EPOCHS, LEAST_STEPS = 30, 3000  # by default: whichever takes longer
LOOKS, PATIENCE = 25, 10  # validations of a training, and how many without gain end it
LEAST_EVERY = 20  # steps between two: a short training does not stop before it began
RATE, LEARNT_ON = 6e-3, 0.2  # of fresh weights; of a file's, as a share of that
TEMPERATURE = 4.0


@dataclass(frozen=True)
class Asked:
    """What a user asked for, as far as it changes what is learnt.

    Args:
        labels, features: whether to learn from labels, and to match features.
        epochs: None for the default.
        temperature: of softened answers.
        balance: weight of the teacher's answers beside labels.
        rate: of learning; None for the default.
        seed: for every random choice.
    """

    labels: bool
    features: bool
    epochs: int | None
    temperature: float
    balance: float
    rate: float | None
    seed: int

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise BadInput(f"--epochs {self.epochs} is not possible; give 1 or more")
        if not (isfinite(self.temperature) and self.temperature > 0):
            raise BadInput(
                f"--temperature {self.temperature:g} is not possible; give a number above 0"
            )
        if not 0 <= self.balance <= 1:
            raise BadInput(f"--balance {self.balance:g} is not possible; give a share from 0 to 1")
        if self.rate is not None and not (isfinite(self.rate) and self.rate > 0):
            raise BadInput(f"--rate {self.rate:g} is not possible; give a number above 0")


@dataclass(frozen=True)
class DistillResult:
    """What `distill` made; prints as a table.

    Args:
        model: student.onnx.
        program: student.pt2, the same with its batch norms, to learn on.
        report: every figure, as in distill.json.
        fitted: what `fit` made of it, where a size was asked for; its folder.
    """

    model: Path
    program: Path
    report: dict[str, Any]
    fitted: Path | None

    def __rich__(self) -> Any:
        from packlight.report.distilled import table

        return table(self.report)


def distill(
    teacher: Any,
    student: Any,
    data: Any,
    *,
    labels: bool = False,
    epochs: int | None = None,
    temperature: float = TEMPERATURE,
    balance: float = BALANCE,
    features: bool = False,
    rate: float | None = None,
    target_size: str | int | None = None,
    out: str | os.PathLike[str] | None = None,
    preprocess: samples_of.Preprocess | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> DistillResult:
    """Teach a small network what a big one knows.

    Args:
        teacher: whatever `packlight.load` reads.
        student: a recipe of the zoo, `mobilenet_v2:0.35`, whose weights begin at random; or
            whatever `packlight.load` reads, whose weights learn on.
        data: whatever `packlight.data.open_data` reads; the test part judges.
        labels: learn from the samples' labels as well.
        epochs: rounds over the training samples.
        temperature: the teacher's answers are softened by.
        balance: weight of the teacher's answers against the labels', 0..1, on samples that the
            teacher answers right; on others, and with 0, labels alone count.
        features: let what the student's last layer reads resemble what the teacher's reads.
        rate: of learning, at its highest.
        target_size: then fit the student into this packed size, as `packlight.fit` does.
        out: the output folder; default: the teacher's name with `-distilled`.
        preprocess: how images become inputs.
        seed: for every random choice.
        force: write into a folder that holds files.
        progress: told of every stage.
        command: what the user typed, for the report.
    Returns:
        DistillResult: student.onnx, judged, and distill.json.
    Raises:
        BadInput: a network, the data or an argument can not be used.
        BudgetNotMet: the student is there, but can not be fitted into the size.
        PacklightError: the loss became NaN or infinite.
    """
    asked = Asked(labels, features, epochs, temperature, balance, rate, seed)
    size = None if target_size is None else parse_size(target_size, "target size")
    with joined() as world:
        shown = (progress if world.leads else None) or Progress()
        job = _Job(asked, world, shown, preprocess or samples_of.Preprocess())
        job.open(teacher, student, data)
        folder = None
        if world.leads:
            stem = job.original.source.stem if job.original.source else "network"
            folder = output_folder(out or f"{stem}-distilled", force, "a distillation writes")
        return job.run(world.from_leader(folder), size, command)


class _Job:
    """One distillation."""

    def __init__(
        self, asked: Asked, world: World, progress: Progress, preprocess: samples_of.Preprocess
    ) -> None:
        self.asked, self.world, self.progress = asked, world, progress
        self.preprocess = preprocess
        self.notes: list[str] = []

    def open(self, teacher: Any, student: Any, data: Any) -> None:
        """Read everything, and look whether it fits together."""
        with self.progress.stage("load"):
            self.original = readers.load(teacher)
            specs = self.original.inputs
            if not all(spec.batched for spec in specs):
                raise BadInput(
                    f"{self.named} takes inputs that count no samples; a teacher answers sample by "
                    "sample"
                )
            self.data = Path(data).name if isinstance(data, (str, Path)) else type(data).__name__
            dataset = samples_of.open_data(data, specs, self.preprocess)
            self.parts = part(dataset, self.asked.seed)
            pixels = open_pixels(data, dataset, specs, self.preprocess)
            fused = fuse(self.original).network
            few = self.parts.learn.first(64)
            self.task = self._task(fused, few)
            self._look_at_labels()
            self.teacher = Teacher(fused, self.task, features=self.asked.features)
            inputs = tuple(map(torch.from_numpy, few.arrays()))
            self.inputs = inputs
            self.student = student_of(
                student, self.teacher, self.named, inputs, seed=self.asked.seed
            )
            if self.asked.features:
                self._match()
        self.pixels = pixels

    @property
    def named(self) -> str:
        """The teacher's name."""
        return self.original.source.name if self.original.source else "the teacher"

    def run(self, folder: Path, size: int | None, command: str | None) -> DistillResult:
        """Train, write, judge; fit where that was asked for."""
        start = time.perf_counter()
        asked = self.asked
        self.course = Course(
            *(self.parts, self.pixels, self.teacher, self.task, self.original.inputs[0]),
            labels=asked.labels,
            seed=asked.seed,
            progress=self.progress,
        )
        lesson = Lesson(
            self.teacher, self.course.shelf, asked.temperature, asked.balance, labels=asked.labels
        )
        plan = self._plan()
        history = self._train(folder, lesson, plan)
        seconds = time.perf_counter() - start
        if not self.world.leads:  # the leader writes, and tells what it wrote
            result: DistillResult = self.world.from_leader(None)
            return result
        report, fitted, problem = self._written(folder, plan, history, seconds, size, command)
        self.stages.clear()
        result = DistillResult(folder / MODEL, folder / PROGRAM, report, fitted)
        self.world.from_leader(result)
        if problem is not None:
            raise BudgetNotMet(str(problem), result)
        return result

    def _written(
        self,
        folder: Path,
        plan: Plan,
        history: History,
        seconds: float,
        size: int | None,
        command: str | None,
    ) -> tuple[dict[str, Any], Path | None, BudgetNotMet | None]:
        """Everything in the output folder, once all of it is there and judged."""
        work = self.stages.folder
        network = self._network()
        with self.progress.stage("write"):
            model = onnx_file.write(fuse(network).network, work / MODEL)
            program = _saved(network)
        figures = reporting.Figures(self.original, self.parts.judge, self.parts.name)
        report = {
            "packlight": packlight.__version__,
            "asked": self._asked(size),
            "student": figures.of(model, self.progress),
            "teacher": figures.teacher(self.named),
            "fitted": None,
            "training": self._training(plan, history, seconds),
            "notes": self.notes,
        }
        fitted: Path | None = None
        problem: BudgetNotMet | None = None
        if size is not None:
            small, problem = self._fit(model, size, work / FITTED)
            report["fitted"] = {**figures.of(small, self.progress), "met": problem is None}
            fitted = replace_folder(folder / FITTED, work / FITTED) / small.name
        report |= circumstances(self.progress, command or " ".join(sys.argv))
        replace_file(folder / MODEL, model.read_bytes())
        replace_file(folder / PROGRAM, program)
        reporting.write(report, folder / RECORD)
        return report, fitted, problem

    def _task(self, network: Network, few: samples_of.Samples) -> Task:
        from packlight.runtimes.onnxruntime import Session

        session = Session(onnx_file.source_of(self.original), inputs=network.inputs)
        arrays = few.arrays()
        outputs = session.over([arrays])
        return find_task(arrays, outputs, labelled=self.parts.judge.labels is not None)

    def _look_at_labels(self) -> None:
        if self.task.classifier:
            for samples in (self.parts.learn, self.parts.held, self.parts.judge):
                samples_of.check_labels(samples, self.task.classes)
        if self.asked.labels:
            samples_of.check_lessons(self.parts.learn, self.task.classes, "a teacher")

    def _match(self) -> None:
        _, features = self.teacher(self.inputs)
        pupil = self.student.pupil
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.asked.seed + 1)
            if features is None or not pupil.match(self.inputs, features.shape[1]):
                raise BadInput(
                    "--features needs a last layer with weights in teacher and student; leave it "
                    "out for these"
                )

    def _plan(self) -> Plan:
        asked = self.asked
        rounds = self.course.rounds
        self.epochs = asked.epochs or max(EPOCHS, -(-LEAST_STEPS // rounds))
        steps = self.epochs * rounds
        usual = RATE if self.student.fresh else LEARNT_ON * RATE
        return Plan(
            steps,
            rate=asked.rate or usual,
            every=max(steps // LOOKS, LEAST_EVERY),
            patience=PATIENCE,
            seed=asked.seed,
        )

    def _train(self, folder: Path, lesson: Lesson, plan: Plan) -> History:
        pupil = self.student.pupil
        memory: Checkpoints | None = None
        kept: dict[str, Any] | None = None
        if self.world.leads:
            self.stages = Stages(folder, self._key(plan))
            memory = Checkpoints(self.stages.folder / "student.part")
            kept = self.stages.finished("student")
        kept = self.world.from_leader(kept)
        if kept is None:
            macs = weigh(self.original).totals.macs or inf
            with threads_for(macs * self.course.batch):
                history = train(
                    *(pupil, self.course.batches(plan.steps), lesson, plan),
                    validate=self.course.score,
                    memory=memory,
                    progress=self.progress,
                    name="teach",
                )
            kept = {"state": copied(pupil), "history": history.to_dict()}
            if self.world.leads:
                assert memory is not None
                self.stages.run("student", lambda: kept)
                memory.forget()
        put_state(pupil, kept["state"])
        return History.of(kept["history"])

    def _key(self, plan: Plan) -> dict[str, Any]:
        """What the trained student depends on."""
        few = self.parts.learn.first(16)
        state = self.student.pupil.state_dict()
        return {
            "packlight": packlight.__version__,
            "teacher": sha256(onnx_file.bytes_of(onnx_file.source_of(self.original))),
            "student": [self.student.name, sha256(b"".join(map(_raw, state.values())))],
            "data": sha256(b"".join(map(_raw, few.arrays()))) + str(len(self.parts.learn)),
            "settings": [str(self.asked), str(self.preprocess), str(plan), str(self.course.views)],
        }

    def _network(self) -> Network:
        """The student as it is written, with the teacher's names."""
        pupil = self.student.pupil
        pupil.finish(self.inputs)
        network = Network.from_module(
            pupil,
            [in_usual_order(value[:2]) for value in self.inputs],
            input_names=self.original.input_names,
            output_names=self.original.output_names,
        )
        self.notes.extend(network.notes)
        return network

    def _fit(self, model: Path, size: int, folder: Path) -> tuple[Path, BudgetNotMet | None]:
        """The student trained through its own rounding into a size."""
        from packlight.shrink.fit import fit

        parts = self.parts
        dataset = samples_of.Dataset(parts.train, parts.judge, parts.name)
        try:
            result = fit(
                *(model, dataset),
                target_size=size,
                effort="normal",
                labels=self.asked.labels,
                calibrate=min(300, len(parts.train)),
                out=folder,
                seed=self.asked.seed,
                force=True,
                progress=self.progress,
            )
        except BudgetNotMet as problem:
            if problem.nearest is None:
                raise
            return problem.nearest.model, problem
        return result.model, None

    def _asked(self, size: int | None) -> dict[str, Any]:
        return {
            "teacher": self.named,
            "student": self.student.name,
            "data": self.data,
            "preprocess": vars(self.preprocess),
            "target_size": size,
            **vars(self.asked),
        }

    def _training(self, plan: Plan, history: History, seconds: float) -> dict[str, Any]:
        return {
            "learnt_on": len(self.parts.learn),
            "validated_on": len(self.parts.held),
            "batch": self.course.batch,
            "epochs": self.epochs,
            "steps": plan.steps,
            "rate": plan.rate,
            "views": self.course.views.to_dict(),
            "steps_done": len(history.losses),
            "best_step": history.best,
            "stopped_early": history.stopped,
            "loss": history.curve(),
            "validated": history.scores,
            "seconds": round(seconds, 2),
        }


def _saved(network: Network) -> bytes:
    """The file that `torch.export.save` writes."""
    file = io.BytesIO()
    with quiet_torch():
        torch.export.save(network.exported(), file)
    return file.getvalue()


def _raw(value: Any) -> bytes:
    return np.ascontiguousarray(value).tobytes()
