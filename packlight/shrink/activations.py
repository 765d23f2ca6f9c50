"""Where activations become uint8, and on which range.

An integer kernel needs its inputs and its output on a grid. `find_places` marks the values to be
rounded; `observe` sees what they hold on calibration samples; `best_range` picks the range with
the least expected squared error; `insert` writes the Q/DQ pairs into the graph.

Rules for places:
1. the input of every convolution, linear layer and matmul with a quantised weight, but not where
   matmuls share it, as the steps of a loop do: what goes around would be rounded in every step;
   nor that of a convolution over three dimensions, for which phones have no integer kernels;
2. the output of every such convolution, after its ReLU or clamp, unless it only passes on to the
   network's outputs: those stay float;
3. what a place is made from by moving values around (max-pooling, padding with zeros,
   concatenation ...) is a place too, on the same grid, so that the mover works on integers and
   rounds nothing;
4. what a mean over positions reads to make a place: a sum before it is then one of integers.

Source of the range: minimum mean squared error over clipping thresholds, as in Choukroun et al.,
arXiv:1902.06822, on histograms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from packlight.graph import CLAMPS, aten, clamp_ends, is_call, is_weight, pads_with_zeros, quantized
from packlight.network import Network
from packlight.shrink.layers import Layer
from packlight.shrink.quantize import short
from packlight.shrink.workers import HERE, Shared, Workers
from packlight.types import Array

TOP = 255  # uint8
BINS = 4096  # on either side of zero
LEAST_POWER = -100  # of two: values that are smaller are as good as zero
LARGEST = 2.0**120  # twice that and more is no float32

_MOVERS = (
    aten.max_pool1d,
    aten.max_pool2d,
    aten.view,
    aten.reshape,
    aten.flatten,
    aten.permute,
    aten.transpose,
    aten.squeeze,
    aten.unsqueeze,
    aten.slice,
    aten.expand,
    aten.contiguous,
    aten.cat,
)
_MEANS = (aten.mean, aten.avg_pool2d, aten.adaptive_avg_pool2d)
_TO_OUTPUT = (*CLAMPS, aten.softmax, aten.log_softmax, aten.sigmoid, aten.tanh, aten.exp)


@dataclass(frozen=True)
class Grid:
    """A uint8 grid: real = scale * (level - zero)."""

    scale: float
    zero: int

    @property
    def low(self) -> float:
        """The smallest number on the grid."""
        return -self.scale * self.zero

    @property
    def high(self) -> float:
        """The largest number on the grid."""
        return self.scale * (TOP - self.zero)


@dataclass(frozen=True)
class Place:
    """Values rounded on one grid.

    Args:
        name: the first node's name; names the place in reports.
        nodes: names of the nodes whose values are rounded.
    """

    name: str
    nodes: tuple[str, ...]


def find_places(network: Network, layers: Sequence[Layer]) -> list[Place]:
    """Mark the values to round, by the rules above."""
    order = {node: index for index, node in enumerate(network.module.graph.nodes)}
    outputs = set(network.results())
    wanted: set[fx.Node] = set()
    for layer in layers:
        matmul = layer.kind in ("linear", "matmul") and len(layer.calls) == 1
        convolution = layer.kind == "conv" and len(layer.shape) < 5
        for call in layer.calls if convolution or matmul else ():
            read = layer.read_by(call)
            if not _is_float(read):
                continue
            wanted.add(read)
            wanted.update(source for source in _averaged(read) if _is_float(source))
            if convolution:
                end = _after_clamp(call)
                if not _only_reaches_outputs(end, outputs):
                    wanted.add(end)
    group = {node: node for node in wanted}

    def root(node: fx.Node) -> fx.Node:
        while group[node] is not node:
            node = group[node]
        return node

    for node in sorted(order, key=order.__getitem__, reverse=True):
        if node not in group or not _moves(node):
            continue
        for source in node.all_input_nodes:
            if not _is_float(source) or is_weight(source):
                continue
            group.setdefault(source, source)
            a, b = sorted((root(node), root(source)), key=order.__getitem__)
            group[b] = a
    members: dict[fx.Node, list[fx.Node]] = {}
    for node in sorted(group, key=order.__getitem__):
        members.setdefault(root(node), []).append(node)
    return [Place(head.name, tuple(node.name for node in nodes)) for head, nodes in members.items()]


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype == torch.float32


def _after_clamp(node: fx.Node) -> fx.Node:
    """The node whose value an integer kernel would write: past a ReLU or clamp of its own."""
    users = list(node.users)
    if len(users) == 1 and is_call(users[0], *CLAMPS):
        return users[0]
    return node


def _moves(node: fx.Node) -> bool:
    return is_call(node, *_MOVERS) or pads_with_zeros(node)


def _averaged(node: fx.Node) -> list[fx.Node]:
    """What means read of which a value is made by moving alone."""
    if is_call(node, *_MEANS):
        return node.all_input_nodes[:1]
    if not _moves(node):
        return []
    return [source for each in node.all_input_nodes for source in _averaged(each)]


def _only_reaches_outputs(node: fx.Node, outputs: set[fx.Node]) -> bool:
    if node in outputs:
        return True
    users = list(node.users)
    return bool(users) and all(
        (_moves(user) or is_call(user, *_TO_OUTPUT)) and _only_reaches_outputs(user, outputs)
        for user in users
    )


class _Observer(fx.Interpreter):
    """Runs the graph and shows the watched nodes' values to a callback."""

    def __init__(self, module: fx.GraphModule, watched: dict[str, str], see: Any) -> None:
        super().__init__(module)
        self._watched, self._see = watched, see

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        place = self._watched.get(node.name)
        if place is not None:
            self._see(place, value)
        return value


