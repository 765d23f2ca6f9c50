"""Every codec on a file of every kind: bytes, speed as ratios to zstd -19, memory.

    python -m benchmarks.lossless [--short] [--docs docs]
    python -m benchmarks.lossless FILE... [--update OLD NEW]...

Without files, those of `subjects`. Every codec runs on one thread, in a process of its own
(`peers/coders.py`), in the environment it needs, and gives every file back to the byte, or its row
says why not. They take turns, as often as there are rounds; a speed is the median of its ratios to
zstd -19 of the same round. zpaq and lrzip, which take a minute for some megabytes, take one turn,
and none on larger files of the short run.

Bytes do not depend on the machine. Where ours are larger by more than half a percent than in the
newest record kept of the very same file, the exit code is 3.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks import at_a_glance, history
from benchmarks.lossless_pages import OURS, markdown, publish
from benchmarks.peers import BLOSC2, NNCODEC, SCRIPTS, ZIPNN, NotInstalled, Peer, environment
from benchmarks.subjects import SHARED, Subject, job, subjects
from packlight.files import sha256

UNIT = "zstd -19"
#: title -> name in peers/coders.py, and the peer whose environment it runs in
CODECS: dict[str, tuple[str, Peer | None]] = {
    "Huffman": ("huffman", None),
    "LZ4 HC 12": ("lz4", None),
    "zlib 9": ("zlib", None),
    "LZFSE": ("lzfse", None),
    "zstd -3": ("zstd3", None),
    UNIT: ("zstd", None),
    "zstd --ultra -22": ("zstd --ultra -22", None),
    "Brotli 11": ("brotli", None),
    "xz -9e": ("xz -9e", None),
    "xz -9e, lc0 lp2 pb2": ("xz -9e, lc0 lp2 pb2", None),
    "xz -9e, lc0 lp0 pb0": ("xz -9e, lc0 lp0 pb0", None),
    "zipnn": ("zipnn", ZIPNN),
    "blosc2 zstd 9, shuffle": ("blosc2 shuffle", BLOSC2),
    "blosc2 zstd 9, bitshuffle": ("blosc2 bitshuffle", BLOSC2),
    "NNCodec, integers": ("NNCodec, integers", NNCODEC),
    "zpaq -m5": ("zpaq -m5", None),
    "lrzip -z": ("lrzip -z", None),
    **{name: (name, None) for name in OURS},
}
UPDATES: dict[str, tuple[str, Peer | None]] = {
    UNIT: ("zstd", None),
    "zstd --ultra -22 --patch-from": ("zstd --ultra -22 --patch-from", None),
    "xdelta3 -9 -S lzma": ("xdelta3 -9 -S lzma", None),
    "bsdiff": ("bsdiff", None),
    "packlight max, alone": ("packlight max, alone", None),
    "packlight --base": ("packlight --base", None),
}
SLOW = ("zpaq -m5", "lrzip -z")
SHORT_SLOW = 300_000  # bytes of a file that they still get in the short run
ROUNDS, SHORT_ROUNDS = 3, 1
PATIENCE = 8.0  # seconds of a turn after which a codec takes no other
TIMEOUT = 1200.0  # seconds of a turn
GREW = 3  # exit code

Row = dict[str, Any]


def main() -> None:
    """Measure, print tables, keep the record, compare with the last."""
    options = _options()
    record: dict[str, Any] = history.circumstances(
        {peer.name: peer.version for peer in (ZIPNN, BLOSC2, NNCODEC)}
    )
    record |= {"short": options.short, "subjects": {}}
    rounds = SHORT_ROUNDS if options.short else ROUNDS
    for subject in _subjects(options):
        left_out = _left_out(subject, options)
        found = measure(subject, options.cache, rounds, left_out)
        record["subjects"][subject.name] = found
        text = markdown(subject.name, found)
        Console(width=120).print(text, end="\n\n", markup=False, highlight=False)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(record, indent=1) + "\n")
    kept = history.records("lossless", options.against)
    grown = changes(kept, record)
    for change in grown:
        print(change, "LARGER" if change.is_regression else "")
    if options.docs:
        history.keep("lossless", record, options.docs)
        publish([*kept, record], options.docs)
        at_a_glance.publish(options.docs)
    if any(change.is_regression for change in grown):
        sys.exit(GREW)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--update", nargs=2, type=Path, action="append", default=[])
    parser.add_argument("--short", action="store_true", help="fewer files, one round")
    parser.add_argument(
        "--without", nargs="*", choices=[*CODECS, *UPDATES], default=[], metavar="CODEC"
    )
    parser.add_argument("--cache", type=Path, default=Path("build/peers"))
    parser.add_argument("--json", type=Path, default=Path("build/lossless.json"))
    parser.add_argument("--against", type=Path, default=Path("docs"), help="where records are kept")
    parser.add_argument("--docs", type=Path, help="the folder of docs to write the results into")
    options = parser.parse_args()
    if not (options.files or options.update or SHARED.exists()):
        parser.error(f"{SHARED.name} is not beside the project; give files")
    return options


def _subjects(options: argparse.Namespace) -> Iterator[Subject]:
    if not options.files and not options.update:
        yield from subjects(options.cache / "work" / "lossless", options.short)
    for path in options.files:
        yield Subject(path.name, path.suffix, "float32", path)
    for old, new in options.update:
        name = f"{old.parent.name}/{old.name} -> {new.parent.name}/{new.name}"
        yield Subject(name, "update", "float32", new, old)


def _left_out(subject: Subject, options: argparse.Namespace) -> dict[str, str]:
    """Codecs that get no turn, and why."""
    reasons = dict.fromkeys(options.without, "left out of this run")
    if options.short and subject.new.stat().st_size > SHORT_SLOW:
        reasons |= dict.fromkeys(SLOW, "too slow for the short run")
    return reasons


def measure(
    subject: Subject, peers: Path, rounds: int, left_out: dict[str, str] | None = None
) -> dict[str, Any]:
    """Every codec on one file, as a JSON object.

    Args:
        subject: the file.
        peers: for the environments of peers.
        rounds: of turns.
        left_out: codec -> why it gets no turn.
    """
    left_out = left_out or {}
    codecs = UPDATES if subject.old else CODECS
    turns: dict[str, list[Row]] = {name: [] for name in codecs}
    failed = {name: why for name, why in left_out.items() if name in codecs}
    with tempfile.TemporaryDirectory() as place:
        folder = job(subject, Path(place))
        for number in range(rounds):
            for name, (coder, peer) in codecs.items():
                if name in failed or (
                    number and (name in SLOW or _seconds(turns[name][0]) > PATIENCE)
                ):
                    continue
                turn = _turn(folder, coder, peer, peers)
                if isinstance(turn, str):
                    failed[name] = turn
                else:
                    turns[name].append(turn)
    rows = [
        {"codec": name, "failed": failed[name]}
        if name in failed
        else _row(name, turns[name], turns[UNIT])
        for name in codecs
    ]
    return {
        "kind": subject.kind,
        "bytes": subject.new.stat().st_size,
        "sha256": sha256(subject.new),
        "rows": rows,
    }


def _seconds(turn: Row) -> float:
    return turn["in"]["seconds"] + turn["out"]["seconds"]


def _turn(folder: Path, coder: str, peer: Peer | None, peers: Path) -> Row | str:
    """One codec's turn, or why it failed."""
    try:
        python = _python(peer, peers)
    except NotInstalled as problem:
        return str(problem)
    command = [python, str(SCRIPTS / "coders.py"), str(folder), coder]
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, env=own, check=False
        )
    except subprocess.TimeoutExpired:
        return f"was stopped after {TIMEOUT:.0f} seconds"
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return f"exit code {done.returncode}: {lines[-1][:200] if lines else 'no output'}"
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row.get("failed") or row


