"""The report's three pictures, as inline SVG.

Shapes and labels carry the meaning, colour only repeats it, so the pictures survive greyscale and
print. Colours are the page's own (classes, see style.py). Lengths are in user units, about a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from packlight.report.element import Html, element, join
from packlight.report.words import elided, minus, percent, points, short, size, span

WIDTH = 760


@dataclass(frozen=True)
class Bar:
    """One layer's bytes: before, as installed, and its share of the download."""

    name: str
    before: float
    installed: float
    packed: float


@dataclass(frozen=True)
class Change:
    """A change of accuracy, as a share, with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Spot:
    """One network that the search looked at."""

    size: float
    score: float
    chosen: bool
    hint: str


@dataclass(frozen=True)
class Peer:
    """What another tool made of the same network."""

    name: str
    size: float
    score: float


def bars(rows: Sequence[Bar]) -> Html:
    """Paired horizontal bars: grey before, and below it what is left of it."""
    left, right, pitch, top = 214, 612, 32, 8
    longest = max((max(row.before, row.installed) for row in rows), default=0) or 1

    def length(value: float) -> str:
        return _px(max((right - left) * value / longest, 1.5 if value else 0))

    drawn = []
    for index, row in enumerate(rows):
        y = top + index * pitch
        middle = y + 15
        drawn.append(
            element(
                "g",
                element("title", f"{row.name}: {size(row.before)}, now {size(row.installed)}"),
                _label(left - 12, middle, elided(row.name, 24), "end"),
                _box(left, y, length(row.before), 10, "before"),
                _box(left, y + 12, length(row.installed), 10, "installed"),
                _box(left, y + 12, length(row.packed), 10, "packed"),
                _label(right + 70, middle, size(row.before), "end"),
                _label(right + 82, middle, "→", "middle", "soft"),
                _label(WIDTH, middle, size(row.installed), "end"),
            )
        )
    before, after = sum(row.before for row in rows), sum(row.installed for row in rows)
    description = (
        f"{len(rows)} pairs of bars, the longest {size(longest)}. Together {size(before)} before "
        f"and {size(after)} after. The table of layers below holds the figures."
    )
    height = top + pitch * len(rows)
    return _svg("bars", "Bytes of each layer, before and after", description, height, drawn)


def curve(
    spots: Sequence[Spot], *, budget: float | None, metric: str, peers: Sequence[Peer] = ()
) -> Html:
    """Score over packed bytes; the chosen one is filled, the budget a dashed line, peers square."""
    left, right, top, bottom, height = 90, WIDTH - 40, 34, 300, 356
    as_share = metric != "sqnr_db"

    def shown(score: float) -> str:
        return percent(score) if as_share else f"{short(score)} dB"

    reach = [*(spot.size for spot in spots), *(peer.size for peer in peers)]
    reach += [budget] if budget else []
    scores = [*(spot.score for spot in spots), *(peer.score for peer in peers)]
    x_axis = _Axis.around(reach, left, right, least=0.0)
    y_axis = _Axis.around(scores, bottom, top, most=1.0 if as_share else None)
    grid = []
    for value in y_axis.ticks():
        y = y_axis.at(value)
        grid.append(_line(left, y, right, y, "grid"))
        grid.append(_label(left - 12, y, shown(value), "end"))
    for value in x_axis.ticks():
        x = x_axis.at(value)
        grid.append(_line(x, bottom, x, bottom + 5, "axis"))
        grid.append(_label(x, bottom + 20, size(value), "middle"))
    grid.append(_line(left, bottom, right, bottom, "axis"))
    grid.append(_label(right, bottom + 44, "packed download", "end", "soft"))
    grid.append(_label(left, top - 18, _METRICS.get(metric, metric), "middle", "soft"))
    if budget:
        x = x_axis.at(budget)
        side, shift = ("end", -8) if x > (left + right) / 2 else ("start", 8)
        grid.append(_line(x, top - 8, x, bottom, "budget"))
        grid.append(_label(x + shift, bottom - 14, f"budget {size(budget)}", side, "halo"))

    path = " ".join(
        f"{_px(x_axis.at(spot.size))},{_px(y_axis.at(spot.score))}" for spot in _frontier(spots)
    )
    drawn = [element("polyline", points=path, class_="trail")]
    for spot in sorted(spots, key=lambda spot: spot.chosen):
        x, y = x_axis.at(spot.size), y_axis.at(spot.score)
        mark = element(
            "circle",
            element("title", spot.hint),
            cx=_px(x),
            cy=_px(y),
            r=7 if spot.chosen else 4,
            class_="chosen" if spot.chosen else "visited",
        )
        drawn.append(mark)
        if spot.chosen:
            side, shift = ("end", -14) if x > (left + right) / 2 else ("start", 14)
            drop = 20 if y < (top + bottom) / 2 else -16
            words = f"chosen: {size(spot.size)}, {shown(spot.score)}"
            drawn.append(_label(x + shift, y + drop, words, side, "strong halo"))
    for peer in peers:
        x, y = x_axis.at(peer.size), y_axis.at(peer.score)
        hint = f"{peer.name}: {size(peer.size)}, {shown(peer.score)}"
        place = {"x": _px(x - 4), "y": _px(y - 4), "width": 8, "height": 8}
        drawn.append(element("rect", element("title", hint), **place, class_="visited"))
        side, shift = ("end", -10) if x > (left + right) / 2 else ("start", 10)
        drawn.append(_label(x + shift, y, elided(peer.name, 24), side, "halo"))
    chosen = [spot for spot in spots if spot.chosen]
    description = (
        f"{len(spots)} networks from {size(min(reach))} to {size(max(reach))}. "
        + "".join(f"Chosen: {size(spot.size)} at {shown(spot.score)}. " for spot in chosen)
        + (f"The budget is {size(budget)}. " if budget else "")
        + "".join(f"{peer.name}: {size(peer.size)} at {shown(peer.score)}. " for peer in peers)
    )
    title = f"{_METRICS.get(metric, metric)} against packed size"
    return _svg("curve", title, description.strip(), height, join(grid, drawn))


def intervals(rows: Sequence[Change], *, allowed: float | None) -> Html:
    """Changes of accuracy in points, each a dot on its interval; what is allowed, a dashed line."""
    left, right, top, pitch = 214, WIDTH - 32, 30, 34
    values = [0.0, *(bound for row in rows for bound in (row.low, row.high))]
    if allowed is not None:
        values.append(-allowed)
    axis = _Axis.around([100 * value for value in values], left, right)
    bottom = top + pitch * len(rows)
    grid = []
    for value in axis.ticks():
        x = axis.at(value)
        grid.append(_line(x, top, x, bottom, "axis" if value == 0 else "grid"))
        grid.append(_label(x, bottom + 18, minus(f"{value:+.3g}") if value else "0", "middle"))
    grid.append(_label(right, bottom + 44, "change in percentage points", "end", "soft"))
    if allowed is not None:
        x = axis.at(-100 * allowed)
        grid.append(_line(x, top - 10, x, bottom, "budget"))
        grid.append(_label(x, top - 20, f"allowed {points(-allowed)}", "middle"))
    drawn = []
    for index, row in enumerate(rows):
        y = top + pitch * (index + 0.5)
        low, high = axis.at(100 * row.low), axis.at(100 * row.high)
        drawn += [
            _label(left - 22, y, row.name, "end"),
            _line(low, y, high, y, "whisker"),
            _line(low, y - 5, low, y + 5, "whisker"),
            _line(high, y - 5, high, y + 5, "whisker"),
            element("circle", cx=_px(axis.at(100 * row.value)), cy=_px(y), r=6, class_="chosen"),
        ]
    description = " ".join(
        f"{row.name}: {points(row.value)} points, 95% interval {span(row.low, row.high)}."
        for row in rows
    )
    return _svg("intervals", "Change of accuracy", description, bottom + 58, join(grid, drawn))


def _frontier(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other beats in both size and score, the smallest first."""
    best: list[Spot] = []
    for spot in sorted(spots, key=lambda spot: (spot.size, -spot.score)):
        if not best or spot.score > best[-1].score:
            best.append(spot)
    return best


