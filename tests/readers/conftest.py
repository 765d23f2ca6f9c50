"""One thread for torch, and the count of the conformance tests at the end of a run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many of ONNX's own tests passed, and which operators can not be read."""
    from tests.readers import test_onnx_conformance as conformance

    outcome: Counter[str] = conformance.OUTCOME
    if outcome:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(outcome.items()))
        terminalreporter.write_line(f"ONNX backend node tests: {counts}")
        operators = ", ".join(
            f"{name} {count}" for name, count in sorted(conformance.UNSUPPORTED.items())
        )
        terminalreporter.write_line(f"unsupported: {operators}")
