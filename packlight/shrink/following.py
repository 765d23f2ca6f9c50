"""Layers solved again in the order of the graph, each for the inputs that it will really get.

What became of the layers before reaches a layer as an error of its inputs. Part of that error the
inputs themselves tell of, and can be taken back: rows W are not what the new rows should be near
to, but

    W* = W E[x y^T] E[y y^T]^-1

which comes nearest to W x from y, where x is what the layer sees in the original network and y in
the compressed one, both less their means, which the bias takes care of. A ridge keeps to W whatever
the samples hardly tell; of several, each layer has the one with which either half of the samples
foretells the other best. And H, the moments of its inputs, changes by as much as those of y differ
from those of x.

Source: Li et al., arXiv:2504.02692 (GPTAQ), who move the errors of the inputs into the rounding
itself; here they move what is rounded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx

from packlight.network import Network
from packlight.shrink import grid_search, quantize, weights
from packlight.shrink.assembly import Assembly, Integers, Quantizing
from packlight.shrink.curvature import GRADIENT_SHARE, squared
from packlight.shrink.grid_search import Prepared, Solved
from packlight.shrink.side_by_side import SideBySide, Stretch
from packlight.shrink.workers import PATIENCE

#: of the mean moment of a layer's inputs; smaller ones are only good for the samples looked at, as
#: the layers before were rounded for the same ones
RIDGES = (1.0, 4.0, 16.0)
TELLING = 256  # rows of a layer tell which


class Following(Quantizing):
    """Weights to int8 grids, layer after layer (a `moves.Move`).

    Args:
        grids: the same with every layer by itself.
        solve: coarseness -> the layers solved in order.
        aim: coarseness -> the layers, wanting what their inputs made them want there; slow.
    """

    def __init__(
        self,
        grids: Quantizing,
        solve: Callable[[float], list[Solved]],
        aim: Callable[[float], list[Prepared]],
    ) -> None:
        super().__init__(grids.assembly, grids.prepared)
        self._solve, self.aimed = solve, aim

    def forms(self, coarseness: float) -> list[Integers]:
        """Every layer solved at a coarseness, in order."""
        return [Integers(self.assembly, self._solve(coarseness))]


def in_order(one: Prepared) -> bool:
    """Whether a layer can be solved so: its H is whole, and its inputs are all there before it."""
    loops = one.layer.states is not None or len(one.layer.calls) > 1
    return len(one.factors) == 1 and not loops


def solve_in_order(
    network: Network,
    assembly: Assembly,
    prepared: Sequence[Prepared],
    solved: Sequence[Solved],
    coarseness: float,
    batches: Iterable[tuple[Tensor, ...]],
    *,
    solve: Callable[[Prepared, float], Solved] = grid_search.solve,
    folder: Path | None = None,
    tick: Callable[[], None] = lambda: None,
) -> tuple[list[Prepared], list[Solved]]:
    """Solve layer after layer, each for what those before it leave of its inputs.

    Args:
        network: the original, of which the layers are.
        assembly: the same network with room for the solutions; filled in the end.
        prepared: its layers.
        solved: what layers keep whose inputs are not seen, or whose H is in blocks.
        coarseness: as of `grid_search.solve`.
        batches: samples, run once.
        solve: one layer.
        folder: in which a folder is made for the time of the call, for what still flows; default:
            the system's.
        tick: called after every layer.
    Returns:
        The layers as they were when they were solved, and their solutions.
    Raises:
        BadInput: there is no room in the folder.
    """
    aimed, found = list(prepared), list(solved)
    slots = {slot.layer.name: slot for slot in assembly.slots}
    weights.fill(assembly.network, assembly.values(found))
    calls = {node.name: node for node in assembly.network.module.graph.nodes}
    groups: dict[tuple[fx.Node, fx.Node], list[int]] = {}  # layers that read the same value
    for index, one in enumerate(prepared):
        if in_order(one):
            read = (one.layer.input, calls[one.layer.node.name].args[0])
            groups.setdefault(read, []).append(index)
        else:
            tick()
    if not groups:
        return aimed, found
    with tempfile.TemporaryDirectory(dir=folder) as work, torch.no_grad(), _Lanes() as lanes:
        pair = SideBySide(network, assembly.network, groups, batches, Path(work))
        places = {node: place for place, node in enumerate(assembly.network.module.graph.nodes)}
        for read in sorted(groups, key=lambda nodes: places[nodes[1]]):
            members = groups[read]
            sums = {index: _Sums(prepared[index]) for index in members}
            lanes.follow(pair.at(read), list(sums.values()))
            for index in members:
                one = aimed[index] = sums[index].aimed()
                solution = found[index] = solve(one, coarseness)
                slot = slots[prepared[index].layer.name]
                weights.fill(assembly.network, slot.values(solution))
                tick()
    return aimed, found


class _Lanes:
    """Two threads, each of which runs a half of the samples on, and sums it.

    What a half comes to does not depend on when that is.
    """

    def __enter__(self) -> _Lanes:
        self._threads = ThreadPoolExecutor(2)
        self._ended = False
        return self

    def __exit__(self, *problem: object) -> None:
        self._ended = True
        self._threads.shutdown()

    def follow(self, runs: Sequence[Stretch], layers: Sequence[_Sums]) -> None:
        """Sum what layers read, in the original and in the other network, batch after batch."""
        halves = [self._threads.submit(self._half, runs, layers, first) for first in range(2)]
        while wait(halves, PATIENCE).not_done:
            pass  # a single long wait would miss a Ctrl-C that comes as it begins
        for half in halves:
            half.result()

    def _half(self, runs: Sequence[Stretch], layers: Sequence[_Sums], first: int) -> None:
        for turn in range(first, len(runs), 2):
            if self._ended:
                return
            before, after = runs[turn]()
            for one in layers:
                one.add(before, after, turn)


class _Sums:
    """A layer's inputs before and after, summed over either half of the samples."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        groups, _, columns = prepared.weights.shape
        self.halves = [_Half(groups, columns), _Half(groups, columns)]

    def add(self, before: Tensor, after: Tensor, turn: int) -> None:
        """Take in what the layer reads for a batch, in the original and in the other network."""
        layer = self.prepared.layer
        before, after = (layer.windows(value, turn=turn) for value in (before, after))
        self.halves[turn % 2].add(before, after)

    def aimed(self) -> Prepared:
        """The layer with the rows that its new inputs want, as if they were its own."""
        one, (first, second) = self.prepared, self.halves
        centred = one.layer.centred
        rows = torch.from_numpy(one.weights)
        ridge = best_ridge(rows, [half.moments(centred) for half in self.halves if half.count])
        first.join(second)
        aim = one.weights + moved(rows, *first.moments(centred), ridge).numpy()
        # of H, all but the gradients' share are moments of inputs
        H = one.factors[0].moments + (1 - GRADIENT_SHARE) * first.growth(centred).numpy()
        if np.isfinite(H).all():  # else the file's inputs are not, as the judges will see
            one = replace(one, factors=[quantize.factorize(H)])
        if not centred:
            return replace(one, weights=aim)
        assert one.bias is not None
        old, new = first.old.numpy() / first.count, first.new.numpy() / first.count
        kept = np.einsum("grn,gn->gr", one.weights, old) - np.einsum("grn,gn->gr", aim, new)
        return replace(one, weights=aim, bias=one.bias + one.layer.channels(kept), mean=new)