_METRICS = {
    "agreement": "same answer",
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "sqnr_db": "signal to noise",
}


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(
        cls,
        values: Sequence[float],
        start: float,
        end: float,
        least: float | None = None,
        most: float | None = None,
    ) -> _Axis:
        """An axis on which all values fit with some air, but none beyond `least` and `most`."""
        low, high = min(values), max(values)
        air = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        low = low - air if least is None else max(low - air, least)
        high = high + air if most is None else min(high + air, max(most, high))
        return cls(low, high if high > low else low + air, start, end)

    def at(self, value: float) -> float:
        """Where a value is drawn."""
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Four to ten round values on the axis."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** floor(log10(rough))
        step = power * next(
            round_ for round_ in (1, 2, 2.5, 5, 10) if round_ * power >= 0.999 * rough
        )
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def _svg(name: str, title: str, description: str, height: float, children: object) -> Html:
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        children,
        class_=name,
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        viewBox=f"0 0 {WIDTH} {_px(height)}",
    )


def _label(x: float, y: float, words: str, anchor: str, kind: str | None = None) -> Html:
    return element("text", words, x=_px(x), y=_px(y), dy="0.35em", text_anchor=anchor, class_=kind)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    return element("line", x1=_px(x1), y1=_px(y1), x2=_px(x2), y2=_px(y2), class_=kind)


def _box(x: float, y: float, width: str, height: float, kind: str) -> Html:
    return element("rect", x=_px(x), y=_px(y), width=width, height=height, class_=kind)


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
