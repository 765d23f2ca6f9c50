"""The order in which files are handed to processes, and what is done once for all tests."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: files that take more than a minute of a processor, longest first
LONGEST = (
    "shrink/test_fit.py",
    "test_readme.py",
    "readers/test_onnx_conformance.py",
    "coding/test_reference.py",
    "shrink/test_executing.py",
    "layerwise/test_layers.py",
    "runtimes/test_litert.py",
)
#: files that `make check` leaves out: those, and others that mostly start processes or fit networks
SLOW = {
    *LONGEST,
    "delivery/test_killed.py",
    "native/test_build.py",
    "native/test_damage.py",
    "runtimes/test_coreml.py",
    "runtimes/test_executorch.py",
    "runtimes/test_kernels.py",
    "shrink/test_deep_compression.py",
    "shrink/test_narrowing.py",
    "shrink/test_only.py",
    "shrink/test_recover.py",
    "test_benching.py",
    "test_cli.py",
    "test_parity.py",
} - {"test_readme.py"}  # what a newcomer types has to work
MEASURED = 0.1  # seconds that fit and check time networks here; no test looks at the figures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, or one process would end long after the other; mark slow files.

    xdist keeps to this order only with --no-loadscope-reorder; else files of few tests come last.
    """
    order = {name: place for place, name in enumerate(LONGEST)}
    names = {item: item.path.relative_to(HERE).as_posix() for item in items}
    items.sort(key=lambda item: order.get(names[item], len(order)))
    for item, name in names.items():
        if name in SLOW:
            item.add_marker(pytest.mark.slow)


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
