"""A file of known hash and length, resumed where an earlier download stopped.

What has arrived lies in `SHA256.part` until it is whole and verified. The URL names the content, so
bytes of it can not become stale; `If-Range` still lets a host say that it holds another file now.
Hosts that know no ranges send the file from its start.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from packlight.delivery.index import Packed
from packlight.delivery.web import CHUNK, Answer, Unreachable, Web
from packlight.errors import BadInput
from packlight.files import sha256

TRIES = 4  # connections for one file, each of which has brought bytes
_PAUSE = 0.2  # seconds before the second try; then twice as long each time
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


def download(
    web: Web, url: str, wanted: Packed, folder: Path, tick: Callable[[], None] = lambda: None
) -> Path:
    """Fetch a file, or what is missing of it.

    Args:
        web: how to ask.
        url: where it is.
        wanted: its SHA-256 and length; never is a byte more kept.
        folder: where parts lie.
        tick: called for every 64 KiB that arrive.
    Returns:
        The file, verified; the caller removes it.
    Raises:
        Unreachable: the host stopped; what has arrived is kept.
        BadInput: the host sent something else; nothing of it is kept.
    """
    part, tag = folder / f"{wanted.sha256}.part", folder / f"{wanted.sha256}.tag"
    folder.mkdir(parents=True, exist_ok=True)
    if _size(part) > wanted.size:
        part.unlink()
    tries, refused = 0, False
    while (have := _size(part)) < wanted.size:
        headers = {}
        if have:
            headers["Range"] = f"bytes={have}-"
            if tag.is_file():
                headers["If-Range"] = tag.read_text()
        with web.get(url, headers) as answer:
            if answer.status == 416:  # there is no such range: from the start, once
                if refused or not have:
                    raise BadInput(f"{url} is refused (HTTP 416); check the host")
                refused = True
                part.unlink()
                continue
            start = _start(answer, have, url)
            etag = answer.headers.get("ETag", "")
            if etag.startswith('"'):  # a strong one
                tag.write_text(etag)
            else:
                tag.unlink(missing_ok=True)
            _keep(answer, part, start, wanted, url, tick)
        tries += 1
        if (now := _size(part)) < wanted.size:
            if now <= have or tries == TRIES:
                raise Unreachable(
                    f"{url} stopped after {now:,} of {wanted.size:,} bytes; the next try goes on "
                    "from there"
                )
            time.sleep(_PAUSE * 2 ** (tries - 1))
    if not wanted.size:
        part.touch()
    tag.unlink(missing_ok=True)
    if sha256(part) != wanted.sha256:
        part.unlink()
        raise BadInput(f"{url} is not the file that was signed; nothing of it was kept")
    return part


def _start(answer: Answer, have: int, url: str) -> int:
    """Where in the file the answer's first byte belongs."""
    if answer.status == 200:
        return 0
    found = _RANGE.match(answer.headers.get("Content-Range", ""))
    if answer.status != 206 or not found or int(found[1]) != have:
        raise BadInput(f"{url} answers with something else (HTTP {answer.status}); check the host")
    return have


def _keep(
    answer: Answer, part: Path, start: int, wanted: Packed, url: str, tick: Callable[[], None]
) -> None:
    count, told = start, start
    with part.open("r+b" if part.exists() else "wb") as file:
        file.seek(start)
        file.truncate()
        for chunk in answer.chunks:
            count += len(chunk)
            if count > wanted.size:
                file.truncate(0)
                raise BadInput(
                    f"{url} sends more than the {wanted.size:,} bytes that were signed; nothing "
                    "of it was kept"
                )
            file.write(chunk)
            while count - told >= CHUNK:
                told += CHUNK
                tick()
        file.flush()
        os.fsync(file.fileno())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
