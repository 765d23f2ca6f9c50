"""Results of `delivery` and `scale` for people: sections of docs/delivery-benchmarks.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.lossy_pages import rows_of, spliced
from benchmarks.scale import Assumed, monthly
from packlight.files import replace_file
from packlight.report.words import count

PAGE, FIGURES = "delivery-benchmarks.md", "delivery.json"  # below the docs
MARKS = (
    "<!-- delivery: written by benchmarks/delivery.py -->",
    "<!-- delivery: end -->",
)
SCALE_MARKS = ("<!-- scale: written by benchmarks/delivery.py -->", "<!-- scale: end -->")
Record = dict[str, Any]


def publish(record: Record, docs: Path) -> None:
    """Write the figures, and the sections between the marks of the page.

    Raises:
        ValueError: the page has no marks.
    """
    replace_file(docs / FIGURES, (json.dumps(record, indent=1) + "\n").encode())
    page = docs / PAGE
    text = spliced(page.read_text(), section(record), MARKS)
    replace_file(page, spliced(text, scale(record), SCALE_MARKS).encode())


def section(record: Record) -> str:
    """What each update costs, as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    head = ["update", "full", "difference", "received in all"]
    table = [[*head, "of the full", "best other", "less than that"]]
    others = [["update", "files", *_peers(record), "full"]]
    for name, case in record["cases"].items():
        best = _best(case)
        table.append(
            [
                name,
                count(case["full"]),
                count(case["ours"]),
                count(case["received"]),
                _percent(case["received"] / case["full"]),
                count(best),
                _percent(1 - case["ours"] / best),
            ]
        )
        for files in ("unpacked", "packed"):
            sizes = case[f"{files}_peers"]
            whole = case["unpacked"] if files == "unpacked" else case["full"]
            others.append([name, files, *(count(size) for size in sizes.values()), count(whole)])
    told = [
        f"- **{name}**: {case['what']}{_answers(case['answers'])}"
        for name, case in record["cases"].items()
    ]
    return "\n".join(
        [
            f"{record['date']}, {record['machine']}, commit {record['commit']}, {versions}.",
            "",
            *rows_of(table),
            "",
            *told,
            "",
            "The others, each on both kinds of files:",
            "",
            *rows_of(others),
        ]
    )


def scale(record: Record) -> str:
    """What ten million devices would take, from the figures of the record."""
    assumed = Assumed()
    case = record["cases"][assumed.case]
    nothing_new = record["nothing_new"]
    best = _best(case)
    metadata = case["received"] - case["ours"]
    ways = {
        "packlight": case["received"],
        "the full packed file": case["full"] + metadata,
        "the best other difference": min(best, case["full"]) + metadata,
        "the full file as it is": case["unpacked"] + metadata,
    }
    rows = [["", "bytes per update", "TB per month", "cost per month", "peak Gbit/s"]]
    for name, bytes_ in ways.items():
        told = monthly(assumed, bytes_, nothing_new)
        rows.append(
            [
                name,
                count(bytes_),
                f"{told.terabytes:.2f}",
                f"${told.dollars:,.0f}",
                f"{told.peak_gbit:.2f}",
            ]
        )
    return "\n".join([f"Update: {assumed.case}.", "", *rows_of(rows)])


def _answers(found: Record | None) -> str:
    if found is None:
        return ""
    lost = f"{100 * found['drop']:.1f}".replace("-", "−")
    return f" ({_percent(found['same'])} of answers kept, {lost} points lost, n = {found['n']})"


def _best(case: Record) -> int:
    """Bytes of the smallest difference that a general tool makes, of either kind of files."""
    return min(*case["unpacked_peers"].values(), *case["packed_peers"].values())


def _peers(record: Record) -> list[str]:
    return list(next(iter(record["cases"].values()))["unpacked_peers"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %".replace("-", "−")
