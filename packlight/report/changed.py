"""The samples whose answer changed: from which class to which, and what they look like."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from packlight.report.blocks import Report, Section, get, more, section, table
from packlight.report.element import Html, element
from packlight.report.words import count

PAIRS = 12  # pairs of classes shown at once; the rest folds away
PIXELATED = 48  # pixels of a side; smaller pictures are shown larger with their pixels seen


def changed(report: Report, pictures: Sequence[bytes] = ()) -> Section | None:
    """The pairs of classes as a table, then the pictures.

    Args:
        report: as in report.json.
        pictures: PNG files of the first of the samples told there.
    """
    flips = report.get("flips")
    if not flips:
        return None
    names = flips.get("classes") or {}
    return section(
        "flips",
        "Answers that changed",
        _words(flips, count(get(report, "accuracy", "n"))),
        *_pairs(flips, names),
        _gallery(flips.get("samples") or [], names, pictures),
    )


def _words(flips: Report, n: str) -> str:
    total = flips.get("count") or 0
    if not total:
        return f"All {n} samples are answered as by the original."
    words = f"Of {n} samples, {count(total)} changed their answer."
    lost, won = flips.get("lost"), flips.get("won")
    if lost is None or won is None:
        return words
    return (
        f"{words} Right before, and wrong now: {count(lost)}. Wrong before, and right now: "
        f"{count(won)}. Wrong both times: {count(total - lost - won)}."
    )


def _pairs(flips: Report, names: dict[str, Any]) -> list[Html]:
    pairs = flips.get("pairs") or []
    if not pairs:
        return []
    labelled = flips.get("lost") is not None
    header = [("original's answer", False), ("answer now", False), ("samples", True)]
    if labelled:
        header += [("right before", True), ("right now", True)]
    lines = [
        (
            _class(pair.get("from"), names),
            _class(pair.get("to"), names),
            count(pair.get("count")),
            *([count(pair.get("lost")), count(pair.get("won"))] if labelled else []),
        )
        for pair in pairs
    ]
    first = table("Which answers became which, the most frequent first.", header, lines[:PAIRS])
    rest = lines[PAIRS:]
    if not rest:
        return [first]
    told = more(
        f"The next {len(rest)} pairs of answers",
        table("Pairs of answers that are less frequent.", header, rest),
    )
    return [first, told]


def _gallery(
    samples: Sequence[Report], names: dict[str, Any], pictures: Sequence[bytes]
) -> Html | None:
    shown = list(zip(samples, pictures, strict=False))
    if not shown:
        return None
    labelled = any(sample.get("label") is not None for sample in samples)
    words = "What the network was shown" + (
        ", those first that had been right." if labelled else "."
    )
    return element(
        "div",
        element("h3", "Samples that changed"),
        element("p", words),
        element("ul", [_card(sample, names, png) for sample, png in shown], class_="gallery"),
    )


def _card(sample: Report, names: dict[str, Any], png: bytes) -> Html:
    before, after = (_class(sample.get(side), names) for side in ("from", "to"))
    label = sample.get("label")
    what = sample.get("name") or f"sample {sample.get('index')}"
    known = "" if label is None else f", in truth {_class(label, names)}"
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return element(
        "li",
        element(
            "img",
            src=f"data:image/png;base64,{base64.b64encode(png).decode()}",
            alt=f"{what}: answered {before} before, {after} now{known}",
            width=width,
            height=height,
            class_="coarse" if max(width, height) < PIXELATED else None,
        ),
        element(
            "p",
            element("span", _marked(before, sample.get("from"), label), class_="was"),
            element("span", " → ", _marked(after, sample.get("to"), label)),
        ),
        element("p", _truth(sample, names), class_="truth") if label is not None else None,
    )


def _truth(sample: Report, names: dict[str, Any]) -> str | None:
    """The right class, where neither answer is it."""
    label = sample.get("label")
    if label in (sample.get("from"), sample.get("to")):
        return None
    return f"in truth {_class(label, names)}"


def _marked(name: str, answer: Any, label: Any) -> str:
    return f"{name} ✓" if label is not None and answer == label else name


def _class(number: Any, names: dict[str, Any]) -> str:
    """What a class is called, or its number."""
    return str(names.get(str(number), f"class {number}"))
