"""What trials of layers told, kept for the next network with such a layer on this processor.

One small JSON file per trial in `$XDG_CACHE_HOME/packlight/tune`, or `~/.cache/packlight/tune`,
under the hash of its key. What can not be read, or is of another key, counts as not there, and a
folder that can not be written to costs only time.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from packlight.errors import BadInput
from packlight.files import replace_file, sha256
from packlight.judge import Interval

Key = Mapping[str, Any]
"""Processor, runtime, threads, form, layer: JSON-able."""


def folder() -> Path:
    """Where trials are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "packlight" / "tune"


def recall(key: Key) -> Interval | None:
    """The ratio to the layer as it was, if it was measured before."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        held = json.loads(_path(key).read_bytes())
        values = [float(held["ratio"][name]) for name in ("value", "low", "high")]
        if held["key"] == json.loads(_text(key)) and all(map(_is_ratio, values)):
            return Interval(*values)
    return None


def keep(key: Key, ratio: Interval) -> None:
    """Remember a ratio."""
    path = _path(key)
    held = {
        "key": json.loads(_text(key)),
        "ratio": {"value": ratio.value, "low": ratio.low, "high": ratio.high},
    }
    with suppress(OSError, BadInput):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(held, indent=1).encode())


def _path(key: Key) -> Path:
    return folder() / f"{sha256(_text(key).encode())[:32]}.json"


def _text(key: Key) -> str:
    return json.dumps(key, sort_keys=True)


def _is_ratio(value: float) -> bool:
    return math.isfinite(value) and value > 0
