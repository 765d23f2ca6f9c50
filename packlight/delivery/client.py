"""One network on one device: brought up to date, or left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from packlight.delivery.choosing import Device, Plan, plan
from packlight.delivery.downloads import download
from packlight.delivery.index import Index, Packed, checked_ram
from packlight.delivery.inputs import checked_inputs
from packlight.delivery.keys import need_extra
from packlight.delivery.locking import locked
from packlight.delivery.making import Content, contents, made
from packlight.delivery.names import checked_name, parse_os
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
        full: bytes of the whole packed files of what is new; 0 where nothing is.
        received: bytes of everything that the host sent.
        note: a sentence where the device's version stays without being up to date; else None.
        record: of the version in use: its `licence`, its `accuracy`; None where none is known.
    """

    before: Installed | None
    after: Installed | None
    files: tuple[tuple[str, int], ...] = ()
    full: int = 0
    received: int = 0
    note: str | None = None
    record: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "before": None if self.before is None else self.before.to_dict(),
            "after": None if self.after is None else self.after.to_dict(),
            "files": [{"kind": kind, "bytes": count} for kind, count in self.files],
            "full_bytes": self.full,
            "received_bytes": self.received,
            "note": self.note,
            "record": self.record,
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
        max_download: bytes of packed files that one update may take.
        ram: this device's bytes of RAM, for files that need some.
        input_shape: what the app feeds the network, as the file states it; the batch may be left
            out. May be left out where the repository has files for one shape only.
        metered_budget: bytes of packed files that one update may take on a metered connection.
        limits: on waiting and slowness.
    Raises:
        BadInput: a name, channel, system or shape that is none.
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
        ram: int | None = None,
        input_shape: Sequence[int] | None = None,
        metered_budget: int = 0,
        limits: Limits | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.name, self.channel = checked_name(name), checked_name(channel, "channel")
        if os is not None:
            parse_os(os)
        if ram is not None:
            checked_ram(ram)
        shape = None if input_shape is None else tuple(input_shape)
        checked_inputs([shape or ()])
        self.device = Device(runtime, os, ram, shape)
        self.trust = None if trust is None else Path(trust)
        self.max_download, self.metered_budget = max_download, metered_budget
        self.limits = limits or Limits()
        self.store = Store(Path(into), name)

    def current(self) -> Installed | None:
        """What is in use; asks nobody, and needs no extra."""
        return self.store.read().current

    def update(
        self,
        progress: Progress | None = None,
        *,
        tags: str | Sequence[str] = (),
        metered: bool = False,
    ) -> Update:
        """Bring the device to the version it should have, and to the parts that it should have.

        Args:
            progress: told of every stage.
            tags: parts to have besides those that are there. Parts and network switch together;
                where the newest version is over the budget, parts of the version in use come.
            metered: the platform says that this connection costs by the byte: an update of more
                than `metered_budget` waits.
        Raises:
            BadInput: what is served can not be trusted or used, or nothing is installed and the
                host can not be reached, or a tag is not there; what is in use stays.
            BudgetNotMet: nothing is installed, and more bytes are needed than are allowed.
            MissingExtra: the extra `delivery` is not installed.
        """
        need_extra()
        asked = [checked_name(one, "tag") for one in ([tags] if isinstance(tags, str) else tags)]
        limits = [self.max_download, self.metered_budget if metered else None]
        most = min((one for one in limits if one is not None), default=None)
        budget = _Budget(most, metered and most == self.metered_budget)
        with self._alone():
            state = self.store.read()
            if not self.store.pointer.exists():
                self.store.write(state)  # a new device keeps its id from its first try
            root = trusted_root(self.store.private, self.trust)
            web = Web(self.limits)
            try:
                return self._update(state, asked, budget, root, web, progress or Progress())
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
            failed, tags = state.current.version, state.current.parts.keys()
            before = (one for one in state.previous if one.version != failed)
            whole = [kept for one in before if (kept := one.whole({*one.parts, *tags}))]
            state = replace(
                state,
                current=whole[0] if whole else None,
                previous=tuple(whole[1:]),
                bad=(*state.bad, failed),
            )
            self.store.write(state)
            self.store.tidy(state)
            return state.current

    def _update(
        self,
        state: State,
        asked: Sequence[str],
        budget: _Budget,
        root: bytes,
        web: Web,
        progress: Progress,
    ) -> Update:
        with progress.stage("what is new"):
            index = fetch_index(web, self.url, self.store.private, root, self.name, self.channel)
        now, held = state.current, contents(state)
        record = None if now is None else _record(index, now.version)
        release = self.device.release(index, state)
        if release is None:
            if now is None:
                raise BadInput(
                    f"{self.name} has no version for this device in {self.channel}: each is "
                    "withdrawn, failed here, not rolled out to it, or for other devices "
                    "(--runtime, --os, --ram, --input)"
                )
            stays = f"no other version is for this device; {self.name} stays as it is"
            return Update(now, now, received=web.received, note=stays, record=record)
        tags = sorted({*asked, *(now.parts if now else ())})
        wanted = plan(self.device, index, release, tags, now, held)
        for tag in asked:
            if not wanted.parts[tag]:
                there = ", ".join(sorted(release.parts)) or "none"
                raise BadInput(
                    f"{self.name} {release.version} has no {tag} for this device; tags: {there}"
                )
        if wanted.done(now, held):
            return Update(now, now, received=web.received, record=record)
        note = None
        if over := budget.over(self.name, wanted):
            if now is None:
                raise BudgetNotMet(f"{over}; nothing is there yet, so allow more")
            note = f"{over}; it stays at {now.version}"
            instead = self._of_current(index, now, tags, held)
            if instead is None or instead.done(now, held) or budget.over(self.name, instead):
                return Update(now, now, (), wanted.full(now, held), web.received, note, record)
            wanted = instead
        full = wanted.full(now, held)
        after = self._taken(wanted, held, web, progress)
        self.store.use(state, after)
        files = tuple(("delta" if one.base else "full", one.size) for one in wanted.downloads)
        return Update(now, after, files, full, web.received, note, wanted.release.record)

    def _of_current(
        self, index: Index, now: Installed, tags: Sequence[str], held: Mapping[str, Content]
    ) -> Plan | None:
        """What is missing of the version in use, as long as it is offered."""
        for one in index.releases:
            offered = str(one.version) == now.version and not one.withdrawn
            if offered and self.device.variants(self.name, one):
                return plan(self.device, index, one, tags, now, held)
        return None

    def _taken(
        self, wanted: Plan, held: dict[str, Content], web: Web, progress: Progress
    ) -> Installed:
        """Download and write what a plan says; nobody reads it yet. What is made is held too."""

        def fetched(packed: Packed) -> Path:
            url = f"{self.url}/files/{packed.sha256}.plt"
            total = packed.size // CHUNK
            with progress.stage(f"download {packed.size:,} bytes", total) as tick:
                return download(web, url, packed, self.store.private / "partial", tick)

        placed = []
        for one, steps in zip(wanted.files, wanted.steps, strict=True):
            if steps:
                held[one.sha256] = made(self.name, steps, held, fetched, progress)
            raw, members = held[one.sha256]
            version, runtime = wanted.release.version, wanted.variant.runtime
            placed.append(self.store.add(version, runtime, one.file, raw, members))
        rest = iter(placed[1:])
        parts = {tag: tuple(islice(rest, len(files))) for tag, files in wanted.parts.items()}
        return replace(placed[0], parts=parts)

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


@dataclass(frozen=True)
class _Budget:
    """Bytes of packed files that an update may take; None: any number."""

    most: int | None
    metered: bool

    def over(self, name: str, wanted: Plan) -> str | None:
        """What is too much; None where it fits."""
        needed = sum(one.size for one in wanted.downloads)
        if self.most is None or needed <= self.most:
            return None
        where = " on a metered connection" if self.metered else ""
        return (
            f"{name} {wanted.release.version} takes {needed:,} bytes, and {self.most:,} are "
            f"allowed{where}"
        )


def _record(index: Index, version: str) -> Mapping[str, Any] | None:
    found = (one.record for one in index.releases if str(one.version) == version)
    return next(found, None)
