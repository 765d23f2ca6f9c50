"""Narrower until a measure is met: the clock, or the bytes of RAM.

Channels go in the order of loss per unit of what is wanted (multiply-adds for speed, bytes for
RAM); how many is found by measuring the file that each choice makes. The clock is read beside the
original, in the same run, so two runs may differ by a width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, fx

from packlight.errors import BadInput
from packlight.files import replace_file
from packlight.graph import is_weight, layer_name
from packlight.network import Network
from packlight.shrink import thinning
from packlight.shrink.channels import Keep, find_groups, remove
from packlight.shrink.curvature import Curvature
from packlight.shrink.layers import find_layers, value_of_name
from packlight.weighing import weigh
from packlight.weighing.sizes import Sizes

TRIALS = 7  # networks measured, at most
CLOSE = 1.02  # between what was asked for and what is near enough
LEAST_SHARE = 0.05  # of the cost
LEAST_STEP = 0.98  # between the shares of two trials
SAME = 1.005  # between two shares: hardly any choice lies between them
MULTIPLE = 16  # of widths: narrower steps hardly change the time
SHARPNESS = 4  # how little a value counts that is made far below the peak


@dataclass(frozen=True)
class Narrowed:
    """A choice of channels that is narrow enough.

    Args:
        keep: which channels stay.
        measured: of its file, in units of what was asked for: 1 is just enough.
    """

    keep: Keep
    measured: float


class NotNarrowEnough(Exception):
    """No choice of channels meets the measure.

    Args:
        best: the most that was measured.
    """

    def __init__(self, best: float) -> None:
        super().__init__(f"{best:.2f} of what was asked for")
        self.best = best


def narrow(
    network: Network,
    curvatures: Mapping[str, Curvature],
    cost: Mapping[str, float],
    measure: Callable[[Network], float],
    start: float,
    *,
    tick: Callable[[], None] = lambda: None,
) -> Narrowed:
    """Choose as few channels to take out as meet a measure.

    Args:
        network: fused.
        curvatures: of its layers, by name.
        cost: weight -> what it costs at its full width, in what the measure falls with.
        measure: a network -> what its file measures; 1 is enough.
        start: share of the cost to begin at, below 1.
        tick: called after every trial.
    Raises:
        NotNarrowEnough: not even the narrowest network tried is.
    """
    groups = find_groups(network)
    scores = thinning.scores(network, groups, find_layers(network), curvatures)
    tried: dict[tuple[tuple[str, bytes], ...], Narrowed] = {}

    def at(share: float) -> Narrowed:
        keep, _ = thinning.choose(groups, scores, cost, share, MULTIPLE)
        choice = tuple((name, stays.tobytes()) for name, stays in keep.items())
        if choice not in tried:  # of several looks at the clock, the luckiest would be believed
            tried[choice] = Narrowed(keep, measure(remove(network, keep)))
            tick()
        return tried[choice]

    wide, narrowest = 1.0, LEAST_SHARE  # shares that are too much, and too narrow to be
    share = max(start, narrowest)
    enough: tuple[float, Narrowed] | None = None
    best = 0.0
    while len(tried) < TRIALS and wide > SAME * (enough[0] if enough else narrowest):
        try:
            found = at(share)
        except BadInput:  # no choice of widths leaves so little
            narrowest, share = share, float(np.sqrt(share * wide))
            continue
        best = max(best, found.measured)
        if found.measured >= 1:
            enough = (share, found)
            if found.measured <= CLOSE:
                break
        else:
            wide = share
        if enough is not None:
            share = float(np.sqrt(wide * enough[0]))
        else:  # more than is missing, as not all of the time or the RAM falls with the cost
            share = max(
                share * min(found.measured**2, LEAST_STEP), float(np.sqrt(wide * narrowest))
            )
    if enough is None:
        raise NotNarrowEnough(best)
    return enough[1]


def ram_of(file: bytes, folder: Path) -> int:
    """Bytes of RAM that a file needs: its weights as stored, and its values as `weigh` plans them.

    Args:
        file: ONNX.
        folder: where it may lie while it is weighed.
    """
    path = replace_file(folder / "weighed.onnx", file)
    try:
        return weigh(path).ram_bytes or 0
    finally:
        path.unlink(missing_ok=True)


def values_by_weight(network: Network) -> dict[str, float]:
    """Weight -> numbers of RAM that go with its width: its own, and those of the values it makes.

    Values count in full where as much is alive as at the peak, and the less the further below.
    """
    memory = weigh(network).memory
    live = dict(zip(memory.timeline.steps, memory.timeline.live, strict=True)) if memory else {}
    peak = max(live.values(), default=1)
    sizes = Sizes.of(network)
    found: dict[str, float] = {}
    makers: dict[fx.Node, set[str]] = {}
    for node in network.module.graph.nodes:
        if node.op != "call_function":
            continue
        weights = [str(source.target) for source in node.all_input_nodes if is_weight(source)]
        for name in weights:
            found.setdefault(name, float(value_of_name(network, name).numel()))
        makers[node] = set(weights[:1]) or set().union(
            *(makers.get(source, set()) for source in node.all_input_nodes)
        )
        value = node.meta.get("val")
        shape = sizes.shape(value) if isinstance(value, Tensor) else (0,)
        count = float(np.prod([size or 1 for size in shape]))
        for name in makers[node]:
            height = live.get(layer_name(node), 0) / peak
            found[name] += count * height**SHARPNESS / len(makers[node])
    return found
