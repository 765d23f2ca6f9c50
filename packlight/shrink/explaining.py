"""Which layer breaks it: each layer's damage as measured, and the bytes that would mend it.

One layer after the other is put on the finest grid there is, all others staying as they are. How
much nearer the outputs come to the original's is the layer's damage; how much larger the packed
file gets is the price of mending it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from packlight.shrink.grid_search import Solved

Measure = Callable[[list[Solved]], tuple[float, int]]
"""Every layer's solution -> distance of the outputs from the original's, packed bytes."""


@dataclass(frozen=True)
class Blame:
    """One layer's part.

    Args:
        layer: its name.
        damage: distance that goes when the layer is mended; below zero where its errors make good
            those of others.
        bytes: that mending it would cost.
    """

    layer: str
    damage: float
    bytes: int


def explain(
    solved: Sequence[Solved],
    finest: Mapping[str, Solved],
    measure: Measure,
    tick: Callable[[], None] = lambda: None,
) -> list[Blame]:
    """Blame every layer, the worst first.

    Args:
        solved: the network to explain.
        finest: the same layers by name, in the same order, each on the finest grid.
        measure: asked once for the network and once for every layer.
        tick: called after every layer.
    """
    distance, size = measure(list(solved))
    found = []
    for index, (name, mending) in enumerate(finest.items()):
        mended = list(solved)
        mended[index] = mending
        nearer, larger = measure(mended)
        found.append(Blame(name, distance - nearer, larger - size))
        tick()
    return sorted(found, key=lambda blame: -blame.damage)
