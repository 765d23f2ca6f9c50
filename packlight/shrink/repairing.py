"""Give the layers of a pruned network new weights, so that its outputs miss the channels least.

A layer's output W x is rebuilt from other inputs x' by least squares:

    W' = (W C + r W'_0) (H' + r I)^-1,  b' = b + W mu - W' mu'

with C = E[x x'^T] and H' = E[x' x'^T], means taken out where a bias can absorb them, and the ridge
r drawing towards the weights W'_0 it starts from.

`repair` needs no samples: x' are those of the original's inputs that are left, so C and H' are
parts of the curvature that chose the channels. `refine` then runs both networks side by side, x in
the original and x' in the pruned one, repaired so far: what earlier layers could not make good,
later ones see.
With few samples a deep network may be worse for it, so samples held back decide.

Source: He et al., arXiv:1707.06168 (channel pruning, reconstruction by least squares). Differs: in
closed form; `repair` has H blended with the gradients' moments.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx

from packlight.network import Network
from packlight.shrink.channels import Keep, find_groups, kept_places
from packlight.shrink.coupling import READ
from packlight.shrink.curvature import MAX_COLUMNS, Curvature
from packlight.shrink.layers import Layer, find_layers, value_of_name, weight_array
from packlight.shrink.prune import damped
from packlight.shrink.side_by_side import SideBySide
from packlight.types import Array

HELD_BACK = 4  # one batch of so many only decides
CHUNK = 16  # samples whose windows are unfolded at once


def repair(
    before: Network, after: Network, keep: Keep, curvatures: Mapping[str, Curvature]
) -> Network:
    """A copy of the pruned network whose readers make good what they can.

    Args:
        before: the network before channels were taken out.
        after: `remove(before, keep)`.
        keep: which channels stayed.
        curvatures: of the layers of `before`, by name.
    """
    groups = find_groups(before)
    places = kept_places(groups, keep)
    read = {
        (side.weight, side.axis)
        for group in groups
        for side in group.sides
        if side.role == READ and (side.weight, side.axis) in places
    }
    repaired = after.copy()
    narrow = {layer.weight: layer for layer in find_layers(repaired)}
    for layer in find_layers(before):
        axis = next((axis for weight, axis in read if weight == layer.weight), None)
        curvature = curvatures.get(layer.name)
        if axis is None or curvature is None or not curvature.moments:
            continue
        rows = layer.rows(weight_array(before, layer.weight))
        kept = columns_of(layer, axis, places[layer.weight, axis])
        rebuilt = reconstruct(rows, curvature, kept)
        written = _written(layer, places)
        chosen = np.stack([own[mask] for own, mask in zip(rebuilt, written, strict=True)])
        _store(repaired, layer.weight, narrow[layer.weight].stored(chosen))
        if layer.centred and layer.bias is not None:
            lost = np.einsum("grn,gn->gr", rows, curvature.mean)
            lost -= np.einsum("grn,gn->gr", rebuilt, curvature.mean[:, kept])
            bias = weight_array(before, layer.bias) + lost.reshape(-1)
            _store(repaired, layer.bias, bias[written.reshape(-1)])
    return repaired


def refine(
    before: Network,
    after: Network,
    keep: Keep,
    batches: Iterable[tuple[Tensor, ...]],
    folder: Path | None = None,
) -> Network:
    """The pruned network with each layer fitted to what the original's gives on samples.

    Args:
        before: the network before channels were taken out.
        after: the pruned network, best repaired already.
        keep: which channels stayed.
        batches: inputs, of which a quarter is held back.
        folder: in which a folder is made for the time of the call, for what still flows; default:
            the system's.
    Returns:
        A refined copy; `after` itself where its outputs on the batches held back are nearer.
    """
    given = list(batches)
    held = given[len(given) - len(given) // HELD_BACK :]
    if not held:
        return after
    refined = _fitted(before, after, keep, given[: len(given) - len(held)], folder)
    return refined if _error(before, refined, held) < _error(before, after, held) else after


def _fitted(
    before: Network,
    after: Network,
    keep: Keep,
    batches: Sequence[tuple[Tensor, ...]],
    folder: Path | None = None,
) -> Network:
    places = kept_places(find_groups(before), keep)
    refined = after.copy()
    originals = {layer.weight: layer for layer in find_layers(before)}
    groups: dict[tuple[fx.Node, fx.Node], list[Layer]] = {}  # layers that read the same value
    for layer in find_layers(refined):
        original = originals[layer.weight]
        seen = layer.solvable and layer.kind not in ("conv_transpose", "recurrent")
        if seen and max(original.matrix[2], layer.matrix[2]) <= MAX_COLUMNS:
            groups.setdefault((original.input, layer.input), []).append(layer)
    if not groups:
        return refined
    order = {node: place for place, node in enumerate(refined.module.graph.nodes)}
    with tempfile.TemporaryDirectory(dir=folder) as work, torch.no_grad():
        both = SideBySide(before, refined, groups, batches, Path(work))
        for stop in sorted(groups, key=lambda nodes: order[nodes[1]]):
            readers = [(originals[layer.weight], layer) for layer in groups[stop]]
            gathered = [_Sums(*pair, _written(pair[0], places)) for pair in readers]
            for run in both.at(stop):
                one, other = run()
                for sums in gathered:
                    sums.add(one, other)
            for sums in gathered:
                sums.solve(before, refined)
    return refined


def _error(before: Network, after: Network, batches: Sequence[tuple[Tensor, ...]]) -> float:
    """Mean size of the difference of the outputs, each in units of its own; robust to a few."""
    sizes: dict[int, float] = {}
    errors: dict[int, float] = {}
    with torch.no_grad():
        for batch in batches:
            for number, (wanted, given) in enumerate(
                zip(before(*batch), after(*batch), strict=True)
            ):
                errors[number] = errors.get(number, 0.0) + float((wanted - given).abs().sum())
                sizes[number] = sizes.get(number, 0.0) + float(wanted.abs().sum())
    return sum(errors[number] / max(size, 1e-30) for number, size in sizes.items())


class _Sums:
    """Running sums of one layer's inputs in both networks, (G, n) and (G, n') at a position.

    Args:
        original: the layer before.
        layer: the same after.
        written: (G, R) bool, the original's rows that are left.
    """

    def __init__(self, original: Layer, layer: Layer, written: Array) -> None:
        self._original, self._layer, self._written = original, layer, written
        self._groups = torch.from_numpy(written.any(1))  # a depthwise convolution loses groups
        groups, columns, own = int(self._groups.sum()), original.matrix[2], layer.matrix[2]
        self._cross = torch.zeros(groups, columns, own, dtype=torch.float64)
        self._own = torch.zeros(groups, own, own, dtype=torch.float64)
        self._totals = [torch.zeros(groups, n, dtype=torch.float64) for n in (columns, own)]
        self.positions = 0

    def add(self, one: Tensor, other: Tensor) -> None:
        """The layer's input in the original, and in the pruned network."""
        for x, y in zip(one.split(CHUNK), other.split(CHUNK), strict=True):
            before = self._original.windows(x)[self._groups]
            after = self._layer.windows(y)
            self._cross += (before.transpose(1, 2) @ after).double()
            self._own += (after.transpose(1, 2) @ after).double()
            for total, windows in zip(self._totals, (before, after), strict=True):
                total += windows.sum(1, dtype=torch.float64)
            self.positions += after.shape[1]

    def solve(self, before: Network, refined: Network) -> None:
        """Put the least squares solution into the pruned network."""
        layer, original = self._layer, self._original
        C, H = self._cross / self.positions, self._own / self.positions
        mean, own_mean = (total / self.positions for total in self._totals)
        if layer.centred:
            C = C - mean[:, :, None] * own_mean[:, None, :]
            H = H - own_mean[:, :, None] * own_mean[:, None, :]
        W = original.rows(weight_array(before, original.weight))
        W = np.stack([own[mask] for own, mask in zip(W, self._written, strict=True) if mask.any()])
        start = layer.rows(weight_array(refined, layer.weight))
        safe = damped(H.numpy())
        target = W @ C.numpy() + start @ (safe - H.numpy())
        rows = np.linalg.solve(safe, target.swapaxes(1, 2)).swapaxes(1, 2)
        _store(refined, layer.weight, layer.stored(rows))
        if layer.centred and original.bias is not None and layer.bias is not None:
            bias = weight_array(before, original.bias)[self._written.reshape(-1)]
            gained = np.einsum("grn,gn->gr", W, mean.numpy())
            gained -= np.einsum("grn,gn->gr", rows, own_mean.numpy())
            _store(refined, layer.bias, bias + gained.reshape(-1))


