"""What an update costs, in bytes: ours beside full downloads and general binary differences.

    python -m benchmarks.delivery [--work build/delivery] [--docs docs]

SqueezeNet 1.1 of ../shared is fitted to 450 KB, and published; then come networks that a publisher
would send next, each published as the second version. A device updates from nginx on loopback, and
counts all that it receives, signed metadata among it. `bsdiff`, `xdelta3 -9` and
`zstd --ultra -22 --patch-from` get the same two files, unpacked as they lie on devices, and packed
as they lie on the host. Each difference is applied and compared before it counts.

Fits take some minutes each and are kept in the work folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import packlight
from benchmarks import delivery_networks as networks
from benchmarks import delivery_pages
from packlight import data as samples_of
from packlight.delivery import Client, make, publish
from packlight.files import sha256, size_of
from tests.delivery.hosts import nginx

SHARED = Path(__file__).parents[2] / "shared"
NAME, SECRET = "network", "a passphrase of the benchmark"
HOW = samples_of.Preprocess(256, 227, 1.0)
CALIBRATED = 150  # samples
Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One update.

    Args:
        what: changed.
        old, new: folders that a fit wrote.
    """

    what: str
    old: Path
    new: Path


def main() -> None:
    """Make the networks, measure each update, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--work", type=Path, default=Path("build", "delivery"))
    parser.add_argument("--docs", type=Path, help="write the figures into these pages")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    record: Record = {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "commit": _said("git", "rev-parse", "--short", "HEAD"),
        "versions": {
            "packlight": packlight.__version__,
            "bsdiff": "4.3",
            "xdelta3": _said("xdelta3", "-V").split()[2].rstrip(","),
            "zstd": _said("zstd", "--version").split("v")[1].split(",")[0],
        },
        "cases": {},
    }
    for name, case in cases(options.shared, options.work, record).items():
        record["cases"][name] = measure(case, options.work)
        record["nothing_new"] = max(one["nothing_new"] for one in record["cases"].values())
        (options.work / "results.json").write_text(json.dumps(record, indent=1) + "\n")
    print(delivery_pages.section(record))
    if options.docs:
        delivery_pages.publish(record, options.docs)


def cases(shared: Path, work: Path, record: Record) -> dict[str, Case]:
    """All updates, in the order in which they are told of."""
    model, data = shared / "models" / "squeezenet1_1.onnx", shared / "data" / "imagenet500.zip"
    first = fitted(model, data, 450_000, work / "first")
    tuned = work / "tuned.onnx"
    if not tuned.exists():
        moved = networks.fine_tuned(model, data, HOW, CALIBRATED, tuned)
        (work / "moved.json").write_text(json.dumps(moved))
    record["moved"] = json.loads((work / "moved.json").read_text())
    return {
        "other budget": Case(
            "fitted again, to 420 KB", first, fitted(model, data, 420_000, work / "smaller")
        ),
        "tuned": Case(
            "last layers trained on, all fitted again",
            first,
            fitted(tuned, data, 450_000, work / "tuned"),
        ),
        "tuned, --base": Case(
            "the same with `fit --base`",
            first,
            fitted(tuned, data, 450_000, work / "tuned-base", first),
        ),
        "other metadata": Case(
            "the same weights, another description",
            first,
            networks.described(first, work / "described"),
        ),
        "trained again": Case(
            "two trainings of a network of two layers for MNIST, in floats, from other seeds",
            *(
                networks.trained(n, shared / "data" / "mnist.npz", work / f"seed-{n}")
                for n in (1, 2)
            ),
        ),
    }


def fitted(model: Path, data: Path, budget: int, out: Path, base: Path | None = None) -> Path:
    """The folder of a fit, made where it is not there."""
    if not (out / "report.json").exists():
        packlight.fit(
            *(model, data),
            target_size=budget,
            preprocess=HOW,
            calibrate=CALIBRATED,
            base=base,
            out=out,
        )
    return out


def measure(case: Case, kept: Path) -> Record:
    """Bytes of one update, ours and others'; those of others are kept in a folder."""
    old, new = case.old / "model.onnx", case.new / "model.onnx"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        repo = work / "networks"
        make(repo, secret=SECRET)
        publish(case.old, repo, name=NAME, version="1.0.0", secret=SECRET)
        trust = repo / "metadata" / "1.root.json"
        with nginx(repo) as host:
            client = Client(host.url, NAME, work / "phone", runtime="onnx", trust=trust)
            client.update()
            told = publish(case.new, repo, name=NAME, version="1.1.0", secret=SECRET)
            done = client.update()
            idle = client.update().received
        after = done.after
        assert after is not None
        assert after.version == "1.1.0"
        assert after.path.read_bytes() == new.read_bytes()
        first, second = (release.variants[0] for release in told.index.releases)
        packed = [repo / "files" / f"{one.full.sha256}.plt" for one in (first, second)]
        sent = sum(count for _, count in done.files)
        return {
            "what": case.what,
            "answers": _answers(case.new),
            "unpacked": size_of(new),
            "full": second.full.size,
            "ours": sent,
            "kind": [kind for kind, _ in done.files],
            "received": done.received,
            "nothing_new": idle,
            **peers(old, new, packed, kept, work),
        }


def _answers(folder: Path) -> Record | None:
    """How a fit's answers are beside those of what it was made from, judged on other samples."""
    place = folder / "report.json"
    if not place.exists():
        return None
    accuracy = json.loads(place.read_text())["accuracy"]
    return {
        "n": accuracy["n"],
        "same": accuracy["agreement"]["value"],
        "drop": accuracy["drop"]["top1"]["value"],
    }


def peers(old: Path, new: Path, packed: list[Path], kept: Path, work: Path) -> Record:
    """What others make of both kinds of files; slow, so made once for each pair."""
    place = kept / f"peers-{sha256(old)[:12]}-{sha256(new)[:12]}.json"
    if not place.exists():
        made = {
            "unpacked_peers": differences(old, new, work),
            "packed_peers": differences(*packed, work),
        }
        place.write_text(json.dumps(made))
    found: Record = json.loads(place.read_text())
    return found


def differences(old: Path, new: Path, work: Path) -> dict[str, int]:
    """Bytes of what each general tool makes of two files, each of it tried."""
    made, back = work / "difference", work / "back"
    tools = {
        "bsdiff": (["bsdiff", old, new, made], ["bspatch", old, back, made]),
        "xdelta3 -9": (
            ["xdelta3", "-9", "-f", "-e", "-s", old, new, made],
            ["xdelta3", "-f", "-d", "-s", old, made, back],
        ),
        "zstd -22": (
            ["zstd", "-qf", "--ultra", "-22", "--long=27", f"--patch-from={old}", new, "-o", made],
            ["zstd", "-qdf", "--long=27", f"--patch-from={old}", made, "-o", back],
        ),
    }
    sizes = {}
    for name, (forth, again) in tools.items():
        subprocess.run(forth, check=True, capture_output=True)
        sizes[name] = size_of(made)
        subprocess.run(again, check=True, capture_output=True)
        if back.read_bytes() != new.read_bytes():
            raise ValueError(f"{name} does not give back {new}")
    return sizes


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise SystemExit(f"the benchmark needs {command[0]}, which is not installed")
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()


if __name__ == "__main__":
    main()
