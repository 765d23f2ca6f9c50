"""The figures of a folder's files for the terminal: a table with runtimes in rows, and where layers
were asked for, one of them for each runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from packlight.report.benched import number
from packlight.units import show_size

if TYPE_CHECKING:
    from packlight.judge import Interval
    from packlight.layerwise import Layer, RuntimeLayers
    from packlight.parity import Checked, ParityResult


SHOWN = 8  # layers of a runtime: all that depart, then those with the largest differences


def shown(result: ParityResult) -> Table | Group:
    """Everything that was found."""
    parts = [part for one in result.layers for part in ("", *_layers(one))]
    return Group(table(result), *parts) if parts else table(result)


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


def _layers(one: RuntimeLayers) -> list[Text | Table]:
    title = f"{one.file}, {one.runtime}"
    if one.problem is not None:
        return [Text(f"{title}: its layers can not be seen: {one.problem}")]
    first = next((layer for layer in one.layers if layer.departs), None)
    told = f"none of {len(one.layers)} layers departs from {one.reference}"
    if first is not None:
        count = sum(layer.departs for layer in one.layers)
        told = f"{first.name} ({first.kind}) is the first to depart, by {_difference(first)}"
        told += f"; {count} of {len(one.layers)} layers do, from {one.reference}"
    lines = [Text(f"{title}: {told}"), *([Text(f"- {one.note}")] if one.note else [])]
    return [*lines, _worst(one)]


def _worst(one: RuntimeLayers) -> Table:
    """The layers that matter, in their order."""
    ranked = sorted(one.layers, key=lambda layer: (layer.departs, _size(layer)), reverse=True)
    chosen = ranked[: max(SHOWN, sum(layer.departs for layer in ranked))]
    caption = f"n = {one.n}; differences of a layer given what the runtime made before it"
    if len(chosen) < len(one.layers):
        caption += f"; {len(one.layers) - len(chosen)} layers with smaller ones are not shown"
    made = Table(box=None, pad_edge=False, header_style="bold", caption=caption)
    made.caption_justify = "left"
    made.add_column("\nlayer", overflow="fold")
    for name in ("\noperator", "largest\ndifference", "other\nlevel", "SQNR\nso far", ""):
        made.add_column(name, no_wrap=True, justify="left" if "operator" in name else "right")
    for layer in one.layers:
        if layer in chosen:
            off = "" if layer.off is None else f"{layer.off:.3%}"
            mark = "departs" if layer.departs else ""
            figures = (_difference(layer), off, f"{layer.sqnr_db:.1f} dB", mark)
            made.add_row(*map(Text, (layer.name, layer.kind, *figures)))
    return made


def _size(layer: Layer) -> float:
    return layer.largest / max(layer.range, 1e-30)


def _difference(layer: Layer) -> str:
    share = f"{_size(layer):.1e} of range"
    if layer.levels is None:
        return share
    return f"{layer.levels} level{'' if layer.levels == 1 else 's'}"
