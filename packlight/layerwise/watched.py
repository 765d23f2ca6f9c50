"""A file whose layers are watched, and the runs that it makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from packlight.data.samples import runs
from packlight.layerwise.measure import Place, RuntimeLayers, Tally
from packlight.types import Array


@dataclass(frozen=True)
class Watched:
    """What is compared.

    Args:
        path, runtime: the file, and what runs it.
        reference: the ONNX file that says what the layers are.
        samples: one array per input, (n, ...).
        answers: of the file itself to them.
        work: a folder for what other processes make.
    """

    path: Path
    runtime: str
    reference: Path
    samples: tuple[Array, ...]
    answers: tuple[Array, ...]
    work: Path

    @property
    def inputs(self) -> list[Path]:
        """The samples as files."""
        return [self.work / f"input_{index}.npy" for index in range(len(self.samples))]

    def result(self, tallies: Iterable[Tally], note: str | None = None) -> RuntimeLayers:
        """What was found."""
        layers = tuple(tally.layer() for tally in tallies)
        names = _distinct([layer.name for layer in layers])
        layers = tuple(replace(layer, name=name) for layer, name in zip(layers, names, strict=True))
        first = next((layer.name for layer in layers if layer.departs), None)
        return RuntimeLayers(
            self.path.name,
            self.runtime,
            self.reference.name,
            len(self.samples[0]),
            first,
            layers,
            note=note,
        )


def run_all(session: Any, inputs: Sequence[Path]) -> list[Array]:
    """In the runtime's process: every run's outputs; one array per output, (runs, ...)."""
    samples = session.turned([np.load(one) for one in inputs])
    made = [session(*called) for called, _ in runs(samples, session.inputs, session.batch)]
    return [np.stack(values) for values in zip(*made, strict=True)]


def held(work: Path, place: Place) -> Path:
    """The file for what a runtime made at a place."""
    return work / f"{place.key.encode().hex()[-200:]}.npy"


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of which none stands twice: `conv`, `conv (2)`."""
    counts: dict[str, int] = {}
    distinct = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        distinct.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return distinct
