"""How far should training images be distorted? Accuracy in the range needed, for one size.

    python -m benchmarks.letters_distortion --docs docs

One recogniser of A-Z and 0-9 per factor: the default bounds are multiplied by it, as far as bounds
may go, and the network is trained and fitted into the same few bytes on images within those. All
are judged on the same unseen images within the default bounds, and on clean glyphs. What is
finished is kept in the JSON file, so that a run that is cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from packlight.files import replace_file
from packlight.judge import proportion
from packlight.letters import Bounds, render
from packlight.letters.making import make, read
from packlight.progress import Lines
from packlight.report.charts import WIDTH, _Axis, _label, _line, _px
from packlight.report.element import Html, element, join
from packlight.report.style import STYLE
from packlight.report.words import percent

FACTORS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
SIZE = "4KB"
STEPS, LESSONS, IMAGES = 1600, 200_000, 20_000
JUDGES = 20_000
UNSEEN = (9, 9)  # seed of the images that judge: no training draws from it


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not finished, then draw it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--docs", type=Path, required=True, help="where the figures are kept")
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--lessons", type=int, default=LESSONS)
    parser.add_argument("--size", default=SIZE)
    options = parser.parse_args(arguments)
    file = options.docs / "letters-distortion.json"
    asked = {"size": options.size, "steps": options.steps, "lessons": options.lessons}
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    if {name: kept.get(name) for name in asked} != asked:
        kept = {**asked, "bounds": asdict(Bounds()), "judges": JUDGES, "runs": []}
    for factor in options.factors:
        if all(run["factor"] != factor for run in kept["runs"]):
            kept["runs"].append(run_of(factor, options.size, options.steps, options.lessons))
            kept["runs"].sort(key=lambda run: run["factor"])
            replace_file(file, (json.dumps(kept, indent=1) + "\n").encode())
    replace_file(file.with_suffix(".svg"), picture(kept).encode())


def run_of(factor: float, size: str, steps: int, lessons: int) -> dict[str, Any]:
    """One recogniser, trained so far out, and what it reads in the range needed."""
    bounds = Bounds().times(factor)
    with tempfile.TemporaryDirectory() as out:
        made = make(
            "A-Z0-9",
            size,
            bounds=bounds,
            out=out,
            steps=steps,
            lessons=lessons,
            images=IMAGES,
            judges=JUDGES,
            progress=Lines(),
        )
        images, labels = render(JUDGES, UNSEEN)
        right = int((read(made.fitted.model, images) == labels).sum())
        packed = made.fitted.packed.stat().st_size
    return {
        "factor": factor,
        "bounds": asdict(bounds),
        "packed_bytes": packed,
        "needed": proportion(right, JUDGES).to_dict(),
        "own": made.accuracy.to_dict(),
    }


def picture(kept: dict[str, Any]) -> str:
    """An SVG file: accuracy within the default bounds over the factor trained with."""
    runs = kept["runs"]
    left, right, top, bottom, height = 70, WIDTH - 24, 40, 330, 386
    x_axis = _Axis.around([run["factor"] for run in runs], left, right)
    ends = [run["needed"][end] for run in runs for end in ("low", "high")]
    y_axis = _Axis.around(ends, bottom, top, most=1.0)
    drawn = []
    for value in y_axis.ticks():
        y = y_axis.at(value)
        drawn.append(_line(left, y, right, y, "grid"))
        drawn.append(_label(left - 12, y, percent(value), "end"))
    spots = [(x_axis.at(run["factor"]), y_axis.at(run["needed"]["value"])) for run in runs]
    for run, (x, _) in zip(runs, spots, strict=True):
        drawn.append(_line(x, bottom, x, bottom + 5, "axis"))
        drawn.append(_label(x, bottom + 20, f"{run['factor']:g}", "middle"))
    drawn.append(_line(left, bottom, right, bottom, "axis"))
    drawn.append(_label(right, bottom + 44, "training bounds, in default bounds", "end", "soft"))
    said = f"read within the default bounds, {kept['size']} packed"
    drawn.append(_label(left, top - 22, said, "start", "soft"))
    for (x1, y1), (x2, y2) in pairwise(spots):
        drawn.append(_line(x1, y1, x2, y2, "grid"))
    best = max(run["needed"]["value"] for run in runs)
    for run, (x, y) in zip(runs, spots, strict=True):
        needed = run["needed"]
        drawn.append(_line(x, y_axis.at(needed["low"]), x, y_axis.at(needed["high"]), "axis"))
        hint = f"{run['factor']:g}: {percent(needed['value'], 2)}"
        kind = "chosen" if needed["value"] == best else "visited"
        mark = element("circle", element("title", hint), cx=_px(x), cy=_px(y), r=5, class_=kind)
        below = y < (top + bottom) / 2
        drawn.append(mark)
        drawn.append(
            _label(x, y + (18 if below else -18), percent(needed["value"], 2), "middle", "halo")
        )
    return element(
        "svg",
        element("title", "Accuracy in the range needed, by how far training went"),
        element("style", Html(STYLE)),
        join(drawn),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
    )


if __name__ == "__main__":
    main()
