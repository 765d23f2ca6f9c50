"""The samples of a training, parted: learnt from, validated on, judged with.

A data set with a test part is judged by that part; of others a fifth is set aside. Of what is left
a few are held back: they choose the best weights, and say when to stop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from packlight.data.samples import Dataset, Samples
from packlight.data.splitting import FEWEST_JUDGES, split
from packlight.errors import BadInput

HELD_SHARE, HELD_MOST = 0.05, 2000  # of the training samples, held back
JUDGED_SHARE, JUDGED_MOST = 0.2, 10_000  # of a data set without a test part


@dataclass(frozen=True)
class Parts:
    """Samples, parted.

    Args:
        train: learnt from and validated on.
        learn, held: the two parts of it.
        judge: nothing is learnt from them.
        name: of the data.
    """

    train: Samples
    learn: Samples
    held: Samples
    judge: Samples
    name: str


def part(dataset: Dataset, seed: int, judge: Samples | None = None) -> Parts:
    """Part a data set; the same way for the same seed.

    Args:
        judge: known already; then samples are not compared again.
    """
    whole, name = dataset.test, dataset.name
    if dataset.train is not None:
        train, rest = dataset.train, dataset.test
    else:
        order = np.random.default_rng(seed).permutation(len(whole))
        count = min(int(len(whole) * JUDGED_SHARE), JUDGED_MOST)
        train, rest = whole.take(np.sort(order[count:])), whole.take(np.sort(order[:count]))
    order = np.random.default_rng(seed + 1).permutation(len(train))
    count = min(max(int(len(train) * HELD_SHARE), 1), HELD_MOST)
    if len(train) - count < 2 or len(rest) < FEWEST_JUDGES:
        raise BadInput(
            f"{name} has {len(train)} samples to learn from and {len(rest)} to judge with; give at "
            f"least 3 and {FEWEST_JUDGES}"
        )
    learn, held = train.take(order[count:]), train.take(np.sort(order[:count]))
    if judge is None:
        judge = split(Dataset(train, rest, name), 0, seed, 0, learning=True).judge
    return Parts(train, learn, held, judge, name)
