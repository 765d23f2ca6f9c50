"""Make a network narrower: which channels cost the loss least for what they save, and out they go.

A channel is worth what the layers that read it lose without it, after their other columns have
made good what they can (optimal brain surgeon on whole columns):

    1/2 s tr(W_S [H^-1]_SS^-1 W_S^T),  summed over the readers

W the reader's weights, S the columns that read the channel, H and s its curvature. The makers of
the channel are not counted a second time: taking them away changes nothing but what is read. All
this is in units of the loss, so groups compare. Within a group channels go one by one, each
raising the price of those it resembled; between groups the next to go is the one with the least
loss per MAC (or per parameter) at the widths reached so far. Then `repair` gives the readers the
weights that make good the rest.

Sources: Hassibi & Stork, NIPS 1992; Kurtic et al., arXiv:2302.04089 (ZipLM, structures by OBS and
latency). Differs: readers are summed over coupled layers, and the curvature is the blended one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from packlight.errors import BadInput
from packlight.graph import is_weight
from packlight.network import Network
from packlight.shrink import repairing
from packlight.shrink.channels import Group, Keep, find_groups, remove
from packlight.shrink.coupling import READ
from packlight.shrink.curvature import Curvature
from packlight.shrink.layers import Layer, find_layers, value_of_name, weight_array
from packlight.shrink.prune import damped
from packlight.types import Array
from packlight.weighing.operators import macs_of
from packlight.weighing.sizes import Sizes

MULTIPLE = 8  # of channels that kernels are made for
UNSEEN = 1e-2  # of the smallest sensitivity: what a layer has that no gradient reached


@dataclass(frozen=True)
class Score:
    """What a group's channels are worth and what they cost, each taken out alone.

    Args:
        loss: (channels,) estimated rise of the loss without it, after repair.
        macs: (channels,) multiplications of one sample that it takes.
        parameters: (channels,) weights and biases that it takes.
        order: (channels,) in which they are best taken out.
        rise: (channels,) of the loss, when each goes after those before it in `order`.
    """

    loss: Array
    macs: Array
    parameters: Array
    order: Array
    rise: Array


@dataclass(frozen=True)
class Thinned:
    """A narrower network.

    Args:
        network: the narrower copy, repaired.
        keep: group -> (channels,) bool, what stayed.
        widths: group -> channels before and after.
        loss: estimated rise of the loss.
        macs, parameters: share that is left of each.
    """

    network: Network
    keep: dict[str, Array]
    widths: dict[str, tuple[int, int]]
    loss: float
    macs: float
    parameters: float


def thin(
    network: Network,
    curvatures: Mapping[str, Curvature],
    *,
    macs_share: float | None = None,
    params_share: float | None = None,
    batches: Iterable[tuple[Tensor, ...]] = (),
    multiple: int = MULTIPLE,
) -> Thinned:
    """Take out channels until so much is left, and repair.

    Args:
        network: fused; left as it is.
        curvatures: of its layers, by name.
        macs_share: at most this share of the multiplications stays, between 0 and 1.
        params_share: the same for weights and biases. Give one of the two.
        batches: inputs that the repaired network is refined on; without any it is not.
        multiple: what widths are rounded to in groups of twice as many; a power of two. 16 is
            what onnxruntime's convolutions want of a processor with AVX-512.
    Raises:
        BadInput: not exactly one share, or one that is not between 0 and 1, or can not be reached.
    """
    share = macs_share if params_share is None else params_share
    if share is None or (macs_share is not None and params_share is not None):
        raise BadInput("thinning needs one goal; give either macs_share or params_share")
    if not 0 < share <= 1:
        raise BadInput(f"a share of {share} is not possible; give a number above 0 and up to 1")
    if multiple < 1 or multiple & (multiple - 1):
        raise BadInput(f"widths can not be multiples of {multiple}; give a power of two")
    groups = find_groups(network)
    found = scores(network, groups, find_layers(network), curvatures)
    macs, parameters = macs_by_weight(network), _parameters(network)
    goal = macs if params_share is None else parameters
    keep, loss = choose(groups, found, goal, share, multiple)
    repaired = without(network, curvatures, keep, batches)
    sizes = {group.name: group.size for group in groups}
    return Thinned(
        network=repaired,
        keep=keep,
        widths={name: (sizes[name], int(stays.sum())) for name, stays in keep.items()},
        loss=loss,
        macs=sum(macs_by_weight(repaired).values()) / max(sum(macs.values()), 1),
        parameters=sum(_parameters(repaired).values()) / max(sum(parameters.values()), 1),
    )


def without(
    network: Network,
    curvatures: Mapping[str, Curvature],
    keep: Keep,
    batches: Iterable[tuple[Tensor, ...]] = (),
    folder: Path | None = None,
) -> Network:
    """The network without the channels that do not stay, repaired and refined.

    Args:
        network, curvatures, batches: as of `thin`.
        keep: which channels stay.
        folder: as of `repairing.refine`.
    """
    repaired = repairing.repair(network, remove(network, keep), keep, curvatures)
    return repairing.refine(network, repaired, keep, batches, folder)


def scores(
    network: Network,
    groups: Sequence[Group],
    layers: Sequence[Layer],
    curvatures: Mapping[str, Curvature],
) -> dict[str, Score]:
    """Score every group that can be narrowed and whose readers are all layers with a curvature.

    Args:
        network: of the groups and layers.
        groups: from `find_groups`.
        layers: from `find_layers`.
        curvatures: by layer name.
    Returns:
        Group name -> Score.
    """
    by_weight = {layer.weight: layer for layer in layers if layer.name in curvatures}
    known = [value.sensitivity for value in curvatures.values() if value.sensitivity > 0]
    floor = UNSEEN * min(known, default=1.0)
    macs, parameters = macs_by_weight(network), _parameters(network)
    found = {}
    for group in groups:
        readers = [side for side in group.sides if side.role == READ]
        if group.pinned or not readers or any(side.weight not in by_weight for side in readers):
            continue
        parts = []
        for side in readers:
            layer = by_weight[side.weight]
            curvature = curvatures[layer.name]
            weight = np.sqrt(max(curvature.sensitivity, floor)) * weight_array(network, side.weight)
            columns = repairing.columns_of(layer, side.axis, side.channel)
            parts.extend(_parts(layer.rows(weight), curvature, columns))
        order, rise, loss = eliminate(parts, group.size)
        multiplied = _per_channel(group, macs)
        stored = _per_channel(group, parameters)
        found[group.name] = Score(loss, multiplied, stored, order, rise)
    return found


@dataclass(frozen=True)
class Part:
    """Some columns of a reader.

    Args:
        weights: (rows, n), scaled by the root of the layer's sensitivity.
        moments: (n, n) H of its inputs, damped.
        channel: (n,) which channel each column reads; -1 for those that are not in question.
    """

    weights: Array
    moments: Array
    channel: Array


def _parts(rows: Array, curvature: Curvature, columns: Array) -> list[Part]:
    parts, start = [], 0
    moments = curvature.moments or (np.ones((len(rows), 1, 1)) * np.eye(rows.shape[2]),)
    for block in moments:
        inside = slice(start, start + block.shape[1])
        start = inside.stop
        for group, own in enumerate(block):
            H = damped(own.astype(np.float64))
            parts.append(Part(rows[group][:, inside], H, columns[inside]))
    return parts


def eliminate(parts: Sequence[Part], channels: int) -> tuple[Array, Array, Array]:
    """Take channels out one by one, always the one that costs least.

    Args:
        parts: what reads them.
        channels: how many there are.
    Returns:
        (channels,) the order; (channels,) what each cost when it went; (channels,) what each
        would have cost as the first.
    """
    states = [_Columns(part, channels) for part in parts]
    alive = np.ones(channels, dtype=bool)
    order, rise = np.zeros(channels, dtype=np.int64), np.zeros(channels)
    first = np.zeros(channels)
    for step in range(channels):
        cost = sum(state.cost(alive) for state in states)
        if step == 0:
            first = np.asarray(cost).copy()
        choice = int(np.argmin(np.where(alive, cost, np.inf)))
        order[step], rise[step] = choice, np.asarray(cost)[choice]
        alive[choice] = False
        for state in states:
            state.take_out(choice)
    return order, rise, first


class _Columns:
    """The columns of one part while channels are taken out.

    Shapes: U channels, c columns of each (padded with the column n, which weighs nothing).
    """

    def __init__(self, part: Part, channels: int) -> None:
        rows, n = part.weights.shape
        self._weights = np.zeros((rows, n + 1))
        self._weights[:, :n] = part.weights
        self._inverse = np.eye(n + 1)
        self._inverse[:n, :n] = np.linalg.inv(part.moments)
        members = [np.flatnonzero(part.channel == channel) for channel in range(channels)]
        width = max(map(len, members))
        self._columns = np.full((channels, width), n)
        for channel, columns in enumerate(members):
            self._columns[channel, : len(columns)] = columns
        self._real = self._columns < n

    def cost(self, alive: Array) -> Array:
        """(U,) 1/2 tr(W_S [H^-1]_SS^-1 W_S^T); 0 for those that are gone."""
        S = self._columns
        blocks = self._inverse[S[:, :, None], S[:, None, :]]
        real = self._real & alive[:, None]
        both = real[:, :, None] & real[:, None, :]
        blocks = np.where(both, blocks, np.eye(S.shape[1]))
        weights = np.where(real[:, None, :], self._weights[:, S].swapaxes(0, 1), 0.0)
        gram = weights.swapaxes(1, 2) @ weights
        return 0.5 * np.trace(np.linalg.solve(blocks, gram), axis1=1, axis2=2)

    def take_out(self, channel: int) -> None:
        """Hand the channel's weights on to the columns left."""
        S = self._columns[channel][self._real[channel]]
        if not len(S):
            return
        passed = np.linalg.solve(self._inverse[np.ix_(S, S)], self._inverse[S])
        self._weights -= self._weights[:, S] @ passed
        self._inverse -= self._inverse[:, S] @ passed
        self._weights[:, S] = 0.0


