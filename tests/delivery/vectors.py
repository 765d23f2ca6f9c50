"""Writes tests/delivery/vectors: a small repository, and what must not be believed of it.

    python -m tests.delivery.vectors

For clients in other languages; docs/vectors.md tells how they are used. Keys and times are fixed,
so a run writes the same bytes again as long as the coder does. The private keys are no secret.

A state is numbered: 1 holds version 1.0.0, 2 also 1.1.0 and is what `repository` serves; 3 is what
broken or changed states are numbered, so that only what is told of them is wrong.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from packlight.coding.packing import compress
from packlight.files import sha256
from tests.delivery.nets import write_network

FOLDER = Path(__file__).parent / "vectors"
NAME, CHANNEL = "letters", "stable"
LATER = datetime(2120, 1, 1, tzinfo=UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)
ROLES = ("root", "targets", "snapshot", "timestamp")
Tree = dict[str, bytes]  # path below the repository -> content
Step = dict[str, Any]


@dataclass
class Vectors:
    """What is written: the repository, trees laid over it, and the cases."""

    repository: Tree
    overlays: dict[str, Tree] = field(default_factory=dict)
    cases: list[dict[str, Any]] = field(default_factory=list)

    def case(self, name: str, what: str, *steps: Step, **told: Any) -> None:
        """A device that starts with nothing takes the steps in order."""
        self.cases.append({"name": name, "what": what, **told, "steps": list(steps)})

    def over(self, name: str, tree: Tree) -> str:
        """Files laid over the repository."""
        self.overlays[name] = tree
        return name


def key(name: str) -> CryptoSigner:
    """The same key for the same name, ever."""
    seed = hashlib.sha256(f"packlight test vector {name}".encode()).digest()
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))


def signed(what: Any, *signers: CryptoSigner, expires: datetime = LATER) -> bytes:
    """Metadata as it is served."""
    what.expires = expires
    made: Metadata[Any] = Metadata(what)
    for signer in signers:
        made.sign(signer, append=True)
    return made.to_bytes()


def root(number: int = 1, signers: Sequence[str] = ("root",), **keys: Sequence[str]) -> bytes:
    """A root; `keys` are those of roles, by name, where they are not called as the role."""
    made = Root(version=number, consistent_snapshot=True)
    for role in ROLES:
        for name in keys.get(role, (role,)):
            made.add_key(key(name).public_key, role)
    return signed(made, *(key(name) for name in signers))


def state(
    number: int,
    index: Mapping[str, Any] | bytes,
    *,
    expires: Mapping[str, datetime] | None = None,
    keys: Mapping[str, str] | None = None,
    target: str = f"{NAME}/{CHANNEL}.json",
) -> Tree:
    """An index, and the metadata that signs it; `expires` and `keys` by role."""
    ends, by = expires or {}, keys or {}

    def told(role: str, what: Any) -> bytes:
        return signed(what, key(by.get(role, role)), expires=ends.get(role, LATER))

    data = index if isinstance(index, bytes) else as_json(index)
    place = f"targets/{NAME}/{sha256(data)}.{CHANNEL}.json"
    listed = {target: TargetFile.from_data(target, data, ["sha256"])}
    targets = told("targets", Targets(version=number, targets=listed))
    meta = {"targets.json": MetaFile.from_data(number, targets, ["sha256"])}
    snapshot = told("snapshot", Snapshot(version=number, meta=meta))
    meta_of_snapshot = MetaFile.from_data(number, snapshot, ["sha256"])
    return {
        place: data,
        f"metadata/{number}.targets.json": targets,
        f"metadata/{number}.snapshot.json": snapshot,
        "metadata/timestamp.json": told(
            "timestamp", Timestamp(version=number, snapshot_meta=meta_of_snapshot)
        ),
    }


def as_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def accept(version: str, over: str | None = None, **more: Any) -> Step:
    """The device has that version after the step."""
    return {"over": over, "accept": version, **more}


def refuse(reason: str, over: str, stays: str | None) -> Step:
    """The device has what it had before."""
    return {"over": over, "refuse": reason, "stays": stays}


def build(work: Path) -> tuple[Vectors, dict[str, bytes]]:
    """Everything, and the two networks unpacked."""
    raws = {
        version: write_network(work / version / "model.onnx", changed=seed, width=16).read_bytes()
        for seed, version in enumerate(("1.0.0", "1.1.0"))
    }
    old, new = raws.values()
    fulls = {version: compress(raw, "max") for version, raw in raws.items()}
    delta = compress(new, "max", base=old)
    packed = {f"files/{sha256(data)}.plt": data for data in (*fulls.values(), delta)}
    releases = [release(version, raws[version], fulls[version]) for version in raws]
    releases[1]["variants"][0]["deltas"] = [
        {"from": sha256(old), "sha256": sha256(delta), "bytes": len(delta)}
    ]
    both = {"format": 1, "name": NAME, "channel": CHANNEL, "versions": releases}
    one = both | {"versions": releases[:1]}
    first = state(1, one)
    made = Vectors({"metadata/1.root.json": root(), **packed, **first, **state(2, both)})
    made.over("first", {"metadata/timestamp.json": first["metadata/timestamp.json"]})
    add_good(made, both)
    add_broken_metadata(made, both)
    add_broken_indexes(made, both)
    add_broken_files(made, fulls["1.1.0"], delta)
    return made, raws


def release(version: str, raw: bytes, full: bytes) -> dict[str, Any]:
    """A version in the index."""
    return {
        "version": version,
        "published": "2026-01-01T00:00:00Z",
        "variants": [
            {
                "file": "model.onnx",
                "runtime": "onnx",
                "precision": "fp32",
                "bytes": len(raw),
                "sha256": sha256(raw),
                "full": {"sha256": sha256(full), "bytes": len(full)},
                "deltas": [],
            }
        ],
    }


def changed(index: Mapping[str, Any], change: Callable[[Any, Any, Any], Any]) -> dict[str, Any]:
    """An index after `change(index, its last version, that version's file)`."""
    new = deepcopy(dict(index))
    last = new["versions"][-1]
    change(new, last, last["variants"][0])
    return new


def add_good(made: Vectors, index: dict[str, Any]) -> None:
    """What a client must take."""
    made.case("install", "nothing is there: the whole file", accept("1.1.0", files=["full"]))
    made.case(
        "update",
        "the version before is there: the difference",
        accept("1.0.0", "first", files=["full"]),
        accept("1.1.0", files=["delta"]),
    )
    made.case(
        "nothing new", "the same state twice", accept("1.1.0"), accept("1.1.0", None, files=[])
    )
    made.case(
        "withdrawn",
        "the device goes back to a version that it still has",
        accept("1.0.0", "first"),
        accept("1.1.0"),
        accept(
            "1.0.0",
            made.over(
                "withdrawn", state(3, changed(index, lambda i, v, f: v.update(withdrawn=True)))
            ),
            files=[],
        ),
    )
    made.case(
        "rollout of nobody",
        "a version that no device gets yet",
        accept("1.0.0", "first"),
        accept(
            "1.0.0",
            made.over("rollout", state(3, changed(index, lambda i, v, f: v.update(rollout=0)))),
            files=[],
        ),
    )
    made.case(
        "system too old",
        "a file for android-99 and newer, on android-34",
        accept("1.0.0", "first"),
        accept(
            "1.0.0",
            made.over(
                "min_os", state(3, changed(index, lambda i, v, f: f.update(min_os="android-99")))
            ),
            files=[],
        ),
        os="android-34",
    )
    made.case(
        "more RAM than told",
        "a file for devices with 8 GB of RAM, on one that does not tell",
        accept("1.0.0", "first"),
        accept(
            "1.0.0",
            made.over(
                "min_ram", state(3, changed(index, lambda i, v, f: f.update(min_ram=8 * 10**9)))
            ),
            files=[],
        ),
    )
    made.case(
        "keys of a later format",
        "keys that a client does not know are passed over",
        accept("1.0.0", "first"),
        accept("1.1.0", made.over("unknown", state(3, changed(index, _with_unknown_keys)))),
    )
    snapshot = made.repository["metadata/1.snapshot.json"]
    ahead = Timestamp(version=999, snapshot_meta=MetaFile.from_data(1, snapshot, ["sha256"]))
    rotated = state(3, index, keys={"timestamp": "timestamp-2"})
    rotated["metadata/2.root.json"] = root(2, timestamp=("timestamp-2",))
    made.case(
        "another timestamp key",
        "a second root names it; what the old one signed far ahead counts no more",
        accept(
            "1.0.0",
            made.over("far ahead", {"metadata/timestamp.json": signed(ahead, key("timestamp"))}),
        ),
        accept("1.1.0", made.over("rotated", rotated)),
    )


def _with_unknown_keys(index: Any, version: Any, file: Any) -> None:
    for part in (index, version, file):
        part["a_later_key"] = {"any": ["thing", 1.5, None]}


def add_broken_metadata(made: Vectors, index: dict[str, Any]) -> None:
    """Signatures, times and numbers that are wrong; a device with 1.0.0 stays there."""

    def case(name: str, what: str, reason: str, tree: Tree) -> None:
        made.case(
            name, what, accept("1.0.0", "first"), refuse(reason, made.over(name, tree), "1.0.0")
        )

    later = made.repository
    for role in ("timestamp", "2.snapshot", "2.targets"):
        path = f"metadata/{role}.json"
        value = json.loads(later[path])
        sig = value["signatures"][0]["sig"]
        value["signatures"][0]["sig"] = ("1" if sig[0] == "0" else "0") + sig[1:]
        reason = "signature" if role == "timestamp" else "hash"
        case(
            f"{role} of another signature", "a digit of it changed", reason, {path: as_json(value)}
        )
    for role in ROLES[1:]:
        other = "snapshot" if role != "snapshot" else "timestamp"
        tree = state(3, index, keys={role: other})
        case(f"{role} by another role", f"the {other} key signed it", "signature", tree)
        case(f"{role} expired", "in 2020", "expired", state(3, index, expires={role: PAST}))
    case(
        "mixed states",
        "the snapshot of the state before under the new one's name",
        "hash",
        {"metadata/2.snapshot.json": later["metadata/1.snapshot.json"]},
    )
    case("cut timestamp", "half of it", "form", _half(later, "metadata/timestamp.json"))
    case(
        "no signatures",
        "an empty list",
        "signature",
        {
            "metadata/timestamp.json": as_json(
                json.loads(later["metadata/timestamp.json"]) | {"signatures": []}
            )
        },
    )
    made.case(
        "rollback",
        "an older state, all of it genuine",
        accept("1.1.0"),
        refuse("rollback", "first", "1.1.0"),
    )
    stolen = {"metadata/2.root.json": root(2, ("thief",), root=("thief",))}
    case("root by a thief", "signed by the key that it names itself", "signature", stolen)
    skips = {"metadata/2.root.json": root(3)}
    case("root that skips a number", "2.root.json has version 3", "rollback", skips)
    twice = json.loads(root(2, timestamp=("timestamp", "timestamp-2")))
    twice["signed"]["roles"]["timestamp"]["threshold"] = 2
    two = signed(Metadata.from_dict(twice).signed, key("root"))
    one = json.loads(state(3, index)["metadata/timestamp.json"])
    one["signatures"] *= 2
    tree = state(3, index) | {"metadata/2.root.json": two, "metadata/timestamp.json": as_json(one)}
    case("one signature twice", "where two keys must sign", "signature", tree)


def _half(tree: Tree, path: str) -> Tree:
    return {path: tree[path][: len(tree[path]) // 2]}


def add_broken_indexes(made: Vectors, index: dict[str, Any]) -> None:
    """Signed as they must be, and still not to be used; a device with 1.0.0 stays there."""
    wrong: dict[str, tuple[str, str, Callable[[Any, Any, Any], Any]]] = {
        "index of another network": ("digits", "name", lambda i, v, f: i.update(name="digits")),
        "index of format 2": ("", "form", lambda i, v, f: i.update(format=2)),
        "a way out": ("the file is ../evil", "name", lambda i, v, f: f.update(file="../evil")),
        "a version that is a path": ("", "name", lambda i, v, f: v.update(version="../1.1.0")),
        "versions that do not rise": ("", "form", lambda i, v, f: v.update(version="0.9.0")),
        "unpacks to a byte more": ("", "length", lambda i, v, f: f.update(bytes=f["bytes"] - 1)),
        "unpacks to something else": ("", "hash", lambda i, v, f: f.update(sha256="0" * 64)),
        "3 GB": ("more than a device takes", "length", lambda i, v, f: f.update(bytes=3 << 30)),
        "a length that is none": ("", "form", lambda i, v, f: f["full"].update(bytes=1.5)),
    }
    for name, (what, reason, change) in wrong.items():
        over = made.over(name, state(3, changed(index, change)))
        made.case(
            name, what or "as it is called", accept("1.0.0", "first"), refuse(reason, over, "1.0.0")
        )
    served = [path for path in made.repository if path.startswith(f"targets/{NAME}/")]
    newest = max(served, key=lambda path: len(made.repository[path]))
    tree = {newest: made.repository[newest].replace(b"1.1.0", b"9.1.0")}
    over = made.over("index with a byte changed", tree)
    made.case("index with a byte changed", "1.1.0 became 9.1.0", refuse("hash", over, None))
    tree = state(3, index, target=f"digits/{CHANNEL}.json")
    over = made.over("not published", tree)
    made.case(
        "not published",
        "targets name another network",
        accept("1.0.0", "first"),
        refuse("name", over, "1.0.0"),
    )


def add_broken_files(made: Vectors, full: bytes, delta: bytes) -> None:
    """Packed files that are not what was signed."""

    def flipped(data: bytes) -> bytes:
        return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]

    for name, data, start in (("file", full, None), ("difference", delta, "1.0.0")):
        path = f"files/{sha256(data)}.plt"
        before = [accept(start, "first")] if start else []
        for what, bad, reason in (
            ("changed", flipped(data), "hash"),
            ("longer", data + b"more", "length"),
            ("cut", data[:-20], "cut"),
        ):
            over = made.over(f"{name} {what}", {path: bad})
            made.case(f"{name} {what}", "not as signed", *before, refuse(reason, over, start))


def write(made: Vectors, raws: Mapping[str, bytes], folder: Path) -> None:
    """All of it, in place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    trees = {"repository": made.repository} | {
        f"over/{name}": {p: d for p, d in tree.items() if made.repository.get(p) != d}
        for name, tree in made.overlays.items()
    }
    for place, tree in trees.items():
        for path, data in tree.items():
            file = folder / place.replace(" ", "-") / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    for case in made.cases:
        for step in case["steps"]:
            step["over"] = step["over"] and step["over"].replace(" ", "-")
    told = {
        "name": NAME,
        "channel": CHANNEL,
        "runtime": "onnx",
        "trust": "repository/metadata/1.root.json",
        "versions": {v: {"bytes": len(r), "sha256": sha256(r)} for v, r in raws.items()},
        "cases": made.cases,
    }
    rows = ",\n  ".join(json.dumps(case) for case in told.pop("cases"))
    head = json.dumps(told, indent=1).removesuffix("\n}")
    (folder / "vectors.json").write_text(f'{head},\n "cases": [\n  {rows}\n ]\n}}\n')


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        write(*build(Path(work)), FOLDER)
