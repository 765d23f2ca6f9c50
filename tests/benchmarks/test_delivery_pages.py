"""What the figures of delivery look like, and what they add up to for many devices."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from benchmarks.delivery_pages import FIGURES, MARKS, PAGE, SCALE_MARKS, publish, scale, section
from benchmarks.lossy_pages import spliced
from benchmarks.scale import Assumed, monthly
from tests.native.compiling import ROOT


def record() -> dict[str, Any]:
    case = {
        "what": "something",
        "answers": {"n": 350, "same": 0.9, "drop": -0.01},
        "unpacked": 1_000_000,
        "full": 400_000,
        "ours": 20_000,
        "kind": ["delta"],
        "received": 22_000,
        "unpacked_peers": {"bsdiff": 50_000, "zstd -22": 40_000},
        "packed_peers": {"bsdiff": 390_000, "zstd -22": 395_000},
    }
    return {
        "date": "2026-01-02",
        "machine": "2 cores, x86_64",
        "commit": "abc",
        "versions": {"packlight": "0.1.0"},
        "nothing_new": 336,
        "cases": {Assumed().case: case},
    }


def test_a_table_tells_shares_of_the_full_file_and_of_the_best_other():
    told = section(record())
    row = next(line for line in told.splitlines() if line.startswith(f"| {Assumed().case} |"))
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells == ["400,000", "20,000", "22,000", "5.5 %", "40,000", "50.0 %"]
    assert "something (90.0 % of answers kept, −1.0 points lost, n = 350)" in told


def test_ten_million_devices_add_up():
    """One device, one update a week and a poll a day, by hand."""
    one = Assumed(installs=1, price=1.0, window=1.0, uneven=1.0)
    told = monthly(one, 1e9, 0)
    assert told.terabytes == pytest.approx(30.4375 / 7 * 1e9 / 1e12)
    assert told.dollars == pytest.approx(30.4375 / 7)
    assert told.peak_gbit == pytest.approx(8 / 3600)
    assert monthly(one, 0, 1e9).dollars == pytest.approx(30.4375)
    assert "| packlight | 22,000 | " in scale(record())


def test_the_page_says_what_the_kept_figures_say(tmp_path):
    kept = json.loads((ROOT / "docs" / FIGURES).read_text())
    page = (ROOT / "docs" / PAGE).read_text()
    assert spliced(spliced(page, section(kept), MARKS), scale(kept), SCALE_MARKS) == page
    (tmp_path / PAGE).write_text(page)
    publish(kept, tmp_path)
    assert (tmp_path / PAGE).read_text() == page
    assert json.loads((tmp_path / FIGURES).read_text()) == kept


def test_the_script_prints_a_line():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "1000", "--nothing-new", "0"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "0.04 TB and $2 per month, 0.00 Gbit/s at the peak\n"
