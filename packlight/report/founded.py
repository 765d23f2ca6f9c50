"""What `new` found: the best network of each family, and how full the bounds are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packlight.report.words import count, size
from packlight.units import show_count, show_size

if TYPE_CHECKING:
    from rich.table import Table

    from packlight.founding import NewResult
    from packlight.zoo.searching import Bounds, Candidate


def table(result: NewResult) -> Table:
    """A line per family, the best first."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("network", no_wrap=True)
    for name in ("input", "parameters", "MACs", "int8", "RAM", "score"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in result.rows:
        shown.add_row(
            str(row.recipe),
            "x".join(map(str, row.input_shape)),
            count(row.sketch.parameters),
            show_count(row.sketch.macs),
            size(row.sketch.int8_bytes),
            size(row.sketch.ram_bytes),
            f"{row.score:.1f}",
        )
    notes = [
        "int8: a byte per weight, a scale and a bias per channel",
        "(fit makes a trained network's download smaller)",
        "RAM: weights, and values of one image as planned, in int8",
        "score: grows with the logarithms of parameters and MACs",
    ]
    shown.caption, shown.caption_justify = "\n".join(notes), "left"
    return shown


def sentence(result: NewResult) -> str:
    """The network chosen, what it takes, and what stops it from being larger."""
    chosen = result.chosen
    shape = "x".join(map(str, chosen.input_shape))
    asked = "x".join(map(str, result.asked_shape))
    smaller = f" (not {asked}: shrink images first)" if shape != asked else ""
    largest = "" if chosen.binds else "; nothing binds: it is the widest that is tried"
    told = filled(chosen, result.bounds)
    return f"{chosen.recipe} for {shape} images{smaller}: {told}{largest}"


def filled(candidate: Candidate, bounds: Bounds) -> str:
    """size 243 KB of 250 KB, MACs 9.8 M of 10 M (binds), RAM 120 KB."""
    sketch = candidate.sketch
    parts = []
    for key, name, used, most, written in (
        ("size", "size", sketch.int8_bytes, bounds.size, show_size),
        ("macs", "MACs", sketch.macs, bounds.macs, show_count),
        ("ram", "RAM", sketch.ram_bytes, bounds.ram, show_size),
    ):
        allowed = "" if most is None else f" of {written(most)}"
        binds = " (binds)" if key in candidate.binds else ""
        parts.append(f"{name} {written(used)}{allowed}{binds}")
    return ", ".join(parts)
