"""report.html: everything that report.json knows, as one page to read, print and keep.

The page is a single file without scripts, and nothing in it comes from elsewhere. Parts that
were not measured (no labels, no latency) are left out; numbers that are missing are dashes.
"""

from __future__ import annotations

import json
from typing import Any

from packlight.report import charts, layers
from packlight.report.blocks import (
    Report,
    definitions,
    figure,
    file_name,
    get,
    more,
    page,
    section,
    table,
)
from packlight.report.element import Html, element, join
from packlight.report.outcome import header, outcome
from packlight.report.words import NONE, count, finite, fixed, percent, points, short, size


def render(report: Report) -> str:
    """The page.

    Args:
        report: as in report.json; every key may be missing or None.
    """
    sections = (
        outcome(report),
        _asked(report),
        layers.sizes(report),
        _curve(report),
        layers.worst(report),
        layers.mended(report),
        layers.bits(report),
        _decisions(report),
        _provenance(report),
    )
    footer = element("footer", f"packlight {report.get('packlight') or ''}".strip())
    title = f"{file_name(report, 'original') or 'network'}, packed by packlight"
    return page(title, header(report), *sections, footer)


def _asked(report: Report) -> Html | None:
    asked = report.get("asked") or {}
    lines: list[tuple[str, Any]] = []
    for key, value in asked.items():
        if value is not None and value != {}:
            name, shown = _QUESTIONS.get(key, (key.replace("_", " "), _plain))
            lines.append((name, shown(value)))
    said = [(name, text) for name, text in lines if text]
    return section("asked", "What was asked", None, definitions(said))


def _plain(value: Any) -> str:
    """A setting as text; a folder of settings as name: value."""
    if isinstance(value, dict):
        return ", ".join(
            f"{key}: {_plain(item)}"
            for key, item in value.items()
            if item is not None and item is not False and item not in ([], ())
        )
    if isinstance(value, (list, tuple)):
        return " ".join(_plain(item) for item in value)
    if isinstance(value, (bool, int, str)):
        return str(value)
    return short(value) if isinstance(value, float) else json.dumps(value, default=str)


def _curve(report: Report) -> Html | None:
    visited = report.get("visited") or []
    chosen = [visit for visit in visited if visit.get("chosen")]
    metric = str((chosen or visited or [{}])[0].get("metric"))
    spots = []
    for visit in visited:
        x, y = finite(visit.get("packed_bytes")), finite(visit.get("score"))
        if x is not None and y is not None and visit.get("metric") == metric:
            effort = f"{visit.get('stage')} at {short(visit.get('tradeoff'))}"
            hint = f"{size(x)}, {_score(visit)}, {effort}"
            spots.append(charts.Spot(x, y, bool(visit.get("chosen")), hint))
    if not spots:
        return None
    budget = finite(get(report, "asked", "target_size"))
    on = {str(visit["on"]) for visit in visited if visit.get("on")}
    where = " and ".join(sorted(_PARTS.get(part, part) for part in on))
    words = f"Scored on {where}"
    words += ". " if "judge" in on else "; the figures at the top come from other samples. "
    listed = table(
        "The networks visited, in order.",
        [
            ("stage", False),
            ("trade-off", True),
            ("packed", True),
            ("installed", True),
            ("score", True),
            ("on", False),
            ("kept", False),
        ],
        [
            (
                visit.get("stage") or NONE,
                short(visit.get("tradeoff")),
                size(visit.get("packed_bytes")),
                size(visit.get("bytes")),
                _score(visit),
                _PARTS.get(str(visit.get("on")), visit.get("on") or NONE),
                "chosen" if visit.get("chosen") else "",
            )
            for visit in visited
        ],
        chosen=[bool(visit.get("chosen")) for visit in visited],
    )
    return section(
        "curve",
        "Size against accuracy",
        f"{words if on else ''}The further a point lies up and to the left, the better.",
        figure(
            "Score of each network visited, by its size.",
            charts.curve(spots, budget=budget, metric=metric),
        ),
        more(f"All {len(visited)} networks", listed),
    )


def _score(visit: Report) -> str:
    value = visit.get("score")
    if visit.get("metric") in ("agreement", "top1", "top5"):
        return percent(value)
    return f"{short(value)} dB" if visit.get("metric") == "sqnr_db" else short(value)


def _decisions(report: Report) -> Html | None:
    notes = report.get("notes") or []
    floats = [layer for layer in report.get("layers") or [] if layer.get("why_float")]
    parts: list[Html] = []
    if notes:
        parts.append(element("ul", [element("li", note) for note in notes]))
    if floats:
        parts.append(
            table(
                "Layers whose inputs stay in floating point, because integers would cost too much.",
                [("layer", False), ("why", False)],
                [(layer.get("name"), layer["why_float"]) for layer in floats],
            )
        )
    return section("decisions", "What was decided", None, *parts) if parts else None


def _provenance(report: Report) -> Html | None:
    original, compressed = get(report, "original") or {}, get(report, "compressed") or {}
    lines: list[tuple[str, Any]] = [
        ("Original", _identity(original, "file", "sha256")),
        ("Parameters", count(original.get("parameters"))),
        ("Multiply-adds", count(original.get("macs"))),
        ("Network file", _identity(compressed, "file", "sha256")),
        ("Packed file", _identity(compressed, "packed_file", "packed_sha256")),
        ("packlight", report.get("packlight")),
        *(
            (_VERSIONS.get(name, name), value)
            for name, value in (report.get("environment") or {}).items()
        ),
    ]
    stages = report.get("stages") or []
    if stages:
        total = sum(finite(stage.get("seconds")) or 0.0 for stage in stages)
        times = ", ".join(
            f"{stage.get('name')} {fixed(stage.get('seconds'), 1)} s" for stage in stages
        )
        lines.append(("Time", f"{total:,.1f} s: {times}"))
    command = report.get("command")
    return section(
        "provenance",
        "Provenance",
        "The same input, seed and machine give the same bytes.",
        element("pre", element("code", command)) if command else None,
        definitions([(name, value) for name, value in lines if value and value != NONE]),
    )


def _identity(entry: Report, name: str, digest: str) -> Html | None:
    if not entry.get(name):
        return None
    code = element("code", "sha256 ", entry[digest]) if entry.get(digest) else None
    return join(entry[name], element("br"), code) if code else join(entry[name])


_PARTS = {
    "fit": "the samples fitted on",
    "steer": "the samples that steer the search",
    "judge": "the samples that judge",
}
_VERSIONS = {
    "python": "Python",
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "numpy": "NumPy",
}
_QUESTIONS = {
    "target_size": ("Download at most", size),
    "target_installed_size": ("Installed at most", size),
    "max_drop": ("Accuracy lost at most", lambda share: f"{points(share, signed=False)} points"),
    "model": ("Network", _plain),
    "data": ("Data", _plain),
    "calibrate": ("Samples to fit on", count),
    "preprocess": ("Preprocessing", _plain),
    "seed": ("Seed", _plain),
}
