"""A fit that starts from an earlier one, so that whoever has that downloads little.

Layers are solved in the order of the graph, as in `following`, each from the integers it had
(`revise`). What a bit of the file is worth, the earlier version's steps tell. What a bit of the
update is worth beside it, the answers decide: as much, if they are then about as near to the
original's as those of a network solved anew; otherwise less.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from packlight.coding.files import SUFFIX
from packlight.coding.packing import compress
from packlight.errors import BadInput
from packlight.readers.onnx.file import read_proto, tensor_array
from packlight.shrink import grid_search, weights
from packlight.shrink.budget import Budget
from packlight.shrink.grid_search import Prepared, Solved
from packlight.shrink.layers import Layer
from packlight.shrink.revise import coarseness_of, revise
from packlight.shrink.search import Point, Visit
from packlight.types import Array

FILE = "model.onnx"  # that a fit writes
TRIALS = 4  # of a network solved anew
STRIDE = 1.1  # of the coarseness, between them
ANEW = 0.0
WEIGHTS = (1.0, 0.1, 0.03, ANEW)  # of a bit of the update, in bits of the whole file
FARTHER = 1.2  # from the original than a network solved anew, an update may be at most
WORSE = 0.015  # share of answers that it may lose beside that one


@dataclass(frozen=True)
class Earlier:
    """An earlier version.

    Args:
        path: of its file.
        file: the bytes in it, ONNX.
        layers: weight -> its integers, as far as the file has them.
    """

    path: Path
    file: bytes = field(repr=False)
    layers: Mapping[str, Solved] = field(repr=False)

    def update(self, file: bytes) -> int:
        """Bytes of the difference to another file."""
        return len(compress(file, "max", base=self.file, verify=False))

    def solver(self, weight: float) -> Callable[[Prepared, float], Solved]:
        """How one layer is solved: from what it was, unless all is wanted anew.

        Args:
            weight: of a bit of the update, in bits of the whole file.
        """

        def solve(prepared: Prepared, coarseness: float) -> Solved:
            if weight == ANEW:
                return grid_search.solve(prepared, coarseness)
            return revise(prepared, self.layers[prepared.layer.weight], coarseness, weight)

        return solve

    def coarseness(self, prepared: Sequence[Prepared]) -> float:
        """That it was fitted at, as of `revise.coarseness_of`."""
        return coarseness_of(prepared, [self.layers[one.layer.weight] for one in prepared])


def read(path: str | os.PathLike[str], layers: Sequence[Layer], top: int) -> Earlier:
    """Read an earlier version of a network.

    Args:
        path: the folder of a fit, or the ONNX file in it.
        layers: of the network as it is now.
        top: the largest level that they may have.
    Raises:
        BadInput: there is no such file, or it holds no integers for any of these layers, larger
            ones, or those of layers of another shape.
    """
    found = Path(path)
    if found.is_dir():
        found = found / FILE
    if found.suffix == SUFFIX:
        raise BadInput(f"{found} is packed; give the folder of the fit, or unpack it first")
    model = read_proto(found)
    held = {one.name: tensor_array(one, one.name) for one in model.graph.initializer}
    known = {}
    for layer in layers:
        levels = held.get(weights.quantized_name(layer.weight))
        scale = held.get(weights.scale_of(layer.weight))
        if levels is None or scale is None:
            continue
        scale = scale.reshape(-1) if scale.ndim > 1 else scale  # as of a float kernel's weight
        if not _of_a_fit(levels, scale, layer):
            continue
        if levels.shape != layer.shape:
            raise BadInput(
                f"{layer.name} is {_shape(levels.shape)} in {found} and {_shape(layer.shape)} in "
                "this network; a base is an earlier fit of the same network, with all its channels"
            )
        most = int(np.abs(levels.astype(np.int16)).max())
        if most > top:
            raise BadInput(
                f"the integers of {layer.name} go up to {most} in {found}, and kernels on integers "
                f"take {top} at most; give --activations float if the base was fitted with it"
            )
        channels = np.full(layer.shape[layer.axis], scale)  # one for each, or one for all
        known[layer.weight] = Solved(levels, channels, _bias(held, layer.bias), 0.0)
    if not known:
        raise BadInput(
            f"{found} holds no int8 weights of this network (such as "
            f"{weights.quantized_name(layers[0].weight)}); give the folder of an earlier fit of it"
        )
    return Earlier(found, found.read_bytes(), known)


def _of_a_fit(levels: Array, scale: Array, layer: Layer) -> bool:
    if levels.dtype != np.int8 or not levels.size or levels.ndim != len(layer.shape):
        return False
    return bool(scale.shape in ((), (levels.shape[layer.axis],)) and (scale > 0).all())


def _bias(held: Mapping[str, Array], name: str | None) -> Array | None:
    """(channels,) float64, where the file has it."""
    if name is None:
        return None
    levels, scale = (held.get(of(name)) for of in (weights.quantized_name, weights.scale_of))
    if levels is not None and scale is not None:
        return np.asarray(levels * scale.astype(np.float64))
    return held[name].astype(np.float64) if name in held else None


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def near(
    build: Callable[[float, float], Point],
    distance: Callable[[Point], float],
    drop: Callable[[Point], float],
    budget: Budget,
    coarseness: float,
) -> tuple[Point | None, float, list[Visit]]:
    """The network that changes least of those that meet the budget and lose nothing by it.

    Args:
        build: coarseness and one of `WEIGHTS` -> point.
        distance: how far a point's answers are from the original's.
        drop, budget: as of `search.search`.
        coarseness: where to begin.
    Returns:
        The point, None where none meets the budget near that coarseness; its weight; and all that
        were tried.
    """
    visited: list[Visit] = []

    def fits(point: Point) -> bool:
        visited.append(point.visit)
        return budget.fits(point.visit.packed_bytes, point.visit.bytes)

    def keeps(point: Point) -> bool:
        return budget.max_drop is None or drop(point) <= budget.max_drop

    for _ in range(TRIALS):
        anew = build(coarseness, ANEW)
        if not fits(anew):
            coarseness *= STRIDE
        elif not keeps(anew):
            coarseness /= STRIDE
        else:
            break
    else:
        return None, ANEW, visited
    far, lost = FARTHER * distance(anew), _lost(anew) + WORSE
    found: tuple[Point | None, float] = None, ANEW
    for weight in WEIGHTS[:-1]:
        point = build(coarseness, weight)
        if fits(point) and keeps(point):
            found = point, weight
            if distance(point) <= far and _lost(point) <= lost:
                break
    return *found, visited


def _lost(point: Point) -> float:
    """The share of right answers lost, or of answers changed; 0 where nothing is classified."""
    return point.visit.verdict.drop or 0.0
