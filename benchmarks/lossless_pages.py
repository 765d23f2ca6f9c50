"""Results of `lossless` for people: tables in docs/benchmarks.md, every codec in lossless.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.lossy_pages import PAGE, rows_of, spliced
from packlight.files import replace_file
from packlight.report.words import count, minus, size

OURS = ("packlight fast", "packlight default", "packlight max")
MARKS = "<!-- lossless: written by benchmarks/lossless.py -->", "<!-- lossless: end -->"
DETAILS = "lossless.md"

Record = dict[str, Any]


def publish(records: list[Record], docs: Path) -> None:
    """Write the summary between the marks of the page, and all codecs on a page of their own.

    Args:
        records: oldest first.
        docs: the folder of docs.
    """
    page, details = docs / PAGE, docs / DETAILS
    replace_file(page, spliced(page.read_text(), summary(records), MARKS).encode())
    replace_file(details, spliced(details.read_text(), every_codec(records[-1]), MARKS).encode())


def summary(records: list[Record]) -> str:
    """Every file: ours beside the smallest of the others, and what changed since last time."""
    record = records[-1]
    rows = [
        ["file", "kind", "bytes", "best of the others", "max", "default", "fast", "of the best"]
    ]
    for name, subject in record["subjects"].items():
        if subject["kind"] == "update":
            continue
        ours, best = by_codec(subject), best_peer(subject)
        smallest = min(ours[each] for each in OURS if each in ours)
        cells = [count(ours.get(each)) for each in reversed(OURS)]
        mark = "" if smallest < best[1] else " (not smallest)"
        rows.append(
            [
                name,
                subject["kind"],
                count(subject["bytes"]),
                f"{count(best[1])} {best[0]}",
                *cells,
                f"{100 * smallest / best[1]:.1f} %{mark}",
            ]
        )
    return "\n".join([told(record), "", *rows_of(rows), *_updates(record), *_changes(records)])


def told(record: Record) -> str:
    """When and where, and what was left out."""
    versions = ", ".join(f"{tool} {version}" for tool, version in record["versions"].items())
    return f"{record['date']}, {record['machine']}, commit {record['commit']}, {versions}."


def _updates(record: Record) -> list[str]:
    found = {name: each for name, each in record["subjects"].items() if each["kind"] == "update"}
    if not found:
        return []
    rows = [["update", "alone", "best of the others", "`--base`", "of the best"]]
    for name, subject in found.items():
        ours, best = by_codec(subject), best_peer(subject)
        base = ours["packlight --base"]
        mark = "" if base < best[1] else " (not smallest)"
        share = f"{100 * base / best[1]:.1f} %{mark}"
        alone = count(ours.get("packlight max, alone"))
        rows.append([name, alone, f"{count(best[1])} {best[0]}", count(base), share])
    return ["", *rows_of(rows)]


def _changes(records: list[Record]) -> list[str]:
    """Ours against the record before, where that packed the very same file."""
    lines = []
    for name, subject in records[-1]["subjects"].items():
        for older in reversed(records[:-1]):
            before = older["subjects"].get(name)
            if before and before["sha256"] == subject["sha256"]:
                was, now = by_codec(before), by_codec(subject)
                lines += [
                    minus(f"{name}, {codec}: {100 * (now[codec] / was[codec] - 1):+.2f} %")
                    for codec in now
                    if codec.startswith("packlight") and codec in was and now[codec] != was[codec]
                ]
                break
    if not lines:
        return []
    return [
        "",
        "Bytes of ours since the last record of the same file:",
        "",
        *(f"- {x}" for x in lines),
    ]


def every_codec(record: Record) -> str:
    """All rows of all files."""
    parts = [told(record), *(markdown(*each) for each in record["subjects"].items())]
    return "\n\n".join(parts)


def markdown(name: str, subject: Record) -> str:
    """One file: every codec, or how it failed."""
    rows = [
        [
            "codec",
            "bytes",
            "ratio",
            "speed in",
            "speed out",
            "MB/s in",
            "MB/s out",
            "memory in",
            "out",
        ]
    ]
    failures = []
    for row in subject["rows"]:
        if "failed" in row:
            failures.append(f"- {row['codec']}: {row['failed']}")
            continue
        ways = ("in", "out")
        rows.append(
            [
                row["codec"],
                count(row["bytes"]),
                f"{subject['bytes'] / row['bytes']:.3f}",
                *(
                    f"{_figure(row[f'speed_{way}'])}x" if f"speed_{way}" in row else ""
                    for way in ways
                ),
                *(_figure(subject["bytes"] / row[f"seconds_{way}"] / 1e6) for way in ways),
                *(size(row[f"memory_{way}"]) for way in ways),
            ]
        )
    lines = [f"## {name}", "", f"{count(subject['bytes'])} bytes, {subject['kind']}.", ""]
    lines += rows_of(rows)
    return "\n".join([*lines, *(["", *failures] if failures else [])])


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def by_codec(subject: Record) -> dict[str, int]:
    """Bytes of every codec that did not fail."""
    return {row["codec"]: row["bytes"] for row in subject["rows"] if "bytes" in row}


def best_peer(subject: Record) -> tuple[str, int]:
    """The smallest that is not ours."""
    theirs = {k: v for k, v in by_codec(subject).items() if not k.startswith("packlight")}
    return min(theirs.items(), key=lambda each: each[1])