class _Half:
    """Sums over samples of a layer's inputs x, before, and y, after.

    Args:
        groups, columns: x and y are (groups, positions, columns).
    """

    def __init__(self, groups: int, columns: int) -> None:
        self.count = 0
        self.old = torch.zeros(groups, columns, dtype=torch.float64)
        self.new = torch.zeros_like(self.old)
        self.products = torch.zeros(groups, columns, columns, dtype=torch.float64)  # y y^T
        self.gaps = torch.zeros_like(self.products)  # (x - y) y^T
        self.before = torch.zeros_like(self.products)  # x x^T

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in inputs."""
        self.count += x.shape[1]
        self.old += x.sum(1)
        self.new += y.sum(1)
        self.products += squared(y)
        self.gaps += (x - y).transpose(1, 2) @ y
        self.before += squared(x)

    def join(self, other: _Half) -> None:
        """Take in another's sums."""
        self.count += other.count
        for name in ("old", "new", "products", "gaps", "before"):
            getattr(self, name).add_(getattr(other, name))

    def moments(self, centred: bool) -> tuple[Tensor, Tensor]:
        """(G, n, n) E[y y^T] and E[(x - y) y^T], less the means if they are `centred`."""
        products, gaps = self.products / self.count, self.gaps / self.count
        if centred:
            old, new = self.old / self.count, self.new / self.count
            products -= new[:, :, None] * new[:, None, :]
            gaps -= (old - new)[:, :, None] * new[:, None, :]
        return products, gaps

    def growth(self, centred: bool) -> Tensor:
        """(G, n, n) E[y y^T] - E[x x^T], less the means if they are `centred`."""
        found = (self.products - self.before) / self.count
        if centred:
            old, new = self.old / self.count, self.new / self.count
            found += old[:, :, None] * old[:, None, :] - new[:, :, None] * new[:, None, :]
        return found


def moved(rows: Tensor, products: Tensor, gaps: Tensor, ridge: float) -> Tensor:
    """(G, R, n) W* - W = W E[(x - y) y^T] (E[y y^T] + ridge)^-1.

    Args:
        rows: (G, R, n) W.
        products: (G, n, n) E[y y^T].
        gaps: (G, n, n) E[(x - y) y^T].
        ridge: in units of the mean of the diagonal of `products`; infinity moves nothing.
    """
    if np.isinf(ridge):
        return torch.zeros_like(rows)
    mean = products.diagonal(dim1=1, dim2=2).mean(1)
    added = torch.where(mean > 0, ridge * mean, 1.0)
    eye = torch.eye(products.shape[1], dtype=products.dtype)
    damped = products + added[:, None, None] * eye
    lower, _ = torch.linalg.cholesky_ex(damped)  # of what is not finite, it is not either
    return torch.cholesky_solve((rows @ gaps).transpose(1, 2), lower).transpose(1, 2)


def best_ridge(rows: Tensor, parts: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The ridge with which each part of the samples foretells the others best.

    Args:
        rows: as of `moved`.
        parts: products and gaps of each.
    """

    some, count = rows, rows.shape[1]
    if count > TELLING:
        some = rows[:, torch.randperm(count, generator=torch.Generator().manual_seed(0))[:TELLING]]

    def loss(ridge: float) -> float:
        # E|W (x - y) - D y|^2 for what is moved, D, less what does not depend on it
        total = 0.0
        for place, (products, gaps) in enumerate(parts):
            found = moved(some, products, gaps, ridge)
            for others, theirs in (part for at, part in enumerate(parts) if at != place):
                total += float(((found @ others - 2 * (some @ theirs)) * found).sum())
        return total

    losses = {ridge: loss(ridge) for ridge in RIDGES}
    best = min(losses, key=losses.__getitem__)
    return best if losses[best] < 0 else np.inf
