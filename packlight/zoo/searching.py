"""The largest network of the zoo inside every bound.

A grid per family: width in hundredths, a few depths, the given resolution and smaller ones. Bytes,
MACs and RAM never fall when a network gets wider, so in each cell (a depth and a resolution) the
widest network that meets all bounds is found by bisection. Of the cells, the one with the highest
score wins: see `predicting`; another depth than the paper's, or a smaller resolution than the one
asked for, has to be worth a point each. Where bytes stop a network from getting wider, smaller
images can not help, and are not tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from packlight.errors import BadInput
from packlight.units import parse_count, parse_size
from packlight.zoo.predicting import FAMILIES, predicted
from packlight.zoo.recipes import Recipe, takes
from packlight.zoo.sketching import Sketch, Unallocated

Shape = tuple[int, int, int]

ALSO = ("resnet8", "resnet18", "resnet50", "squeezenet1_0", "squeezenet1_1")  # where asked for

WIDTHS = tuple(hundredths / 100 for hundredths in range(5, 401))
DEPTHS = (1.0, 0.5, 2.0)
POINT = 1.0  # of the score: what a departure from the paper or from the image asked for must bring
_LEAST_SIDE = 32
_FINE, _COARSE, _LARGE = 16, 32, 128  # steps between resolutions; coarse ones above this side
_SMALLEST_SHARE = 0.5  # of the resolution asked for


@dataclass(frozen=True)
class Bounds:
    """What the network may take; None where there is no bound.

    Args:
        size: bytes of the weights in int8.
        macs: of one image.
        ram: bytes of weights and values in int8, as planned.
    """

    size: int | None = None
    macs: int | None = None
    ram: int | None = None

    @classmethod
    def parse(
        cls,
        target_size: str | int | None,
        max_macs: str | int | None,
        max_ram: str | int | None,
    ) -> Bounds:
        """Read bounds as people write them.

        Raises:
            BadInput: one can not be read, or there is none at all.
        """
        if target_size is None and max_macs is None and max_ram is None:
            raise BadInput(
                "no bound was given; ask for a size (--target-size 250KB), arithmetic "
                "(--max-macs 10M) or RAM (--max-ram 256KB)"
            )
        return cls(
            None if target_size is None else parse_size(target_size, "target-size"),
            None if max_macs is None else parse_count(max_macs, "max-macs"),
            None if max_ram is None else parse_size(max_ram, "max-ram"),
        )

    def shares(self, sketch: Sketch) -> dict[str, float]:
        """How full each bound is: 1 is full, above is broken."""
        return {
            name: used / most
            for name, used, most in (
                ("size", sketch.int8_bytes, self.size),
                ("macs", sketch.macs, self.macs),
                ("ram", 0 if self.ram is None else sketch.ram_bytes, self.ram),
            )
            if most is not None
        }

    def broken(self, sketch: Sketch) -> tuple[str, ...]:
        """The bounds that a network breaks."""
        return tuple(name for name, share in self.shares(sketch).items() if share > 1)


@dataclass(frozen=True)
class Grid:
    """The networks of one family that are tried, each list with the preferred one first.

    Args:
        family: a function of the zoo.
        shapes: of images.
        widths: ascending.
    """

    family: str
    shapes: tuple[Shape, ...]
    widths: tuple[float, ...] = WIDTHS
    depths: tuple[float, ...] = DEPTHS

    @classmethod
    def of(cls, family: str, input_shape: Shape) -> Grid:
        """All that is tried for images of this shape."""
        depths = DEPTHS if takes(family, "depth") else DEPTHS[:1]
        return cls(family, resolutions(input_shape), depths=depths)

    def recipe(self, width: float, depth: float) -> Recipe:
        """One network."""
        return Recipe(self.family, width, (("depth", depth),) if depth != 1 else ())

    def score(self, sketch: Sketch, depth: float, shape: Shape) -> float:
        """What is compared: `predicted`, less a point for each departure."""
        departures = (depth != self.depths[0]) + (shape != self.shapes[0])
        return predicted(sketch.parameters, sketch.macs) - POINT * departures


@dataclass(frozen=True)
class Candidate:
    """One network, measured.

    Args:
        recipe: how it is built.
        input_shape: channels, height and width of its images.
        sketch: its figures.
        score: see `Grid.score`.
        binds: the bounds that the next wider network would break.
    """

    recipe: Recipe
    input_shape: Shape
    sketch: Sketch
    score: float
    binds: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "recipe": str(self.recipe),
            "input_shape": list(self.input_shape),
            "parameters": self.sketch.parameters,
            "macs": self.sketch.macs,
            "int8_bytes": self.sketch.int8_bytes,
            "ram_bytes": self.sketch.ram_bytes,
            "score": round(self.score, 2),
            "binds": list(self.binds),
        }


def families_of(family: str | None) -> tuple[str, ...]:
    """The families to try: all that the score was made for, or the one named.

    Raises:
        BadInput: it is not one that can be tried.
    """
    if family is None:
        return FAMILIES
    if family not in (*FAMILIES, *ALSO):
        why = (
            "condensenet finds its shape while it is trained (docs/zoo.md)"
            if family == "condensenet"
            else f"{family!r} is no family of compact networks"
        )
        raise BadInput(f"{why}; take one of {', '.join((*FAMILIES, *ALSO))}")
    return (family,)


def resolutions(input_shape: Shape) -> tuple[Shape, ...]:
    """The shape itself, then smaller ones of the same proportions, down to half."""
    channels, *sides = input_shape
    short = min(sides)
    shapes = [input_shape]
    side = short
    while True:
        step = _COARSE if side > _LARGE else _FINE
        side = (side - 1) // step * step
        if side < max(_LEAST_SIDE, _SMALLEST_SHARE * short):
            return tuple(shapes)
        high, wide = (max(side, round(one * side / short / _FINE) * _FINE) for one in sides)
        shapes.append((channels, high, wide))


def best_of(
    grid: Grid, classes: int, bounds: Bounds, tick: Callable[[], None] = lambda: None
) -> Candidate | None:
    """The network of a grid with the highest score inside all bounds; None where none is.

    Args:
        tick: called after every depth.
    Raises:
        BadInput: the family does not take these images or classes.
    """
    best: Candidate | None = None
    for depth in grid.depths:
        best = _best_at(grid, depth, classes, bounds, best)
        tick()
    return best


def smallest_of(grids: Sequence[Grid], classes: int, bounds: Bounds) -> Candidate:
    """The network that comes nearest to bounds that none meets."""
    found = []
    for grid in grids:
        shape = grid.shapes[-1]
        for depth in grid.depths:
            recipe = grid.recipe(grid.widths[0], depth)
            sketch = Unallocated.of(recipe, shape, classes).sketch(shape)
            found.append(Candidate(recipe, shape, sketch, grid.score(sketch, depth, shape)))
    return min(found, key=lambda one: max(bounds.shares(one.sketch).values()))


def _best_at(
    grid: Grid, depth: float, classes: int, bounds: Bounds, best: Candidate | None
) -> Candidate | None:
    """The best over all resolutions of one depth, or what was the best before."""
    widths = grid.widths

    @cache
    def built(index: int) -> Unallocated:
        return Unallocated.of(grid.recipe(widths[index], depth), grid.shapes[0], classes)

    @cache
    def sketched(index: int, shape: Shape) -> Sketch:
        return built(index).sketch(shape)

    def fits(index: int, shape: Shape) -> bool:
        return not bounds.broken(sketched(index, shape))

    def figures(index: int, shape: Shape) -> tuple[int, ...]:
        sketch = sketched(index, shape)
        return sketch.parameters, sketch.macs, sketch.int8_bytes

    size = bounds.size
    narrow = len(widths)  # how many widths the bound on bytes leaves
    if size is not None:
        narrow = last_true(lambda index: built(index).int8_bytes <= size, -1, narrow) + 1
    if not narrow:
        return best
    reached = -1  # what fits a large image fits a small one
    for shape in grid.shapes:
        if best is not None:
            most = sketched(narrow - 1, shape)
            if bounds.macs is not None:
                most = replace(most, macs=min(most.macs, bounds.macs))
            if grid.score(most, depth, shape) <= best.score:  # even where it is all used
                continue
        guess = narrow - 1 if reached < 0 and size is not None else reached + 1
        reached = last_true(partial(fits, shape=shape), reached, narrow, guess=guess)
        if reached < 0:
            continue
        sketch = sketched(reached, shape)
        score = grid.score(sketch, depth, shape)
        if best is None or score > best.score:
            first = first_equal(partial(figures, shape=shape), reached)
            last = reached + 1 == len(widths)
            binds = () if last else bounds.broken(sketched(reached + 1, shape))
            best = Candidate(
                grid.recipe(widths[first], depth), shape, sketched(first, shape), score, binds
            )
        if reached + 1 == narrow:
            break
    return best


def last_true(
    holds: Callable[[int], bool], known: int, count: int, *, guess: int | None = None
) -> int:
    """The last of `count` places where a condition holds that, once broken, stays broken.

    Args:
        known: a place where it holds, or -1.
        guess: where to look first; the closer, the fewer places are tried.
    """
    low, high = known, count  # holds at low, not at high
    place, step = known + 1 if guess is None else guess, 1
    while high - low > 1:
        if not low < place < high:
            place = (low + high) // 2
        if holds(place):
            low, place = place, place + step if high == count else -1
        else:
            high, place = place, place - step if low == known else -1
        step *= 2
    return low


def first_equal(value: Callable[[int], Any], place: int) -> int:
    """The first place of the run of equal values that `place` ends."""
    while place and value(place - 1) == value(place):
        place -= 1
    return place
