"""The signed folder: made, read, extended and refreshed, so that a reader never sees half a change.

    REPO/metadata/1.root.json  N.targets.json  N.snapshot.json  timestamp.json
    REPO/targets/NAME/SHA256.CHANNEL.json      an index, as a target of The Update Framework
    REPO/files/SHA256.plt                      what indexes name

Whatever is new gets a new name and is written first; timestamp.json is replaced last and in one
step. A publisher that is killed before that leaves files which nothing names. Before anything is
signed, all that is there is held against the keys, so that what somebody changed on the host is
never signed by its owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packlight.delivery.index import Index, parse, target_path
from packlight.delivery.keys import ROLES, TRUSTED, default_folder, make_keys, need_extra, read_key
from packlight.delivery.locking import locked
from packlight.errors import BadInput
from packlight.files import replace_file, sha256

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

    Signers = Mapping[str, Sequence[CryptoSigner]]  # role -> who signs it

LIFETIME = {  # how long a signature is believed
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=7),
    "timestamp": timedelta(days=1),
}
ONLINE = ("snapshot", "timestamp")  # roles that every refresh signs anew
PATIENCE = 600  # seconds to wait for another publisher
_LONGEST_CHAIN = 1024  # roots


@dataclass(frozen=True)
class Repository:
    """What the folder held when it was read, all of it verified.

    Args:
        folder: what is served.
        keys: where private keys lie.
    """

    folder: Path
    keys: Path
    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    def channels(self) -> list[tuple[str, str]]:
        """(name, channel) of every index."""
        parts = (
            path.removesuffix(".json").split("/") for path in sorted(self.targets.signed.targets)
        )
        return [(name, channel) for name, channel in parts]

    def index(self, name: str, channel: str) -> Index:
        """A network's versions; an empty index where there are none.

        Raises:
            BadInput: the file is not what was signed.
        """
        from tuf.api.exceptions import LengthOrHashMismatchError

        target = self.targets.signed.targets.get(target_path(name, channel))
        if target is None:
            return Index(name, channel)
        path = self.folder / "targets" / _prefixed(target.path, target.hashes["sha256"])
        data = _read(path, self.folder)
        try:
            target.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as problem:
            raise _changed(self.folder, f"{path.name} has another hash") from problem
        return parse(data, name, channel)

    def file(self, sha: str) -> Path:
        """Where a packed file lies."""
        return self.folder / "files" / f"{sha}.plt"

    def signers(self, secret: str, roles: Sequence[str] = ROLES[1:]) -> Signers:
        """Keys that are believed for their roles, one for each.

        Raises:
            BadInput: a key is missing, the passphrase is another, or the root names other keys.
        """
        signers = {role: [read_key(self.keys, role, secret)] for role in roles}
        for role, (signer,) in signers.items():
            if signer.public_key.keyid not in self.root.signed.roles[role].keyids:
                raise BadInput(
                    f"{self.keys / role}.key is not the {role} key of {self.folder}; say --keys DIR"
                )
        return signers

    def commit(self, index: Index, signers: Signers) -> Repository:
        """Sign an index; the files that it names are there already."""
        from tuf.api.metadata import TargetFile

        data = index.to_bytes()
        path = index.path
        signed = _copy(self.targets)
        signed.targets[path] = TargetFile.from_data(path, data, ["sha256"])
        _write(self.folder / "targets" / _prefixed(path, sha256(data)), data)
        return self._advanced(signers, targets=signed)

    def believing(
        self, holders: Mapping[str, Sequence[CryptoSigner]], signers: Sequence[CryptoSigner]
    ) -> Repository:
        """Write a root that believes these keys for these roles, signed by `signers`."""
        root = _copy(self.root)
        for role, believed in holders.items():
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            for holder in believed:
                root.add_key(holder.public_key, role)
        root.version += 1
        _write(*_placed(self.folder, root, "root", *signers))
        return open_repository(self.folder, self.keys)

    def renewed(self, signers: Signers) -> Repository:
        """Sign again, with new times, each role that there are keys for."""
        if "root" in signers:
            root = _copy(self.root)
            _write(*self._signed(root, "root", signers))
        targets = _copy(self.targets)
        return self._advanced(signers, targets if "targets" in signers else None)

    def expiries(self) -> dict[str, datetime]:
        """When each role's signature ends."""
        return {role: getattr(self, role).signed.expires for role in ROLES}

    def _advanced(self, signers: Signers, targets: Targets | None = None) -> Repository:
        """Write what is new, in the order in which readers depend on it; the timestamp last."""
        from tuf.api.metadata import MetaFile

        snapshot = _copy(self.snapshot)
        if targets is not None:
            path, data = self._signed(targets, "targets", signers)
            _write(path, data)
            snapshot.meta["targets.json"] = MetaFile.from_data(targets.version, data, ["sha256"])
        path, data = self._signed(snapshot, "snapshot", signers)
        _write(path, data)
        timestamp = _copy(self.timestamp)
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, data, ["sha256"])
        _write(*self._signed(timestamp, "timestamp", signers))
        for left in (*self.folder.glob("*/.*"), *self.folder.glob("targets/*/.*")):
            left.unlink(missing_ok=True)  # by a publisher that was killed
        return open_repository(self.folder, self.keys)

    def _signed(self, signed: Any, role: str, signers: Signers) -> tuple[Path, bytes]:
        """The next version of a role, and where it is written."""
        signed.version = getattr(self, role).signed.version + 1
        return _placed(self.folder, signed, role, *signers[role])


