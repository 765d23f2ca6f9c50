"""Versions that are long past, and files that no version needs, out of a repository.

Every device fetches the index, so it should not grow for ever. Readers may be in the middle of a
state that was signed before, so files go only once the state that stopped naming them is older than
any reader: a run drops versions, a run some days later drops their files.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from packlight.delivery.locking import locked
from packlight.delivery.repository import LIFETIME, PATIENCE, Repository, open_repository
from packlight.errors import BadInput
from packlight.files import size_of

KEEP = 10  # versions in each channel
#: Twice as long as a reader believes a timestamp.
QUIET = 2 * LIFETIME["timestamp"].total_seconds()


@dataclass(frozen=True)
class Cleaned:
    """What a run took out.

    Args:
        versions: dropped from indexes.
        files: removed, and their `bytes`.
    """

    versions: int
    files: int
    bytes: int


def clean(
    repo: str | Path, *, keep: int = KEEP, keys: str | Path | None = None, secret: str
) -> Cleaned:
    """Keep the last versions of each channel, and the files that they name.

    A device that has a version which is dropped keeps it, and downloads the next one whole.

    Args:
        repo: the repository.
        keep: versions that stay in each channel, the newest; at least 1, so that versions rise.
        keys: where they lie; beside the repository unless given.
        secret: their passphrase.
    Raises:
        BadInput: as `open_repository`; or a key is missing, or the passphrase is another.
    """
    if keep < 1:
        raise BadInput(f"{keep} versions can not be kept; 1 is the least")
    with locked(Path(repo), PATIENCE):
        held = open_repository(repo, keys)
        signers = held.signers(secret)
        state = held.folder / "metadata" / f"{held.targets.signed.version}.targets.json"
        settled = time.time() - state.stat().st_mtime > QUIET
        left = sorted(set(_files(held)) - _named(held)) if settled else []
        size = sum(size_of(path) for path in left)
        for path in left:
            path.unlink()
        dropped = 0
        for name, channel in held.channels():
            index = held.index(name, channel)
            old = len(index.releases) - keep
            if old > 0:
                dropped += old
                held = held.commit(replace(index, releases=index.releases[old:]), signers)
    return Cleaned(dropped, len(left), size)


def _files(held: Repository) -> list[Path]:
    """Everything that can be out of use; roots stay, as devices walk along them."""
    metadata = held.folder / "metadata"
    return [
        *(held.folder / "files").glob("*.plt"),
        *(held.folder / "targets").glob("*/*.json"),
        *metadata.glob("*.targets.json"),
        *metadata.glob("*.snapshot.json"),
    ]


def _named(held: Repository) -> set[Path]:
    """What the signed state needs."""
    metadata = held.folder / "metadata"
    named = {
        metadata / f"{held.targets.signed.version}.targets.json",
        metadata / f"{held.snapshot.signed.version}.snapshot.json",
    }
    for target in held.targets.signed.targets.values():
        named |= {held.folder / "targets" / path for path in target.get_prefixed_paths()}
    for name, channel in held.channels():
        for release in held.index(name, channel).releases:
            for one in release.files:
                named |= {held.file(packed.sha256) for packed in (one.full, *one.deltas)}
    return named
