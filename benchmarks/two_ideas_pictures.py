"""The three pictures of docs/two-ideas.md, as SVG files that follow the reader's light or dark.

Shapes and words carry the meaning; colour only repeats it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from packlight.report.charts import WIDTH, _Axis, _label, _line, _px
from packlight.report.element import Html, element, join
from packlight.report.words import percent, size

Record = dict[str, Any]
Spot = tuple[float, float]

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 80, WIDTH - 130, 40, 320, 380
STYLE = """
:root {
  --ink: #1d1d1b; --soft: #66645d; --line: #e2dfd7; --paper: #fdfcf9;
  --accent: #0b6b5d; --tint: #a5d0c6; --other: #b3541e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #ebe8e0; --soft: #a3a097; --line: #34332f; --paper: #161614;
    --accent: #6fd3c0; --tint: #2f6459; --other: #e8955f;
  }
}
svg { background: var(--paper); font-family: system-ui, sans-serif; }
text { font-size: 12.5px; fill: var(--ink); }
text.soft { fill: var(--soft); }
text.halo { paint-order: stroke; stroke: var(--paper); stroke-width: 5px; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); }
.bar { fill: var(--tint); }
.ours { fill: none; stroke: var(--accent); stroke-width: 2; }
.mark { fill: var(--accent); stroke: var(--paper); stroke-width: 2; }
.dashed { fill: none; stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 5 4; }
.hollow { fill: var(--paper); stroke: var(--soft); stroke-width: 1.5; }
.peer { fill: var(--other); }
"""


def pictures(found: Record) -> dict[str, str]:
    """name -> SVG file."""
    return {
        "levels": levels(found["levels"]),
        "slopes": slopes(found["layers"]),
        "trade": trade(found),
    }


def levels(found: Record) -> str:
    """How often each level of a layer occurs, and what it costs by that."""
    values, counts = found["values"], np.array(found["counts"])
    share = counts / counts.sum()
    across = _Axis(min(values) - 1, max(values) + 1, LEFT, RIGHT)
    up = _Axis(0.0, 1.15 * float(share.max()), BOTTOM, TOP)
    wide = 0.8 * (across.at(1) - across.at(0))
    drawn = _rows(up, lambda value: percent(value, 0))
    for value, part in zip(values, share, strict=True):
        x, y = across.at(value), up.at(float(part))
        hint = f"level {value}: {percent(float(part))}, {-np.log2(part):.1f} bits"
        box = element(
            "rect",
            element("title", hint),
            x=_px(x - wide / 2),
            y=_px(y),
            width=_px(wide),
            height=_px(BOTTOM - y),
            class_="bar",
        )
        drawn.append(box)
        if part >= share.max() / 12:
            drawn.append(_label(x, y - 10, f"{-np.log2(part):.1f}", "middle", "halo"))
    for value in range(min(values), max(values) + 1):
        if value % 2 == 0:
            drawn.append(_label(across.at(value), BOTTOM + 18, str(value), "middle"))
    drawn.append(_label(RIGHT, BOTTOM + 42, "level (int8)", "end", "soft"))
    said = "share of the weights; above the bars, bits by that share alone"
    drawn.append(_label(LEFT, TOP - 22, said, "start", "soft"))
    bits = [
        ("stored", 8.0),
        ("xz", found["xz"]),
        ("by share", found["entropy"]),
        ("packed", found["coded"]),
    ]
    drawn.append(_label(RIGHT, TOP + 4, "bits per weight", "end", "soft"))
    for row, (name, value) in enumerate(bits):
        drawn.append(_label(RIGHT - 44, TOP + 26 + 20 * row, name, "end", "halo"))
        drawn.append(_label(RIGHT, TOP + 26 + 20 * row, f"{value:.2f}", "end", "halo"))
    title = f"The levels of {found['layer']}"
    told = "; ".join(f"{name} {value:.2f}" for name, value in bits)
    return _svg(title, f"{len(values)} levels around 0. Bits per weight: {told}.", drawn)


def slopes(found: Sequence[Record]) -> str:
    """Loss of a weight over its bits, by layer, and where the search stops on each."""
    curves = {one["name"]: [_logged(*at) for at in one["curve"]] for one in found}
    spots = {one["name"]: _logged(*one["chosen"]) for one in found}
    every = [at for curve in curves.values() for at in curve]
    across = _Axis.around([bits for bits, _ in every], LEFT, RIGHT, least=0.0)
    up = _Axis.around([loss for _, loss in every], BOTTOM, TOP)
    drawn = []
    for power in range(int(np.ceil(up.low)), int(up.high) + 1):
        drawn.append(_line(LEFT, up.at(power), RIGHT, up.at(power), "grid"))
        drawn.append(_label(LEFT - 12, up.at(power), f"1e{power}", "end"))
    drawn += _columns(across, lambda value: f"{value:g}")
    drawn.append(_label(RIGHT, BOTTOM + 42, "bits per weight", "end", "soft"))
    drawn.append(_label(LEFT, TOP - 22, "loss per weight (logarithmic)", "start", "soft"))
    for curve in curves.values():
        drawn.append(_trail([(across.at(x), up.at(y)) for x, y in curve], "dashed"))
    heights = _spread([up.at(curve[0][1]) for curve in curves.values()])
    for (name, curve), height in zip(curves.items(), heights, strict=True):
        drawn.append(_label(RIGHT + 8, height, name, "start", "soft"))
        drawn.append(_line(across.at(curve[0][0]), up.at(curve[0][1]), RIGHT + 5, height, "grid"))
    for name, (x, y) in spots.items():
        hint = f"{name}: {x:.2f} bits, {10**y:.2g}"
        drawn.append(_dot(across.at(x), up.at(y), "mark", hint))
    told = ", ".join(f"{name} at {x:.1f} bits" for name, (x, _) in spots.items())
    said = f"{len(found)} falling curves, one per layer. Dots mark where the search stops: {told}."
    return _svg("Loss against bits, by layer", said, drawn)


def trade(found: Record) -> str:
    """Answers that change over bytes of download: ours packed, ours with xz, and plain int8."""
    fits, peer = found["fits"], found["peer"]

    def lost(point: Record) -> float:
        return 1 - float(point["agreement"]["value"])

    sizes = [one[by] for one in [*fits, peer] for by in ("packed", "xz")]
    across = _Axis.around([np.log10(bytes_) for bytes_ in sizes], LEFT, RIGHT)
    up = _Axis(0.0, 1.1 * max(map(lost, [*fits, peer])), BOTTOM, TOP)
    drawn = _rows(up, percent)
    for bytes_ in (5_000, 10_000, 20_000, 50_000, 100_000):
        if across.low <= np.log10(bytes_) <= across.high:
            x = across.at(np.log10(bytes_))
            drawn.append(_line(x, BOTTOM, x, BOTTOM + 5, "axis"))
            drawn.append(_label(x, BOTTOM + 20, size(bytes_), "middle"))
    drawn.append(_line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"))
    drawn.append(_label(RIGHT, BOTTOM + 42, "download (logarithmic)", "end", "soft"))
    drawn.append(_label(LEFT, TOP - 22, "answers that change", "start", "soft"))
    for by, line, mark in (("xz", "dashed", "hollow"), ("packed", "ours", "mark")):
        spots = [(across.at(np.log10(one[by])), up.at(lost(one))) for one in fits]
        drawn.append(_trail(spots, line))
        for (x, y), one in zip(spots, fits, strict=True):
            hint = f"{size(one[by])}: {percent(lost(one), 2)} of the answers change"
            drawn.append(_dot(x, y, mark, hint))
        x, y = spots[0]
        words = "fit, then xz" if by == "xz" else "fit, then pack"
        drawn.append(_label(x + 12, y + 2, words, "start", "halo"))
    for by in ("packed", "xz"):
        x, y = across.at(np.log10(peer[by])), up.at(lost(peer))
        hint = f"plain int8, {by}: {size(peer[by])}, {percent(lost(peer), 2)}"
        place = {"x": _px(x - 4), "y": _px(y - 4), "width": 8, "height": 8}
        drawn.append(element("rect", element("title", hint), **place, class_="peer"))
        words = "plain int8, xz" if by == "xz" else "plain int8, pack"
        side, shift = ("start", 0) if by == "xz" else ("end", 4)
        drawn.append(_label(x + shift, y - 16, words, side, "halo"))
    told = "; ".join(f"{size(one['packed'])}, {percent(lost(one), 1)}" for one in fits)
    said = f"Fits packed: {told}. Plain int8 with xz: {size(peer['xz'])}, {percent(lost(peer), 1)}."
    return _svg("Answers that change, against the download", said, drawn)


def _logged(bits: float, loss: float) -> Spot:
    return bits, float(np.log10(loss))


def _spread(heights: Sequence[float], least: float = 15) -> list[float]:
    """Heights of labels, moved down where they would overlap."""
    placed = dict.fromkeys(range(len(heights)), 0.0)
    last = -least
    for index in sorted(placed, key=lambda i: heights[i]):
        last = placed[index] = max(heights[index], last + least)
    return list(placed.values())


def _rows(up: _Axis, told: Any) -> list[Html]:
    drawn = []
    for value in up.ticks():
        drawn.append(_line(LEFT, up.at(value), RIGHT, up.at(value), "grid"))
        drawn.append(_label(LEFT - 12, up.at(value), told(value), "end"))
    return drawn


def _columns(across: _Axis, told: Any) -> list[Html]:
    drawn = [_line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis")]
    for value in across.ticks():
        x = across.at(value)
        drawn.append(_line(x, BOTTOM, x, BOTTOM + 5, "axis"))
        drawn.append(_label(x, BOTTOM + 20, told(value), "middle"))
    return drawn


def _trail(spots: Sequence[Spot], kind: str) -> Html:
    return element("polyline", points=" ".join(f"{_px(x)},{_px(y)}" for x, y in spots), class_=kind)


def _dot(x: float, y: float, kind: str, hint: str) -> Html:
    return element("circle", element("title", hint), cx=_px(x), cy=_px(y), r=5, class_=kind)


def _svg(title: str, description: str, drawn: Sequence[Html]) -> str:
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        element("style", Html(STYLE)),
        join(list(drawn)),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
    )
