"""Metadata that a device believes: The Update Framework's client, with our bounds on the web.

The first root comes with the app; every later one must be signed by the one before. Rollback,
freeze, mix-and-match and endless metadata are the framework's to refuse. Hosts may send metadata in
gzip, which takes half as many bytes; what is signed is what comes out.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from packlight.delivery.index import Index, parse, target_path
from packlight.delivery.web import CHUNK, Answer, NotServed, Unreachable, Web
from packlight.errors import BadInput
from packlight.files import replace_file

TRUSTED = "trust.json"
INDEX = "index.json"
LARGEST_INDEX = 8 << 20  # bytes
_FILES = ("root.json", "timestamp.json", "snapshot.json", "targets.json", "root_history")


def trusted_root(folder: Path, given: Path | None) -> bytes:
    """The root to start from: the one that is given, or else the one given the last time.

    Raises:
        BadInput: there is none, or it is none.
        MissingExtra: the extra `delivery` is not installed.
    """
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root

    kept = folder / TRUSTED
    if given is None and not kept.is_file():
        raise BadInput(
            "the first time needs the root that the app trusts: --trust root.json, which is "
            "REPO/metadata/1.root.json of the publisher, got from them and not from the host"
        )
    source = given or kept
    try:
        data = source.read_bytes()
        root: Metadata[Root] = Metadata.from_bytes(data)
        if root.signed.type != "root":
            raise ValueError
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    except OSError as problem:
        raise BadInput(f"{source} can not be read ({problem.strerror})") from problem
    except (RepositoryError, ValueError, AttributeError) as problem:
        raise BadInput(f"{source} is no root of a repository; give 1.root.json") from problem
    if given is not None and not (kept.is_file() and kept.read_bytes() == data):
        replace_file(kept, data)
    return data


def fetch_index(web: Web, url: str, folder: Path, root: bytes, name: str, channel: str) -> Index:
    """The newest signed index of a network.

    Args:
        web: how to ask.
        url: of the repository.
        folder: where this device keeps what it believes.
        root: the root to start from.
        name, channel: which.
    Raises:
        Unreachable: the host is not there, or stopped.
        BadInput: what it serves is not signed, old, too long, or holds no such network.
    """
    from tuf.api import exceptions
    from tuf.ngclient import FetcherInterface, Updater

    class Bounded(FetcherInterface):
        def _fetch(self, url: str) -> Iterator[bytes]:
            return _chunks(web, url)

    metadata = folder / "metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    _tidy(metadata)
    path = target_path(name, channel)
    try:
        updater = Updater(
            str(metadata),
            f"{url}/metadata",
            str(folder),
            f"{url}/targets",
            Bounded(),
            bootstrap=root,
        )
        target = updater.get_targetinfo(path)
        if target is None:
            raise BadInput(f"{url} has no {name} in {channel}; check the name and the channel")
        if target.length > LARGEST_INDEX:
            raise BadInput(f"the index of {name} has {target.length:,} bytes, which is too many")
        kept = str(folder / INDEX)
        if updater.find_cached_target(target, kept) is None:
            updater.download_target(target, kept)
    except exceptions.ExpiredMetadataError as problem:
        raise BadInput(
            f"{url} serves signatures that have expired ({problem}): its owner has not refreshed "
            "them, somebody holds updates back, or this device's clock is wrong; nothing was taken"
        ) from problem
    except exceptions.BadVersionNumberError as problem:
        raise BadInput(
            f"{url} serves older signatures than it did before ({problem}); nothing was taken"
        ) from problem
    except exceptions.DownloadLengthMismatchError as problem:
        raise BadInput(f"{url} sends more than was signed ({problem}); nothing was taken") from (
            problem
        )
    except exceptions.DownloadHTTPError as problem:
        raise (
            problem.__cause__
            if isinstance(problem.__cause__, BadInput)
            else BadInput(f"{url} does not serve {name} (HTTP {problem.status_code})")
        ) from problem
    except exceptions.DownloadError as problem:
        if isinstance(problem.__cause__, BadInput):
            raise problem.__cause__ from problem
        raise Unreachable(f"{url} can not be read ({problem})") from problem
    except (exceptions.RepositoryError, ValueError) as problem:
        if isinstance(problem, BadInput):
            raise
        raise BadInput(f"{url} is not signed as it must be ({problem}); nothing was taken") from (
            problem
        )
    return parse((folder / INDEX).read_bytes(), name, channel)


def _chunks(web: Web, url: str) -> Iterator[bytes]:
    """A body, with errors as the framework knows them."""
    from tuf.api import exceptions

    try:
        with web.get(url, {"Accept-Encoding": "gzip"}) as answer:
            if answer.status != 200:
                raise NotServed(f"{url} is refused (HTTP {answer.status})", answer.status)
            yield from _plain(answer)
    except NotServed as problem:
        raise exceptions.DownloadHTTPError(str(problem), problem.status) from problem
    except BadInput as problem:
        raise exceptions.DownloadError(str(problem)) from problem


def _plain(answer: Answer) -> Iterator[bytes]:
    """A body without its gzip, `CHUNK` bytes at most at a time: who takes it bounds the sum."""
    if answer.headers.get("Content-Encoding", "").lower() not in ("gzip", "x-gzip"):
        yield from answer.chunks
        return
    packed = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        for chunk in answer.chunks:
            left = chunk
            while left and not packed.eof:
                yield packed.decompress(left, CHUNK)
                left = packed.unconsumed_tail
    except zlib.error as problem:
        raise BadInput(f"what is served as gzip is none ({problem}); check the host") from problem


def _tidy(metadata: Path) -> None:
    """Remove what a process that was killed left behind."""
    for path in metadata.iterdir():
        if path.name not in _FILES and path.is_file():
            with contextlib.suppress(OSError):
                path.unlink()
