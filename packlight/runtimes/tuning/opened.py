"""A tuned network, opened as it was found fastest: `tuned.json` beside its file.

    {"file": "tuned.onnx", "sha256": ..., "runtime": "onnx", "threads": 2, "settings": {...},
     "processor": ..., ...}

Only settings that `tune` itself chooses are passed on, and the file lies in the record's folder,
so a record from elsewhere can make a runtime slow and nothing worse.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

from packlight.errors import BadInput
from packlight.files import sha256
from packlight.runtimes.session import Runnable
from packlight.runtimes.targets import SUFFIXES, target_of
from packlight.runtimes.tuning.choices import KNOWN
from packlight.runtimes.tuning.machine import processor
from packlight.types import Array

RECORD = "tuned.json"
MOST_THREADS = 1024
_TYPES = {"file": str, "sha256": str, "runtime": str, "threads": int, "settings": dict}


class Tuned(Runnable):
    """A session that obeys a record.

    Attributes:
        record: what `tune` found, as in tuned.json.
        same_processor: whether this is the processor that it was tuned on.
    """

    def __init__(self, session: Runnable, record: dict[str, Any]) -> None:
        self._session = session
        self.record = record
        self.same_processor = record.get("processor") == processor()
        self.inputs = session.inputs
        self.input_names, self.output_names = session.input_names, session.output_names
        self.batch = session.batch

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """One array per input in, one per output out."""
        return self._session(*inputs)


def open_tuned(path: str | os.PathLike[str]) -> Tuned:
    """Open what `tune` wrote; see `packlight.runtimes.open`."""
    given = Path(path)
    place = given / RECORD if given.is_dir() else given
    record = _read(place)
    file = place.parent / record["file"]
    if not file.is_file():
        raise BadInput(f"{place} names {record['file']}, which is not beside it; tune again")
    if sha256(file) != record["sha256"]:
        raise BadInput(f"{file} is not the file that {place.name} was made for; tune again")
    target = target_of(record["runtime"])
    session = target.session(file, threads=record["threads"], settings=record["settings"])
    opened = Tuned(session, record)
    if not opened.same_processor:
        warnings.warn(
            f"{place} was tuned on {record.get('processor')}, and this is {processor()}: answers "
            "are the same, but other settings may be faster; tune again",
            stacklevel=3,
        )
    return opened


def _read(place: Path) -> dict[str, Any]:
    try:
        record = json.loads(place.read_bytes())
    except OSError as problem:
        raise BadInput(
            f"{place} can not be read ({problem.strerror}); give a folder that tune wrote, or its "
            f"{RECORD}"
        ) from None
    except ValueError:
        record = None
    if not isinstance(record, dict) or not all(
        type(record.get(key)) is kind for key, kind in _TYPES.items()
    ):
        raise BadInput(f"{place} is damaged, or was not written by tune; tune again")
    name, runtime = record["file"], record["runtime"]
    if Path(name).name != name or SUFFIXES.get(Path(name).suffix.lower()) != runtime:
        raise BadInput(f"{place} names {name!r} for {runtime!r}; that is no file beside it for it")
    odd = sorted(set(record["settings"]) - KNOWN[runtime])
    if odd or not 1 <= record["threads"] <= MOST_THREADS:
        told = f"sets {', '.join(odd)}" if odd else f"asks for {record['threads']} threads"
        raise BadInput(f"{place} {told}, which tune never does; tune again")
    return record
