"""Columns rounded a few at a time; between, what is still in floats learns to make good the loss.

Rounding hands every column's error on to the columns that are left, which does what can be done for
the outputs of one layer. Here all layers are rounded side by side, a share of their columns after
the other, those that matter most first; after each share the original teaches all columns that are
left, and the biases, through the network as it is by then. What is rounded stays, so nothing else
changes: the price of bits, the trellis, the size. Where the layers had better be solved in order
(`following`), they begin as what they were rounded from there, at the end: without teaching they
end as they did.

Teaching is undone where it leads away from the original on samples held back, and its steps are
shorter from then on: few samples are soon known by heart. Where it was undone a few times, the rest
is rounded only.

This is for sizes that leave every weight some bits, and for samples that are what they are. Where
most weights have to go, which of them go is what has to be learnt (`recover`); that also learns
more where samples are made to measure, and come without end.

Source: Zhou et al., arXiv:1702.03044 (incremental network quantisation). Differs: columns are taken
in the order of optimal brain surgeon and hand on their errors, not weights by their size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from packlight.coding.packing import compress
from packlight.network import Network
from packlight.shrink import grid_search, quantize
from packlight.shrink.assembly import Integers, Quantizing
from packlight.shrink.budget import Budget
from packlight.shrink.following import Following
from packlight.shrink.grid_search import Prepared, Solved
from packlight.shrink.layers import put
from packlight.shrink.search import Point, search
from packlight.shrink.teaching import Levels, Teaching, within
from packlight.shrink.tying import Partly
from packlight.types import Array

SHARES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 1.0)  # of the columns, rounded after each round
DENSE = 1.0  # bits of the file for a weight, from which on this is how a network is retrained
BATCH = 32  # samples of a step at most: many small steps
PACE, SHORTER = 0.4, 0.25  # of the usual step, and what is left of it where teaching did harm
UNDONE = 3  # times, after which nothing more is taught
DEARER, TRIES = 1.1, 12  # factor on the price of bits while the file is too large, and how often


@dataclass(frozen=True)
class Columns:
    """One layer, a share of its columns rounded.

    Args:
        prepared: the layer.
        coarseness: as of `grid_search.solve`.
        guide: the layer rounded at once: its levels say what a level costs.
        weights: (G, R, n) levels x steps where it is rounded, elsewhere floats.
        levels: (G, R, n) int8, 0 where nothing is rounded yet.
        bias: (channels,) or None.
        share: of every block of columns that is rounded.
    """

    prepared: Prepared
    coarseness: float
    guide: Solved
    weights: Array
    levels: Array
    bias: Array | None
    share: float = 0.0

    @classmethod
    def of(cls, one: Prepared, coarseness: float, guide: Solved) -> Columns:
        """A layer of which nothing is rounded."""
        none = np.zeros(one.weights.shape, np.int8)
        return cls(one, coarseness, guide, one.weights, none, one.bias)

    @property
    def free(self) -> Array:
        """(n,) booleans: the columns that are not rounded."""
        found = np.full(self.weights.shape[2], self.share == 0)
        for columns, first, _ in self._blocks(1.0):
            found[columns[first:]] = True
        return found

    def rounded(self, share: float, dearer: float = 1.0) -> Columns:
        """The layer with a larger share rounded.

        Args:
            share: of every block of columns; a layer that hands nothing on is rounded at once.
            dearer: factor on the price of bits.
        """
        one = self.prepared
        step, along_trellis = grid_search.steps_of(one, self.coarseness)
        price = dearer * grid_search.price_of(one, self.coarseness)
        guide = one.layer.rows(self.guide.levels)
        choose = quantize.priced(
            guide, price, along_trellis=along_trellis, top=one.top, rows=one.rows
        )
        weights, levels = self.weights.copy(), self.levels.copy()
        if not one.factors:
            weights, levels = guide * step[:, :, None], guide
        for (columns, first, end), factor in zip(self._blocks(share), one.factors, strict=True):
            rest, found = weights[:, :, columns], levels[:, :, columns].astype(np.float64)
            quantize.round_next(rest, found, factor, step, choose, first, end)
            rest[:, :, :end] = found[:, :, :end] * step[:, :, None]
            weights[:, :, columns], levels[:, :, columns] = rest, found
        absorbed = replace(one, bias=self.bias)
        bias = grid_search.bias_after(absorbed, self.weights - weights)
        return replace(self, weights=weights, levels=levels, bias=bias, share=share)

    def taught(self, values: Mapping[str, Tensor]) -> Columns:
        """The layer with what is free, and the bias, as it was trained: values by name."""
        layer, bias = self.prepared.layer, self.bias
        rows = layer.rows(values[layer.weight].double().numpy())
        if layer.bias is not None and layer.bias in values and bias is not None:
            bias = values[layer.bias].double().numpy()
        return replace(self, weights=np.where(self.free, rows, self.weights), bias=bias)

    def values(self) -> dict[str, Tensor]:
        """The layer's weight and bias in floats, by name."""
        layer = self.prepared.layer
        found = {layer.weight: _tensor(layer.stored(self.weights))}
        if layer.bias is not None and self.bias is not None:
            found[layer.bias] = _tensor(self.bias)
        return found

    def partly(self) -> Partly:
        """The weight of which only the free columns are trained."""
        layer = self.prepared.layer
        free = layer.stored(np.broadcast_to(self.free, self.weights.shape))
        weight = _tensor(layer.stored(self.weights))
        return Partly(weight, torch.from_numpy(np.ascontiguousarray(free)))

    def solved(self) -> Solved:
        """What goes into the file; all columns are rounded."""
        levels = self.prepared.layer.stored(self.levels)
        return replace(self.guide, levels=levels, bias=self.bias, damage=float("nan"))

    def _blocks(self, share: float) -> list[tuple[Array, int, int]]:
        """Each block's columns in the order they are rounded, and which of them are next."""
        found, start = [], 0
        for factor in self.prepared.factors:
            count = len(factor.order)
            columns = start + factor.order
            found.append((columns, round(self.share * count), round(share * count)))
            start += count
        return found


