"""Many devices updating at once from one nginx on loopback: who ends where, and what was served.

    python -m benchmarks.crowd [--devices 500] [--seconds 300]

Each device is a client of its own with a folder of its own, on version 1.0.0 of a small network;
then 1.1.0 is published and all update at the same moment, each on a thread. The bytes that nginx
has logged stand against the least that the devices could have been sent: for each, the newest
state's metadata in gzip, and one difference. After the time allowed it ends, whoever is left.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from packlight.delivery import Client, make, publish
from packlight.delivery.repository import open_repository
from packlight.delivery.web import Limits
from packlight.files import sha256
from tests.delivery.hosts import Nginx, nginx
from tests.delivery.nets import SECRET, write_network

NAME = "letters"
#: One processor takes its time with hundreds of threads: no device gives up for that.
PATIENT = Limits(wait=240.0, rate=1.0, grace=240.0)


@dataclass(frozen=True)
class Crowd:
    """What came of it.

    Args:
        devices: that updated.
        versions: version -> devices that are on it and hold its bytes; "" for those that are not.
        served: bytes of all bodies that nginx has sent, errors (there is no newer root) aside.
        least: bytes that could not have been less.
        full: bytes of the whole packed file, for every device.
        requests: that nginx has answered.
        seconds: from the first to the last.
    """

    devices: int
    versions: dict[str, int]
    served: int
    least: int
    full: int
    requests: int
    seconds: float


def update(devices: int, seconds: float, folder: Path) -> Crowd:
    """Let them all update.

    Args:
        devices: how many.
        seconds: after which nobody is waited for.
        folder: to work in.
    """
    repo = folder / "networks"
    make(repo, secret=SECRET)
    old = write_network(folder / "1.0.0" / "model.onnx", changed=0)
    new = write_network(folder / "1.1.0" / "model.onnx", changed=1)
    publish(old, repo, name=NAME, version="1.0.0", secret=SECRET)
    with nginx(repo) as host:
        trust = repo / "metadata" / "1.root.json"
        Client(host.url, NAME, folder / "0", trust=trust).update()
        for number in range(1, devices):
            shutil.copytree(folder / "0", folder / str(number))
        publish(new, repo, name=NAME, version="1.1.0", secret=SECRET)
        clients = [
            Client(host.url, NAME, folder / str(number), limits=PATIENT)
            for number in range(devices)
        ]
        host.forget()
        took = _at_once(clients, seconds)
        return _told(clients, host, repo, sha256(new), took)


def _at_once(clients: list[Client], seconds: float) -> float:
    """Start all, wait for all, no longer than allowed; the seconds that it took."""
    gate = threading.Barrier(len(clients) + 1)

    def one(client: Client) -> None:
        gate.wait()
        client.update()

    threads = [threading.Thread(target=one, args=[client], daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    gate.wait()
    start = time.monotonic()
    for thread in threads:
        thread.join(max(0.0, start + seconds - time.monotonic()))
    return time.monotonic() - start


def _told(clients: list[Client], host: Nginx, repo: Path, wanted: str, took: float) -> Crowd:
    versions: Counter[str] = Counter()
    for client in clients:
        now = client.current()
        raw = None if now is None else now.content()
        whole = now is not None and raw is not None and sha256(raw) == wanted
        versions[now.version if now is not None and whole else ""] += 1
    held = open_repository(repo)
    index = held.index(NAME, "stable")
    (variant,) = index.releases[-1].variants
    metadata = repo / "metadata"
    needed = [
        (metadata / "timestamp.json").read_bytes(),
        (metadata / f"{held.snapshot.signed.version}.snapshot.json").read_bytes(),
        (metadata / f"{held.targets.signed.version}.targets.json").read_bytes(),
        index.to_bytes(),
    ]
    least = sum(len(gzip.compress(data, 9)) for data in needed) + variant.deltas[0].size
    served = host.served()
    count = len(clients)
    return Crowd(
        devices=count,
        versions=dict(versions),
        served=served.bytes,
        least=count * least,
        full=count * variant.full.size,
        requests=served.requests,
        seconds=round(took, 1),
    )


def main() -> None:
    """Print what came of it, as JSON; exit 1 unless all ended on the newest version."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--json", type=Path, help="also write it here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        crowd = update(options.devices, options.seconds, Path(name))
    told = json.dumps(asdict(crowd), indent=1)
    print(told)
    if options.json:
        options.json.write_text(f"{told}\n")
    raise SystemExit(crowd.versions != {"1.1.0": options.devices})


if __name__ == "__main__":
    main()
