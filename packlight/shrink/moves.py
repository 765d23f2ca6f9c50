"""The moves that `fit` can make, what they have in common, and which go together.

    quantize     weights on an int8 grid, activations in uint8
    prune        weights stay float; those that the loss misses least are exactly zero
    palettize    weights shared: at most 256 different ones per tensor
    factorize    layers in low-rank factors, where that pays

A recipe names moves made in an order of their own: "deep-compression" (`deep_compression`).

Every move is driven by one number, the coarseness c: the loss may rise by c^2 for what is gained
(a weight gone, a parameter less; a bit counts `grid_search.BIT_PRICE` of it). One search over c
serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from packlight.coding import rate
from packlight.errors import BadInput
from packlight.network import Network
from packlight.shrink import quantize
from packlight.shrink.budget import Budget
from packlight.shrink.layers import Layer
from packlight.types import Array

MOVES = ("quantize", "prune", "palettize", "factorize")
DEFAULT = ("quantize",)
ACTIVATIONS = {"int8": quantize.LEVELS, "float": rate.LEVELS}
"""What layers with quantised weights read, and the largest level of those weights."""
RECIPES = ("deep-compression",)
TOGETHER = ("prune,quantize", "prune,palettize", "factorize,quantize")
REACH = 8.0  # times where a search begins: from there on, what makes no smaller file ends it


@dataclass(frozen=True)
class LayerFigures:
    """What became of one layer, as the report shows it.

    Args:
        name, kind, shape: of the layer, as in the graph that is written.
        form: how its weights are held: "int8", "float", "shared", or a form of low rank.
        weights: numbers held, without the bias.
        tensors: the initialisers of the file that hold them.
        installed: bytes of weights, scales or codebook, and bias.
        bits: estimated, packed, of one weight; None where the packed file is asked instead.
        step: of the grid, if there is one.
        zeros: share of the numbers that are zero.
        levels: distinct numbers.
        activation: "int8" or "float", what the layer reads.
        why_float: a sentence, where int8 would do harm.
        damage: estimated rise of the loss.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    form: str
    weights: int
    tensors: tuple[str, ...]
    installed: int
    bits: float | None
    step: float | None
    zeros: float
    levels: int
    activation: str
    why_float: str | None
    damage: float

    @classmethod
    def in_floats(
        cls,
        layer: Layer,
        form: str,
        numbers: Array,
        *,
        tensors: tuple[str, ...],
        installed: int,
        damage: float,
        why_float: str | None = None,
    ) -> LayerFigures:
        """Of a layer without a grid, whose tensors hold `numbers`; the rest as above."""
        return cls(
            name=layer.name,
            kind=layer.kind,
            shape=layer.shape,
            form=form,
            weights=numbers.size,
            tensors=tensors,
            installed=installed,
            bits=None,
            step=None,
            zeros=float((numbers == 0).mean()),
            levels=len(np.unique(numbers)),
            activation="float",
            why_float=why_float,
            damage=damage,
        )


class Form(Protocol):
    """A network as it would be written."""

    @property
    def file(self) -> bytes:
        """The ONNX file."""

    def network(self) -> Network:
        """The same as a graph."""

    def layers(self) -> list[LayerFigures]:
        """What became of each layer, in the order the graph runs."""

    def notes(self) -> list[str]:
        """What was decided, in sentences."""


class Move(Protocol):
    """A way to make a network smaller, the coarser the smaller."""

    @property
    def start(self) -> float:
        """A coarseness where it begins to tell."""

    @property
    def last(self) -> float:
        """One beyond which hardly anything gets smaller."""

    def forms(self, coarseness: float) -> Sequence[Form]:
        """The network at a coarseness, 0 the most exact; one of several that compute the same is
        taken by its size."""


def parse(
    only: str | Sequence[str] | None, effort: str, budget: Budget, recipe: str | None = None
) -> tuple[str, ...]:
    """Read which moves are wanted.

    Args:
        only: names, or one text with commas between them; None for what `fit` does by itself.
        effort, budget: what else was asked.
        recipe: one of `RECIPES`, instead of `only`.
    Returns:
        The moves, in the order of `MOVES`; without "prune" beside "quantize", because the price of
        bits there prunes what pays already.
    Raises:
        BadInput: a move is not known, or can not be had with the others, the effort or the budget.
    """
    if recipe is not None:
        if recipe not in RECIPES:
            raise BadInput(f"--recipe {recipe!r} is not known; there is {', '.join(RECIPES)}")
        if only is not None:
            raise BadInput("--recipe names its moves itself; give it without --only")
        return ("prune", "palettize")
    if only is None:
        return DEFAULT
    names = [name.strip() for name in (only.split(",") if isinstance(only, str) else only)]
    for name in names:
        if name not in MOVES:
            raise BadInput(f"--only {name!r} is no move; give one or more of {', '.join(MOVES)}")
    wanted = set(names)
    if "quantize" in wanted:
        wanted -= {"prune"}
    moves = tuple(name for name in MOVES if name in wanted)
    if len(moves) != 1 and set(moves) not in ({"prune", "palettize"}, {"quantize", "factorize"}):
        raise BadInput(
            f"--only {','.join(names)!r} names moves that do not go together; "
            f"give one alone, or {', '.join(TOGETHER[:-1])} or {TOGETHER[-1]}"
        )
    if effort != "fast" and moves != DEFAULT and budget.speedup is None:
        raise BadInput(
            f"effort {effort!r} retrains through int8 weights and works with --only quantize; "
            f"for --only {','.join(moves)} leave the effort at fast"
        )
    if moves == ("prune",) and budget.target_installed_size is not None:
        raise BadInput(
            "a pruned weight is a float that is zero: --only prune leaves the installed size as it "
            "is; give --target-size, or --only palettize or quantize"
        )
    return moves
