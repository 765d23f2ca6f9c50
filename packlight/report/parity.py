"""The figures of a folder's files as one table for the terminal, runtimes in rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from packlight.report.benched import number
from packlight.units import show_size

if TYPE_CHECKING:
    from packlight.judge import Interval
    from packlight.parity import Checked, ParityResult


def table(result: ParityResult) -> Table:
    """Two lines per file, intervals in the second; what is to be known below."""
    about = f"n = {result.n}: {result.judged_on}; answers and SQNR against the first row"
    caption = Text("\n".join([about, *(f"- {note}" for note in _notes(result))]))
    shown = Table(box=None, pad_edge=False, header_style="bold", caption=caption)
    shown.caption_justify = "left"
    shown.add_column("file\nruntime", overflow="fold")
    headers = ("bytes\npacked", "top-1", "same answer", "SQNR", "run ms\np95", "load ms\npeak RAM")
    for name in headers:
        shown.add_column(name, justify="right", overflow="fold")
    for one in result.files:
        sizes = f"{show_size(one.bytes)}\n{show_size(one.packed_bytes)}"
        title = f"{one.file}\n{one.runtime}"
        shown.add_row(*map(Text, (title, sizes, *_figures(one))))
    return shown


def _figures(one: Checked) -> list[str]:
    if one.sqnr_db is None:
        return ["", "not run", "", "", ""]
    timed = one.timed
    run = load = ""
    if timed is not None and timed.median_ms is not None:
        peak = "" if timed.peak_bytes is None else f"+{show_size(timed.peak_bytes)}"
        run = f"{number(timed.median_ms.value)}\n{number(timed.p95_ms)}"
        load = f"{number(timed.load_ms)}\n{peak}"
    return [_share(one.top1), _share(one.agreement), f"{one.sqnr_db:.1f} dB", run, load]


def _share(value: Interval | None) -> str:
    return "" if value is None else f"{value.value:.2%}\n{value.low:.1%} - {value.high:.1%}"


def _notes(result: ParityResult) -> list[str]:
    refused = [f"{one.file}: {one.problem}" for one in result.files if one.problem]
    return [*refused, *result.notes]
