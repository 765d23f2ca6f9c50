"""Ways to run a network, and races between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from packlight.errors import BadInput
from packlight.judge import Interval
from packlight.runtimes.latency import ratio_interval
from packlight.runtimes.racing import Runner, load, processors, take_turns
from packlight.runtimes.targets import runner_of
from packlight.runtimes.worker import Worker

_SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "onnx": (
        {"graph_optimization_level": "basic"},  # without the blocked layout
        {"graph_optimization_level": "extended"},
        {"session.disable_prepacking": "1"},  # another kernel where one row meets a matrix
    ),
    "litert": ({"xnnpack": False},),
    "executorch": (),
}
_QUANTISED = {"session.disable_quant_qdq": "1"}  # int8 layers in float, between their roundings
_THREADED = {"session.intra_op.allow_spinning": "0"}  # threads sleep between operators

RUNTIMES = tuple(_SETTINGS)
CONSTANT = "constant weights"  # the form of a file whose weights are no inputs

KNOWN = {
    runtime: {name for one in tried for name in one}
    | ({*_QUANTISED, *_THREADED} if runtime == "onnx" else set())
    for runtime, tried in _SETTINGS.items()
}
"""The settings that `tune` may choose, by runtime."""


@dataclass(frozen=True)
class Choice:
    """One way to run the network.

    Args:
        path: a file.
        threads: of the runtime.
        settings: of its session.
        forms: what was made of layers: (form, layer), in order.
        written: whether packlight wrote the file anew from the network.
    """

    path: Path
    threads: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    forms: tuple[tuple[str, str], ...] = ()
    written: bool = False

    @property
    def runtime(self) -> str:
        return runner_of(self.path)[0]

    def set(self, more: Mapping[str, Any]) -> Choice:
        """The same with further settings."""
        return replace(self, settings={**self.settings, **more})

    def __str__(self) -> str:
        told = [self.runtime, "1 thread" if self.threads == 1 else f"{self.threads} threads"]
        told += [f"{name} {value}" for name, value in self.settings.items()]
        if self.written:
            told.append("written anew")
        layers = [layer for form, layer in self.forms if form != CONSTANT]
        if len(layers) < len(self.forms):
            told.append(CONSTANT)
        if layers:
            told.append("1 layer changed" if len(layers) == 1 else f"{len(layers)} layers changed")
        return ", ".join(told)


@dataclass(frozen=True)
class Race:
    """What came of it.

    Args:
        ratios: of times to the first one's, one per choice, paired by turn; None where it failed.
        same: the first one's in a second process to those in its first; None without a second.
        milliseconds: median of the first one's turns.
    """

    ratios: tuple[Interval | None, ...]
    same: Interval | None
    milliseconds: float


def race(choices: Sequence[Choice], most: int, seconds: float, *, twin: bool = False) -> Race:
    """Let choices take turns, all bound to the same processors.

    Args:
        choices: ratios are to the first.
        most: processors.
        twin: whether the first runs in a second process too.
    Raises:
        BadInput: the first can not be run.
    """
    cpus = processors(most)
    entered = [*choices, *([choices[0]] if twin else [])]
    with ExitStack() as stack:
        runners = [Runner(stack.enter_context(_worker(one, cpus))) for one in entered]
        load(runners)
        take_turns(runners, seconds)
    first = runners[0]
    if first.problem is not None:
        raise BadInput(f"{choices[0].path.name} can not be timed: {first.problem}")
    ratios = [
        None if one.problem else ratio_interval(one.medians(), first.medians()) for one in runners
    ]
    same = ratios.pop() if twin else None
    return Race(tuple(ratios), same, float(np.median(first.medians())))


def best_of(choices: Sequence[Choice], most: int, seconds: float) -> list[tuple[Choice, Interval]]:
    """The choices that ran, fastest first, by successive halving: the better half races on.

    Returns:
        Each with its last ratio to the first choice.
    Source: Karnin, Koren, Somekh, Almost optimal exploration in multi-armed bandits, ICML 2013.
    """
    left = list(choices)
    behind: list[tuple[Choice, Interval]] = []
    rounds = max(1, (len(left) - 1).bit_length())
    while True:
        others = [one for one in left if one is not choices[0]]
        measured = race([choices[0], *others], most, seconds / rounds).ratios
        ratios = dict(zip(map(id, [choices[0], *others]), measured, strict=True))
        ran = [(one, ratio) for one in left if (ratio := ratios[id(one)]) is not None]
        ran.sort(key=lambda one: one[1].value)
        half = max(1, len(left) // 2)
        behind = [*ran[half:], *behind]
        left = [one for one, _ in ran[:half]]
        if len(left) < 2:
            return [*ran[:half], *behind]


def settings_of(choice: Choice, *, quantised: bool) -> list[dict[str, Any]]:
    """What may be set for a choice, one at a time."""
    tried = list(_SETTINGS[choice.runtime])
    if choice.runtime == "onnx":
        tried += [_QUANTISED] if quantised else []
        tried += [_THREADED] if choice.threads > 1 else []
    return tried


def _worker(choice: Choice, cpus: list[int]) -> Worker:
    return Worker(choice.path, runner_of(choice.path)[1], choice.threads, cpus, choice.settings)
