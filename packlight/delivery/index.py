"""The signed list of a network's versions, one per channel; docs/delivery.md describes every key.

It holds the length and SHA-256 of every packed file, so whoever believes the index can judge each
file, and the metadata that each device fetches stays small.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from packlight.delivery.inputs import Shape, checked_inputs
from packlight.delivery.names import (
    Version,
    checked_file,
    checked_licence,
    checked_name,
    checked_sha256,
    parse_os,
)
from packlight.errors import BadInput

FORMAT = 1
LARGEST = 1 << 31  # bytes of one file, packed or unpacked, that a device takes
MOST_RAM = 1 << 50  # bytes that a file may ask for
MOST_FILES = 256  # of a version
T = TypeVar("T")


@dataclass(frozen=True)
class Packed:
    """A packed file: `files/SHA256.plt`. `base` is the unpacked SHA-256 it is the difference to."""

    sha256: str
    size: int
    base: str | None = None


@dataclass(frozen=True)
class Variant:
    """One file of a version, for one runtime.

    Args:
        file: its name on the device.
        runtime: what loads it: onnx, ort, litert, executorch, coreml.
        precision: the type that most bytes of its tensors are stored in; None if it holds none.
        size, sha256: of the file unpacked; of a folder, its files one after the other.
        full: the whole of it.
        deltas: differences to earlier versions.
        min_os: the oldest system that may have it, like android-26; None: any.
        min_ram: bytes of RAM of the smallest device that may have it; None: any.
        inputs: shapes of the network's inputs, as the file states them; None where it does not.
    """

    file: str
    runtime: str
    precision: str | None
    size: int
    sha256: str
    full: Packed
    deltas: tuple[Packed, ...] = ()
    min_os: str | None = None
    min_ram: int | None = None
    inputs: tuple[Shape, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """What people are told of it."""
        return {
            "file": self.file,
            "runtime": self.runtime,
            "precision": self.precision,
            "min_os": self.min_os,
            "min_ram": self.min_ram,
            "inputs": self.inputs,
            "bytes": self.size,
            "sha256": self.sha256,
            "packed_bytes": self.full.size,
        }

    def runs_on(self, system: str | None, ram: int | None = None) -> bool:
        """Whether a device with that system and RAM may have it; one that does not tell may not."""
        if self.min_ram is not None and (ram is None or ram < self.min_ram):
            return False
        if self.min_os is None:
            return True
        if system is None:
            return False
        (wanted, least), (name, version) = parse_os(self.min_os), parse_os(system)
        return name == wanted and version >= least


@dataclass(frozen=True)
class Release:
    """A version, its files and its record; `rollout` is the share of devices that get it.

    Args:
        variants: one of these is taken.
        parts: tag -> files that devices with this tag take besides.
    """

    version: Version
    variants: tuple[Variant, ...]
    published: str
    rollout: float = 1.0
    withdrawn: bool = False
    record: Mapping[str, Any] | None = None
    parts: Mapping[str, tuple[Variant, ...]] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Variant, ...]:
        """Every file of it."""
        return (*self.variants, *(one for tagged in self.parts.values() for one in tagged))


@dataclass(frozen=True)
class Index:
    """Every version of a network in a channel, in rising order."""

    name: str
    channel: str
    releases: tuple[Release, ...] = ()

    @property
    def path(self) -> str:
        """Its name as a signed target."""
        return target_path(self.name, self.channel)

    def release(self, version: str) -> Release:
        """The release of a version.

        Raises:
            BadInput: it was never published.
        """
        wanted = Version(version)
        for one in self.releases:
            if one.version == wanted:
                return one
        there = ", ".join(str(one.version) for one in self.releases) or "none"
        raise BadInput(f"{self.name} {version} is not in {self.channel}; there is {there}")

    def changed(self, version: str, **fields: Any) -> Index:
        """With some fields of one release replaced."""
        old = self.release(version)
        new = replace(old, **fields)
        return replace(self, releases=tuple(new if r is old else r for r in self.releases))

    def to_bytes(self) -> bytes:
        """As it is signed; no spaces, as every device fetches it."""
        value = {
            "format": FORMAT,
            "name": self.name,
            "channel": self.channel,
            "versions": [_release_out(one) for one in self.releases],
        }
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def target_path(name: str, channel: str) -> str:
    """What an index is called among the signed targets."""
    return f"{name}/{channel}.json"


def parse(data: bytes, name: str, channel: str) -> Index:
    """An index, each part of it checked.

    Raises:
        BadInput: it is none, is of another network, or holds what no device may take.
    """
    where = f"the index of {name}"
    try:
        value = json.loads(data)
        if value["format"] != FORMAT:
            raise BadInput(
                f"{where} has format {value['format']!r}, this packlight reads {FORMAT}: update it"
            )
        index = Index(
            checked_name(value["name"]),
            checked_name(value["channel"], "channel"),
            tuple(_release_in(one) for one in value["versions"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        if isinstance(problem, BadInput):
            raise BadInput(f"{where} can not be used: {problem}") from problem
        raise BadInput(f"{where} is damaged; publish again, or tell who published it") from problem
    if (index.name, index.channel) != (name, channel):
        raise BadInput(f"{where} tells of {index.name}, {index.channel}; nothing was taken")
    versions = [one.version for one in index.releases]
    if sorted(set(versions)) != versions:
        raise BadInput(f"{where} holds versions that do not rise; nothing was taken")
    return index


def _release_out(one: Release) -> dict[str, Any]:
    value: dict[str, Any] = {
        "version": str(one.version),
        "published": one.published,
        "variants": [_variant_out(variant) for variant in one.variants],
    }
    if one.rollout < 1:
        value["rollout"] = one.rollout
    if one.withdrawn:
        value["withdrawn"] = True
    if one.record is not None:
        value["record"] = one.record
    if one.parts:
        value["parts"] = {tag: [_variant_out(v) for v in files] for tag, files in one.parts.items()}
    return value


def _variant_out(one: Variant) -> dict[str, Any]:
    value: dict[str, Any] = {
        "file": one.file,
        "runtime": one.runtime,
        "precision": one.precision,
        "bytes": one.size,
        "sha256": one.sha256,
        "full": {"sha256": one.full.sha256, "bytes": one.full.size},
        "deltas": [{"from": d.base, "sha256": d.sha256, "bytes": d.size} for d in one.deltas],
    }
    if one.min_os is not None:
        value["min_os"] = one.min_os
    if one.min_ram is not None:
        value["min_ram"] = one.min_ram
    if one.inputs is not None:
        value["inputs"] = one.inputs
    return value


def checked_files(names: Sequence[str]) -> None:
    """A version's files lie side by side on devices.

    Raises:
        BadInput: there are too many, or two have one name.
    """
    if len(names) > MOST_FILES:
        raise BadInput(f"{len(names):,} files in a version; {MOST_FILES} are the most")
    for name, count in Counter(names).items():
        if count > 1:
            raise BadInput(f"two of the files are called {name}; rename one")


def _release_in(value: Any) -> Release:
    record = value.get("record")
    parts: dict[str, Any] = _typed(value.get("parts", {}), dict)
    release = Release(
        Version(value["version"]),
        tuple(_variant_in(one) for one in value["variants"]),
        _typed(value["published"], str),
        _share(value.get("rollout", 1.0)),
        _typed(value.get("withdrawn", False), bool),
        None if record is None else _recorded(record),
        {
            checked_name(tag, "tag"): tuple(_variant_in(one) for one in files)
            for tag, files in parts.items()
        },
    )
    checked_files([one.file for one in release.files])
    return release


def _variant_in(value: Any) -> Variant:
    precision, min_os, inputs = value["precision"], value.get("min_os"), value.get("inputs")
    if min_os is not None:
        parse_os(min_os)
    return Variant(
        checked_file(value["file"]),
        checked_name(value["runtime"], "runtime"),
        None if precision is None else _typed(precision, str),
        _size(value["bytes"]),
        checked_sha256(value["sha256"]),
        _packed(value["full"], None),
        tuple(_packed(one, checked_sha256(one["from"])) for one in value["deltas"]),
        min_os,
        checked_ram(value["min_ram"]) if "min_ram" in value else None,
        None if inputs is None else checked_inputs(inputs),
    )


def checked_ram(value: Any) -> int:
    """Bytes of RAM that a file asks for.

    Raises:
        BadInput: no whole number above 0, or more than there is.
    """
    if type(value) is not int or not 0 < value <= MOST_RAM:
        raise BadInput(f"a need of {value!r} bytes of RAM; 1 to {MOST_RAM:,} are possible")
    return value


def _recorded(value: Any) -> dict[str, Any]:
    record: dict[str, Any] = _typed(value, dict)
    if "licence" in record:
        checked_licence(record["licence"])
    return record


def _packed(value: Any, base: str | None) -> Packed:
    return Packed(checked_sha256(value["sha256"]), _size(value["bytes"]), base)


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise BadInput(f"a file of {value!r} bytes; {LARGEST:,} are the most")
    return value


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise BadInput(f"a rollout of {value!r}; it is a share between 0 and 1")
    return float(value)


def _typed(value: Any, kind: Callable[..., T]) -> T:
    if type(value) is not kind:
        raise TypeError(value)
    return value
