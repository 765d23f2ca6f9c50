"""What may be a name, a version or a file: plain on every system, and never a way out of a folder.

Publishers and devices hold what they are given against the same rules, so that neither has to trust
the other.
"""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Any

from packlight.errors import BadInput

LONGEST = 64  # characters of a name or version
_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_FILE = re.compile(r"[A-Za-z0-9_]+(?:[._-][A-Za-z0-9_]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OS = re.compile(r"([a-z]+)-(\d{1,4}(?:\.\d{1,4})?)")
_LICENCE = re.compile(
    r"\(*{0}\)*(?: (?:AND|OR|WITH) \(*{0}\)*)*".format(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
)
LONGEST_LICENCE = 200  # characters
_NUMBER = r"(?:0|[1-9]\d{0,8})"
_PART = r"(?:0|[1-9]\d{0,8}|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_PART}(?:\.{_PART})*))?", re.ASCII
)
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(10)}


@total_ordering
class Version:
    """A semantic version without build metadata: 1.4.0, or 1.4.0-beta.2.

    Raises:
        BadInput: it is none.
    Source: semver.org 2.0.0; order after its section 11.
    """

    def __init__(self, text: Any) -> None:
        found = _VERSION.fullmatch(text) if isinstance(text, str) else None
        if not found or len(text) > LONGEST:
            raise BadInput(
                f"{_shown(text)} is no version; write three numbers like 1.4.0, perhaps with "
                "-beta.1 behind"
            )
        self.text: str = text
        before = found[4].split(".") if found[4] else []
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in before)
        self._key = (*(int(found[i]) for i in (1, 2, 3)), not parts, parts)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Version({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key


def checked_name(text: Any, what: str = "name") -> str:
    """A network's or channel's name.

    Raises:
        BadInput: it is none; `what` says which.
    """
    if (
        not isinstance(text, str)
        or not _NAME.fullmatch(text)
        or len(text) > LONGEST
        or text.split(".")[0] in _DEVICES
    ):
        raise BadInput(
            f"{_shown(text)} is no {what}; use a-z, 0-9, and single -, _ or . between them, "
            f"{LONGEST} characters at most"
        )
    return text


def checked_file(text: Any) -> str:
    """The name of a file that is written on devices.

    Raises:
        BadInput: it is no plain name.
    """
    if (
        not isinstance(text, str)
        or not _FILE.fullmatch(text)
        or len(text) > LONGEST
        or text.split(".")[0].lower() in _DEVICES
    ):
        raise BadInput(
            f"{_shown(text)} is no plain file name; use A-Z, a-z, 0-9, and single -, _ or . "
            f"between them, {LONGEST} characters at most"
        )
    return text


def checked_sha256(text: Any) -> str:
    """A SHA-256 in hexadecimal.

    Raises:
        BadInput: it is none.
    """
    if not isinstance(text, str) or not _SHA256.fullmatch(text):
        raise BadInput(f"{_shown(text)} is no SHA-256 in hexadecimal")
    return text


def parse_os(text: Any) -> tuple[str, tuple[int, ...]]:
    """A system and its version or API level: android-34, ios-17.2.

    Raises:
        BadInput: it is none.
    """
    found = _OS.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise BadInput(f"{_shown(text)} is no system; write for instance android-34 or ios-17")
    return found[1], tuple(map(int, found[2].split(".")))


def checked_licence(text: Any) -> str:
    """A licence by its SPDX identifier, or several in an SPDX expression; looked at, not looked up.

    Raises:
        BadInput: it has not the form of one.
    Source: SPDX 2.3, annex D.
    """
    if (
        not isinstance(text, str)
        or len(text) > LONGEST_LICENCE
        or not _LICENCE.fullmatch(text)
        or text.count("(") != text.count(")")
    ):
        raise BadInput(
            f"{_shown(text)} is no licence; write its SPDX identifier, for instance Apache-2.0, or "
            "LicenseRef- and a name of your own"
        )
    return text


def _shown(text: Any) -> str:
    return repr(text if not isinstance(text, str) or len(text) <= 80 else text[:77] + "...")
