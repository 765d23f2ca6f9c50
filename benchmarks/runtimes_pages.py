"""Results of `runtimes` for people: a section of docs/benchmarks.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.lossy_pages import PAGE, rows_of, spliced
from packlight.files import replace_file
from packlight.report.words import count

FILE = "runtimes.json"
MARKS = "<!-- runtimes: written by benchmarks/runtimes.py -->", "<!-- runtimes: end -->"
NAMES = {
    "onnx": "onnxruntime",
    "litert": "LiteRT",
    "executorch": "ExecuTorch",
    "coreml": "Core ML, not run",
}


def publish(results: dict[str, Any], docs: Path) -> None:
    """Write the results, and the section between the marks of the page."""
    replace_file(docs / FILE, (json.dumps(results, indent=1) + "\n").encode())
    page = docs / PAGE
    written = "\n\n".join(markdown(name, record) for name, record in results.items())
    replace_file(page, spliced(page.read_text(), written, MARKS).encode())


def markdown(name: str, record: dict[str, Any]) -> str:
    """One network: every runtime's files, in floats, ours, and its own quantiser's."""
    tools = ", ".join(f"{tool} {version}" for tool, version in record["versions"].items())
    table = [["runtime", "made by", "bytes", "ms", "x its floats", "same answers", "SQNR"]]
    table += [_cells(row) for row in record["rows"]]
    lines = [
        f"### {name} in {record['asked']}, {record['data']}",
        "",
        f"{count(record['n'])} judged; {record['date']}, {record['machine']}, {tools}.",
        "",
        *rows_of(table),
    ]
    lines += ["", *(f"- {failure}" for failure in record["failures"])] if record["failures"] else []
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    ratio, ms, agreement = row.get("ratio"), row.get("ms"), row.get("agreement")
    return [
        NAMES[row["runtime"]],
        row["maker"],
        count(row["bytes"]),
        f"{ms['value']:.3g}" if ms else row.get("problem") or "",
        f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else "",
        f"{100 * agreement['value']:.2f} %" if agreement else "",
        "" if row.get("sqnr_db", 200.0) >= 200 else f"{row['sqnr_db']:.1f} dB",  # itself
    ]
