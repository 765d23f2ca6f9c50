"""`tune`: the fastest way to run a network on the machine in hand, kept as a file and settings.

    files      the file given, and the network written for the other runtimes; numbers of threads
    settings   of the session of the best
    layers     of the best ONNX file, in other forms
    confirm    the winner against the default, in fresh processes

Every step races files that take turns (`packlight.runtimes.racing`). The winner of many races was
also lucky, so only the last one counts: unless its whole interval lies beyond what the default
differs from itself by, the default is kept.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import packlight
from packlight.errors import BadInput, PacklightError
from packlight.files import replace_folder, sha256
from packlight.judge import Interval
from packlight.progress import Progress
from packlight.readers import load
from packlight.runtimes.latency import Verdict, verdict
from packlight.runtimes.racing import allowed, processors
from packlight.runtimes.targets import SUFFIXES, runner_of, targets_of
from packlight.runtimes.tuning import trials as layer_trials
from packlight.runtimes.tuning.answers import Judge
from packlight.runtimes.tuning.choices import (
    CONSTANT,
    RUNTIMES,
    Choice,
    Race,
    best_of,
    race,
    settings_of,
)
from packlight.runtimes.tuning.machine import installed, processor, runtime_version
from packlight.runtimes.tuning.opened import RECORD

FITTED = "model.onnx"  # what `fit` leaves in its folder
STEM = "tuned"
_SHARES = {"files": 0.25, "settings": 0.15, "layers": 0.3, "confirm": 0.3}  # of the seconds
_WORTH = 0.98  # times as long as the default that another file may take to take its place
_GAIN = 0.99  # times as long as the best so far that what replaces it may take
_NEAR = 1.5  # times as long as the best that an ONNX file may take before its layers are tried
_AT_REST = Interval(1.0, 1.0, 1.0)


@dataclass(frozen=True)
class TuneResult:
    """What was found, and written.

    Args:
        folder: with the file and tuned.json; `packlight.runtimes.open` takes it.
        file: that is fastest.
        record: what tuned.json holds.
        ratio: times as long as the default, in the confirming race; None where nothing was found
            that was worth one.
        same: the default to itself in that race: noise.
        verdict: "faster"; otherwise the default is what was written.
    """

    folder: Path
    file: Path
    record: dict[str, Any]
    ratio: Interval | None
    same: Interval | None
    verdict: Verdict

    @property
    def notes(self) -> list[str]:
        """What to know, in sentences."""
        told: list[str] = self.record["notes"]
        return told

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"folder": str(self.folder), **self.record}

    def __rich__(self) -> Any:
        from packlight.report.tuned import table

        return table(self)


@dataclass
class _Search:
    """One tuning at work."""

    default: Choice
    judge: Judge
    most: int
    seconds: float
    folder: Path
    progress: Progress
    quantised: bool
    notes: list[str]
    tried: list[dict[str, Any]]

    def run(self, names: Sequence[str]) -> Choice:
        """The choice that did best in races."""
        with self.progress.stage("write files"):
            files = [self.default, *self._files(names)]
        best = self.default
        ranked = [(best, _AT_REST)]
        entered = self._threaded(files)
        if len(entered) > 1:
            with self.progress.stage("race files"):
                ranked = best_of(entered, self.most, self._share("files"))
            for choice, time in ranked:
                if choice != self.default:
                    self._tell(str(choice), time)
            if ranked[0][1].value < _WORTH:
                best = ranked[0][0]
        with self.progress.stage("race settings"):
            best = self._best_settings(best, self._share("settings"))
        onnx = best if best.runtime == "onnx" else _first([one for one, _ in ranked], "onnx")
        if onnx is not None and onnx is not best:
            ratio = self._note_race("best of onnx", [best, onnx], 0.3 * self._share("layers"))
            onnx = onnx if ratio is not None and ratio.value < _NEAR else None
        if onnx is not None:
            best = self._best_layers(best, onnx)
        return best

    def confirm(self, best: Choice) -> Race:
        """The winner against the default, in processes of their own that nothing ran in before."""
        with self.progress.stage("confirm"):
            return race([self.default, best], self.most, self._share("confirm"), twin=True)

    def _share(self, stage: str) -> float:
        return self.seconds * _SHARES[stage]

    def _files(self, names: Sequence[str]) -> Iterator[Choice]:
        """The network in other files, as far as they answer alike."""
        if self.default.runtime != "onnx":
            return
        constant = layer_trials.with_constant_weights(self.default.path.read_bytes())
        if constant is not None:
            path = self.folder / "constant.onnx"
            path.write_bytes(constant)
            choice = replace(self.default, path=path, forms=((CONSTANT, "all"),))
            if self._fits(choice):
                yield choice
        try:
            network = load(self.default.path)
        except PacklightError as problem:
            self.notes.append(f"not written for other runtimes: {problem}")
            return
        for name in names:
            target = targets_of(name)[0]
            path = self.folder / f"{name}{target.suffix}"
            try:
                target.write(network, path)
            except PacklightError as problem:
                self.notes.append(f"not written for {name}: {problem}")
                continue
            choice = replace(self.default, path=path, written=True)
            if self._fits(choice):
                yield choice

    def _threaded(self, files: Sequence[Choice]) -> list[Choice]:
        """Each file with all threads that are allowed, then with fewer."""
        counts = [self.most]
        while counts[-1] > 1:
            counts.append(counts[-1] // 2)
        return [replace(one, threads=count) for count in counts for one in files]

    def _best_settings(self, best: Choice, seconds: float) -> Choice:
        """With those settings that were faster alone, if they are together."""
        settings = settings_of(best, quantised=self.quantised)
        choices = [one for one in map(best.set, settings) if self._fits(one)]
        if not choices:
            return best
        ratios = race([best, *choices], self.most, seconds / 2).ratios[1:]
        better = []
        for choice, ratio in zip(choices, ratios, strict=True):
            self._tell(str(choice), ratio)
            if ratio is not None and ratio.value < _GAIN:
                better.append((ratio.value, choice))
        if not better:
            return best
        better.sort(key=lambda one: one[0])
        together = best
        for _, choice in reversed(better):  # the best last, so that it prevails
            together = together.set(choice.settings)
        entered = [better[0][1]]
        if together.settings != entered[0].settings and self._fits(together):
            entered.append(together)
        return self._winner(best, entered, seconds / 2)

    def _best_layers(self, best: Choice, onnx: Choice) -> Choice:
        """With layers in other forms, if that is faster than the best so far."""
        seconds = self._share("layers")
        data = onnx.path.read_bytes()
        total = -(-len(layer_trials.kinds(data)) // layer_trials.AT_ONCE)
        with self.progress.stage("race layers", total) as tick:
            found = layer_trials.tried(
                onnx, self.most, 0.6 * seconds, self.folder, self._fits, tick
            )
        for one in found:
            more = f" and {len(one.layers) - 1} like it" if len(one.layers) > 1 else ""
            told = f"{one.form}: {one.layers[0]}{more}" + (" (cached)" if one.cached else "")
            self._tell(told, one.ratio)
        mixes = [one for one in layer_trials.combined(onnx, found, self.folder) if self._fits(one)]
        if not mixes:
            return best
        with self.progress.stage("race mixes"):
            return self._winner(best, mixes, 0.4 * seconds)

    def _winner(self, best: Choice, others: Sequence[Choice], seconds: float) -> Choice:
        """The fastest, the best so far among them."""
        ratios = race([best, *others], self.most, seconds).ratios[1:]
        for one, ratio in zip(others, ratios, strict=True):
            self._tell(str(one), ratio)
        ran = [(r.value, at) for at, r in enumerate(ratios) if r is not None and r.value < _GAIN]
        return others[min(ran)[1]] if ran else best

    def _note_race(self, what: str, choices: Sequence[Choice], seconds: float) -> Interval | None:
        ratio = race(choices, self.most, seconds).ratios[1]
        self._tell(what, ratio)
        return ratio

    def _fits(self, choice: Choice) -> bool:
        try:
            self.judge.difference(choice)
        except PacklightError as problem:
            self.notes.append(f"left out, {choice}: {problem}")
            return False
        return True

    def _tell(self, what: str, ratio: Interval | None) -> None:
        told = None if ratio is None else _interval(ratio)
        self.tried.append({"what": what, "ratio": told})


def tune(
    model: str | os.PathLike[str],
    to: str | Sequence[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    threads: int | None = None,
    seconds: float = 30.0,
    force: bool = False,
    progress: Progress | None = None,
) -> TuneResult:
    """Find the fastest way to run a network here, with answers that are equal but for rounding.

    Args:
        model: an .onnx file, a folder that `fit` wrote, or a .tflite or .pte file, of which only
            the session's settings are tuned.
        to: runtimes to write an ONNX network for and try, as in "onnx,litert"; default: those that
            are installed.
        out: folder to write; default: the model's name with `-tuned`.
        threads: at most; default: as many as there are processors. The default that the result is
            compared with has as many.
        seconds: how long to race, roughly; writing and loading files come on top.
        force: replace what an earlier tune wrote.
        progress: told of every stage.
    Raises:
        BadInput: not a file that runs here, sizes that are open, or a folder in the way.
    """
    progress = progress or Progress()
    path = _file(Path(model))
    runtime, _ = runner_of(path)
    if runtime not in RUNTIMES:
        raise BadInput(f"{path.name} was optimised already; give the .onnx that it was made from")
    folder = Path(out) if out is not None else _default_folder(Path(model))
    _free(folder, force)
    most = threads if threads is not None else len(allowed())
    processors(most)  # refuses numbers that are not possible
    if not 0 < seconds < math.inf:
        raise BadInput(f"{seconds} seconds can not be measured; give more than 0")
    names = _names(to, runtime)
    with tempfile.TemporaryDirectory(prefix="packlight-tune-") as temporary:
        work = Path(temporary)
        data, quantised = _data(path)
        given = work / "given" / path.name  # its name is told in messages
        given.parent.mkdir()
        given.write_bytes(data)
        default = Choice(given, most)
        judge = Judge(default)
        search = _Search(default, judge, most, seconds, work, progress, quantised, [], [])
        best = search.run(names)
        last = search.confirm(best) if best != default else None
        ratio = None if last is None else last.ratios[1]
        same = None if last is None else last.same or _AT_REST
        told = verdict(ratio, same) if ratio is not None and same is not None else "unclear"
        winner = best if told == "faster" else default
        record = {
            **_record(search, winner, path),
            "verdict": told,
            "ratio": None if ratio is None else _interval(ratio),
            "same": None if same is None else _interval(same),
            "default": {
                "runtime": runtime,
                "threads": most,
                "settings": {},
                "milliseconds": None if last is None else last.milliseconds,
                "difference": judge.default_difference,
            },
            "best": str(best),
            "notes": [*search.notes, *_notes(search, best, winner, told, ratio)],
            "tried": search.tried,
        }
        made = work / "out"
        made.mkdir()
        (made / record["file"]).write_bytes(winner.path.read_bytes())
        (made / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False))
        replace_folder(folder, made)
    return TuneResult(folder, folder / record["file"], record, ratio, same, told)


def _file(model: Path) -> Path:
    if not model.exists():
        raise BadInput(f"{model} does not exist")
    if not model.is_dir():
        return model
    if not (model / FITTED).is_file():
        raise BadInput(f"{model} is no folder that fit wrote: it holds no {FITTED}")
    return model / FITTED


def _default_folder(model: Path) -> Path:
    if model.is_dir():
        folder = model.resolve()  # "." has no name of its own
        return folder.with_name(f"{folder.name}-tuned")
    return model.with_name(f"{model.stem}-tuned")


def _free(folder: Path, force: bool) -> None:
    """Refuse a folder in the way, and any that is not an earlier tune's."""
    if not folder.parent.is_dir():
        raise BadInput(f"{folder.parent} is no folder; make it, or say -o elsewhere")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file; say -o elsewhere")
    inside = {one.name for one in folder.iterdir()}
    if inside and not force:
        raise BadInput(f"{folder} is not empty; replace it with --force, or say -o elsewhere")
    if not inside <= {RECORD, *(f"{STEM}{suffix}" for suffix in SUFFIXES)}:
        raise BadInput(f"{folder} holds more than an earlier tune wrote; say -o elsewhere")


