"""What long work tells the person who waits: a bar for each stage, with the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

T = TypeVar("T")


class Progress:
    """Tells nothing, and keeps the time that every stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """Time a stage; the callable it gives counts one of `total` steps."""
        start = time.perf_counter()
        with self._shown(name, total) as tick:
            yield tick
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def each(self, name: str, items: Iterable[T], total: int | None = None) -> Iterator[T]:
        """Iterate over a stage's items, counting them."""
        with self.stage(name, total) as tick:
            for item in items:
                yield item
                tick()

    def say(self, text: str) -> None:
        """One line that stays."""

    @contextmanager
    def _shown(self, name: str, total: int | None) -> Iterator[Callable[[], None]]:
        yield lambda: None


class Lines(Progress):
    """A line on standard error for every stage that is done."""

    def say(self, text: str) -> None:
        """One line that stays."""
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def _shown(self, name: str, total: int | None) -> Iterator[Callable[[], None]]:
        start = time.perf_counter()
        with self._moving(name, total) as tick:
            yield tick
        self.say(f"{name:<28} {time.perf_counter() - start:7.1f} s")

    def _moving(self, name: str, total: int | None) -> AbstractContextManager[Callable[[], None]]:
        return nullcontext(lambda: None)


class Bars(Lines):
    """And a bar that moves while it is at work, for terminals."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console

        self._console = Console(stderr=True)

    def say(self, text: str) -> None:
        """One line that stays."""
        self._console.print(text, markup=False, highlight=False)

    @contextmanager
    def _moving(self, name: str, total: int | None) -> Iterator[Callable[[], None]]:
        from rich import progress as rich_progress

        columns: tuple[Any, ...] = (
            rich_progress.TextColumn("{task.description:<28}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TimeRemainingColumn(),
        )
        with rich_progress.Progress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(name, total=total)
            yield lambda: bars.advance(task)
