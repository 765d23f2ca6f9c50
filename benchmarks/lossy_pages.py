"""Results of `lossy` for people: a section of docs/benchmarks.md, and beside it the figures."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import geometric_mean

from benchmarks import history
from benchmarks.lossy_picture import NAMES, Record, picture
from packlight.files import replace_file
from packlight.report.words import count, minus, size, span

BEST = "best of all"
PAGE, FOLDER = "benchmarks.md", "lossy"  # below the docs
START, END = "<!-- lossy: written by benchmarks/lossy.py -->", "<!-- lossy: end -->"


def publish(results: dict[str, Record], docs: Path) -> None:
    """Write the results, their pictures, and the section between the marks of the page.

    Raises:
        ValueError: the page has no marks.
    """
    folder = docs / FOLDER
    folder.mkdir(exist_ok=True)
    for name, record in results.items():
        replace_file(folder / f"{name}.svg", picture(name, record).encode())
    replace_file(folder / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    page = docs / PAGE
    replace_file(page, spliced(page.read_text(), section(results, docs)).encode())


def spliced(page: str, written: str, marks: tuple[str, str] = (START, END)) -> str:
    """A page with what is between its marks replaced."""
    before, start, rest = page.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not start or not end:
        raise ValueError(f"{PAGE} has no lines {marks[0]} and {marks[1]} to write between")
    return f"{before}{start}\n\n{written.strip()}\n\n{end}{after}"


def section(results: dict[str, Record], docs: Path) -> str:
    """All networks, as Markdown, with what changed since the record before where one is kept."""
    parts = []
    for name, record in results.items():
        older = [
            kept
            for kept in history.records(f"lossy-{name}", docs)
            if (kept["date"], kept["commit"]) != (record["date"], record["commit"])
        ]
        parts.append(markdown(name, record) + (since(older[-1], record) if older else ""))
    return "\n\n".join(parts)


def since(before: Record, record: Record) -> str:
    """How many bytes ours takes of what it took, at the same points of the peers."""
    metric = next(iter(record["whole"]))
    was, now = (
        {
            (each["peer"]["tool"], each["peer"]["setting"]): each["ours"]["size"]
            for each in one["matches"].get(BEST, {}).get(metric, [])
            if each["ours"]
        }
        for one in (before, record)
    )
    ratios = [now[point] / was[point] for point in now if point in was]
    if not ratios:
        return ""
    return (
        f"\n\nSince {before['date']} ours takes {_percent(geometric_mean(ratios), 0)} of the bytes "
        f"at the same points of peers (geometric mean of {len(ratios)})."
    )


def markdown(name: str, record: Record) -> str:
    """One network: what each tool needs beside ours, the best of them point by point, failures."""
    circumstances = ", ".join(f"{tool} {version}" for tool, version in _versions(record))
    lines = [
        f"### {name}, {record['data']}",
        "",
        f"{count(record['n'])} judged, {record['calibrated']} calibrated on; {record['date']}, "
        f"{record['machine']}, {circumstances}.{_original(record)}",
        "",
        f"![Bytes and agreement of {name}]({FOLDER}/{name}.svg)",
        "",
        *rows_of(_summary(record)),
        "",
        *rows_of(_best(record)),
    ]
    failures = [
        f"{row['tool']}{', ' if row['setting'] else ''}{row['setting']}: {row['failed']}"
        for row in record["failures"]
    ]
    if failures:
        lines += ["", "Failed:", "", *(f"- {_escaped(failure)}" for failure in failures)]
    return "\n".join(lines)


def _summary(record: Record) -> list[list[str]]:
    """Per tool: bytes of its points worth having, and the range of our shares of them."""
    metrics = list(record["whole"])
    rows = [["", "bytes", *(f"ours, at the same {NAMES[metric]}" for metric in metrics)]]
    for tool, matches in record["matches"].items():
        found = [each for metric in metrics for each in matches[metric]]
        sizes = [each["peer"]["size"] for each in found]
        bytes_ = f"{size(min(sizes))} to {size(max(sizes))}" if sizes else "none within the range"
        rows.append([tool, bytes_, *(_range(matches[metric]) for metric in metrics)])
    return rows


def _range(matches: list[Record]) -> str:
    """Our bytes as shares of the peer's, and how often none of ours was as accurate."""
    ratios = sorted(each["ratio"] for each in matches if each["ratio"] is not None)
    missing = len(matches) - len(ratios)
    shown = dict.fromkeys(_percent(ratio, 0) for ratio in (*ratios[:1], *ratios[-1:]))
    words = [" to ".join(shown)] if ratios else []
    words += [f"{missing} of {len(matches)} not reached"] if missing else []
    return ", ".join(words) or "–"


def _best(record: Record) -> list[list[str]]:
    """The best of all tools, point by point, beside ours, in the first metric."""
    metric = next(iter(record["whole"]))
    name = NAMES[metric]
    rows = [["best peer", "bytes", name, "ours", name, "of the peer's bytes", "95 %"]]
    for found in record["matches"][BEST][metric]:
        peer, ours = found["peer"], found["ours"]
        less = found.get("peers_less_ours")
        rows.append(
            [
                f"{peer['tool']}, {peer['setting']}",
                count(peer["size"]),
                _score(peer, metric),
                f"{count(ours['size'])}, {ours['setting']}" if ours else "not reached",
                _score(ours, metric) if ours else "",
                _percent(found["ratio"], 0) if ours else "",
                span(-less["high"], -less["low"]) if less else "",
            ]
        )
    return rows


def _score(point: Record, metric: str) -> str:
    value = point["scores"][metric]
    return minus(f"{value:.1f} dB") if metric == "sqnr_db" else _percent(value, 2)


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"


def _versions(record: Record) -> list[tuple[str, str]]:
    return [(name, text) for name, text in record["versions"].items() if name != "judge"]


def _original(record: Record) -> str:
    top1 = record["whole"].get("top1")
    return f" The original: {size(record['bytes'])}" + (
        f", top-1 {_percent(top1, 2)}." if top1 is not None else "."
    )


def rows_of(rows: list[list[str]]) -> list[str]:
    """A Markdown table: the first column to the left, the others to the right."""
    head, *body = rows
    rule = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(map(_escaped, row))} |" for row in (head, rule, *body)]


def _escaped(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "&lt;")
