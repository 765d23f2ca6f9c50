"""A runtime that does what its file says: "2 ms", or "2 ms, abort in run 5" and the like."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from packlight.errors import MissingExtra
from packlight.runtimes.session import Runnable
from packlight.specs import TensorSpec


class Session(Runnable):
    def __init__(self, model: str | os.PathLike[str], *, threads: int = 0) -> None:
        print("a runtime's chatter", flush=True)
        milliseconds, _, self.fate = Path(model).read_text().partition(", ")
        self.pause = float(milliseconds.removesuffix(" ms")) / 1000
        self.inputs = (TensorSpec("x", (None, 3), "float32"),)
        if self.fate == "open size":
            self.inputs = (TensorSpec("x", (None, None), "float32"),)
        self.batch = None
        self.runs = 0
        if self.fate == "abort in loading":
            _abort("no room for the arena")
        if self.fate == "missing":
            raise MissingExtra("fragile", "litert")

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        self.runs += 1
        if self.fate == f"abort in run {self.runs}":
            _abort("a kernel's assertion")
        if self.fate == "hang":
            time.sleep(3600)
        if self.fate == "raise":
            raise RuntimeError("no kernel for cumsum\nand more")
        assert [value.shape for value in inputs] == [(1, 3)]
        time.sleep(self.pause)
        return inputs


def _abort(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
    os.abort()
