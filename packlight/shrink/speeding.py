"""Narrower until it is as fast as asked, by the clock.

Channels go in the order of loss per multiply-add; how many is found by timing the file that each
choice makes beside the original, in the same run. The clock decides, so two runs may differ by a
width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from packlight.errors import BadInput
from packlight.network import Network
from packlight.runtimes.onnxruntime import latencies
from packlight.shrink import repairing, thinning
from packlight.shrink.channels import Keep, find_groups, remove
from packlight.shrink.curvature import Curvature
from packlight.shrink.layers import find_layers
from packlight.types import Array

TRIALS = 7
CLOSE = 1.03  # between the speed asked for and one that is near enough
LEAST_SHARE = 0.05  # of the MACs
MULTIPLE = 16  # of widths: narrower steps hardly change the time
SECONDS = 3.0  # of timing a trial


@dataclass(frozen=True)
class Narrowed:
    """A network that is fast enough.

    Args:
        network: repaired.
        speedup: measured, of its file over the original's.
        macs: share left.
    """

    network: Network
    speedup: float
    macs: float


def narrow(
    network: Network,
    curvatures: Mapping[str, Curvature],
    speedup: float,
    *,
    time: Callable[[Network], float],
    batches: Iterable[tuple[Tensor, ...]] = (),
    tick: Callable[[], None] = lambda: None,
) -> Narrowed:
    """Take out as few channels as make the network as fast as asked.

    Args:
        network: fused.
        curvatures: of its layers, by name.
        speedup: over the original, above 1.
        time: a network -> how many times as fast as the original its file is, measured.
        batches: inputs that the narrower network is refined on.
        tick: called after every trial.
    Raises:
        BadInput: not even the narrowest network is fast enough; says how fast it is.
    """
    groups = find_groups(network)
    found = thinning.scores(network, groups, find_layers(network), curvatures)
    macs = thinning.macs_by_weight(network)

    def at(share: float) -> tuple[Keep, Network, float]:
        keep, _ = thinning.choose(groups, found, macs, share, MULTIPLE)
        narrower = remove(network, keep)
        measured = time(narrower)
        tick()
        return keep, narrower, measured

    slow, narrowest = 1.0, LEAST_SHARE  # shares that are too slow, and too narrow to be
    share = max(1.0 / speedup, narrowest)
    fast: tuple[float, Keep, Network, float] | None = None
    fastest = 0.0
    for _ in range(TRIALS):
        try:
            keep, narrower, measured = at(share)
        except BadInput:  # no choice of widths leaves so little
            narrowest, share = share, float(np.sqrt(share * slow))
            continue
        fastest = max(fastest, measured)
        if measured >= speedup:
            fast = (share, keep, narrower, measured)
            if measured <= CLOSE * speedup:
                break
        else:
            slow = share
        share = float(np.sqrt(slow * (fast[0] if fast else narrowest)))
    if fast is None:
        raise BadInput(
            f"a speedup of {speedup:g} can not be reached by taking out channels: the narrowest "
            f"network tried is {fastest:.2f} times as fast; ask for less"
        )
    _, keep, narrower, measured = fast
    repaired = repairing.repair(network, narrower, keep, curvatures)
    repaired = repairing.refine(network, repaired, keep, batches)
    left = sum(thinning.macs_by_weight(repaired).values()) / sum(macs.values())
    return Narrowed(repaired, measured, left)


def speedup_of(original: str | bytes, file: bytes, sample: Sequence[Array]) -> float:
    """How many times as fast a file is as the original, one thread, taking turns."""
    before, after = latencies([original, file], sample, seconds=SECONDS)
    return before.median / after.median
