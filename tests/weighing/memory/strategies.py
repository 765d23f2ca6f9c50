"""Random buffers, programs and traces for the tests of memory plans."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from packlight.weighing.memory import Buffer
from packlight.weighing.program import Program, Step, Value


@st.composite
def buffers(draw: st.DrawFn, most: int = 6) -> list[Buffer]:
    """A few buffers on a short time, some of them aligned."""
    made = []
    for index in range(draw(st.integers(0, most))):
        lower = draw(st.integers(0, 6))
        upper = draw(st.integers(lower + 1, 8))
        alignment = draw(st.sampled_from([1, 1, 1, 4]))
        made.append(Buffer(str(index), lower, upper, draw(st.integers(0, 9)), alignment))
    return made


@st.composite
def programs(draw: st.DrawFn, most: int = 6) -> Program:
    """A few steps that read anything made before, with views and steps that may overwrite."""
    values = {"in": Value("in", (1,), "uint8", draw(st.integers(1, 4)))}
    steps: list[Step] = []
    for index in range(draw(st.integers(1, most))):
        reads = tuple(
            draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=3, unique=True))
        )
        kind = draw(st.sampled_from(["plain", "plain", "view", "over", "two"]))
        names = (f"v{index}a", f"v{index}b") if kind == "two" else (f"v{index}",)
        for name in names:
            same = kind in ("view", "over")
            size = values[reads[0]].bytes if same else draw(st.integers(1, 4))
            values[name] = Value(name, (size,), "uint8", size)
        if kind == "view":
            reads = reads[:1]
        steps.append(
            Step(
                f"s{index}",
                kind,
                reads,
                names,
                view_of=reads[0] if kind == "view" else None,
                may_overwrite=reads if kind == "over" else (),
            )
        )
    outputs = draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=2, unique=True))
    return Program(values, tuple(steps), ("in",), tuple(outputs))


def tiles(count: int, seed: int, gaps: float = 0.0, side: int = 1 << 20) -> list[Buffer]:
    """Rectangles that tile a square of time and memory, cut and cut again, in random order.

    Args:
        gaps: the share that is left out, except in a sixth of the time, which stays full.
    """
    rng = random.Random(seed)
    grain = 512
    rects = [(0, side, 0, side)]
    while len(rects) < count:
        rects.sort(key=lambda rect: (rect[1] - rect[0]) * (rect[3] - rect[2]))
        left, right, low, high = rects.pop()
        width, tall = right - left, high - low
        if rng.random() < 2 * width / (2 * width + tall):
            cut = left + int(width * rng.uniform(0.25, 0.75)) // grain * grain
            rects += [(left, cut, low, high), (cut, right, low, high)]
        else:
            cut = low + int(tall * rng.uniform(0.25, 0.75)) // grain * grain
            rects += [(left, right, low, cut), (left, right, cut, high)]
    start = rng.uniform(0.2, 0.6) * side
    kept = [
        rect
        for rect in rects
        if (rect[0] < start + side / 6 and rect[1] > start) or rng.random() >= gaps
    ]
    rng.shuffle(kept)
    return [
        Buffer(str(index), left, right, high - low)
        for index, (left, right, low, high) in enumerate(kept)
    ]