class Histogram:
    """How many values fall into each of equal bins, on a range that doubles as they need it.

    A power of two ends the range on either side of zero, so that the bins of a range that doubles
    are pairs of those before, and no value has to be seen twice.
    """

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0  # the extremes; a grid always holds zero: padding needs it
        self.power = LEAST_POWER  # the range is [-2^power, 2^power]
        self.counts = np.zeros(2 * BINS, dtype=np.int64)

    def add(self, values: Tensor) -> None:
        """Count values; what is not finite, or hardly, is passed over."""
        low, high = (float(end) for end in values.aminmax())
        if not max(-low, high) < LARGEST:  # nor a number, perhaps
            values = values[values.abs() < LARGEST]
            low, high = (float(end) for end in values.aminmax()) if len(values) else (0.0, 0.0)
        seen = Histogram()
        seen.low, seen.high = min(low, 0.0), max(high, 0.0)
        seen.power = max(int(np.frexp(max(seen.high, -seen.low))[1]), LEAST_POWER)
        end = float(np.ldexp(1.0, seen.power))
        seen.counts = torch.histc(values.float(), 2 * BINS, -end, end).to(torch.int64).numpy()
        self.join(seen)

    def join(self, other: Histogram) -> None:
        """Take in what another has counted."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        power = max(self.power, other.power)
        self.counts = self._within(power) + other._within(power)
        self.power = power

    def edges(self) -> Array:
        """(2 BINS + 1,) ends of the bins."""
        return np.linspace(-1.0, 1.0, 2 * BINS + 1) * np.ldexp(1.0, self.power)

    def _within(self, power: int) -> Array:
        """The counts on a range that is as wide, or a power of two wider."""
        counts = self.counts
        for _ in range(min(power - self.power, BINS.bit_length())):  # then two bins hold them all
            counts = np.pad(counts.reshape(-1, 2).sum(1), BINS // 2)
        return counts


def observe(
    network: Network,
    places: Sequence[Place],
    batches: Iterable[tuple[Tensor, ...]],
    tick: Callable[[], None] = lambda: None,
    workers: Workers = HERE,
) -> dict[str, Grid]:
    """Choose every place's grid from calibration samples.

    Args:
        network: left as it is.
        places: of this network.
        batches: iterated once.
        tick: called after every batch.
        workers: where the batches run.
    """
    if not places:
        return {}
    watched = {node: place.name for place in places for node in place.nodes}
    shared = workers.share((network, watched))
    found = {place.name: Histogram() for place in places}
    for counted in workers.in_order(_histograms, shared, map(_arrays, batches)):
        for place, histogram in counted.items():
            found[place].join(histogram)
        tick()
    return {
        place: best_range(seen.counts, seen.edges(), seen.low, seen.high)
        for place, seen in found.items()
    }


_Watched = Shared[tuple[Network, dict[str, str]]]


def _arrays(batch: tuple[Tensor, ...]) -> tuple[Array, ...]:
    return tuple(value.numpy() for value in batch)


def _histograms(shared: _Watched, batch: tuple[Array, ...]) -> dict[str, Histogram]:
    """What a batch holds at every place."""
    network, watched = shared.value
    found: defaultdict[str, Histogram] = defaultdict(Histogram)
    with torch.no_grad():
        observer = _Observer(network.module, watched, lambda place, value: found[place].add(value))
        observer.run(*map(torch.tensor, batch))
    return dict(found)


def best_range(counts: Array, edges: Array, low: float, high: float) -> Grid:
    """The grid with the least expected squared error for values in a histogram.

    Args:
        counts: (bins,) how many values fell into each bin.
        edges: (bins + 1,) where the bins end.
        low, high: the extremes; low <= 0 <= high.
    """
    if not high > low:
        return Grid(1.0, 0)
    centres = ((edges[:-1] + edges[1:]) / 2)[counts > 0]
    counts = counts[counts > 0]
    shares = np.linspace(0.2, 1.0, 33)
    best = (np.inf, Grid(1.0, 0))
    for bottom in shares if low < 0 else (1.0,):
        for top in shares if high > 0 else (1.0,):
            grid = grid_between(low * bottom, high * top)
            clipped = np.clip(centres, grid.low, grid.high)
            inside = clipped == centres
            error = np.where(inside, grid.scale**2 / 12, np.square(centres - clipped))
            total = float((counts * error).sum())
            if total < best[0]:
                best = (total, grid)
    return best[1]


def grid_between(low: float, high: float) -> Grid:
    """The uint8 grid over [low, high] on which zero is exact.

    A little wider, so that its step is a short number; but not over a range that is one, such as
    that of pixels or of ReLU6: there values may lie on this very grid, or end where it ends.
    """
    span = np.float64(max(high - low, 1e-12))
    scale = np.float32(span / TOP if short(span) == span else short(span / TOP))
    zero = int(np.clip(np.rint(-low / scale), 0, TOP))
    return Grid(float(scale), zero)


def insert(network: Network, places: Sequence[Place], grids: dict[str, Grid]) -> Network:
    """A copy of the network in which the places' values are rounded to their grids.

    A ReLU or clamp that the grid's own ends make superfluous is removed. A value that is also an
    output of the network leaves it unrounded.
    """
    rewritten = network.copy()
    graph = rewritten.module.graph
    (output,) = [node for node in graph.nodes if node.op == "output"]
    by_name = {node.name: node for node in graph.nodes}
    for place in places:
        grid = grids[place.name]
        arguments = (grid.scale, grid.zero, 0, TOP, torch.uint8)
        for name in place.nodes:
            node = by_name[name]
            users = [user for user in node.users if user is not output]
            if not users:
                continue
            with graph.inserting_after(node):
                rounded = graph.call_function(
                    quantized.quantize_per_tensor.default, (node, *arguments)
                )
            with graph.inserting_after(rounded):
                restored = graph.call_function(
                    quantized.dequantize_per_tensor.default, (rounded, *arguments)
                )
            for user in users:
                user.replace_input_with(node, restored)
            if _superfluous(node, grid) and set(node.users) == {rounded}:
                rounded.replace_input_with(node, node.args[0])
                graph.erase_node(node)
    graph.lint()
    rewritten.module.recompile()
    return rewritten


def _superfluous(node: fx.Node, grid: Grid) -> bool:
    """Whether rounding to the grid already does what this clamp does."""
    ends = clamp_ends(node)
    return ends is not None and ends[0] <= grid.low and grid.high <= ends[1] * (1 + 1e-6)
