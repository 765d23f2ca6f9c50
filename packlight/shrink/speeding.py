"""Narrower until it is as fast as asked, by the clock.

Channels go in the order of loss per multiply-add; how many is found by timing the file that each
choice makes beside the original, in the same run. The clock decides, so two runs may differ by a
width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from packlight.errors import BadInput, BudgetNotMet
from packlight.network import Network
from packlight.runtimes.onnxruntime import latencies
from packlight.shrink import thinning
from packlight.shrink.channels import Keep, find_groups, remove
from packlight.shrink.curvature import Curvature
from packlight.shrink.layers import find_layers
from packlight.types import Array

TRIALS = 7
CLOSE = 1.03  # between the speed asked for and one that is near enough
LEAST_SHARE = 0.05  # of the MACs
MULTIPLE = 16  # of widths: narrower steps hardly change the time
SECONDS = 1.0  # of timing a trial


@dataclass(frozen=True)
class Narrowed:
    """A choice of channels that is fast enough.

    Args:
        keep: which channels stay.
        speedup: measured, of its file over the original's.
    """

    keep: Keep
    speedup: float


def narrow(
    network: Network,
    curvatures: Mapping[str, Curvature],
    speedup: float,
    *,
    time: Callable[[Network], float],
    tick: Callable[[], None] = lambda: None,
) -> Narrowed:
    """Choose as few channels to take out as make the network as fast as asked.

    Args:
        network: fused.
        curvatures: of its layers, by name.
        speedup: over the original, above 1.
        time: a network -> how many times as fast as the original its file is, measured.
        tick: called after every trial.
    Raises:
        BudgetNotMet: not even the narrowest network is fast enough; says how fast it is.
    """
    groups = find_groups(network)
    scores = thinning.scores(network, groups, find_layers(network), curvatures)
    macs = thinning.macs_by_weight(network)

    def at(share: float) -> Narrowed:
        keep, _ = thinning.choose(groups, scores, macs, share, MULTIPLE)
        measured = time(remove(network, keep))
        tick()
        return Narrowed(keep, measured)

    slow, narrowest = 1.0, LEAST_SHARE  # shares that are too slow, and too narrow to be
    share = max(1.0 / speedup, narrowest)
    fast: tuple[float, Narrowed] | None = None
    fastest = 0.0
    for _ in range(TRIALS):
        try:
            found = at(share)
        except BadInput:  # no choice of widths leaves so little
            narrowest, share = share, float(np.sqrt(share * slow))
            continue
        fastest = max(fastest, found.speedup)
        if found.speedup >= speedup:
            fast = (share, found)
            if found.speedup <= CLOSE * speedup:
                break
        else:
            slow = share
        share = float(np.sqrt(slow * (fast[0] if fast else narrowest)))
    if fast is None:
        raise BudgetNotMet(
            f"a speedup of {speedup:g} can not be reached by taking out channels: the narrowest "
            f"network tried is {fastest:.2f} times as fast; ask for less"
        )
    return fast[1]


def speedup_of(original: str | bytes, file: bytes, sample: Sequence[Array]) -> float:
    """How many times as fast a file is as the original, one thread, taking turns."""
    before, after = latencies([original, file], sample, seconds=SECONDS)
    return before.median / after.median
