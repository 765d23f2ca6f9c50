"""The top of docs/benchmarks.md: whether ours is smallest, on one screen.

    python -m benchmarks.at_a_glance --docs docs

Taken from the records that `lossless` and `lossy` keep there, who call it; nothing is measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import history
from benchmarks.lossless_pages import OURS, best_peer, by_codec
from benchmarks.lossy_pages import BEST, FOLDER, PAGE, rows_of, spliced
from packlight.files import replace_file
from packlight.report.words import count

STRONGEST = "zpaq -m5"  # of codecs for anything; slow, so it may be left out
MARKS = "<!-- glance: written by benchmarks/at_a_glance.py -->", "<!-- glance: end -->"


def main() -> None:
    """Write the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    publish(parser.parse_args().docs)


def publish(docs: Path) -> None:
    """Write between the marks of the page what its records say."""
    path = docs / FOLDER / "results.json"
    networks = json.loads(path.read_text()) if path.exists() else {}
    kept = history.records("lossless", docs)
    parts = [*([lossless(kept[-1])] if kept else []), *([lossy(networks)] if networks else [])]
    page = docs / PAGE
    replace_file(page, spliced(page.read_text(), "\n\n".join(parts), MARKS).encode())


def lossless(record: dict[str, Any]) -> str:
    """Per file: the smallest of the others, ours, and the share."""
    rows = [["without loss", "bytes", "smallest of the others", "ours", "of it"]]
    for name, subject in record["subjects"].items():
        sizes, best = by_codec(subject), best_peer(subject)
        names = ("packlight --base",) if subject["kind"] == "update" else OURS
        ours = min(sizes[each] for each in names if each in sizes)
        share = f"{100 * ours / best[1]:.1f} %" + ("" if ours < best[1] else ", not smallest")
        slow = any(row["codec"] == STRONGEST and "failed" in row for row in subject["rows"])
        rows.append(
            [
                f"{name} ({subject['kind']})",
                count(subject["bytes"]),
                f"{count(best[1])}, {best[0]}" + (f"; {STRONGEST} not run" if slow else ""),
                count(ours),
                share,
            ]
        )
    return "\n".join(rows_of(rows))


def lossy(networks: dict[str, Any]) -> str:
    """Per network: at how many of the best peers' points ours is smaller, and by how much."""
    rows = [["with loss", "points of the best peers", "ours smaller", "of the peer's bytes"]]
    for name, record in networks.items():
        metric = next(iter(record["whole"]))
        matches = record["matches"][BEST][metric]
        ratios = [each["ratio"] for each in matches if each["ratio"] is not None]
        smaller = sum(ratio < 1 for ratio in ratios)
        rows.append(
            [
                f"{name}, {record['data']}",
                str(len(matches)),
                f"{smaller} of {len(matches)}" + _where_not(matches),
                f"{100 * min(ratios):.0f} to {100 * max(ratios):.0f} %" if ratios else "",
            ]
        )
    return "\n".join(rows_of(rows))


def _where_not(matches: list[dict[str, Any]]) -> str:
    """From which agreement on a peer is smaller, or as accurate as none of ours."""
    above = [each["peer"] for each in matches if each["ratio"] is None or each["ratio"] >= 1]
    if not above:
        return ""
    peer = min(above, key=lambda each: each["size"])
    metric = "agreement" if "agreement" in peer["scores"] else "sqnr_db"
    score = peer["scores"][metric]
    at = f"{100 * score:.2f} % agreement" if metric == "agreement" else f"{score:.1f} dB"
    return f", not at {peer['tool']}'s {at}" + (" and above" if len(above) > 1 else "")


if __name__ == "__main__":
    main()
