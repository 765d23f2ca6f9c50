"""The page that `packlight weigh --html` writes: treemap, limits, and every layer in figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import packlight
from packlight.report.blocks import Section, figure, more, page, section, table
from packlight.report.element import Html, element
from packlight.report.limits import MEASURED, download_times, outcome, takes
from packlight.report.timeline import timeline
from packlight.report.treemap import Tile, shades, treemap
from packlight.report.words import NONE, count, fixed, percent, size
from packlight.weighing.folding import Folded, fold
from packlight.weighing.limits import Judged, Limit
from packlight.weighing.summary import RIDGE, Summary, gap_words, summary
from packlight.weighing.table import LayerRow, LayerTable

MOST = 400  # layers written out: the page stays below a megabyte
_DENSE = ("Dense", "LSTM", "GRU", "SimpleRNN", "Embedding")


def render(weighed: LayerTable, judged: Judged | None = None) -> str:
    """The page.

    Args:
        weighed: the network.
        judged: its verdicts, where limits were asked for.
    """
    found = summary(weighed)
    name = weighed.model or "a network"
    sections = (
        _bytes(weighed),
        _memory(weighed, found),
        _waste(found),
        _limits(judged),
        _layers(weighed),
    )
    return page(
        f"{name}, weighed by packlight",
        _header(weighed, found, name),
        sections,
        element("footer", f"packlight {packlight.__version__}"),
    )


def kind_of(row: LayerRow) -> str:
    """How a layer is drawn."""
    if row.type in _DENSE:
        return "dense"
    return "convolution" if "Conv" in row.type else "other"


def _few(value: float | None) -> str:
    return "" if value is None else count(value) if value >= 10 else fixed(value, 1)


def _header(weighed: LayerTable, found: Summary, name: str) -> Html:
    totals = weighed.totals
    stored = found.stored_bytes if found.file_bytes is None else found.file_bytes
    title: list[Any] = [element("span", size(stored), class_="from")]
    if found.packed_bytes is not None:
        title += [
            " ",
            element("span", "→", class_="arrow"),
            " ",
            element("span", size(found.packed_bytes), class_="to"),
        ]
    about = "" if found.packed_is_exact else "about "
    words = [
        f"{count(totals.parameter_count)} parameters in {totals.layers:,} layers: "
        f"{size(found.float32_bytes)} as float32."
    ]
    if found.packed_bytes is not None:
        words.append(
            f"The file takes {size(stored)}, its download {about}{size(found.packed_bytes)}."
        )
    if found.macs:
        samples = "one sample" if weighed.batch == 1 else f"{weighed.batch:,} samples"
        words.append(f"{count(found.macs)} multiply-adds answer {samples}.")
    return element(
        "header",
        element("p", name, class_="kicker"),
        element("h1", *title),
        element("p", " ".join(words), class_="lede"),
        [element("p", note) for note in weighed.notes],
    )


def _bytes(weighed: LayerTable) -> Section | None:
    tiles = [Tile(row.layer, row.bytes, kind_of(row)) for row in weighed.rows if row.bytes]
    if not tiles:
        return None
    caption = "Each layer's area is its share of the stored bytes."
    picture = figure(caption, treemap(tiles), shades(tiles))
    return section("bytes", "Where the bytes are", None, picture)


def _memory(weighed: LayerTable, found: Summary) -> Section | None:
    memory = weighed.memory
    if memory is None or not memory.timeline.live:
        return None
    words = [
        f"The values between layers take {size(memory.peak)} at most, planned into one arena: "
        f"{gap_words(memory.peak, memory.lower_bound)}; as the interpreter of TFLite plans, "
        f"{size(memory.greedy.peak)}; each in memory of its "
        f"own, {size(memory.naive)}. The weights come on top: {size(found.ram_bytes)} in all."
    ]
    better = memory.reordered
    if better is not None:
        words.append(f"Another order of layers takes {size(better.plan.peak)}.")
    picture = figure(
        "Bytes alive while each step runs.",
        timeline(memory.timeline, better.timeline if better else None, name="timeline"),
    )
    return section("memory", "Memory while it runs", " ".join(words), picture)


def _waste(found: Summary) -> Section | None:
    lines = [
        *(
            (item.name or NONE, size(item.bytes), f"the same bytes as {item.copy_of or 'another'}")
            for item in found.copies
        ),
        *(
            (
                item.name or NONE,
                size(item.bytes if item.unused else item.zero_bytes),
                "nothing reads it" if item.unused else f"{item.zero_channels:,} channels are zero",
            )
            for item in found.dead
        ),
    ]
    if not lines:
        return None
    listed = table(
        "Tensors that stand in the file twice, or do nothing.",
        [("tensor", False), ("bytes", True), ("why", False)],
        lines[:MOST],
    )
    return section("waste", "What could go", None, listed)


def _limits(judged: Judged | None) -> Section | None:
    if judged is None:
        return None
    lines = [
        (
            f"{verdict.limit.name}{' (historic)' if verdict.limit.historic else ''}",
            size(verdict.limit.at_most),
            f"{MEASURED[verdict.limit.measures]} {takes(verdict)}",
            outcome(verdict),
            element("span", _source(verdict.limit), class_="source"),
        )
        for verdict in judged.verdicts
    ]
    listed = table(
        "Stores bound whole apps, of which a network is a part.",
        [("limit", False), ("allows", True), ("takes", True), ("", True), ("source", False)],
        lines,
    )
    times = download_times(judged)
    return section(
        "limits",
        "What is allowed",
        f"The download takes {times}, connecting left out." if times else None,
        listed,
    )


def _source(limit: Limit) -> str:
    return ", ".join(filter(None, (limit.source, limit.as_of and f"as of {limit.as_of}"))) or NONE


def _layers(weighed: LayerTable) -> Section:
    folded = fold(weighed.rows)
    whole = _layer_table("As the network runs them; blocks that repeat added up.", weighed, folded)
    every = [Folded((row,)) for row in weighed.rows[:MOST]]
    title = f"All {len(weighed.rows):,} layers"
    if len(every) < len(weighed.rows):
        title = f"The first {len(every):,} of {len(weighed.rows):,} layers"
    words = (
        "MACs per weight say how often a weight is used, MACs per byte how much is computed with "
        f"what is moved: below {RIDGE:g}, a layer waits for memory."
    )
    alone = len(folded) == len(weighed.rows)
    again = None if alone else more(title, _layer_table("Each by itself.", weighed, every))
    return section("layers", "Layer by layer", words, whole, again)


def _layer_table(caption: str, weighed: LayerTable, rows: list[Folded]) -> Html:
    total = weighed.totals.bytes
    columns = [
        ("layer", False),
        ("type", False),
        ("output", False),
        ("parameters", True),
        ("stored", True),
        ("packed", True),
        ("share", True),
        ("MACs", True),
        ("per weight", True),
        ("per byte", True),
    ]

    def lines() -> Iterator[tuple[Any, ...]]:
        for folded in rows[:MOST]:
            row = folded.row
            packed = weighed.packed_bytes(row)
            yield (
                f"{row.layer} × {folded.times}" if folded.times > 1 else row.layer,
                " ".join(filter(None, (row.type, row.activation))),
                row.shape_text.replace("x", "×"),
                count(row.parameter_count) if row.parameter_count else "",
                size(row.bytes) if row.bytes else "",
                size(packed) if row.bytes else "",
                percent(row.bytes / total) if row.bytes else "",
                count(row.macs) if row.macs else "",
                _few(row.reuse),
                _few(row.intensity),
            )

    return table(caption, columns, lines(), class_="wide")