def make(repo: str | Path, *, keys: str | Path | None = None, secret: str) -> Repository:
    """A new folder that publishes nothing yet, and its keys.

    Args:
        repo: the folder to serve; made if need be.
        keys: where private keys go; beside the repository unless given.
        secret: the passphrase that they are encrypted with.
    Raises:
        BadInput: there is a repository or are keys already, or the keys would be served.
        MissingExtra: the extra `delivery` is not installed.
    """
    need_extra()
    from tuf.api.metadata import MetaFile, Root, Snapshot, Targets, Timestamp

    folder = Path(repo)
    held = Path(keys) if keys is not None else default_folder(folder)
    if held.resolve().is_relative_to(folder.resolve()):
        raise BadInput(f"{held} lies inside {folder}, which is served; say --keys elsewhere")
    if (folder / "metadata").exists():
        raise BadInput(f"{folder} is a repository already; publish into it, or give another folder")
    with locked(folder, PATIENCE):
        signers = make_keys(held, secret)
        root = Root(consistent_snapshot=True)
        for role, signer in signers.items():
            root.add_key(signer.public_key, role)
        path, data = _placed(folder, root, "root", signers["root"])
        _write(path, data)
        _write(held / TRUSTED, data)
        path, data = _placed(folder, Targets(), "targets", signers["targets"])
        _write(path, data)
        snapshot = Snapshot(meta={"targets.json": MetaFile.from_data(1, data, ["sha256"])})
        path, data = _placed(folder, snapshot, "snapshot", signers["snapshot"])
        _write(path, data)
        timestamp = Timestamp(snapshot_meta=MetaFile.from_data(1, data, ["sha256"]))
        _write(*_placed(folder, timestamp, "timestamp", signers["timestamp"]))
    return open_repository(folder, held)


def refresh(repo: str | Path, *, keys: str | Path | None = None, secret: str) -> Repository:
    """Sign snapshot and timestamp anew; root and targets when half of their time is over.

    The latter only where their keys are at hand, so that a machine can refresh without them.

    Raises:
        BadInput: as `open_repository`; or a key is missing, or the passphrase is another.
    """
    with locked(Path(repo), PATIENCE):
        held = open_repository(repo, keys)
        late = {
            role
            for role in ("root", "targets")
            if held.expiries()[role] - datetime.now(UTC) < LIFETIME[role] / 2
            and (held.keys / f"{role}.key").exists()
        }
        signers = held.signers(secret, (*late, *ONLINE))
        return held.renewed(signers)


def open_repository(repo: str | Path, keys: str | Path | None = None) -> Repository:
    """Read a repository and verify all of its metadata, however old.

    Raises:
        BadInput: it is none, or somebody without the keys changed it.
        MissingExtra: the extra `delivery` is not installed.
    """
    need_extra()
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata

    folder = Path(repo)
    held = Path(keys) if keys is not None else default_folder(folder)
    metadata = folder / "metadata"
    if not (metadata / "timestamp.json").is_file():
        raise BadInput(f"{folder} is no repository; make one with: packlight repo init {folder}")
    trusted = held / TRUSTED
    if not trusted.is_file():
        raise BadInput(f"{trusted} is not there, which says what to trust; give --keys DIR")
    try:
        root: Metadata[Root] = Metadata.from_bytes(_read(trusted, folder))
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
        for _ in range(_LONGEST_CHAIN):
            path = metadata / f"{root.signed.version + 1}.root.json"
            if not path.exists():
                break
            following: Metadata[Root] = Metadata.from_bytes(_read(path, folder))
            if following.signed.version != root.signed.version + 1:
                raise _changed(folder, f"{path.name} has another version")
            for judge in (root, following):
                judge.signed.verify_delegate("root", following.signed_bytes, following.signatures)
            root = following
        timestamp: Metadata[Timestamp] = _verified(metadata / "timestamp.json", "timestamp", root)
        meta = timestamp.signed.snapshot_meta
        path = metadata / f"{meta.version}.snapshot.json"
        snapshot: Metadata[Snapshot] = _verified(path, "snapshot", root, meta)
        meta = snapshot.signed.meta["targets.json"]
        path = metadata / f"{meta.version}.targets.json"
        targets: Metadata[Targets] = _verified(path, "targets", root, meta)
    except (RepositoryError, ValueError, KeyError) as problem:
        if isinstance(problem, BadInput):
            raise
        raise _changed(folder, str(problem)) from problem
    return Repository(folder, held, root, targets, snapshot, timestamp)


def _verified(path: Path, role: str, root: Metadata[Root], meta: Any = None) -> Any:
    from tuf.api.metadata import Metadata

    data = _read(path, path.parent.parent)
    if meta is not None:
        meta.verify_length_and_hashes(data)
    found: Metadata[Any] = Metadata.from_bytes(data)
    if found.signed.type != role:
        raise _changed(path.parent.parent, f"{path.name} is of another kind")
    root.signed.verify_delegate(role, found.signed_bytes, found.signatures)
    return found


def _placed(folder: Path, signed: Any, role: str, *signers: CryptoSigner) -> tuple[Path, bytes]:
    from tuf.api.metadata import Metadata

    signed.expires = datetime.now(UTC).replace(microsecond=0) + LIFETIME[role]
    made: Metadata[Any] = Metadata(signed)
    for signer in signers:
        made.sign(signer, append=True)
    name = "timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json"
    return folder / "metadata" / name, made.to_bytes()


def _copy(metadata: Metadata[Any]) -> Any:
    """What was signed, to be changed."""
    return deepcopy(metadata.signed)


def _prefixed(path: str, sha: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/{sha}.{name}"


def _read(path: Path, folder: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise _changed(folder, f"{path.name}: {problem.strerror}") from problem


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(f"{path.parent} can not be made ({problem.strerror})") from problem
    replace_file(path, data)


def _changed(folder: Path, why: str) -> BadInput:
    return BadInput(
        f"{folder} is not as it was signed ({why}); restore it from a copy, nothing was signed"
    )
