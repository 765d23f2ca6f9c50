"""Where the independent pieces of a fit run: on threads, in processes, or on a Ray cluster.

solves of layers      each layer at one coarseness
curvature             each chunk of samples
activations' ranges   each batch of samples
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from packlight.errors import BadInput, PacklightError
from packlight.shrink.processes import Processes
from packlight.shrink.ray_cluster import LOCAL, RayCluster
from packlight.shrink.threads import Threads
from packlight.shrink.workers import HERE, Workers


def check(jobs: Any, cluster: str | None) -> None:
    """Refuse a number of processes that is none, and an address that is none.

    Raises:
        BadInput: one of them is.
    """
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise BadInput(f"jobs {jobs!r} is not possible; give a number of processes, 1 or more")
    if cluster not in (None, LOCAL) and not re.fullmatch(r"ray://[^/]+:\d+", str(cluster)):
        raise BadInput(
            f"cluster {cluster!r} is no address; give ray://HOST:PORT, where Ray's client server "
            f"listens, or {LOCAL}"
        )
    if cluster is not None and jobs != 1:
        raise BadInput("jobs and cluster share the work out differently; give one of them")


@contextmanager
def workers(jobs: int, cluster: str | None, folder: Path, threads: int = 1) -> Iterator[Workers]:
    """The place where the pieces of one fit run.

    Args:
        jobs: processes; 1 is this one alone.
        cluster: a Ray cluster's address, instead.
        folder: for what is shared, as long as it takes.
        threads: of this process, at most; no more than torch may use.
    Raises:
        BadInput: the cluster can not be reached.
        PacklightError: a process was ended from outside.
    """
    place: Workers = HERE
    if cluster is not None:
        place = RayCluster(cluster)
    elif jobs > 1:
        place = Processes(jobs, folder)
    elif min(threads, torch.get_num_threads()) > 1:
        place = Threads(min(threads, torch.get_num_threads()))
    finished = False
    try:
        yield place
        finished = True
    except BrokenProcessPool as problem:
        raise PacklightError(
            "a process of this fit was ended from outside, as happens where memory runs out; "
            "start it again to go on from the last finished stage, with fewer --jobs to need less"
        ) from problem
    finally:
        if place is not HERE:
            place.shutdown(cancel_futures=not finished)