def reconstruct(rows: Array, curvature: Curvature, kept: Array) -> Array:
    """The weights that come nearest to a layer's outputs with some of its inputs.

    Args:
        rows: (G, R, n).
        curvature: of its inputs; H may be in blocks, each is solved by itself.
        kept: (n,) bool, the columns that are left.
    Returns:
        (G, R, columns left) float64.
    """
    pieces, start = [], 0
    for block in curvature.moments:
        inside = slice(start, start + block.shape[1])
        start = inside.stop
        k = kept[inside]
        if not k.any():
            continue
        H = damped(block.astype(np.float64))
        target = rows[:, :, inside] @ H[:, :, k]
        pieces.append(np.linalg.solve(H[:, k][:, :, k], target.swapaxes(1, 2)).swapaxes(1, 2))
    return np.concatenate(pieces, axis=2)


def columns_of(layer: Layer, axis: int, per_place: Array) -> Array:
    """One value for each place of a weight's input axis as one for each column, (n,)."""
    spread = layer.rows(_spread(layer, axis, per_place))
    columns: Array = spread[0, 0]
    return columns


def _written(layer: Layer, places: Mapping[tuple[str, int], Array]) -> Array:
    """(G, R) bool, the rows whose outputs are left."""
    stays = places.get((layer.weight, layer.axis), np.ones(layer.shape[layer.axis], dtype=bool))
    rows: Array = layer.rows(_spread(layer, layer.axis, stays))[:, :, 0]
    return rows


def _spread(layer: Layer, axis: int, per_place: Array) -> Array:
    shape = [-1 if other == axis else 1 for other in range(len(layer.shape))]
    return np.broadcast_to(per_place.reshape(shape), layer.shape)


def _store(network: Network, name: str, value: Array) -> None:
    """In place: a walk that is under way holds the tensor already."""
    old = value_of_name(network, name)
    with torch.no_grad():
        old.copy_(torch.from_numpy(np.ascontiguousarray(value)))
