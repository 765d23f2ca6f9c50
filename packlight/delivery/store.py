"""What lies on the device: versions in folders of their own, and one small file that says which.

    DIR/current.json                    the version in use, those before it, those that failed
    DIR/versions/1.4.0-SHA/model.onnx   SHA: twelve digits of the file's SHA-256; parts the same
    DIR/.packlight/                     what is believed, and downloads that are under way

`current.json` is replaced in one step (on every system: it is no link), so an app that reads it at
any moment finds a whole version.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packlight.coding.archive import read_paths, write_members
from packlight.coding.container import Member
from packlight.delivery.names import Version, checked_file, checked_name, checked_sha256
from packlight.errors import BadInput
from packlight.files import replace_file, sha256

FORMAT = 1
POINTER = "current.json"
VERSIONS = "versions"
PRIVATE = ".packlight"
KEPT = 2  # versions before the current one


@dataclass(frozen=True)
class Installed:
    """A version on the device.

    Args:
        version: as published.
        runtime: what loads its file.
        path: of the file, or of the folder for Core ML.
        sha256: of the file; of a folder, its files one after the other.
        parts: tag -> the files that came for it, of the same version; none where it has none.
    """

    version: str
    runtime: str
    path: Path
    sha256: str
    parts: Mapping[str, tuple[Installed, ...]] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Installed, ...]:
        """The network and its parts."""
        return (self, *(one for tagged in self.parts.values() for one in tagged))

    def content(self) -> bytes | None:
        """Its bytes; None where the file is gone or no longer what was installed."""
        try:
            raw = read_paths([self.path])[0]
        except BadInput:
            return None
        return raw if sha256(raw) == self.sha256 else None

    def whole(self, tags: Collection[str]) -> Installed | None:
        """With its parts for these tags as far as they are whole; None where itself is not."""
        if self.content() is None:
            return None
        parts = {
            tag: tuple(one for one in self.parts.get(tag, ()) if one.content() is not None)
            for tag in sorted(tags)
        }
        return replace(self, parts=parts)

    def to_dict(self, below: Path | None = None) -> dict[str, Any]:
        """JSON-able; paths as they are, or those below a folder."""
        value: dict[str, Any] = {
            "version": self.version,
            "runtime": self.runtime,
            **_placed(self, below),
        }
        if self.parts:
            value["parts"] = {
                tag: [_placed(one, below) for one in files] for tag, files in self.parts.items()
            }
        return value


@dataclass(frozen=True)
class State:
    """What `current.json` holds.

    Args:
        name: of the network; a folder holds one.
        install: this installation's own id, which decides about rollouts and is told to nobody.
        current: None where nothing is installed.
        previous: the newest first.
        bad: versions that failed here, never to be taken again.
    """

    name: str
    install: str
    current: Installed | None = None
    previous: tuple[Installed, ...] = ()
    bad: tuple[str, ...] = ()


class Store:
    """The folder of one network on one device."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, checked_name(name)

    @property
    def private(self) -> Path:
        """Where what is not for the app lies."""
        return self.folder / PRIVATE

    @property
    def pointer(self) -> Path:
        """The file that says what is installed."""
        return self.folder / POINTER

    def read(self) -> State:
        """What is installed.

        Raises:
            BadInput: the folder holds another network, or its pointer is damaged.
        """
        path = self.pointer
        try:
            value = json.loads(path.read_bytes())
            if value["format"] != FORMAT:
                raise BadInput(f"{path} is of a newer packlight; update this one")
            current = value["current"]
            state = State(
                checked_name(value["name"]),
                str(uuid.UUID(value["install"])),
                None if current is None else self._installed(current),
                tuple(self._installed(one) for one in value["previous"]),
                tuple(str(Version(one)) for one in value["bad"]),
            )
        except FileNotFoundError:
            return State(self.name, str(uuid.uuid4()))
        except OSError as problem:
            raise BadInput(f"{path} can not be read ({problem.strerror})") from problem
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            if isinstance(problem, BadInput) and "newer packlight" in str(problem):
                raise
            raise BadInput(f"{path} is damaged; remove it, and fetch again") from problem
        if state.name != self.name:
            raise BadInput(f"{self.folder} holds {state.name}; give {self.name} its own folder")
        return state

    def write(self, state: State) -> None:
        """Say what is installed, in one step."""
        value = {
            "format": FORMAT,
            "name": state.name,
            "current": None if state.current is None else state.current.to_dict(self.folder),
            "previous": [one.to_dict(self.folder) for one in state.previous],
            "bad": list(state.bad),
            "install": state.install,
        }
        replace_file(self.pointer, json.dumps(value, indent=1).encode())

    def add(
        self,
        version: Version,
        runtime: str,
        file: str,
        raw: bytes,
        members: Sequence[Member] | None,
    ) -> Installed:
        """Write a file of a version into its folder; nobody reads it yet."""
        sha = sha256(raw)
        one = Installed(str(version), runtime, self._place(version, sha) / checked_file(file), sha)
        if one.content() is None:
            _remove(one.path)  # damaged
            one.path.parent.mkdir(parents=True, exist_ok=True)
            if members is None:
                replace_file(one.path, raw)
            else:
                write_members(raw, members, one.path)
        return one

    def use(self, state: State, one: Installed) -> State:
        """Switch to a version, keep those before it, and remove what is older."""
        before = [old for old in (state.current, *state.previous) if old and old.path != one.path]
        new = replace(state, current=one, previous=tuple(before[:KEPT]))
        self.write(new)
        self.tidy(new)
        return new

    def tidy(self, state: State) -> None:
        """Remove versions that nothing names, downloads, and what a killed process left."""
        versions = [one for one in (state.current, *state.previous) if one]
        named = {one.path for version in versions for one in version.files}
        folders = {path.parent for path in named}
        for path in (self.folder / VERSIONS).glob("*"):
            for left in path.glob("*") if path in folders else [path]:
                if left not in named:
                    _remove(left)
        shutil.rmtree(self.private / "partial", ignore_errors=True)
        for path in (*self.folder.glob(f".{POINTER}.*"), *self.private.glob(".*.json.*")):
            path.unlink(missing_ok=True)

    def _place(self, version: Version, sha: str) -> Path:
        return self.folder / VERSIONS / f"{version}-{sha[:12]}"

    def _installed(self, value: dict[str, Any]) -> Installed:
        version, runtime = Version(value["version"]), checked_name(value["runtime"])
        parts = {
            checked_name(tag): tuple(self._file(version, runtime, one) for one in files)
            for tag, files in dict(value.get("parts", {})).items()
        }
        return replace(self._file(version, runtime, value), parts=parts)

    def _file(self, version: Version, runtime: str, value: dict[str, Any]) -> Installed:
        sha = checked_sha256(value["sha256"])
        path = self._place(version, sha) / checked_file(value["path"].rpartition("/")[2])
        return Installed(str(version), runtime, path, sha)


def _placed(one: Installed, below: Path | None) -> dict[str, Any]:
    path = str(one.path) if below is None else one.path.relative_to(below).as_posix()
    return {"path": path, "sha256": one.sha256}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
