"""One network on one device: brought up to date, or left as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packlight.coding import container
from packlight.coding.archive import read_paths
from packlight.coding.container import Member
from packlight.coding.packing import decompress
from packlight.delivery.downloads import download
from packlight.delivery.index import Index, Packed, Release, Variant
from packlight.delivery.keys import need_extra
from packlight.delivery.locking import locked
from packlight.delivery.names import checked_name, parse_os
from packlight.delivery.routes import cheapest
from packlight.delivery.store import Installed, State, Store
from packlight.delivery.trust import fetch_index, trusted_root
from packlight.delivery.web import CHUNK, Limits, Unreachable, Web
from packlight.errors import BadInput, BudgetNotMet
from packlight.progress import Progress

PATIENCE = 10  # seconds to wait for another fetch into the same folder


@dataclass(frozen=True)
class Update:
    """What came of an update.

    Args:
        before, after: what was and is in use; None: nothing.
        files: packed files unpacked on the way, as (kind, bytes): "full" or "delta".
        full: bytes of the whole packed file; 0 where nothing was new.
        received: bytes of everything that the host sent.
        note: a sentence where the device stays as it is without being up to date; else None.
    """

    before: Installed | None
    after: Installed | None
    files: tuple[tuple[str, int], ...] = ()
    full: int = 0
    received: int = 0
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "before": None if self.before is None else self.before.to_dict(),
            "after": None if self.after is None else self.after.to_dict(),
            "files": [{"kind": kind, "bytes": count} for kind, count in self.files],
            "full_bytes": self.full,
            "received_bytes": self.received,
            "note": self.note,
        }


class Client:
    """Follows one network of a repository.

    Args:
        url: where the repository is served.
        name: the network.
        into: this device's folder for it.
        runtime: whose file to take; may be left out where the repository has files of one only.
        os: this device's system, like android-34, for files that need one.
        channel: as published.
        trust: the root that the app ships with (1.root.json); needed the first time.
        max_download: bytes of packed files that one update may take, on a metered connection say.
        limits: on waiting and slowness.
    Raises:
        BadInput: a name, channel or system that is none.
    """

    def __init__(
        self,
        url: str,
        name: str,
        into: str | Path,
        *,
        runtime: str | None = None,
        os: str | None = None,
        channel: str = "stable",
        trust: str | Path | None = None,
        max_download: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.name, self.channel = checked_name(name), checked_name(channel, "channel")
        self.runtime, self.os = runtime, os
        if os is not None:
            parse_os(os)
        self.trust = None if trust is None else Path(trust)
        self.max_download = max_download
        self.limits = limits or Limits()
        self.store = Store(Path(into), name)

    def current(self) -> Installed | None:
        """What is in use; asks nobody, and needs no extra."""
        return self.store.read().current

    def update(self, progress: Progress | None = None) -> Update:
        """Bring the device to the version it should have.

        Raises:
            BadInput: what is served can not be trusted or used, or nothing is installed and the
                host can not be reached; what is in use stays.
            BudgetNotMet: nothing is installed, and `max_download` allows no version.
            MissingExtra: the extra `delivery` is not installed.
        """
        need_extra()
        with self._alone():
            state = self.store.read()
            if not self.store.pointer.exists():
                self.store.write(state)  # a new device keeps its id from its first try
            root = trusted_root(self.store.private, self.trust)
            web = Web(self.limits)
            try:
                return self._update(state, root, web, progress or Progress())
            except Unreachable as problem:
                if state.current is None:
                    raise
                note = f"{problem}; {self.name} stays at {state.current.version}"
                return Update(state.current, state.current, received=web.received, note=note)

    def mark_bad(self) -> Installed | None:
        """The app can not use what is installed: go back, and never take that version again.

        Returns:
            What is in use now: the newest of the earlier versions that is whole; None if none is.
        """
        with self._alone():
            state = self.store.read()
            if state.current is None:
                raise BadInput(f"{self.store.folder} holds no {self.name} that could be bad")
            failed = state.current.version
            whole = [
                one for one in state.previous if one.version != failed and one.content() is not None
            ]
            state = replace(
                state,
                current=whole[0] if whole else None,
                previous=tuple(whole[1:]),
                bad=(*state.bad, failed),
            )
            self.store.write(state)
            self.store.tidy(state)
            return state.current

    def _update(self, state: State, root: bytes, web: Web, progress: Progress) -> Update:
        with progress.stage("what is new"):
            index = fetch_index(web, self.url, self.store.private, root, self.name, self.channel)
        release = self._release(index, state)
        held = {
            one.sha256: raw
            for one in (state.current, *state.previous)
            if one is not None and (raw := one.content()) is not None
        }
        if release is None:
            if state.current is None:
                raise BadInput(
                    f"{self.name} has no version for this device in {self.channel}: each is "
                    "withdrawn, failed here, not rolled out to it, or for other devices"
                )
            note = f"no other version is for this device; {self.name} stays as it is"
            return Update(state.current, state.current, received=web.received, note=note)
        variants = self._variants(release)
        now = state.current
        offered = {one.sha256 for one in variants} & held.keys()
        if now is not None and now.version == str(release.version) and now.sha256 in offered:
            return Update(now, now, received=web.received)
        variant, steps = cheapest(index, variants, held)
        needed = sum(packed.size for packed, _ in steps)
        if self.max_download is not None and needed > self.max_download:
            over = (
                f"{self.name} {release.version} takes {needed:,} bytes, and {self.max_download:,} "
                "are allowed"
            )
            if now is None:
                raise BudgetNotMet(f"{over}; nothing is there yet, so allow more")
            note = f"{over}; it stays at {now.version}"
            return Update(now, now, full=variant.full.size, received=web.received, note=note)
        raw, members = self._made(variant, steps, held, state, web, progress)
        new = self.store.add(release.version, variant.runtime, variant.file, raw, members)
        self.store.use(state, new)
        files = tuple(("delta" if p.base else "full", p.size) for p, _ in steps)
        return Update(now, new, files, variant.full.size, web.received)

    def _release(self, index: Index, state: State) -> Release | None:
        """The highest version that this device may have."""
        now = None if state.current is None else state.current.version
        for one in reversed(index.releases):
            version = str(one.version)
            if one.withdrawn or version in state.bad or not self._variants(one):
                continue
            if version == now or chance(state.install, self.name, version) < one.rollout:
                return one
        return None

    def _variants(self, release: Release) -> list[Variant]:
        """A version's files that this device can run.

        Raises:
            BadInput: they are for several runtimes and none was asked for.
        """
        fit = [
            one
            for one in release.variants
            if self.runtime in (None, one.runtime) and one.runs_on(self.os)
        ]
        runtimes = sorted({one.runtime for one in fit})
        if len(runtimes) > 1:
            raise BadInput(f"{self.name} comes for {', '.join(runtimes)}; say which with --runtime")
        return fit

    def _made(
        self,
        variant: Variant,
        steps: list[tuple[Packed, Variant]],
        held: dict[str, bytes],
        state: State,
        web: Web,
        progress: Progress,
    ) -> tuple[bytes, tuple[Member, ...] | None]:
        """Download and unpack; the variant's bytes, verified."""
        if not steps:  # the same file under another version
            there = (one for one in (state.current, *state.previous) if one is not None)
            place = next(one for one in there if one.sha256 == variant.sha256)
            return held[variant.sha256], _members(place.path)
        partial = self.store.private / "partial"
        parts: list[Path] = []
        for packed, _ in steps:
            total = packed.size // CHUNK
            with progress.stage(f"download {packed.size:,} bytes", total) as tick:
                url = f"{self.url}/files/{packed.sha256}.plt"
                parts.append(download(web, url, packed, partial, tick))
        raw, members = b"", None
        with progress.stage("unpack"):
            for (packed, made), part in zip(steps, parts, strict=True):
                data = part.read_bytes()
                header = container.read(data)
                base = None if header.base_sha256 is None else header.base_sha256.hex()
                told = (header.size, header.sha256.hex(), base)
                if told != (made.size, made.sha256, packed.base):
                    raise BadInput(
                        f"{self.name} unpacks to something else than was signed; nothing was taken"
                    )
                old = None if base is None else held.get(base, raw)
                raw, members = decompress(data, base=old, max_output=made.size), header.members
        return raw, members

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The only one in the folder, which must take what is written."""
        with locked(self.store.private, PATIENCE):
            try:
                yield
            except OSError as problem:
                raise BadInput(
                    f"{self.store.folder} can not be written to ({problem.strerror}); what is in "
                    "use stays"
                ) from problem


def chance(install: str, name: str, version: str) -> float:
    """Where a device stands in a version's rollout, 0 to 1; the same every time it is asked."""
    told = hashlib.sha256(f"{install}/{name}/{version}".encode()).digest()
    return int.from_bytes(told[:8]) / 2**64


def _members(path: Path) -> tuple[Member, ...] | None:
    found = read_paths([path])[1]
    return None if found is None else tuple(found)
