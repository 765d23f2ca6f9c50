"""Does one thing again and again in a process that is killed at random moments.

    python -m tests.delivery.killing publish|fetch FOLDER SECONDS SEED

A child is forked for each moment, so that nothing is imported twice; SIGKILL gives it no chance to
tidy up. Prints the number of moments, and ends with a traceback where something is not whole.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from packlight.delivery import Client, keys, publish
from packlight.delivery.keys import need_extra
from packlight.delivery.repository import open_repository
from packlight.files import sha256
from tests.delivery.hosts import Host
from tests.delivery.nets import SECRET, write_network


def killed(work: Callable[[], object], after: float) -> bool:
    """Whether the work was killed before it ended; its own errors end everything."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("the work failed by itself")
    return os.WIFSIGNALED(status)


def publishing(folder: Path, seconds: float, chance: random.Random) -> int:
    """A repository whose publisher dies: it opens, all that it names is there, nothing is lost."""
    repo = folder / "networks"
    files = [write_network(folder / f"k{i}" / "model.onnx", changed=50 + i) for i in range(2)]
    before = len(open_repository(repo).index("letters", "stable").releases)
    took, moments, tries = 0.2, 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        version = f"2.0.{tries}"  # one that died before it was seen leaves its number unused
        work = partial(
            publish, files[tries % 2], repo, name="letters", version=version, secret=SECRET
        )
        tries += 1
        done = not killed(work, chance.uniform(0, took))
        moments, took = moments + (not done), took * (0.85 if done else 1.05)
        held = open_repository(repo)
        releases = held.index("letters", "stable").releases
        assert len(releases) in (before, before + 1), "a version was lost"
        before = len(releases)
        for release in releases:
            for variant in release.variants:
                for packed in (variant.full, *variant.deltas):
                    assert sha256(held.file(packed.sha256)) == packed.sha256
    publish(files[0], repo, name="letters", version="3.0.0", secret=SECRET)
    assert not list(repo.glob("*/.*")), "what the killed left was not tidied up"
    return moments


def fetching(folder: Path, seconds: float, chance: random.Random) -> int:
    """A device whose updates die: what is current is whole, and the next update goes on.

    A device is new, or has 1.3.0 with its head; either way it wants 1.4.0 with its head.
    """
    repo, into, older = folder / "networks", folder / "device", folder / "older"
    trust = repo / "metadata" / "1.root.json"
    with Host(repo) as host:
        for version, seed in (("1.3.0", 60), ("1.4.0", 61)):
            base = write_network(folder / version / "model.onnx", changed=seed)
            head = write_network(folder / version / "head.onnx", seed=1, changed=seed)
            tags = {"heads": head}
            publish(base, repo, name="letters", version=version, tags=tags, secret=SECRET)
            if version == "1.3.0":
                Client(host.url, "letters", older, trust=trust).update(tags="heads")
        right = {
            str(release.version): [variant.sha256 for variant in release.files]
            for release in open_repository(repo).index("letters", "stable").releases
        }
        took, moments = 0.1, 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            client = Client(host.url, "letters", into, trust=trust)
            work = partial(client.update, tags="heads")
            done = not killed(work, chance.uniform(0, took))
            moments, took = moments + (not done), took * (0.85 if done else 1.05)
            now = client.current()
            if now is not None:
                assert all(one.content() is not None for one in now.files), "it is not whole"
                assert right[now.version] == [one.sha256 for one in now.files]
            if chance.random() < 0.5 and now is not None:
                shutil.rmtree(into)
                if chance.random() < 0.5:
                    shutil.copytree(older, into)
        done = client.update(tags="heads")
        assert done.after is not None
        assert done.after.version == "1.4.0"
        left = {path.name.partition("-")[0] for path in (into / "versions").iterdir()}
        assert left in ({"1.4.0"}, {"1.3.0", "1.4.0"})
    return moments


if __name__ == "__main__":
    what, where, seconds, seed = sys.argv[1:]
    keys._N = 1 << 4
    need_extra()
    do = {"publish": publishing, "fetch": fetching}[what]
    print(do(Path(where), float(seconds), random.Random(int(seed))))
