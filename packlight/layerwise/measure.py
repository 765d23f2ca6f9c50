"""How far a layer's values are from what they should be, and whether rounding explains it.

A layer departs when
1. its values are on a grid, and one is more than a level off, or more than 1 % are one level off:
   float32 sums end on either side of a tie once in some 10,000 values;
2. its values are floats, and one is off by more than 1e-4 of the layer's largest value: float32
   rounding, with kernels (Winograd's, say) that sum in another order, stays below 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from packlight.types import Array

MOST_LEVELS = 1  # off, anywhere
MOST_OFF = 0.01  # share of values a level off
MOST_FLOAT = 1e-4  # of the layer's largest value
_BEST_DB = 200.0  # not a bit differs


@dataclass(frozen=True)
class Place:
    """Where a value is looked at.

    Args:
        key: of the value, in the graph.
        name: of the layer that makes it: the owner of its weights, otherwise the value's own name.
        kind: its operator.
        step: of the value's grid; None where it is a float.
        zero: its level of 0.
    """

    key: str
    name: str
    kind: str
    step: float | None = None
    zero: int = 0


@dataclass(frozen=True)
class Layer:
    """One layer on one runtime.

    Args:
        name, kind, step: see `Place`.
        range: its largest absolute value, by torch.
        largest: difference of a value, given what the runtime itself made before the layer.
        levels: the same in steps of the grid; None where it has none.
        off: share of values that are another level; None likewise.
        sqnr_db: power of torch's values over that of all differences so far: the layer's own, and
            what the layers before it did.
        departs: by the rules above.
    """

    name: str
    kind: str
    step: float | None
    range: float
    largest: float
    levels: int | None
    off: float | None
    sqnr_db: float
    departs: bool


@dataclass(frozen=True)
class RuntimeLayers:
    """A file's layers, in the order they run.

    Args:
        file: its name.
        runtime: that ran it.
        reference: the file that says what the layers are.
        n: samples.
        first: the first layer that departs; None if none does.
        layers: all of them.
        problem: why there are none, in a sentence.
        note: what to know about them, in a sentence.
    """

    file: str
    runtime: str
    reference: str
    n: int
    first: str | None = None
    layers: tuple[Layer, ...] = ()
    problem: str | None = None
    note: str | None = None


class Tally:
    """A layer's figures, run by run. Levels are given as numbers on their grid."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._range = self._largest = self._signal = self._noise = 0.0
        self._count = self._off = 0

    def add(self, computed: Array, given: Array, clean: Array) -> None:
        """One run.

        Args:
            computed: by torch, from what the runtime made before.
            given: by the runtime.
            clean: by torch from the inputs on.
        """
        wide = [np.asarray(value, np.float64) for value in (computed, given, clean)]
        gap = _gap(wide[0], wide[1])
        if gap.size:
            self._range = max(self._range, float(np.abs(np.nan_to_num(wide[0])).max()))
            self._largest = max(self._largest, float(gap.max()))
        if self._place.step is not None:
            self._off += int((gap > self._place.step / 2).sum())
        self._count += gap.size
        self._signal += float(np.square(np.nan_to_num(wide[2])).sum())
        self._noise += float(np.square(_gap(wide[2], wide[1])).sum())

    def layer(self) -> Layer:
        """The figures."""
        step = self._place.step
        levels = off = None
        if step is None:
            departs = self._largest > MOST_FLOAT * self._range
        else:
            whole = self._largest / step
            levels = round(whole) if np.isfinite(whole) else 2**31
            off = self._off / max(self._count, 1)
            departs = levels > MOST_LEVELS or off > MOST_OFF
        ratio = max(self._signal, 1e-300) / max(self._noise, 1e-300)
        return Layer(
            self._place.name,
            self._place.kind,
            step,
            self._range,
            self._largest,
            levels,
            off,
            float(min(10 * np.log10(ratio), _BEST_DB)) if ratio > 0 else -_BEST_DB,
            bool(departs),
        )


def _gap(wanted: Array, given: Array) -> Array:
    """Absolute differences; infinite where only one of the two is a number."""
    with np.errstate(invalid="ignore"):
        gap: Array = np.abs(wanted - given)
    same = (wanted == given) | (np.isnan(wanted) & np.isnan(given))
    return np.where(same, 0.0, np.nan_to_num(gap, nan=np.inf))
