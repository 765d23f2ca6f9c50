"""A file in a process of its own that runs it as often as it is told, and times each run.

    here                                   the other process
    start                       ->         imports the runtime, says that it is ready
    "load"                      ->         loads the file, warms up, says what that took
    a number of runs            ->         their milliseconds
    "kernels"                   ->         loads it once more, says how many kernels ran
    standard input is closed    ->         ends

Answers are lines of JSON on its standard output. What the runtime prints goes elsewhere; a runtime
that aborts takes its own process with it and nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, TextIO

from packlight.errors import BadInput
from packlight.runtimes.apart import ending, first_line, surroundings
from packlight.runtimes.kernels import Kernels, count_kernels

if TYPE_CHECKING:
    from packlight.runtimes.session import Runnable
    from packlight.types import Array

PATIENCE = 300.0  # seconds for one answer; a runtime that takes longer hangs
_WARM_UP = 0.2  # seconds, at least
_WARM_UP_RUNS = 4  # at least
_SEED = 0
_LIBRARIES = {  # what sessions import when they are made; that is no part of loading a file
    "packlight.runtimes.litert": ("ai_edge_litert.interpreter",),
    "packlight.runtimes.executorch": ("packlight.runtimes.bare_executorch",),
}


@dataclass(frozen=True)
class Loaded:
    """What loading a file took.

    Args:
        load_ms: from the path to a session that can run.
        run_ms: of a run once it is warm, roughly.
        peak_bytes: the process's largest resident size from loading to warm, less what it had
            before, the runtime's library included; None where the system does not tell.
    """

    load_ms: float
    run_ms: float
    peak_bytes: int | None


class Worker:
    """The process, as seen from here. Use as a context manager, or call `close`.

    Args:
        path: the file.
        module: whose Session runs it.
        threads: of the runtime.
        cpus: what the process is bound to; empty: wherever the system puts it.
        settings: of the session, beside its threads; see the module's Session.
    """

    def __init__(
        self,
        path: Path,
        module: str,
        threads: int,
        cpus: list[int],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                __name__,
                os.fspath(path),
                module,
                str(threads),
                json.dumps(settings or {}),
                *map(str, cpus),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=surroundings() | {"OMP_NUM_THREADS": str(threads)},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> None:
        """Until the runtime is imported.

        Raises:
            BadInput: it can not be, or ended the process; so do `load` and `run`.
        """
        self._answer()

    def load(self) -> Loaded:
        """Load the file and warm up."""
        return Loaded(**self._ask("load"))

    def run(self, times: int) -> list[float]:
        """Run the file; milliseconds of each run."""
        taken: list[float] = self._ask(str(times))
        return taken

    def kernels(self) -> Kernels | None:
        """How many kernels a run of the file is; None where that can not be told."""
        told = self._ask("kernels")
        return None if told is None else Kernels(**told)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._said.close()

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended: there will be no answer
            print(line, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        impatient = Timer(PATIENCE, self._process.kill)
        impatient.start()
        line = self._process.stdout.readline()
        in_time = impatient.is_alive()
        impatient.cancel()
        if not line.endswith("\n"):
            code = self._process.wait()
            if not in_time:
                raise BadInput(f"no answer within {PATIENCE:g} seconds; it was stopped")
            self._said.seek(0)
            raise BadInput(ending(code, self._said.read()))
        good, answer = json.loads(line)
        if not good:
            raise BadInput(answer)
        return answer


def _serve(
    path: Path, module: str, threads: int, settings: dict[str, Any], orders: TextIO
) -> Iterator[Any]:
    """Answer one order after the other."""
    for library in _LIBRARIES.get(module, ()):
        with suppress(ImportError):  # the session will say what is missing
            import_module(library)
    session_class = import_module(module).Session
    yield None
    orders.readline()
    more = {"settings": settings} if settings else {}
    before = _start_of_peak()
    start = time.perf_counter()
    session = session_class(path, threads=threads, **more)
    load_ms = (time.perf_counter() - start) * 1000
    inputs = _example(session)
    gc.disable()
    warm: list[float] = []
    while len(warm) < _WARM_UP_RUNS or sum(warm) < _WARM_UP * 1000:
        warm.append(_timed(session, inputs))
    peak = _resident("VmHWM")
    yield {
        "load_ms": load_ms,
        "run_ms": sorted(warm)[len(warm) // 2],
        "peak_bytes": None if before is None or peak is None else peak - before,
    }
    for line in orders:
        if line.strip() == "kernels":
            yield _counted(path, inputs)
            continue
        times = int(line)
        if times > 1:
            _timed(session, inputs)  # other files have had the caches
        yield [_timed(session, inputs) for _ in range(times)]


def _counted(path: Path, inputs: tuple[Array, ...]) -> dict[str, Any] | None:
    try:
        return asdict(count_kernels(path, inputs))
    except Exception:  # figures to look at; none is worth a file's times
        return None


def _example(session: Runnable) -> tuple[Array, ...]:
    """Noise of the declared shapes, one sample where their number is open."""
    from packlight.data.samples import runs
    from packlight.data.sources import random_data

    for spec in session.inputs:
        if None in spec.sample_shape:
            raise BadInput(f"the size of input {spec} is open; fix it in the file")
    noise = random_data(session.inputs, session.batch or 1, _SEED).test.arrays()
    called, _ = next(runs(noise, session.inputs, session.batch))
    return called


def _timed(session: Runnable, inputs: tuple[Array, ...]) -> float:
    start = time.perf_counter()
    session(*inputs)
    return (time.perf_counter() - start) * 1000


def _start_of_peak() -> int | None:
    """Let the high-water mark start again; bytes resident now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _resident("VmHWM")  # it goes on from its old height
    return _resident("VmRSS")


def _resident(key: str) -> int | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = [line.split()[1] for line in status.splitlines() if line.startswith(f"{key}:")]
    return int(found[0]) * 1024 if found else None


def _main(path: str, module: str, threads: str, settings: str, *cpus: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a runtime prints is no answer
    if cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus})
    try:
        for answer in _serve(Path(path), module, int(threads), json.loads(settings), sys.stdin):
            print(json.dumps([True, answer]), file=answers, flush=True)
    except Exception as problem:
        print(json.dumps([False, first_line(problem)]), file=answers, flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
