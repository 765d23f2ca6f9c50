"""How far two networks' answers differ, with the uncertainty that n samples leave.

Everything is paired: both networks answer the same samples, so what both get right or wrong
cancels and the interval of the difference is narrow.

Sources: Agresti & Min, Statistics in Medicine 24 (2005) 729 (paired difference); Wilson, JASA 22
(1927) 209 (single proportion).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from packlight.types import Array

Z = 1.959964  # 95 %


@dataclass(frozen=True)
class Interval:
    """An estimate and the 95 % interval around it."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """As the report holds it."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Verdict:
    """Two networks compared on the same n samples.

    Args:
        n: samples.
        top1, top5: shares right, (first network, second network); None without labels.
        drop1, drop5: first minus second, paired; None without labels.
        agreement: share of samples with the same first choice; None unless they classify.
        sqnr_db: power of the first network's outputs over that of the difference, in dB.
    """

    n: int
    top1: tuple[float, float] | None
    top5: tuple[float, float] | None
    drop1: Interval | None
    drop5: Interval | None
    agreement: Interval | None
    sqnr_db: float

    @property
    def drop(self) -> float | None:
        """Points of accuracy lost, as a share: of the labels, or else of agreement."""
        if self.drop1 is not None:
            return self.drop1.value
        return None if self.agreement is None else 1.0 - self.agreement.value

    def to_dict(self) -> dict[str, Any]:
        """As the report holds it."""
        drops = {"top1": self.drop1, "top5": self.drop5}
        result: dict[str, Any] = {
            "n": self.n,
            "metric": "top1" if self.top1 else "agreement" if self.agreement else "sqnr_db",
            "agreement": self.agreement.to_dict() if self.agreement else None,
            "sqnr_db": self.sqnr_db,
            "drop": {name: drop.to_dict() for name, drop in drops.items() if drop} or None,
        }
        for index, side in enumerate(("original", "compressed")):
            tops = {"top1": self.top1, "top5": self.top5}
            result[side] = {name: pair[index] for name, pair in tops.items() if pair} or None
        return result


@dataclass(frozen=True)
class Task:
    """What a network's outputs mean, as far as that can be told.

    Args:
        classifier: the first output holds a score per class.
        probabilities: those scores are probabilities already.
        classes: how many; 0 unless it classifies.
    """

    classifier: bool
    probabilities: bool = False
    classes: int = 0


@dataclass(frozen=True)
class Flip:
    """A sample that two classifiers answer differently.

    Args:
        sample: its position among those compared.
        before, after: the class that the first and the second network put first.
        label: the right one, or None.
    """

    sample: int
    before: int
    after: int
    label: int | None

    @property
    def lost(self) -> bool:
        """Right before, and no longer."""
        return self.before == self.label

    @property
    def won(self) -> bool:
        """Wrong before, and no longer."""
        return self.after == self.label


def find_task(inputs: Sequence[Array], outputs: Sequence[Array], *, labelled: bool) -> Task:
    """Tell a classifier from other networks by what it returns on real samples.

    An output of one row per sample classifies if the samples have labels, if its rows are
    probabilities, or if it is the only output and not as wide as the input (which would be a
    reconstruction of it).
    """
    scores = outputs[0]
    classes = int(np.prod(scores.shape[1:], dtype=np.int64))
    one_row = scores.ndim >= 2 and max(scores.shape[1:]) == classes and classes >= 2
    if not one_row or not np.issubdtype(scores.dtype, np.floating):
        return Task(False)
    rows = scores.reshape(len(scores), classes)
    probabilities = bool((rows >= 0).all() and np.allclose(rows.sum(1), 1, atol=1e-3))
    width = int(np.prod(inputs[0].shape[1:], dtype=np.int64))
    if labelled or probabilities or (len(outputs) == 1 and classes != width):
        return Task(True, probabilities, classes)
    return Task(False)


def compare(
    first: Sequence[Array], second: Sequence[Array], labels: Array | None, *, classifier: bool
) -> Verdict:
    """Compare the outputs of two networks.

    Args:
        first, second: one array per output, the first axis counts samples.
        labels: (n,) or None.
        classifier: whether the first output holds a score per class.
    """
    n = len(first[0])
    sqnr = sqnr_db(first, second)
    if not classifier:
        return Verdict(n, None, None, None, None, None, sqnr)
    a, b = (outputs[0].reshape(n, -1) for outputs in (first, second))
    same = a.argmax(1) == b.argmax(1)
    agreement = proportion(int(same.sum()), n)
    if labels is None:
        return Verdict(n, None, None, None, None, agreement, sqnr)
    right1 = [_right(scores, labels, 1) for scores in (a, b)]
    right5 = [_right(scores, labels, 5) for scores in (a, b)] if a.shape[1] > 5 else None
    return Verdict(
        n=n,
        top1=(float(right1[0].mean()), float(right1[1].mean())),
        top5=(float(right5[0].mean()), float(right5[1].mean())) if right5 else None,
        drop1=paired_difference(*right1),
        drop5=paired_difference(*right5) if right5 else None,
        agreement=agreement,
        sqnr_db=sqnr,
    )


def flips(first: Sequence[Array], second: Sequence[Array], labels: Array | None) -> list[Flip]:
    """The samples whose first choice differs, in order.

    Args:
        first, second: one array per output; the first one holds a score per class.
        labels: (n,) or None.
    """
    n = len(first[0])
    a, b = (outputs[0].reshape(n, -1).argmax(1) for outputs in (first, second))
    return [
        Flip(int(i), int(a[i]), int(b[i]), None if labels is None else int(labels[i]))
        for i in np.flatnonzero(a != b)
    ]


def _right(scores: Array, labels: Array, k: int) -> Array:
    """Whether the label's class is among the first k; of equal scores the first class leads."""
    if k == 1:
        return np.asarray(scores.argmax(1) == labels)
    label = labels[:, None]
    own = np.take_along_axis(scores, label, 1)
    ahead = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < label))
    return np.asarray((ahead.sum(1) < k) & ~np.isnan(own[:, 0]))


def sqnr_db(first: Sequence[Array], second: Sequence[Array]) -> float:
    """Signal to quantisation noise over all float outputs, in dB; at most 200."""
    signal = noise = 0.0
    for a, b in zip(first, second, strict=True):
        if not np.issubdtype(a.dtype, np.floating):
            continue
        a64, b64 = a.astype(np.float64), b.astype(np.float64)
        size = float(np.square(a64).mean()) or 1.0
        signal += float(np.square(a64).mean()) / size
        noise += float(np.square(a64 - b64).mean()) / size
    if not np.isfinite(noise):
        return float("-inf")
    return float(min(10 * np.log10(max(signal, 1e-300) / max(noise, 1e-300)), 200.0))


def proportion(successes: int, n: int) -> Interval:
    """A share with Wilson's interval."""
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0)
    share = successes / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return Interval(share, float(max(centre - reach, 0.0)), float(min(centre + reach, 1.0)))


def paired_difference(first: Array, second: Array) -> Interval:
    """The share right in the first less that in the second, with Agresti and Min's interval.

    Args:
        first, second: (n,) booleans, the same samples in the same order.
    """
    n = len(first)
    lost = int((first & ~second).sum())
    won = int((second & ~first).sum())
    centre = (lost - won) / (n + 2)
    variance = ((lost + won + 1) / (n + 2) - centre**2) / (n + 2)
    reach = Z * float(np.sqrt(max(variance, 0.0)))
    return Interval((lost - won) / max(n, 1), max(centre - reach, -1.0), min(centre + reach, 1.0))
