"""Which version, and which files of it, a device takes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from packlight.delivery.index import Index, Packed, Release, Variant
from packlight.delivery.inputs import sample, show_shapes, takes
from packlight.delivery.names import parse_os
from packlight.delivery.routes import cheapest
from packlight.delivery.store import Installed, State
from packlight.errors import BadInput


@dataclass(frozen=True)
class Device:
    """What a device tells of itself; whatever it does not tell, no file may ask for.

    Args:
        runtime: what loads the network here; None: whatever the only runtime is.
        os: its system, like android-34.
        ram: its bytes of RAM.
        input_shape: what the app feeds the network; None: whatever the only one is.
    """

    runtime: str | None = None
    os: str | None = None
    ram: int | None = None
    input_shape: tuple[int, ...] | None = None

    def variants(self, name: str, release: Release) -> list[Variant]:
        """A version's files that suit this device: of those, the ones that ask for the most.

        RAM counts before the system. Any of what is left will do; the fewest bytes decide.

        Raises:
            BadInput: they are for several runtimes or inputs, and none was asked for.
        """
        fit = [
            one
            for one in release.variants
            if self._may_have(one)
            and (self.input_shape is None or takes(one.inputs, self.input_shape))
        ]
        runtimes = sorted({one.runtime for one in fit})
        if len(runtimes) > 1:
            raise BadInput(f"{name} comes for {', '.join(runtimes)}; say which with --runtime")
        most = max(map(_needs, fit), default=None)
        fit = [one for one in fit if _needs(one) == most]
        stated = [one.inputs for one in fit if one.inputs]
        told = {tuple(map(sample, shapes)): show_shapes(shapes) for shapes in stated}
        if len(told) > 1:
            shapes = " or ".join(told.values())
            raise BadInput(f"{name} comes for inputs of {shapes}; say which with --input")
        return fit

    def parts(self, release: Release, tag: str, runtime: str) -> tuple[Variant, ...]:
        """All files of a tag that suit this device, for the network's runtime."""
        tagged = release.parts.get(tag, ())
        return tuple(one for one in tagged if one.runtime == runtime and self._may_have(one))

    def _may_have(self, one: Variant) -> bool:
        return self.runtime in (None, one.runtime) and one.runs_on(self.os, self.ram)

    def release(self, index: Index, state: State) -> Release | None:
        """The highest version that this device may have.

        Raises:
            BadInput: as `variants`.
        """
        now = None if state.current is None else state.current.version
        for one in reversed(index.releases):
            version = str(one.version)
            if one.withdrawn or version in state.bad or not self.variants(index.name, one):
                continue
            if version == now or chance(state.install, index.name, version) < one.rollout:
                return one
        return None


@dataclass(frozen=True)
class Plan:
    """What a device takes of a version, and how.

    Args:
        release: the version.
        variant: the network.
        parts: tag -> files besides it.
        steps: for each file, the network first: packed files to unpack in order, each with a
            variant of the size and SHA-256 it unpacks to; none where the device has it.
    """

    release: Release
    variant: Variant
    parts: dict[str, tuple[Variant, ...]]
    steps: tuple[tuple[tuple[Packed, Variant], ...], ...]

    @property
    def files(self) -> tuple[Variant, ...]:
        """The network, then its parts."""
        return (self.variant, *(one for tagged in self.parts.values() for one in tagged))

    @property
    def downloads(self) -> list[Packed]:
        """Packed files that have to be downloaded."""
        return [packed for steps in self.steps for packed, _ in steps]

    def done(self, now: Installed | None, held: Collection[str]) -> bool:
        """Whether all of it is in use already, and whole."""
        if now is None or now.version != str(self.release.version):
            return False
        wanted = {tag: [(one.file, one.sha256) for one in f] for tag, f in self.parts.items() if f}
        parts = {tag: files for tag, files in now.parts.items() if files}
        there = {tag: [(one.path.name, one.sha256) for one in f] for tag, f in parts.items()}
        whole = all(one.sha256 in held for one in now.files)
        return whole and now.sha256 == self.variant.sha256 and wanted == there

    def full(self, now: Installed | None, held: Collection[str]) -> int:
        """Bytes of the whole packed files of what is not in use already."""
        same = now is not None and now.version == str(self.release.version)
        there = {one.sha256 for one in now.files} & set(held) if now and same else set()
        return sum(one.full.size for one in self.files if one.sha256 not in there)


def plan(
    device: Device,
    index: Index,
    release: Release,
    tags: Iterable[str],
    now: Installed | None,
    held: Collection[str],
) -> Plan:
    """The fewest bytes to a version and its parts.

    Args:
        device: which files may be taken.
        index: every version, for differences.
        release: one that has a variant for the device.
        tags: parts to take; those that the version does not have are left empty.
        now: what is in use; stays as long as it is one of the version's files.
        held: unpacked SHA-256s of what the device has.
    """
    variants = device.variants(index.name, release)
    if now is not None and now.version == str(release.version) and now.sha256 in held:
        variants = [one for one in variants if one.sha256 == now.sha256] or variants
    variant, steps = cheapest(index, variants, held)
    parts = {tag: device.parts(release, tag, variant.runtime) for tag in tags}
    ways, there = [tuple(steps)], {*held, variant.sha256}
    for one in (one for tagged in parts.values() for one in tagged):
        ways.append(tuple(cheapest(index, [one], there)[1]))
        there.add(one.sha256)
    return Plan(release, variant, parts, tuple(ways))


def chance(install: str, name: str, version: str) -> float:
    """Where a device stands in a version's rollout, 0 to 1; the same every time it is asked."""
    told = hashlib.sha256(f"{install}/{name}/{version}".encode()).digest()
    return int.from_bytes(told[:8]) / 2**64


def _needs(one: Variant) -> tuple[int, tuple[int, ...]]:
    return one.min_ram or 0, () if one.min_os is None else parse_os(one.min_os)[1]