def _names(to: str | Sequence[str] | None, runtime: str) -> list[str]:
    """The runtimes to write for."""
    if to is None:
        return [name for name in RUNTIMES if installed(name)] if runtime == "onnx" else []
    names = [one.name for one in targets_of(to)]
    odd = [name for name in names if name not in RUNTIMES]
    if odd:
        raise BadInput(f"{odd[0]} can not be tuned here; there are {', '.join(RUNTIMES)}")
    if runtime != "onnx" and names != [runtime]:
        raise BadInput("other runtimes can be tried with an ONNX file only; leave --to out")
    return names


def _data(path: Path) -> tuple[bytes, bool]:
    """The file in one piece, and whether it is an ONNX file with rounded values."""
    if runner_of(path)[0] != "onnx":
        try:
            return path.read_bytes(), False
        except OSError as problem:
            raise BadInput(f"{path} can not be read ({problem.strerror})") from problem
    from packlight.readers.onnx.file import read_proto

    proto = read_proto(path)
    quantised = any(node.op_type == "DequantizeLinear" for node in proto.graph.node)
    return proto.SerializeToString(deterministic=True), quantised


def _first(ranked: Sequence[Choice], runtime: str) -> Choice | None:
    return next((one for one in ranked if one.runtime == runtime), None)


