"""Who does the independent pieces of a fit: an executor of pure functions.

Every piece runs on one thread wherever it runs, because sums over threads depend on how many there
are, and results are taken in the order of the pieces: the same bits come out of any number of
processes. What many pieces read (a network, all layers) is sent to each process once.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Generic, Protocol, TypeVar

from threadpoolctl import ThreadpoolController

PATIENCE = 0.5  # seconds after which a wait looks up
ROOM = 2_000_000_000  # bytes of results that are on their way at once

T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)


class Shared(Protocol[T_co]):
    """Something that was sent once for many calls."""

    @property
    def value(self) -> T_co:
        """The thing itself; to be left as it is."""


class Workers(Executor):
    """An executor that can be told what many calls will read.

    Args:
        count: of calls that run at the same time beside this process.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def share(self, value: T) -> Shared[T]:
        """Send a value ahead, unless it is there already; the handle goes into calls."""
        return _Held(value)

    def in_order(
        self,
        function: Callable[[Shared[T], Any], R],
        shared: Shared[T],
        items: Iterable[Any],
        size: int = 0,
    ) -> Iterator[R]:
        """Call a function on every item, and yield results in the order of the items.

        Args:
            function: takes what is shared and an item; a function of a module.
            shared: from `share`.
            items: read no further ahead of the results than keeps everyone busy.
            size: bytes of a result: many large ones are not waited for at once.
        """
        waiting: deque[Future[R]] = deque()
        # one more than there are, for whoever is free first
        most = min(self.count + 1, max(ROOM // max(size, 1), 1))
        with self.busy():
            for item in items:
                waiting.append(self.submit(function, shared, item))
                if len(waiting) >= most:
                    yield self.result(waiting.popleft())
            while waiting:
                yield self.result(waiting.popleft())

    def busy(self) -> AbstractContextManager[None]:
        """Entered for as long as calls run."""
        return nullcontext()

    def result(self, future: Future[R]) -> R:
        """Wait for a result; a single long wait would miss a Ctrl-C that comes as it begins."""
        while not wait([future], PATIENCE).done:
            self.look()
        return future.result()

    def look(self) -> None:
        """Raise an error if results will not come."""


class Each(Generic[T]):
    """A list whose items functions are called on, one call each.

    Args:
        workers: that call.
        items: sent to them once.
        sizes: about how long each takes: the longest is begun first.
    """

    def __init__(self, workers: Workers, items: Sequence[T], sizes: Sequence[float]) -> None:
        self._workers, self._shared = workers, workers.share(list(items))
        self._order = sorted(range(len(items)), key=lambda index: -sizes[index])

    def __call__(self, function: Callable[..., R], *args: Any) -> list[R]:
        """function(item, *args) of every item, in the order of the items."""
        workers = self._workers
        with workers.busy():
            calls = {
                index: workers.submit(_of_item, function, self._shared, index, args)
                for index in self._order
            }
            return [workers.result(calls[index]) for index in sorted(calls)]


def _of_item(
    function: Callable[..., R], shared: Shared[list[Any]], index: int, args: tuple[Any, ...]
) -> R:
    return function(shared.value[index], *args)


class Here(Workers):
    """Calls at once, in this process."""

    def __init__(self) -> None:
        super().__init__(0)

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Call a function now."""
        future: Future[R] = Future()
        try:
            future.set_result(on_one_thread(fn, *args, **kwargs))
        except Exception as problem:
            future.set_exception(problem)
        return future


HERE = Here()


class _Held(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value


def on_one_thread(function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
    """Call a function whose result must not depend on how many cores there are."""
    with one_thread():
        return function(*args, **kwargs)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let nothing compute on several threads by itself."""
    if "torch" not in sys.modules:  # what computes has brought it; others need not wait for it
        yield
        return
    from packlight.learning.threads import threads_for

    with threads_for(0), _libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
