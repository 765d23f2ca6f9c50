"""Trainings kept in a file while they run, so that one that is cut off goes on."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from packlight.files import replace_file

EVERY = 60.0  # seconds between two


class Training(Protocol):
    """What can be kept: all that its next step depends on, as tensors, numbers, lists and dicts."""

    def state(self) -> dict[str, Any]:
        """The state now."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state; an error where it is of another training."""


class Checkpoints:
    """Keeps a training under way in a file.

    Args:
        path: of the file; a damaged one is not used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = time.monotonic()

    def restore(self, training: Training) -> None:
        """Go on where the last training of this name was cut off."""
        if not self.path.exists():
            return
        try:
            training.load_state(torch.load(self.path, weights_only=True))
        except Exception:  # damaged, or of another plan: start anew
            self.path.unlink()

    def keep(self, training: Training) -> None:
        """Write the state, now and then."""
        if time.monotonic() - self.last < EVERY:
            return
        self.keep_now(training)

    def keep_now(self, training: Training) -> None:
        """Write the state."""
        buffer = io.BytesIO()
        torch.save(training.state(), buffer)
        replace_file(self.path, buffer.getvalue())
        self.last = time.monotonic()

    def forget(self) -> None:
        """The training is done."""
        self.path.unlink(missing_ok=True)