def _interval(ratio: Interval) -> dict[str, float]:
    return {"value": ratio.value, "low": ratio.low, "high": ratio.high}


def _record(search: _Search, winner: Choice, source: Path) -> dict[str, Any]:
    return {
        "packlight": packlight.__version__,
        "file": f"{STEM}{winner.path.suffix.lower()}",
        "sha256": sha256(winner.path),
        "runtime": winner.runtime,
        "version": runtime_version(winner.runtime),
        "processor": processor(),
        "threads": winner.threads,
        "settings": dict(winner.settings),
        "written": winner.written,
        "forms": [{"form": form, "layer": layer} for form, layer in winner.forms],
        "difference": search.judge.difference(winner),
        "source": {"file": source.name, "sha256": sha256(source)},
    }


def _notes(
    search: _Search, best: Choice, winner: Choice, told: Verdict, ratio: Interval | None
) -> list[str]:
    notes = []
    if best == search.default:
        notes.append("nothing that was tried was faster than the default; it was written")
    elif told != "faster":
        value = "" if ratio is None else f" ({ratio.value:.3f} of its time)"
        notes.append(
            f"the best that was found, {best}, could not be told from the default{value}; the "
            "default was written"
        )
    if (
        winner.runtime != "onnx"
        and search.judge.batch is None
        and search.default.path != winner.path
    ):
        notes.append("the file takes one sample per run; the file given takes any number")
    if any(form == CONSTANT for form, _ in winner.forms):
        notes.append("weights are no longer inputs that a caller could replace")
    return notes
