"""What the results of every runtime look like."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.runtimes_pages import FILE, MARKS, PAGE, markdown, publish

RATIO = {"value": 0.5, "low": 0.49, "high": 0.52}
JUDGED = {"agreement": {"value": 0.97, "low": 0.96, "high": 0.98}, "top1": 0.9, "sqnr_db": 23.24}


def record(**changes: Any) -> dict[str, Any]:
    floats = {"runtime": "onnx", "maker": "floats", "bytes": 4000, "ms": RATIO, "ratio": None}
    ours = {"runtime": "onnx", "maker": "packlight", "bytes": 1000, "ms": RATIO, "ratio": RATIO}
    broken = {"runtime": "litert", "maker": "packlight", "bytes": 900, "problem": "no kernel"}
    package = {"runtime": "coreml", "maker": "packlight", "bytes": 1100}
    made = {
        "date": "2026-01-02",
        "machine": "2 cores, x86_64, no int8 instructions",
        "versions": {"packlight": "0.1"},
        "data": "data.zip",
        "asked": "40KB",
        "n": 1000,
        "rows": [
            {**floats, **JUDGED, "sqnr_db": float("inf")},
            {**ours, **JUDGED},
            broken,
            package,
        ],
        "failures": [],
    }
    return made | changes


def test_every_file_has_its_figures_beside_its_floats() -> None:
    page = markdown("net", record())
    assert "| onnxruntime | floats | 4,000 | 0.5 |  | 97.00 % |  |" in page
    assert (
        "| onnxruntime | packlight | 1,000 | 0.5 | 0.50 (0.49 to 0.52) | 97.00 % | 23.2 dB |"
        in page
    )
    assert "| LiteRT | packlight | 900 | no kernel |  |  |  |" in page
    assert "| Core ML, not run | packlight | 1,100 |  |  |  |  |" in page


def test_a_quantiser_that_fails_is_a_line_that_says_how() -> None:
    assert "- torchao: no room" in markdown("net", record(failures=["torchao: no room"]))


def test_results_go_between_the_marks_of_the_page(tmp_path) -> None:
    page = tmp_path / PAGE
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    publish({"net": record()}, tmp_path)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "### net in 40KB" in text
    assert json.loads((tmp_path / FILE).read_text())["net"]["n"] == 1000
