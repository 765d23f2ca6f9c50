"""The order in which files are handed to processes, and what is done once for all tests."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
#: files that take more than a minute of a processor, longest first
LONGEST = (
    "test_readme.py",
    "shrink/test_fit.py",
    "shrink/test_executing.py",
    "readers/test_onnx_conformance.py",
    "shrink/test_fit_teaching.py",
    "coding/test_reference.py",
    "runtimes/test_litert.py",
    "layerwise/test_layers.py",
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
    "runtimes/test_xnnpack_graph.py",
    "shrink/test_deep_compression.py",
    "shrink/test_fit_files.py",
    "shrink/test_fit_speed.py",
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
    # what is imported stays: to look through it again and again took an eighth of the time
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)

    import torch
    from torch.export import decomp_utils, exported_program
    from torch.onnx._internal.exporter import _decomp

    from packlight.runtimes.onnxruntime import latencies
    from packlight.shrink import pace

    @cache
    def made(known: tuple[int, int], make: Callable[..., Any], *args: Any) -> Any:
        return make(*args)

    def once(make: Callable[..., Any], *args: Any) -> Any:
        """What torch makes of all of its operators: made again only where some were added."""
        operators = len(torch._C._dispatch_get_all_op_names())
        return made((operators, len(torch._decomp.decomposition_table)), make, *args)

    rules = _decomp.create_onnx_friendly_decomposition_table
    _decomp.create_onnx_friendly_decomposition_table = lambda known: dict(
        once(rules, frozenset(known))
    )
    composites = exported_program._collect_all_valid_cia_ops
    for module in (decomp_utils, exported_program):
        module._collect_all_valid_cia_ops = lambda: once(composites)
    latencies.__kwdefaults__["seconds"] = pace.WHOLE = MEASURED
