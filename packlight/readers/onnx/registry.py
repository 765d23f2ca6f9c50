"""The table of operators: what each ONNX operator calls in torch, and on the host.

    @op("Reshape", known=[1])
    def reshape(node: Node, x: Tensor, shape: Array) -> Tensor: ...

    @host("Gather")
    def gather_on_host(node: Node, data: Array, indices: Array) -> Array: ...

An `op` gets tensors, arrays at the positions in `known` (an error for the user if such a value
depends on an input), and whichever there is at those in `either`; `raw` hands over what the
interpreter holds. A `host` function is used when
all inputs are known; it may return NotImplemented to leave a case to the `op`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from packlight.readers.onnx.graph import Graph, Node


@dataclass(frozen=True)
class Operator:
    """How one operator runs on tensors.

    Args:
        run: called with the node and one value per input, None for those left out.
        known: positions of inputs that must be known while reading.
        either: positions of inputs that may be arrays or tensors.
        raw: positions of inputs that come as the interpreter holds them.
    """

    run: Callable[..., Any]
    known: frozenset[int]
    either: frozenset[int]
    raw: frozenset[int]


_OPERATORS: dict[str, Operator] = {}
_HOST: dict[str, Callable[..., Any]] = {}

INTERPRETED = frozenset({"Identity", "If", "Loop"})  # module.py runs these itself


def op(
    *names: str, known: Sequence[int] = (), either: Sequence[int] = (), raw: Sequence[int] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the meaning of one or more ONNX operators."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            _OPERATORS[name] = Operator(run, frozenset(known), frozenset(either), frozenset(raw))
        return run

    return register


def host(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function on arrays as the meaning of ONNX operators on known values."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            _HOST[name] = run
        return run

    return register


@cache
def _load() -> None:
    from packlight.readers.onnx import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")


def operator_of(node: Node) -> Operator | None:
    """How a node runs on tensors; None when no such operator is known."""
    _load()
    return _OPERATORS.get(node.op)


def host_of(node: Node) -> Callable[..., Any] | None:
    """How a node runs on arrays; None when it does not."""
    _load()
    return _HOST.get(node.op)


def supported_operators() -> list[str]:
    """The names of all operators that can be read."""
    _load()
    return sorted({*_OPERATORS, *_HOST, *INTERPRETED, "Constant"})


def check_supported(graph: Graph) -> None:
    """Look for operators that can not be read, before anything takes long.

    What is inside an If or a Loop is looked at once it runs.

    Raises:
        UnsupportedOperator: names the first.
    """
    for node in graph.nodes:
        if node.op not in INTERPRETED and operator_of(node) is None and host_of(node) is None:
            raise node.unsupported("")
