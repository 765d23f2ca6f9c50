"""The same bits from any number of processes and from Ray, and nothing left behind."""

from __future__ import annotations

import operator
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch

import packlight
import packlight.shrink.fit as fitting
from packlight.errors import BadInput, MissingExtra, PacklightError
from packlight.fuse import fuse
from packlight.shrink import activations, curvature, executing, float_moves, grid_search
from packlight.shrink.layers import find_layers
from packlight.shrink.processes import Processes
from packlight.shrink.ray_cluster import LOCAL, RayCluster
from packlight.shrink.threads import Threads
from packlight.shrink.workers import ROOM, Here
from packlight.weighing import weigh
from tests.networks import blocks, images, plain


@pytest.fixture(scope="module", autouse=True)
def ray_as_quick_as_others():
    """Its workers give way to all others, such as other tests: these would wait for minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


@pytest.fixture(scope="module", params=["threads", "processes", "ray"])
def away(request, tmp_path_factory):
    """Workers that are not here."""
    if request.param == "ray":
        pytest.importorskip("ray", reason="Ray is not installed (packlight[ray])")
        workers = RayCluster(LOCAL)
    elif request.param == "threads":
        workers = Threads(3)
    else:
        workers = Processes(2, tmp_path_factory.mktemp("shared"))
    yield workers
    workers.shutdown()


def same(a, b) -> bool:
    """Whether two results hold the same bits."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if hasattr(a, "__dict__"):
        return same(vars(a), vars(b))
    return a == b


@pytest.fixture(scope="module")
def curvatures():
    """A network, and what its samples say of it, measured here."""
    network = fuse(blocks()).network
    found = curvature.collect(
        network.copy(), find_layers(network), singles(37), curvature.classifier_loss(True)
    )
    return network, found


def singles(count: int) -> list[tuple[torch.Tensor]]:
    return [(value[None],) for value in images(count, seed=4)]


def test_curvature_and_ranges_are_the_same_bits_everywhere(away, curvatures):
    network, here = curvatures
    layers, loss = find_layers(network), curvature.classifier_loss(True)
    there = curvature.collect(network.copy(), layers, singles(37), loss, workers=away)
    assert same(here, there)
    places = activations.find_places(network, layers)
    batches = [(images(8, seed=seed),) for seed in range(5)]
    assert same(
        activations.observe(network, places, batches),
        activations.observe(network, places, batches, workers=away),
    )


def test_solved_layers_are_the_same_bits_everywhere(away, curvatures):
    network, found = curvatures
    prepared = grid_search.prepare(network, find_layers(network), found)
    coarse = 4 * float(np.median([layer.finest for layer in prepared]))
    here, there = grid_search.each(prepared), grid_search.each(prepared, away)
    for solve in (grid_search.solve, float_moves.prune, partial(float_moves.share, zero=True)):
        for coarseness in (0.0, coarse):
            for a, b in zip(here(solve, coarseness), there(solve, coarseness), strict=True):
                a, b = ({k: v for k, v in vars(one).items() if k != "layer"} for one in (a, b))
                assert same(a, b)


def test_results_come_in_the_order_of_the_items_and_an_error_arrives(away):
    shared = away.share(np.arange(100))
    found = away.in_order(_value_at, shared, range(100))
    assert list(found) == list(range(100))
    with pytest.raises(IndexError) as problem:
        list(away.in_order(_value_at, shared, [1, 100]))
    assert type(problem.value) is IndexError
    assert away.submit(operator.add, 2, 3).result() == 5  # and it goes on


def _value_at(shared, index):
    return int(shared.value[index])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Fits a network in a place, and gives the result."""
    folder = tmp_path_factory.mktemp("fits")
    data = images(200, seed=1).numpy()

    def fit(name, **where):
        return packlight.fit(
            *(plain(), data),
            **{"target_size": "8KB", "calibrate": 60, "explain": True, "out": folder / name},
            **where,
        )

    with torch_threads(1):
        return fit, fit("here")


@contextmanager
def torch_threads(count: int):
    """So many threads for torch, as on a machine with so many cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("where", "threads"),
    [({}, 3), ({"jobs": 2}, 1), ({"cluster": LOCAL}, 1)],
    ids=["threads", "processes", "ray"],
)
def test_the_files_written_are_the_same_and_nothing_else_is(fitted, where, threads):
    if "cluster" in where:
        pytest.importorskip("ray", reason="Ray is not installed (packlight[ray])")
    fit, here = fitted
    with torch_threads(threads):
        there = fit("-".join(where) or "threads", **where)
    assert here.model.read_bytes() == there.model.read_bytes()
    assert here.packed.read_bytes() == there.packed.read_bytes()
    for part in ("explain", "visited", "layers", "accuracy"):
        assert here.report[part] == there.report[part]
    names = sorted(path.name for path in there.model.parent.iterdir())
    assert names == ["model.onnx", "model.onnx.plt", "report.html", "report.json"]


@pytest.mark.parametrize("ending", ["_ended", "_ended_while_it_sends"])
def test_a_killed_process_is_one_sentence_and_nothing_is_left(ending, tmp_path):
    ending = globals()[ending]

    def lose_one() -> None:
        with executing.workers(2, None, tmp_path) as workers:
            list(workers.in_order(ending, workers.share(np.zeros(10)), range(5)))

    with pytest.raises(PacklightError, match=r"ended from outside.*last finished stage") as problem:
        lose_one()
    assert problem.value.exit_code == 1
    assert not list(tmp_path.iterdir())