@cache
def _python(peer: Peer | None, peers: Path) -> str:
    return str(environment(peer, peers)) if peer else sys.executable


def _row(name: str, turns: list[Row], unit: list[Row]) -> Row:
    """A codec's turns as one row; a ratio is to the unit's turn of the same round."""
    row: Row = {"codec": name, "bytes": turns[0]["bytes"], "turns": len(turns)}
    for way in ("in", "out"):
        row[f"seconds_{way}"] = median(turn[way]["seconds"] for turn in turns)
        row[f"memory_{way}"] = max(turn[way]["memory"] for turn in turns)
        if unit:
            row[f"speed_{way}"] = median(
                one[way]["seconds"] / turn[way]["seconds"]
                for one, turn in zip(unit, turns, strict=False)
            )
    return row


def changes(kept: list[dict[str, Any]], record: dict[str, Any]) -> list[history.Change]:
    """Ours now, against the newest record kept of the very same files."""
    found = []
    for name, subject in record["subjects"].items():
        same = [
            old["subjects"][name]
            for old in kept
            if name in old["subjects"] and old["subjects"][name]["sha256"] == subject["sha256"]
        ]
        if same:
            before, after = _bytes_of(same[-1]), _bytes_of(subject)
            found += [
                history.Change(f"{name}, {codec}", before[codec], after[codec])
                for codec in after
                if codec.startswith("packlight") and codec in before
            ]
    return found


def _bytes_of(subject: dict[str, Any]) -> dict[str, int]:
    return {row["codec"]: row["bytes"] for row in subject["rows"] if "bytes" in row}


if __name__ == "__main__":
    main()