class Shares:
    """Trains a network into a size: share after share, or where that is too small for it, at once.

    Args:
        teaching: what is taught, and how long.
        grids: of the job's network, or of that network with layers in factors.
        found: where the search without training ended.
    """

    def __init__(self, teaching: Teaching, grids: Quantizing, found: Point) -> None:
        self.teaching, self.job = teaching, teaching.job
        self.following = grids if isinstance(grids, Following) else None
        self.grids = Quantizing(grids.assembly, grids.prepared, self.job.workers)
        self.found = found
        self.at_once = Levels(teaching, grids.assembly)

    def __call__(self, size: int, steps: int, stage: str) -> Point:
        """The network in a packed size, as a point of the search."""
        most = within(size)
        layers = self._unrounded(most) if self._dense(size) else []
        if not layers:
            return self.at_once(size, steps, stage)
        return self._share_by_share(layers, most, steps, stage)

    def _dense(self, size: int) -> bool:
        """Whether a size leaves bits for every weight, of a network and samples as they came."""
        own = [one.layer.name for one in self.grids.prepared] == [
            layer.name for layer in self.job.layers
        ]
        weights = sum(one.weights.size for one in self.grids.prepared)
        return own and self.job.lessons is None and 8 * size >= DENSE * weights

    def _share_by_share(
        self, layers: Sequence[Columns], size: int, steps: int, stage: str
    ) -> Point:
        teaching = self.teaching
        batch = min(teaching.batch, BATCH) if self.job.network.batch is None else teaching.batch
        steps = max(steps * teaching.batch // batch // len(SHARES), 1)
        undone = 0
        for number, share in enumerate(SHARES):
            before, dearer = layers, self._dear_enough(layers, size)
            layers = [one.rounded(share, dearer) for one in before]
            if undone == UNDONE:
                continue
            network, tied = self._network(layers)
            values = teaching.floats(
                *(network, steps, f"{stage}-{share:g}", tied),
                shown=f"teach, {share:.0%} rounded",
                pace=PACE * SHORTER**undone,
                batch=batch,
                seed=self.job.seed + number,  # other samples first than for the last share
            )
            taught = [one.taught(values) for one in layers]
            if teaching.distance(self._network(taught)[0]) < teaching.distance(network):
                layers = taught
            else:
                undone += 1
        if self._size(layers) > size:  # the biases taught last take more room
            layers = [one.rounded(1.0, dearer) for one in before]
        return self.job.measuring.point([self._form(layers)], float("nan"))

    def _unrounded(self, size: int) -> list[Columns]:
        """The layers, as coarse as they fit when they are rounded at once; [] if they never do."""
        coarseness = self._coarseness(size)
        if not coarseness:
            return []
        prepared = self.following.aimed(coarseness) if self.following else self.grids.prepared
        solved = grid_search.each(prepared, self.job.workers)(grid_search.solve, coarseness)
        pairs = zip(prepared, solved, strict=True)
        return [Columns.of(one, coarseness, guide) for one, guide in pairs]

    def _coarseness(self, size: int) -> float | None:
        """At which the layers, rounded at once, make a file of a size; None if they never do."""
        visit, budget = self.found.visit, self.job.budget
        if budget.sized and budget.fits(visit.packed_bytes, visit.bytes):
            return visit.coarseness

        def build(coarseness: float) -> Point:
            return self.job.measuring.point(self.grids.forms(coarseness), coarseness)

        budget = Budget(target_size=size)
        start, last = self.grids.start, self.grids.last
        visit = search(build, self.job.measuring.drop, budget, start, last).point.visit
        return visit.coarseness if visit.packed_bytes <= size else None

    def _dear_enough(self, layers: Sequence[Columns], size: int) -> float:
        """The factor on the price of bits at which what is left fits, if it were rounded now."""
        dearer = 1.0
        for _ in range(TRIES):
            if self._size([one.rounded(1.0, dearer) for one in layers]) <= size:
                break
            dearer *= DEARER
        return dearer

    def _size(self, layers: Sequence[Columns]) -> int:
        return len(compress(self._form(layers).file, "max", verify=False))

    def _form(self, layers: Sequence[Columns]) -> Integers:
        return Integers(self.grids.assembly, [one.solved() for one in layers])

    def _network(self, layers: Sequence[Columns]) -> tuple[Network, dict[str, nn.Module]]:
        """The network as the layers are, and what makes those of its values that are not free."""
        network = self.job.network.copy()
        biases = {one.prepared.layer.bias for one in layers}
        tied: dict[str, nn.Module] = {
            name: Partly(value, torch.zeros_like(value, dtype=torch.bool))
            for name, value in network.module.named_parameters()
            if value.is_floating_point() and name not in biases
        }
        for one in layers:
            put(network, one.values())
            tied[one.prepared.layer.weight] = one.partly()
        return network, tied


def _tensor(value: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value)).float()
