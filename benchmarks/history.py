"""Results of every run, kept as a file each, so that what grew since the last one shows.

docs/results/lossless-2026-11-28-e7db273.json
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import packlight
from packlight.files import replace_file

FOLDER = "results"  # below the docs
ALLOWED = 0.005  # share by which ours may grow before a run fails

Record = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """Bytes of ours on the same file, in the record kept and now."""

    name: str
    before: int
    after: int

    @property
    def ratio(self) -> float:
        """Below 1 where it became smaller."""
        return self.after / self.before

    @property
    def is_regression(self) -> bool:
        """Whether a run should fail."""
        return self.ratio > 1 + ALLOWED

    def __str__(self) -> str:
        return f"{self.name}: {self.before:,} -> {self.after:,} bytes ({self.ratio - 1:+.2%})"


def circumstances(versions: Mapping[str, str]) -> Record:
    """When, where and of what a run is."""
    now = datetime.now(UTC)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "date": now.date().isoformat(),
        "written": now.isoformat(timespec="seconds"),
        "commit": commit,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"packlight": packlight.__version__, **versions},
    }


def keep(name: str, record: Record, docs: Path) -> Path:
    """Write a run's record beside the older ones; a run of the same day and commit replaces it."""
    folder = docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{record['date']}-{record['commit'] or 'unknown'}.json"
    return replace_file(path, (json.dumps(record, indent=1) + "\n").encode())


def records(name: str, docs: Path) -> list[Record]:
    """The records kept, oldest first."""
    found = [json.loads(path.read_text()) for path in (docs / FOLDER).glob(f"{name}-*.json")]
    return sorted(found, key=lambda record: (record["date"], record.get("written", "")))
