"""report.html: everything that report.json knows, as one page to read, print and keep.

The page is a single file without scripts, and nothing in it comes from elsewhere. Parts that
were not measured (no labels, no latency) are left out; numbers that are missing are dashes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from packlight.report import charts, layers
from packlight.report.blocks import (
    Report,
    Section,
    definitions,
    figure,
    file_name,
    get,
    more,
    page,
    section,
    table,
)
from packlight.report.budgets import budgets
from packlight.report.changed import changed
from packlight.report.delivery import delivery, memory
from packlight.report.element import Html, element, join
from packlight.report.outcome import header, outcome
from packlight.report.words import NONE, count, finite, fixed, percent, short, size


def render(report: Report, pictures: Sequence[bytes] = ()) -> str:
    """The page, from what everyone asks to what few do.

    Args:
        report: as in report.json; every key may be missing or None.
        pictures: PNG files of the first of the samples in `flips`, in their order.
    """
    sections = (
        budgets(report),
        outcome(report),
        changed(report, pictures),
        delivery(report),
        layers.sizes(report),
        _curve(report),
        layers.worst(report),
        layers.mended(report),
        memory(report),
        layers.bits(report),
        _decisions(report),
        _provenance(report),
    )
    footer = element("footer", f"packlight {report.get('packlight') or ''}".strip())
    title = f"{file_name(report, 'original') or 'network'}, packed by packlight"
    return page(title, header(report), sections, footer)


def _settings(report: Report) -> list[tuple[str, Any]]:
    """What was asked besides the budgets."""
    asked = report.get("asked") or {}
    lines: list[tuple[str, Any]] = []
    for key, value in asked.items():
        if value is not None and value != {} and key not in _BOUNDS:
            name, shown = _QUESTIONS.get(key, (key.replace("_", " ").capitalize(), _plain))
            lines.append((name, shown(value)))
    return lines


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


def _curve(report: Report) -> Section | None:
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
    peers = [
        charts.Peer(str(peer.get("name")), x, y)
        for peer in report.get("peers") or []
        if peer.get("metric") == metric
        and (x := finite(peer.get("packed_bytes"))) is not None
        and (y := finite(peer.get("score"))) is not None
    ]
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
        f"{words if on else ''}The further a point lies up and to the left, the "
        "better; the line joins those that no other beats.",
        figure(
            "Score of each network visited, by its size.",
            charts.curve(spots, budget=budget, metric=metric, peers=peers),
        ),
        more(f"All {len(visited)} networks", listed),
    )


def _score(visit: Report) -> str:
    value = visit.get("score")
    if visit.get("metric") in ("agreement", "top1", "top5"):
        return percent(value)
    return f"{short(value)} dB" if visit.get("metric") == "sqnr_db" else short(value)


def _decisions(report: Report) -> Section | None:
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
                [(layer.get("name"), layer["why_float"]) for layer in floats[: layers.MOST_LAYERS]],
            )
        )
    return section("decisions", "What was decided", None, *parts) if parts else None


def _provenance(report: Report) -> Section:
    original, compressed = get(report, "original") or {}, get(report, "compressed") or {}
    lines: list[tuple[str, Any]] = [
        ("Original", _identity(original, "file", "sha256")),
        ("Parameters", count(original.get("parameters"))),
        ("Multiply-adds", count(original.get("macs"))),
        ("Network file", _identity(compressed, "file", "sha256")),
        ("Packed file", _identity(compressed, "packed_file", "packed_sha256")),
        *_settings(report),
        *(
            (name, _fingerprint(get(report, "data", part)))
            for part, name in (("fit", "Samples fitted on"), ("judge", "Samples that judge"))
        ),
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
        "Do it again",
        "The same input, seed, versions and machine give the same bytes. A click marks the whole "
        "command."
        if command
        else None,
        element("pre", element("code", command), class_="command") if command else None,
        definitions([(name, value) for name, value in lines if value and value != NONE]),
    )


def _fingerprint(part: Any) -> Html | None:
    if not part or finite(part.get("samples")) is None:
        return None
    digest = part.get("sha256")
    code = join(element("br"), element("code", "sha256 ", digest)) if digest else None
    return join(count(part["samples"]), code)


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
    "onnx": "ONNX",
    "system": "System",
    "machine": "Machine",
}
_BOUNDS = {"target_size", "target_installed_size", "max_drop", "speedup", "max_ram", "model"}
_QUESTIONS = {
    "data": ("Data", _plain),
    "calibrate": ("Samples asked to fit on", count),
    "labels": ("Learns from labels", lambda _: "yes"),
    "preprocess": ("Preprocessing", _plain),
    "seed": ("Seed", _plain),
}
