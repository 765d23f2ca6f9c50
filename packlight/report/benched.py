"""The figures of a bench as one table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from packlight.units import show_size

if TYPE_CHECKING:
    from packlight.benching import BenchResult, Timed
    from packlight.judge import Interval

_WORDS = {"faster": "faster", "slower": "slower", "unclear": "too noisy"}


def table(result: BenchResult) -> Table:
    """Two lines per file, in the order given, intervals in the second; the notes below."""
    shown = Table(box=None, pad_edge=False, header_style="bold", caption=_caption(result))
    shown.caption_justify = "left"
    shown.add_column("file", overflow="fold")
    for name in ("load ms", "run ms", "p95 ms", "x the first", "peak RAM", "nodes\nkernels"):
        shown.add_column(name, justify="right", overflow="fold")
    for one in result.files:
        title = Text(f"{one.file}\n{one.runtime}, {show_size(one.bytes)}")
        shown.add_row(title, *map(Text, _figures(one)))
    return shown


def _caption(result: BenchResult) -> Text:
    threads = f"{result.threads} thread{'s' if result.threads > 1 else ''}"
    bound = f" on processor {', '.join(map(str, result.cpus))}" if result.cpus else ""
    about = f"{threads}{bound}, {result.turns} turns; medians with 95 % intervals"
    return Text("\n".join([about, *(f"- {note}" for note in result.notes)]))


def _figures(one: Timed) -> list[str]:
    """What stands right of the name."""
    if one.median_ms is None:
        return ["", "not timed", "", "", "", ""]
    ratio = ""
    if one.ratio is not None and one.verdict is not None:
        ratio = f"{number(one.ratio.value)} {_WORDS[one.verdict]}\n{_ends(one.ratio)}"
    return [
        number(one.load_ms),
        f"{number(one.median_ms.value)}\n{_ends(one.median_ms)}",
        number(one.p95_ms),
        ratio,
        "" if one.peak_bytes is None else f"+{show_size(one.peak_bytes)}",
        "" if one.kernels is None else f"{one.kernels.nodes}\n{one.kernels.run}",
    ]


def _ends(interval: Interval) -> str:
    return f"{number(interval.low)} - {number(interval.high)}"


def number(value: float | None) -> str:
    """Three digits that count, without an exponent."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"
