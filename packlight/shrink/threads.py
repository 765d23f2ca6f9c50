"""Pieces of a fit on threads of this process, as many as it has cores.

Each piece computes on its thread alone; what it reads is there already, and must be left as it is.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from packlight.shrink.workers import Workers, one_thread

R = TypeVar("R")


class Threads(Workers):
    """Calls on other threads.

    Args:
        count: of threads.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._pool = ThreadPoolExecutor(count)
        self._at_work: set[int] = set()

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Queue a call."""
        return self._pool.submit(self._call, fn, *args, **kwargs)

    def busy(self) -> AbstractContextManager[None]:
        """What a thread computes, it computes alone."""
        return one_thread()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; with `cancel_futures`, in the middle of what they do."""
        self._pool.shutdown(wait=False, cancel_futures=cancel_futures)
        if cancel_futures:
            for thread in list(self._at_work):
                end = ctypes.py_object(SystemExit)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), end)
        self._pool.shutdown(wait)

    def _call(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
        own = threading.get_ident()
        self._at_work.add(own)
        try:
            return fn(*args, **kwargs)
        finally:
            self._at_work.discard(own)
