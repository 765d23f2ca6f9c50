"""What the results of the comparison look like, failures among them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lossy_pages import BEST, END, PAGE, START, markdown, publish, spliced
from benchmarks.lossy_picture import picture


def row(tool: str, setting: str, size: int, agreement: float) -> dict[str, Any]:
    scores = {"agreement": agreement, "sqnr_db": 20.0}
    return {"tool": tool, "setting": setting, "size": size, "scores": scores, "by": "xz -9e"}


def record(**changes: Any) -> dict[str, Any]:
    peer, ours = row("Peer", "4 bits", 100_000, 0.95), row("packlight", "int8", 60_000, 0.96)
    larger = row("Peer", "8 bits", 200_000, 0.999)
    difference = {"value": -0.01, "low": -0.02, "high": 0.005}
    matches = [
        {"peer": peer, "ours": ours, "ratio": 0.6, "peers_less_ours": difference},
        {"peer": larger, "ours": None, "ratio": None},
    ]
    made = {
        "date": "2026-01-02",
        "commit": "abc",
        "machine": "2 cores, x86_64",
        "versions": {"judge": "onnxruntime 1.2", "packlight": "0.1", "Peer": "3.4"},
        "data": "data.zip",
        "calibrated": 300,
        "seed": 0,
        "n": 5000,
        "judged_on": "5000 test samples",
        "bytes": 400_000,
        "whole": {"agreement": 1.0},
        "theirs": [peer, larger],
        "failures": [],
        "ours": [ours],
        "matches": {"Peer": {"agreement": matches}, BEST: {"agreement": matches}},
    }
    return made | changes


def test_each_peer_s_point_stands_beside_ours() -> None:
    page = markdown("net", record())
    line = "| Peer, 4 bits | 100,000 | 95.00 % | 60,000, int8 | 96.00 % | 60 % | −0.5 to +2.0 |"
    assert line in page
    assert "5,000 judged, 300 calibrated on" in page
    assert "packlight 0.1, Peer 3.4" in page


def test_a_point_that_ours_does_not_reach_is_said_to_be_so() -> None:
    page = markdown("net", record())
    assert "| Peer, 8 bits | 200,000 | 99.90 % | not reached |" in page
    assert "| 60 %, 1 of 2 not reached |" in page


def test_a_failing_peer_is_a_line_that_says_how() -> None:
    failures = [
        {"tool": "Other", "setting": "", "failed": "could not be installed: no <wheel>"},
        {"tool": "Other", "setting": "int8", "failed": "ValueError: a | b"},
    ]
    page = markdown("net", record(failures=failures))
    assert "- Other: could not be installed: no &lt;wheel>" in page
    assert "- Other, int8: ValueError: a \\| b" in page


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    lines = [line for line in markdown("net", record()).splitlines() if line.startswith("|")]
    widths = [line.count("|") for line in lines]
    assert sorted(set(widths)) == sorted({widths[0], widths[-1]})


def test_results_without_any_peer_still_make_a_page_and_a_picture() -> None:
    nothing = record(theirs=[], ours=[], matches={BEST: {"agreement": []}})
    assert "none within the range" in markdown("net", nothing)
    ElementTree.fromstring(picture("net", nothing))


@pytest.mark.parametrize("name", ["net", "<b>&"])
def test_the_picture_shows_every_point_and_explains_every_mark(name: str) -> None:
    drawing = ElementTree.fromstring(picture(name, record()))
    space = "{http://www.w3.org/2000/svg}"
    hints = [title.text for title in drawing.iter(f"{space}title")]
    assert hints == [f"{name}: agreement against bytes", "Peer, 4 bits", "Peer, 8 bits", "Peer"]
    assert len(list(drawing.iter(f"{space}circle"))) == 2  # one network of ours, and the legend


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / PAGE
    page.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    publish({"net": record()}, tmp_path)
    publish({"net": record()}, tmp_path)
    written = page.read_text()
    assert written.startswith(f"before\n{START}\n\n### net, data.zip")
    assert written.endswith(f"{END}\nafter\n")
    assert "old" not in written
    assert json.loads((tmp_path / "lossy" / "results.json").read_text()) == {"net": record()}
    assert (tmp_path / "lossy" / "net.svg").read_text().startswith("<svg")


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="has no lines"):
        spliced("a page", "words")