def choose(
    groups: Sequence[Group],
    found: Mapping[str, Score],
    goal: Mapping[str, float],
    share: float,
    multiple: int = MULTIPLE,
) -> tuple[dict[str, Array], float]:
    """Which channels stay, so that at most a share of the cost does.

    Args:
        groups: of the network.
        found: their scores.
        goal: weight -> what it costs at its full width.
        share: of the sum that may stay.
        multiple: what widths are rounded to.
    Returns:
        Group name -> (channels,) bool, and the estimated rise of the loss.
    """
    widths = _Widths(groups, goal)
    gone = {group.name: 0 for group in groups if group.name in found}
    loss = 0.0
    sums = {name: np.concatenate([[0.0], np.cumsum(found[name].rise)]) for name in gone}
    while widths.total > share * sum(goal.values()) * (1 + 1e-12):
        best, best_price = None, np.inf
        for group in groups:
            if group.name not in gone:
                continue
            start = gone[group.name]
            stop = start + _step(group.size, group.size - start, multiple)
            saved = widths.saving(group, found[group.name].order[start:stop])
            if stop == start or saved <= 0:
                continue
            price = (sums[group.name][stop] - sums[group.name][start]) / saved
            if price < best_price:
                best, best_price = (group, start, stop), price
        if best is None:
            left = widths.total / sum(goal.values())
            raise BadInput(
                f"a share of {share:.3g} can not be reached by taking channels out: "
                f"{left:.3g} is left with every group at its narrowest"
            )
        group, start, stop = best
        widths.narrow(group, found[group.name].order[start:stop])
        loss += float(sums[group.name][stop] - sums[group.name][start])
        gone[group.name] = stop
    keep = {}
    for group in groups:
        if gone.get(group.name):
            keep[group.name] = np.ones(group.size, dtype=bool)
            keep[group.name][found[group.name].order[: gone[group.name]]] = False
    return keep, loss