def _ended(shared, item):
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def _ended_while_it_sends(shared, item):
    def half(self, message):
        self._send(struct.pack("!i", len(message)))
        os.kill(os.getpid(), signal.SIGKILL)

    if item == 2:
        Connection._send_bytes = half


SCRIPT = """
import signal, sys, time
from pathlib import Path
from packlight.shrink import executing
from packlight.shrink.workers import Each

WORK = "import pathlib, time; pathlib.Path({!r}).touch(); time.sleep(600)"
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
try:  # without a guard for __main__
    with executing.workers(2, None, Path(sys.argv[1])) as workers:
        for number in range(2):
            workers.submit(exec, WORK.format(f"{sys.argv[1]}-{number}"))
        print(*(one.pid for one in workers._context.started), flush=True)
        Each(workers, [600], [1])(time.sleep)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("at_work", [False, True], ids=["beginning", "at work"])
def test_processes_end_with_the_fit_however_it_ends(end, at_work, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    folder = tmp_path / "out"
    folder.mkdir()
    fit = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert fit.stdout is not None
    pids = [int(pid) for pid in fit.stdout.readline().split()]
    begun = [tmp_path / f"out-{number}" for number in range(2)]
    deadline = time.monotonic() + 60
    while at_work and not all(one.exists() for one in begun):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if end == signal.SIGINT:  # as from a terminal: all of the group hear of it
        os.killpg(fit.pid, end)
    else:
        fit.send_signal(end)
    try:
        _, told = fit.communicate(timeout=60)
    finally:
        fit.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))
    if end == signal.SIGINT:
        assert fit.returncode == 130
        assert not told
        assert not list(folder.iterdir())


def alive(pid: int) -> bool:
    """Whether a process runs, and has not merely been left unread by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("jobs", [0, -1, "abc", 1.5, True])
def test_a_number_of_processes_that_is_none_is_refused(jobs, tmp_path):
    with pytest.raises(BadInput, match=r"jobs .* give a number of processes"):
        packlight.fit(plain(), images(10).numpy(), target_size=8000, jobs=jobs, out=tmp_path)


@pytest.mark.parametrize("address", ["spark://here:1", "ray://", "ray://host", "here:10001", ""])
def test_an_address_that_is_none_is_refused(address, tmp_path):
    with pytest.raises(BadInput, match="give ray://HOST:PORT"):
        packlight.fit(plain(), images(10).numpy(), target_size=8000, cluster=address, out=tmp_path)


def test_a_cluster_that_does_not_answer_is_one_sentence():
    pytest.importorskip("ray", reason="Ray is not installed (packlight[ray])")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and no one listens
        address = f"ray://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BadInput, match=f"no Ray cluster answers at {address}"):
            RayCluster(address)
    with pytest.raises(BadInput, match="no Ray cluster answers"):
        RayCluster("ray://127.0.0.1:99999")


def test_without_ray_the_extra_that_brings_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"packlight\[ray\]"):
        RayCluster(LOCAL)


@pytest.mark.parametrize(("cores", "place"), [(1, Here), (3, Threads)])
def test_one_job_starts_no_process(cores, place, tmp_path):
    with torch_threads(cores), executing.workers(1, None, tmp_path, 8) as workers:
        assert type(workers) is place
        assert workers.count == (0 if cores == 1 else cores)
        assert not list(tmp_path.iterdir())


def test_no_more_threads_than_their_values_have_room(monkeypatch):
    network = plain()
    weighed = weigh(network)
    each = max(16 * weighed.memory.peak, 2 * weighed.memory.activation_bytes)
    for room, threads in ((0.5, 1), (2.5, 2), (9.0, 9)):
        monkeypatch.setattr(fitting, "VALUES", room * each)
        assert fitting._threads(network, weighed) == threads
    assert fitting._threads(network, replace(weighed, memory=None)) == 1


def test_what_runs_on_a_thread_computes_on_it_alone_and_others_as_before():
    workers = Threads(2)
    with torch_threads(2):
        shared = workers.share(None)
        assert list(workers.in_order(_threads_of, shared, range(4))) == [1] * 4
        assert torch.get_num_threads() == 2
    workers.shutdown()


def _threads_of(shared, item):
    return torch.get_num_threads()


def test_large_results_are_not_waited_for_at_once():
    class Counting(Threads):
        """Counts the calls whose results have not been taken."""

        waiting, most = 0, 0

        def submit(self, *call):
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            return super().submit(*call)

        def result(self, future):
            self.waiting -= 1
            return super().result(future)

    for size, most in ((0, 4), (ROOM // 2, 2), (2 * ROOM, 1)):
        workers = Counting(3)
        shared = workers.share(list(range(9)))
        assert list(workers.in_order(_value_at, shared, range(9), size)) == list(range(9))
        assert workers.most == most
        workers.shutdown()


THREADS = """
import signal, sys, time
from pathlib import Path
import torch
from packlight.shrink import executing

signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(2)

def long(shared, item):
    while True:
        time.sleep(0.01)

try:
    with executing.workers(1, None, Path(sys.argv[1]), 2) as workers:
        print("begun", flush=True)
        list(workers.in_order(long, workers.share(None), range(9)))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_threads_end_in_the_middle_of_what_they_do(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(THREADS)
    fit = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert fit.stdout is not None
    assert fit.stdout.readline() == "begun\n"
    time.sleep(0.5)
    fit.send_signal(signal.SIGINT)
    try:
        _, told = fit.communicate(timeout=60)
    finally:
        fit.kill()
    assert fit.returncode == 130
    assert not told
