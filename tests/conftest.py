"""The order in which files are handed to processes, and what is done once for all tests."""

from __future__ import annotations

import sys
from functools import cache

import pytest

LONGEST = ("test_readme.py", "test_parity.py", "test_coreml.py", "test_fit.py")
MEASURED = 0.1  # seconds that fit and check time networks here; no test looks at the figures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, or one process would end long after the other."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    """Do once what each `fit` and each ONNX file would do again, where tests do them at all."""
    if "torch" not in sys.modules:
        return
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    from packlight.runtimes.onnxruntime import latencies

    # the table of all of torch's operators, read from the source of their ONNX functions
    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))
    latencies.__kwdefaults__["seconds"] = MEASURED
