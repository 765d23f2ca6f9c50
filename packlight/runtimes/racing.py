"""Files that take turns, each in a process of its own, so that noise disturbs all alike.

In each turn one file after the other runs for some hundredths of a second, and the next turn goes
the other way round. What a file's turns took is compared with what others' took in the same turn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from packlight.errors import BadInput
from packlight.runtimes.kernels import Kernels
from packlight.runtimes.worker import Loaded, Worker

TURNS = 10  # at least
TURN = 0.05  # seconds of one file, at most, unless a single run takes longer
RUNS = 1000  # of one file in a turn, at most
_BINDABLE = hasattr(os, "sched_getaffinity")


@dataclass
class Runner:
    """A file in its process, with the milliseconds of its runs, turn by turn."""

    worker: Worker
    turns: list[list[float]] = field(default_factory=list)
    loaded: Loaded | None = None
    problem: str | None = None
    runs: int = 1
    kernels: Kernels | None = None

    def wait(self) -> None:
        self._try(self.worker.wait)

    def load(self) -> None:
        def load() -> None:
            self.loaded = self.worker.load()

        self._try(load)

    def take_turn(self) -> None:
        self._try(lambda: self.turns.append(self.worker.run(self.runs)))

    def count_kernels(self) -> None:
        def count() -> None:
            self.kernels = self.worker.kernels()

        self._try(count)

    def medians(self) -> Any:
        """(turns,) milliseconds."""
        return np.array([np.median(turn) for turn in self.turns])

    def _try(self, step: Callable[[], None]) -> None:
        if self.problem is None:
            try:
                step()
            except BadInput as problem:
                self.problem = str(problem)


def load(runners: Sequence[Runner]) -> None:
    """Load the files, one after the other, once all are done with importing."""
    for runner in runners:
        runner.wait()
    for runner in runners:
        runner.load()


def processors(threads: int) -> list[int]:
    """The last ones this process may use: interrupts tend to come to the first."""
    usable = allowed()
    if not 1 <= threads <= len(usable):
        raise BadInput(f"{threads} threads are not possible here; give 1 to {len(usable)}")
    return usable[-threads:] if _BINDABLE else []


def allowed() -> list[int]:
    """All that this process may use."""
    return sorted(os.sched_getaffinity(0)) if _BINDABLE else list(range(os.cpu_count() or 1))


def take_turns(runners: Sequence[Runner], seconds: float) -> int:
    """Let them run one after the other, there and back; how many turns were taken."""
    share = min(TURN, seconds / (2 * TURNS * len(runners))) * 1000
    for runner in runners:
        if runner.loaded is not None:
            runner.runs = max(1, min(RUNS, round(share / max(runner.loaded.run_ms, 1e-6))))
    turns = 0
    deadline = time.perf_counter() + seconds
    while turns < TURNS or time.perf_counter() < deadline:
        if all(runner.problem for runner in runners):
            break
        for runner in runners if turns % 2 == 0 else reversed(runners):
            runner.take_turn()
        turns += 1
    return turns
