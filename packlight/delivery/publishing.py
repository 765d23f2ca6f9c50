"""A version of a network into a repository: its files, its differences, its entry in the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from packlight.coding import container
from packlight.coding.packing import compress, decompress
from packlight.delivery.index import Index, Packed, Release, Variant, checked_files, checked_ram
from packlight.delivery.locking import locked
from packlight.delivery.names import Version, checked_licence, checked_name, parse_os
from packlight.delivery.repository import PATIENCE, Repository, open_repository
from packlight.delivery.variants import Found, find
from packlight.errors import BadInput
from packlight.files import replace_file, sha256
from packlight.progress import Progress

BASES = 3  # earlier versions that get a difference to the new one
#: A difference that saves less than a quarter is not kept: it costs room on the host and splits the
#: host's caches, while every device that can not use it downloads the whole file all the same.
WORTH = 0.75
T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """What was added to a repository.

    Args:
        repo: its folder.
        index: the network's versions, the new one last.
    """

    repo: Path
    index: Index

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        release = self.index.releases[-1]
        value: dict[str, Any] = {
            "repo": str(self.repo),
            "name": self.index.name,
            "channel": self.index.channel,
            "version": str(release.version),
            "rollout": release.rollout,
            "record": release.record,
            "variants": [self._told(one) for one in release.variants],
        }
        if release.parts:
            value["parts"] = {
                tag: [self._told(one) for one in files] for tag, files in release.parts.items()
            }
        return value

    def _told(self, one: Variant) -> dict[str, Any]:
        deltas = [{"from": str(v), "bytes": d.size} for v, d in self.deltas(one)]
        return {**one.to_dict(), "deltas": deltas}

    def deltas(self, variant: Variant) -> list[tuple[Version, Packed]]:
        """A variant's differences, with the version that each starts from."""
        versions = {v.sha256: one.version for one in self.index.releases for v in one.files}
        return [(versions[one.base], one) for one in variant.deltas if one.base is not None]


def publish(
    paths: str | Path | Sequence[str | Path],
    repo: str | Path,
    *,
    name: str,
    version: str,
    secret: str,
    channel: str = "stable",
    rollout: float = 1.0,
    min_os: Mapping[str, str] | None = None,
    min_ram: Mapping[str, int] | None = None,
    licence: str | None = None,
    tags: Mapping[str, str | Path | Sequence[str | Path]] | None = None,
    keys: str | Path | None = None,
    progress: Progress | None = None,
) -> Published:
    """Add a version of a network to a repository; devices see all of it or nothing.

    Args:
        paths: a folder that `fit` wrote, with what `export` put beside, or files.
        repo: a folder that `make` made.
        name: of the network.
        version: higher than every one before in the channel.
        secret: the keys' passphrase.
        channel: devices follow one.
        rollout: share of devices that get it, 0 to 1.
        min_os: runtime or file -> the oldest system that may have it, like android-26. What is said
            of a file goes before what is said of its runtime.
        min_ram: runtime or file -> bytes of RAM of the smallest device that may have it.
        licence: of the network, as an SPDX identifier like Apache-2.0.
        tags: tag -> files that devices take besides only when they ask for the tag.
        keys: where they lie; beside the repository unless given.
        progress: told of every stage.
    Raises:
        BadInput: a name, version or file that can not be taken, or the repository was changed by
            somebody without the keys.
        MissingExtra: the extra `delivery` is not installed.
    """
    progress = progress or Progress()
    checked_name(name), checked_name(channel, "channel")
    new = Version(version)
    share = checked_share(rollout)
    for system in (min_os or {}).values():
        parse_os(system)
    for ram in (min_ram or {}).values():
        checked_ram(ram)
    for tag in tags or {}:
        checked_name(tag, "tag")
    if licence is not None:
        checked_licence(licence)
    listed = _paths(paths)
    if not listed:
        raise BadInput("there is nothing to publish; give a folder that fit wrote, or files")
    signers = open_repository(repo, keys).signers(secret)
    found, record = find(listed, progress)
    if licence is not None:
        record = (record or {}) | {"licence": licence}
    parts = {tag: find(_paths(files), progress)[0] for tag, files in (tags or {}).items()}
    everything = [*found, *(one for tagged in parts.values() for one in tagged)]
    checked_files([one.file for one in everything])
    known = {told for one in everything for told in (one.runtime, one.file)}
    for option, needs in (("--min-os", min_os), ("--min-ram", min_ram)):
        for unknown in sorted(set(needs or {}) - known):
            raise BadInput(f"there is no file for {unknown}, which {option} speaks of")
    with locked(Path(repo), PATIENCE):
        held = open_repository(repo, keys)
        index = held.index(name, channel)
        if index.releases and not index.releases[-1].version < new:
            raise BadInput(
                f"{name} has {index.releases[-1].version} in {channel} already, {new} is not "
                "higher; versions must rise, as devices never go back by themselves"
            )

        def added(files: Sequence[Found]) -> tuple[Variant, ...]:
            return tuple(
                replace(
                    _variant(held, index, one, progress),
                    min_os=_need(min_os, one),
                    min_ram=_need(min_ram, one),
                )
                for one in files
            )

        variants = added(found)
        tagged = {tag: added(files) for tag, files in parts.items()}
        published = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        release = Release(new, variants, published, share, False, record, tagged)
        index = replace(index, releases=(*index.releases, release))
        with progress.stage("sign"):
            held.commit(index, signers)
    return Published(held.folder, index)


