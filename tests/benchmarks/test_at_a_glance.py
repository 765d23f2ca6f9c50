"""The first table of the page says where ours is smallest, and where it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks import history
from benchmarks.at_a_glance import FOLDER, MARKS, PAGE, lossless, lossy, publish
from benchmarks.lossy_pages import BEST, since
from tests.benchmarks.test_lossless import record


def match(size: int, agreement: float, ours: int | None) -> dict[str, Any]:
    scores = {"agreement": agreement}
    peer = {"tool": "Peer", "setting": f"{size}", "size": size, "scores": scores}
    return {
        "peer": peer,
        "ours": ours and {**peer, "size": ours},
        "ratio": ours and ours / size,
    }


def network(*matches: dict[str, Any]) -> dict[str, Any]:
    return {
        "date": "2026-01-02",
        "data": "data.zip",
        "whole": {"agreement": 1.0},
        "matches": {BEST: {"agreement": list(matches)}},
    }


def test_without_loss_the_smallest_of_each_side_stands_there() -> None:
    text = lossless(record(ours=710))
    assert (
        "| net (fp32) | 1,000 | 700, xz -9e; zpaq -m5 not run | 710 | 101.4 %, not smallest |"
        in text
    )
    assert "| a -> b (update) | 1,000 | 300, bsdiff | 100 | 33.3 % |" in text


def test_with_loss_points_where_a_peer_is_smaller_are_named() -> None:
    small, equal, missing = match(100, 0.9, 60), match(200, 0.99, 200), match(300, 0.999, None)
    assert "| net, data.zip | 1 | 1 of 1 | 60 to 60 % |" in lossy({"net": network(small)})
    text = lossy({"net": network(small, equal, missing)})
    assert "| 3 | 1 of 3, not at Peer's 99.00 % agreement and above | 60 to 100 % |" in text


def test_the_section_is_written_from_what_is_kept(tmp_path: Path) -> None:
    page = tmp_path / PAGE
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    history.keep("lossless", record(), tmp_path)
    (tmp_path / FOLDER).mkdir()
    results = {"net": network(match(100, 0.9, 60))}
    (tmp_path / FOLDER / "results.json").write_text(json.dumps(results))
    publish(tmp_path)
    text = page.read_text()
    assert "old" not in text
    assert "85.7 %" in text
    assert "60 to 60 %" in text


def test_the_page_says_what_its_records_say(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    for part in (FOLDER, "results"):
        shutil.copytree(docs / part, tmp_path / part)
    shutil.copy(docs / PAGE, tmp_path)
    publish(tmp_path)
    assert (tmp_path / PAGE).read_text() == (docs / PAGE).read_text()


def test_what_changed_is_told_at_the_same_points_of_peers() -> None:
    before = network(match(100, 0.9, 80), match(200, 0.99, None))
    now = network(match(100, 0.9, 60), match(200, 0.99, 150))
    assert "ours takes 75 % of the bytes" in since(before, now)
    assert "geometric mean of 1" in since(before, now)
    assert since(network(), now) == ""
