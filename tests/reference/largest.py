"""The largest network of a grid, by measuring every one of them through `torch.export`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log10

import torch

from packlight.network import Network
from packlight.weighing.memory import memory_of
from packlight.weighing.program import program_of
from packlight.zoo.measuring import fold
from packlight.zoo.recipes import Recipe
from packlight.zoo.searching import Bounds, Grid
from tests.reference.zoo import macs


@dataclass(frozen=True)
class Weighed:
    """One network of a grid."""

    width: float
    depth: float
    shape: tuple[int, int, int]
    parameters: int
    macs: int
    int8_bytes: int
    ram_bytes: int


def weighed(recipe: Recipe, depth: float, shape: tuple[int, int, int], classes: int) -> Weighed:
    """Weigh a network as any other, in float32; in int8 values take a quarter."""
    with torch.device("meta"):
        module = recipe.build(shape, classes).eval()
    parameters = sum(value.numel() for value in module.parameters())
    kernels = [value for value in module.parameters() if value.ndim > 1]
    size = sum(value.numel() + 8 * value.shape[0] for value in kernels)
    counted = macs(module, (1, *shape))
    fold(module)
    image = torch.empty(1, *shape, device="meta")
    program = program_of(Network.from_module(module, (image,), dynamic_batch=False))
    quarter = {name: replace(one, bytes=one.bytes // 4) for name, one in program.values.items()}
    peak = memory_of(replace(program, values=quarter), seconds=1.0).peak
    return Weighed(recipe.width, depth, shape, parameters, counted, size, size + peak)


def all_of(grid: Grid, classes: int) -> list[Weighed]:
    """Every network of a grid."""
    return [
        weighed(grid.recipe(width, depth), depth, shape, classes)
        for depth in grid.depths
        for shape in grid.shapes
        for width in grid.widths
    ]


def largest(rows: list[Weighed], grid: Grid, bounds: Bounds, line: tuple[float, float, float]):
    """The row with the highest score that meets every bound, and the score; None without one.

    Args:
        line: points at a million parameters and a hundred million MACs, per decade of either.
    """
    best = None
    for row in rows:
        if bounds.size is not None and row.int8_bytes > bounds.size:
            continue
        if bounds.macs is not None and row.macs > bounds.macs:
            continue
        if bounds.ram is not None and row.ram_bytes > bounds.ram:
            continue
        score = line[0] + line[1] * log10(row.parameters / 1e6) + line[2] * log10(row.macs / 1e8)
        score -= (row.depth != grid.depths[0]) + (row.shape != grid.shapes[0])
        if best is None or score > best[1] + 1e-9:
            best = row, score
    return best
