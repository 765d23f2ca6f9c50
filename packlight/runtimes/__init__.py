"""Every runtime a phone offers: write its file, run it, measure it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packlight.runtimes.tuning.opened import Tuned


def open(path: str | os.PathLike[str]) -> Tuned:
    """Open a network that `packlight tune` wrote, with the runtime and settings that it found.

    Args:
        path: the folder, or the tuned.json in it.
    Returns:
        A session: arrays in, arrays out, one per input and output. `record` holds tuned.json, and
        `same_processor` is False, with a warning, on another processor than it was tuned on.
    Raises:
        BadInput: it was not written by tune, or the file beside it is another than was tuned.
        MissingExtra: the runtime is not installed.
    """
    from packlight.runtimes.tuning.opened import open_tuned

    return open_tuned(path)
