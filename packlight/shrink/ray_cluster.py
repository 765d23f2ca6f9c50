"""Pieces of a fit as tasks of a Ray cluster."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from typing import Any, Generic, TypeVar

from packlight.errors import BadInput, MissingExtra, PacklightError
from packlight.shrink.workers import Shared, Workers, on_one_thread

LOCAL = "ray://local"
PATIENCE = 5.0  # seconds that a cluster may take to answer

T = TypeVar("T")
R = TypeVar("R")


class RayCluster(Workers):
    """Calls as tasks of a Ray cluster, whose machines need the same packlight.

    Args:
        address: "ray://host:port", or "ray://local" for the one that this program is on already,
            or else for one on this machine that lives as long as this.
    Raises:
        BadInput: Ray is not installed, or nothing answers at the address.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtra("ray", "ray") from None
        self._ray = ray
        self._own = address != LOCAL or not ray.is_initialized()
        if address != LOCAL:
            _reach(address)
            try:
                ray.init(address, logging_level="error")
            except Exception as problem:
                raise BadInput(
                    f"the Ray cluster at {address} refuses: {_first_line(problem)}; where it wants "
                    "a token, set RAY_AUTH_MODE=token"
                ) from problem
        elif self._own:
            ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="error")
        self._call = ray.remote(_pickled)
        super().__init__(max(int(ray.cluster_resources().get("CPU", 1)), 1))

    def share(self, value: T) -> Shared[T]:
        """An object of the cluster's store."""
        return _Stored(self._ray.put(value))

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Start a task."""
        future: Future[R] = Future()

        def arrived(done: Future[bytes]) -> None:
            try:
                future.set_result(pickle.loads(done.result()))
            except Exception as problem:
                future.set_exception(self._why(problem))

        self._call.remote(fn, *args, **kwargs).future().add_done_callback(arrived)
        return future

    def _why(self, problem: Exception) -> Exception:
        """A function's own error without Ray's around it, or what happened to the cluster."""
        cause = getattr(problem, "cause", None)
        if isinstance(cause, Exception):
            return cause
        if not isinstance(problem, self._ray.exceptions.RayError):
            return problem
        return PacklightError(
            f"the Ray cluster lost a piece of this fit ({_first_line(problem)}); start it again to "
            "go on from the last finished stage"
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; a local one ends."""
        if self._own:
            self._ray.shutdown()


def _pickled(function: Callable[..., R], /, *args: Any, **kwargs: Any) -> bytes:
    """What a function returns, copied: Ray's own arrays can not be written, and end with it."""
    return pickle.dumps(on_one_thread(function, *args, **kwargs), pickle.HIGHEST_PROTOCOL)


def _first_line(problem: Exception) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0][:300]


class _Stored(Generic[T]):
    def __init__(self, reference: Any) -> None:
        self._reference = reference

    @property
    def value(self) -> T:
        value: T = _fetched(self._reference)
        return value


@lru_cache(maxsize=1)
def _fetched(reference: Any) -> Any:
    import ray

    return ray.get(reference)


def _reach(address: str) -> None:
    """Ray itself would try for half a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as problem:
        raise BadInput(
            f"no Ray cluster answers at {address} ({problem}); start one with ray start --head "
            "--ray-client-server-port PORT, or give ray://local"
        ) from problem
