"""The order in which files are handed to processes, and what is done once for all tests."""

from __future__ import annotations

import sys
from functools import cache

import pytest

#: names of files that take more than a minute of a processor, longest first
LONGEST = (
    "test_fit.py",
    "test_readme.py",
    "test_onnx_conformance.py",
    "test_reference.py",
    "test_executing.py",
    "test_layers.py",
    "test_litert.py",
)
MEASURED = 0.1  # seconds that fit and check time networks here; no test looks at the figures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, or one process would end long after the other.

    xdist keeps to this order only with --no-loadscope-reorder; else files of few tests come last.
    """
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_collection_finish() -> None:
    """Do once what each `fit` and each ONNX file would do again, where tests do them at all."""
    if "torch" not in sys.modules:
        return
    import torch
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    from packlight.runtimes.onnxruntime import latencies

    build = ONNXRegistry.from_torchlib

    @cache
    def table(opset_version: int, operators: int) -> ONNXRegistry:
        """ONNX functions, whose source is parsed, by those of torch's operators that exist."""
        return build(opset_version)

    ONNXRegistry.from_torchlib = staticmethod(
        lambda opset_version: table(opset_version, len(torch._C._dispatch_get_all_op_names()))
    )
    latencies.__kwdefaults__["seconds"] = MEASURED
