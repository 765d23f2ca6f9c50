"""The report's layers: where the bytes were, where the damage is, what a weight costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from packlight.report import charts
from packlight.report.blocks import Report, Section, figure, more, section, table
from packlight.report.element import Html, element
from packlight.report.words import NONE, count, finite, fixed, percent, short, size

TOP_LAYERS = 24  # shown at once; the rest folds away
WORST_LAYERS = 10
MOST_LAYERS = 200  # folded away: the page stays below 400 KB, and report.json holds all


def sizes(report: Report) -> Section | None:
    """The largest layers as bars."""
    layers = _by_size(report)
    if not layers:
        return None
    top = _shown(len(layers))
    rows = [_bar(layer) for layer in layers[:top]]
    key = [
        element("span", element("i", class_=kind), words, class_="key")
        for kind, words in (
            ("before", "before"),
            ("installed", "installed"),
            ("packed", "of it in the download" + (", estimated" if _estimated(layers) else "")),
        )
    ]
    return section(
        "sizes",
        "Size by layer",
        f"The largest layers first. {_forms(layers)}",
        figure("Bytes of each layer.", charts.bars(rows), element("div", key)),
        _rest(layers[top:]),
    )


def _forms(layers: Sequence[Report]) -> str:
    """How weights are held, in a sentence."""
    forms = {str(layer.get("form") or "int8") for layer in layers}
    if forms == {"int8"}:
        held = "a weight is an integer of 8 bits"
    elif forms == {"shared"}:
        held = "a weight is one of at most 256 numbers of its layer"
    elif forms == {"float"}:
        return (
            "Weights are floating-point numbers; those that are zero cost next to nothing packed."
        )
    else:
        return "Layers in factors hold fewer numbers; all are floating-point numbers."
    return f"Once installed, {held}; few different ones occur, so the download needs less."


def _estimated(layers: Sequence[Report]) -> bool:
    """Whether what layers take packed is an estimate: it is where they hold integers."""
    return all(layer.get("form") in (None, "int8") for layer in layers)


def _bar(layer: Report) -> charts.Bar:
    before, installed, bits, weights = (
        finite(layer.get(key)) or 0.0
        for key in ("bytes_before", "bytes_after", "bits_per_weight", "weights")
    )
    return charts.Bar(str(layer.get("name")), before, installed, min(bits * weights / 8, installed))


def _rest(layers: Sequence[Report]) -> Html | None:
    if not layers:
        return None
    bars = [_bar(layer) for layer in layers]
    before, installed = sum(bar.before for bar in bars), sum(bar.installed for bar in bars)
    return element(
        "p",
        f"The other {len(layers):,} layers together: {size(before)}, now {size(installed)}.",
    )


def worst(report: Report) -> Section | None:
    """The layers that cost the most accuracy."""
    damaged = [
        layer for layer in report.get("layers") or [] if (finite(layer.get("damage")) or 0) > 0
    ]
    damaged.sort(key=lambda layer: -layer["damage"])
    if not damaged:
        return None
    total = sum(layer["damage"] for layer in damaged)
    lines = [
        (
            layer.get("name"),
            percent(layer["damage"] / total),
            short(layer["damage"]),
            fixed(layer.get("bits_per_weight"), 2),
            layer.get("activation") or NONE,
        )
        for layer in damaged[:WORST_LAYERS]
    ]
    listed = table(
        f"The {min(len(damaged), WORST_LAYERS)} layers with the most damage.",
        [
            ("layer", False),
            ("share of the damage", True),
            ("damage", True),
            ("bits per weight", True),
            ("inputs", False),
        ],
        lines,
    )
    return section(
        "worst",
        "Where the damage is",
        "Damage is the estimated loss that a layer's changed weights cause. Where accuracy falls "
        "short, these layers are the first to look at.",
        listed,
    )


def mended(report: Report) -> Section | None:
    """The layers by what mending each alone would bring, where that was measured."""
    rows = report.get("explain") or []
    if not rows:
        return None
    lines = [
        (row.get("layer"), short(row.get("damage")), f"{row.get('bytes', 0):+,}")
        for row in rows[:WORST_LAYERS]
    ]
    listed = table(
        f"The {len(lines)} layers that mending alone would help most.",
        [("layer", False), ("outputs nearer by", True), ("bytes of the download", True)],
        lines,
    )
    return section(
        "mended",
        "Which layer breaks it",
        "Measured: one layer after the other on the finest grid, all others as they are. Below "
        "zero, a layer's errors make good those of others.",
        listed,
    )


def bits(report: Report) -> Section | None:
    """Every layer in figures, the smaller ones folded away where they are many."""
    layers = report.get("layers") or []
    if not layers:
        return None
    top = {id(layer) for layer in _by_size(report)[: _shown(len(layers))]}
    shown = [layer for layer in layers if id(layer) in top]
    rest = [layer for layer in layers if id(layer) not in top]
    weights = sum(finite(layer.get("weights")) or 0.0 for layer in layers)
    known = [layer for layer in layers if finite(layer.get("bits_per_weight")) is not None]
    counted = sum(finite(layer.get("weights")) or 0.0 for layer in known)
    total = sum((finite(layer.get("weights")) or 0.0) * layer["bits_per_weight"] for layer in known)
    part = "" if len(known) == len(layers) else f" ({count(counted)} of them are told apart there)"
    verb = "is estimated to spend" if _estimated(layers) else "spends"
    return section(
        "layers",
        "Bits by layer",
        f"{count(weights)} weights at {short(total / counted if counted else None)} bits each on "
        f"average: what the packed file {verb} on them{part}.",
        _layer_table(
            f"{f'The {len(shown)} largest' if rest else 'All'} layers, as the network runs them.",
            shown,
        ),
        more(
            f"The other {len(rest):,} layers"
            if len(rest) <= MOST_LAYERS
            else f"{MOST_LAYERS} of the other {len(rest):,} layers; report.json holds all",
            _layer_table("The smaller layers, as the network runs them.", rest[:MOST_LAYERS]),
        )
        if rest
        else None,
    )


def _layer_table(caption: str, layers: Sequence[Report]) -> Html:
    header = [
        ("layer", False),
        ("kind and shape", False),
        ("weights", True),
        ("before", True),
        ("installed", True),
        ("bits per weight", True),
        ("zeros", True),
        ("levels", True),
        ("step", True),
        ("inputs", False),
    ]
    lines = [
        (
            layer.get("name"),
            _described(layer),
            count(layer.get("weights")),
            size(layer.get("bytes_before")),
            size(layer.get("bytes_after")),
            fixed(layer.get("bits_per_weight"), 2),
            percent(layer.get("zeros"), 0),
            count(layer.get("levels")),
            short(layer.get("step")),
            layer.get("activation") or NONE,
        )
        for layer in layers
    ]
    return table(caption, header, lines)


def _described(layer: Report) -> str:
    """Kind and shape, and the form where it is not the usual one."""
    words = " ".join((str(layer.get("kind") or ""), _shape(layer.get("shape")))).strip() or NONE
    form = layer.get("form")
    return words if form in (None, "int8") else f"{words}, {form}"


def _shown(layers: int) -> int:
    """How many of the layers are shown at once: all, or the largest if they are many."""
    return layers if layers <= TOP_LAYERS + TOP_LAYERS // 3 else TOP_LAYERS


def _by_size(report: Report) -> list[Report]:
    layers = report.get("layers") or []
    return sorted(layers, key=lambda layer: -(finite(layer.get("bytes_before")) or 0.0))


def _shape(sizes: Any) -> str:
    return "×".join(str(length) for length in sizes or ())
