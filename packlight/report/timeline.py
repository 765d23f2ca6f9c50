"""Live memory over the steps of a network, as inline SVG.

A staircase with the peak marked and the tensors that are alive there named. As in charts.py, shapes
and labels carry the meaning and colour only repeats it. The page's own classes give the colours
(see style.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from packlight.report.charts import WIDTH, _Axis, _label, _line, _px, _svg
from packlight.report.element import Html, element, join
from packlight.report.words import elided, size

if TYPE_CHECKING:
    from packlight.weighing.memory import Timeline

_At = Callable[[float], float]  # where a step is drawn
_NAMED = 6  # tensors at the peak that are named; the rest is counted


def timeline(memory: Timeline, better: Timeline | None = None, *, name: str = "memory") -> Html:
    """Bytes alive at each step.

    Args:
        memory: in the order given.
        better: in an order with a lower peak, drawn as a dashed line.
        name: of the picture, unique on its page.
    """
    left, right, top, bottom = 90, WIDTH - 24, 40, 260
    count = max(len(memory.steps), 1)
    peaks = [memory.peak, *([better.peak] if better else [])]
    axis = _Axis.around([0.0, *map(float, peaks)], bottom, top, least=0.0)

    def at(step: float) -> float:
        return left + (right - left) * step / count

    grid = []
    for value in axis.ticks():
        grid.append(_line(left, axis.at(value), right, axis.at(value), "grid"))
        grid.append(_label(left - 12, axis.at(value), size(value), "end"))
    grid.append(_line(left, bottom, right, bottom, "axis"))
    grid.append(_label(left, bottom + 20, "first step", "start", "soft"))
    grid.append(_label(right, bottom + 20, f"step {count}", "end", "soft"))
    drawn = [element("polygon", points=_area(memory, at, axis, bottom), class_="installed")]
    if better:
        stairs = _stairs(better.live, at, axis)
        drawn.append(element("polyline", points=stairs, class_="budget", fill="none"))
    drawn.append(_peak(memory, at, axis))
    if better:
        words = f"dashed: a better order, peak {size(better.peak)}"
        drawn.append(_label((left + right) / 2, bottom + 20, words, "middle"))
    tensors = _tensors(memory, bottom + 56)
    description = (
        f"{count} steps; at most {size(memory.peak)} are alive at once, in step "
        f"{memory.peak_step + 1}. Alive then: "
        + ", ".join(f"{item.name} {size(item.bytes)}" for item in memory.at_peak[:_NAMED])
        + (f". In a better order {size(better.peak)}" if better else "")
        + "."
    )
    height = bottom + 56 + 23 * len(tensors)
    return _svg(name, "Memory alive at each step", description, height, join(grid, drawn, tensors))


def _stairs(live: Sequence[int], at: _At, axis: _Axis) -> str:
    corners = []
    together = -(-len(live) // WIDTH)  # steps that share a pixel, of which the highest is seen
    for step in range(0, len(live), together or 1):
        value = axis.at(max(live[step : step + together]))
        corners += [(at(step), value), (at(min(step + together, len(live))), value)]
    return " ".join(f"{_px(x)},{_px(y)}" for x, y in corners)


def _area(memory: Timeline, at: _At, axis: _Axis, bottom: float) -> str:
    ends = f"{_px(at(len(memory.live)))},{_px(bottom)}", f"{_px(at(0))},{_px(bottom)}"
    return " ".join((_stairs(memory.live, at, axis), *ends))


def _peak(memory: Timeline, at: _At, axis: _Axis) -> Html:
    if not memory.live:
        return join()
    x, y = at(memory.peak_step + 0.5), axis.at(memory.peak)
    middle = at(len(memory.live) / 2)
    side, shift = ("end", -12) if x > middle else ("start", 12)
    words = f"peak: {size(memory.peak)} in {elided(memory.steps[memory.peak_step], 24)}"
    return join(
        element("circle", cx=_px(x), cy=_px(y), r=6, class_="chosen"),
        _label(x + shift, y - 14, words, side, "strong halo"),
    )


def _tensors(memory: Timeline, top: float) -> list[Html]:
    """The names of what is alive at the peak, largest first."""
    if not memory.at_peak:
        return []
    lines = [_label(90, top, "alive at the peak", "start", "soft")]
    for item in memory.at_peak[:_NAMED]:
        y = top + 23 * len(lines)
        lines.append(
            element(
                "g",
                element("title", item.name),
                _label(170, y, size(item.bytes), "end"),
                _label(186, y, elided(item.name, 56), "start"),
            )
        )
    rest = memory.at_peak[_NAMED:]
    if rest:
        y = top + 23 * len(lines)
        lines.append(_label(170, y, size(sum(item.bytes for item in rest)), "end", "soft"))
        lines.append(_label(186, y, f"in {len(rest)} more", "start", "soft"))
    return lines