def withdraw(
    repo: str | Path,
    *,
    name: str,
    version: str,
    secret: str,
    channel: str = "stable",
    keys: str | Path | None = None,
) -> Index:
    """Offer a version no more: devices that have it go back to the highest one that is left.

    Raises:
        BadInput: there is no such version, or it was withdrawn before.
    """

    def change(index: Index) -> Index:
        if index.release(version).withdrawn:
            raise BadInput(f"{name} {version} is withdrawn already")
        return index.changed(version, withdrawn=True)

    return _changed(repo, keys, secret, name, channel, change)


def rollout(
    repo: str | Path,
    *,
    name: str,
    version: str,
    share: float,
    secret: str,
    channel: str = "stable",
    keys: str | Path | None = None,
) -> Index:
    """Change the share of devices that get a version; those that have it keep it.

    Raises:
        BadInput: there is no such version, or the share is not between 0 and 1.
    """
    checked_share(share)
    return _changed(
        repo, keys, secret, name, channel, lambda index: index.changed(version, rollout=share)
    )


def checked_share(share: float) -> float:
    """A share of devices.

    Raises:
        BadInput: not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise BadInput(f"a rollout of {share:g} is not possible; write for instance 10% or 100%")
    return float(share)


def _paths(given: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(one) for one in ([given] if isinstance(given, (str, Path)) else given)]


def _changed(
    repo: str | Path,
    keys: str | Path | None,
    secret: str,
    name: str,
    channel: str,
    change: Any,
) -> Index:
    checked_name(name), checked_name(channel, "channel")
    signers = open_repository(repo, keys).signers(secret)
    with locked(Path(repo), PATIENCE):
        held = open_repository(repo, keys)
        index: Index = change(held.index(name, channel))
        held.commit(index, signers)
    return index


def _variant(repo: Repository, index: Index, found: Found, progress: Progress) -> Variant:
    """Write a variant's files and say what they are."""
    full = _stored(repo, found.packed)
    mine = sha256(found.raw)
    deltas = []
    offered = [one for one in index.releases if not one.withdrawn][-BASES:]
    before = {
        old.sha256: old
        for release in offered
        for old in release.files
        if old.file == found.file and old.sha256 != mine
    }
    for old in progress.each(f"differences of {found.file}", before.values(), len(before)):
        packed = repo.file(old.full.sha256)
        data = packed.read_bytes() if packed.is_file() else b""
        if sha256(data) != old.full.sha256:
            raise BadInput(f"{packed} is missing or damaged; restore it from a copy")
        delta = compress(
            found.raw,
            "max",
            members=found.members,
            base=decompress(data, max_output=old.size),
            base_members=container.read(data).members,
        )
        if len(delta) < WORTH * len(found.packed):
            deltas.append(_stored(repo, delta, old.sha256))
    return Variant(
        found.file,
        found.runtime,
        found.precision,
        len(found.raw),
        mine,
        full,
        tuple(deltas),
        inputs=found.inputs,
    )


def _need(needs: Mapping[str, T] | None, found: Found) -> T | None:
    """What is said of a file, or else of its runtime."""
    told = needs or {}
    return told.get(found.file, told.get(found.runtime))


def _stored(repo: Repository, data: bytes, base: str | None = None) -> Packed:
    sha = sha256(data)
    path = repo.file(sha)
    path.parent.mkdir(exist_ok=True)
    if not path.is_file() or sha256(path) != sha:
        replace_file(path, data)
    return Packed(sha, len(data), base)