def macs_by_weight(network: Network) -> dict[str, float]:
    """Weight -> multiplications of one sample with it."""
    sizes = Sizes.of(network)
    found: dict[str, float] = {}
    for node in network.module.graph.nodes:
        count = macs_of(node, sizes) if node.op == "call_function" else 0
        weights = [source for source in node.all_input_nodes if is_weight(source)]
        if count:
            name = str(weights[0].target) if weights else node.name
            found[name] = found.get(name, 0.0) + count
    return found


def _step(size: int, width: int, multiple: int) -> int:
    """How many channels go next from a group of that size, at that width; 0 where none may.

    To the next multiple in a group of twice as many; of half as many in smaller ones, and so on.
    """
    while multiple > 1 and size < 2 * multiple:
        multiple //= 2
    step = width % multiple or multiple
    return step if width - step >= multiple else 0


class _Widths:
    """What weights cost at the widths reached so far: each axis scales the cost of its weight."""

    def __init__(self, groups: Sequence[Group], goal: Mapping[str, float]) -> None:
        self._cost = dict(goal)
        self._places: dict[tuple[str, int], int] = {}
        for group in groups:
            for side in group.sides:
                self._places[side.weight, side.axis] = len(side.channel)

    @property
    def total(self) -> float:
        """What all weights cost now."""
        return sum(self._cost.values())

    def saving(self, group: Group, channels: Array) -> float:
        """What taking these channels out would save."""
        after = self._after(group, channels)
        return sum(self._cost[weight] - cost for weight, (cost, _) in after.items())

    def narrow(self, group: Group, channels: Array) -> None:
        """Take these channels out."""
        for weight, (cost, places) in self._after(group, channels).items():
            self._cost[weight] = cost
            self._places.update(places)

    def _after(
        self, group: Group, channels: Array
    ) -> dict[str, tuple[float, dict[tuple[str, int], int]]]:
        after: dict[str, tuple[float, dict[tuple[str, int], int]]] = {}
        for side in group.sides:
            if side.weight not in self._cost:
                continue
            cost, places = after.get(side.weight, (self._cost[side.weight], {}))
            key = (side.weight, side.axis)
            left = self._places[key] - int(np.isin(side.channel, channels).sum())
            cost *= left / self._places[key]
            after[side.weight] = (cost, {**places, key: left})
        return after


def _per_channel(group: Group, goal: Mapping[str, float]) -> Array:
    """(channels,) what each takes of the cost of its group's weights."""
    left: dict[str, Array] = {}  # share of a weight that stays; a residual may be on both its axes
    for side in group.sides:
        places = np.bincount(side.channel[side.channel >= 0], minlength=group.size)
        left[side.weight] = left.get(side.weight, 1.0) * (1 - places / len(side.channel))
    total = np.zeros(group.size)
    for weight, share in left.items():
        total += goal.get(weight, 0.0) * (1 - share)
    return total


def _parameters(network: Network) -> dict[str, float]:
    """Weight -> how many numbers it holds."""
    names = {node.target for node in network.module.graph.nodes if is_weight(node)}
    return {str(name): float(value_of_name(network, str(name)).numel()) for name in names}
