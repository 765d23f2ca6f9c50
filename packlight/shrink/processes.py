"""Pieces of a fit in processes beside this one.

They begin afresh (a fork would inherit torch's threads, and hang), read what is shared from files,
and end with the process that started them, whatever ends it.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Generic, TypeVar

from packlight.shrink.workers import Shared, Workers, on_one_thread

T = TypeVar("T")
R = TypeVar("R")


class Processes(Workers):
    """Calls in other processes.

    Args:
        count: of processes.
        folder: what is shared lies in files here while they run.
    """

    def __init__(self, count: int, folder: Path) -> None:
        super().__init__(count)
        self._context = _Context()
        self._pool = ProcessPoolExecutor(count, mp_context=self._context, initializer=_begin)
        self._files = TemporaryDirectory(prefix="shared-", dir=folder)
        self._shared = 0

    def share(self, value: T) -> Shared[T]:
        """A file that each process reads once."""
        path = Path(self._files.name) / f"{self._shared}.pkl"
        self._shared += 1
        with path.open("wb") as file:
            pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
        return _Filed(path)

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Queue a call."""
        return self._pool.submit(on_one_thread, fn, *args, **kwargs)

    def look(self) -> None:
        """The pool itself waits forever for a process that was ended while it sent a result."""
        if not all(process.is_alive() for process in self._context.started):
            raise BrokenProcessPool

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes; with `cancel_futures`, in the middle of what they do."""
        if cancel_futures:
            for process in self._context.started:
                process.kill()
            # the pool would wait for the rest of a result that was on its way
            self._pool._result_queue._writer.close()  # type: ignore[attr-defined]
        self._pool.shutdown(wait, cancel_futures=cancel_futures)
        self._files.cleanup()


class _Context(SpawnContext):
    """Remembers the processes that it started."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override] # noqa: N802
        process = _Process(*args, **kwargs)
        self.started.append(process)
        return process


class _Process(SpawnProcess):
    """Leaves Ctrl-C to the process that started it, and knows nothing of the user's program.

    A new process imports the program again, which runs it again where its script has no guard
    (`if __name__ == "__main__"`); what runs here needs packlight alone.
    """

    def start(self) -> None:
        program, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        first = threading.current_thread() is threading.main_thread()  # others can not set signals
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if first else None  # is inherited
        try:
            super().start()
        finally:
            sys.modules["__main__"] = program
            if first:
                signal.signal(signal.SIGINT, before)


def _begin() -> None:
    """End when the process that started this one is gone, whatever ended it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class _Filed(Generic[T]):
    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def value(self) -> T:
        value: T = _read(self._path)
        return value


@lru_cache(maxsize=1)  # one stage is done before the next begins
def _read(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)
