"""ONNX's own backend tests of single operators, run through `packlight.load`.

Every node test that ships with the onnx package is read, traced and run, and must either pass
with its own tolerance or raise UnsupportedOperator. There is no list of failures that are allowed.

* Sizes, axes, pads and the like, which the tests feed as graph inputs and real files hold as
  initializers, are given as initializers with the test's value: those that the operator needs
  while reading (`known` in the registry) and the scales of quantised tensors.
* float16 and bfloat16 results may differ by two units in the last place of their largest power of
  two, because the tests' tolerance is finer than these numbers are.
* Not counted: tests whose inputs or outputs are no tensors of numbers (text, sequences, optional
  values, 8-bit floats, 4-bit integers), and tests of opsets before 7.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import groupby
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import numpy as np
import onnx
import onnx.compose
import pytest
import torch
from onnx import numpy_helper
from onnx.backend.test.case import node as node_tests

import packlight
from packlight.errors import UnsupportedOperator
from packlight.readers.onnx.file import OLDEST_OPSET, opset_of
from packlight.readers.onnx.graph import TORCH_TYPES, Node, build_graph
from packlight.readers.onnx.registry import host_of, operator_of, supported_operators
from packlight.readers.onnx.values import to_torch

OUTCOME: Counter[str] = Counter()
UNSUPPORTED: Counter[str] = Counter()

_QUANTIZED = {"QuantizeLinear": {1, 2}, "DequantizeLinear": {1, 2}}
_HALF = {"float16": 2**-9, "bfloat16": 2**-6}

#: where onnx makes the tests, an operator or a few in each; making all of them takes seconds
MODULES = sorted(
    module.name.removeprefix(f"{node_tests.__name__}.")
    for module in walk_packages(node_tests.__path__, f"{node_tests.__name__}.")
    if not module.ispkg and "._" not in module.name
)


def _on_host(name: str) -> bool:
    return host_of(Node(name, "", 0, (), (), {})) is not None


@cache
def cases() -> dict[str, list[Any]]:
    """All node tests, by the module that makes them."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in MODULES:
            before = len(node_tests._NodeTestCases)
            import_module(f"{node_tests.__name__}.{name}")
            found[name] = node_tests._NodeTestCases[before:]
    return found


@dataclass(frozen=True)
class Case:
    """One node test: a model of a single operator, what it is fed, and what must come out."""

    name: str
    model: onnx.ModelProto
    fed: list[torch.Tensor]
    outputs: list[Any]
    rtol: float
    atol: float

    @property
    def opsets(self) -> list[tuple[str, int]]:
        return [(opset.domain, opset.version) for opset in self.model.opset_import]


@pytest.mark.parametrize("group", MODULES)
def test_every_node_test_passes_or_is_refused_by_name(group: str, tmp_path: Path) -> None:
    failures = []
    counted = []
    for case in cases()[group]:
        if _counts(case.model):
            counted += [_case(case, *data) for data in case.data_sets]
        else:
            OUTCOME["not counted"] += len(case.data_sets)
    counted.sort(key=lambda case: case.opsets)
    for _, alike in groupby(counted, key=lambda case: case.opsets):
        for case, problem in _problems(list(alike), tmp_path / "model.onnx"):
            if isinstance(problem, UnsupportedOperator):
                OUTCOME["unsupported"] += 1
                UNSUPPORTED[problem.operator] += 1
                continue
            OUTCOME["failed" if problem else "passed"] += 1
            if problem:
                failures.append(f"{case.name}: {type(problem).__name__}: {str(problem)[:300]}")
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("operator", [name for name in supported_operators() if _on_host(name)])
def test_what_is_known_while_reading_is_worked_out_alike(operator: str) -> None:
    """The same tests on the functions that work with numpy while a file is read."""
    for case in (case for group in cases().values() for case in group):
        ops = [item.op_type for item in case.model.graph.node]
        if ops != [operator] or not _counts(case.model):
            continue
        (node,) = build_graph(case.model, case.name).nodes
        run = host_of(node)
        assert run is not None
        for data in case.data_sets:
            inputs, outputs = ([_array(item) for item in part] for part in data)
            given = iter(inputs)
            result = run(node, *[next(given) if name else None for name in node.inputs])
            if result is NotImplemented:
                continue
            found = result if isinstance(result, tuple) else (result,)
            for ours, theirs in zip(found, outputs, strict=True):
                assert np.asarray(ours).dtype == theirs.dtype, case.name
                assert np.asarray(ours).shape == theirs.shape, case.name
                np.testing.assert_allclose(
                    ours, theirs, rtol=case.rtol, atol=case.atol, err_msg=case.name
                )


def _counts(model: onnx.ModelProto) -> bool:
    values = [*model.graph.input, *model.graph.output]
    return opset_of(model) >= OLDEST_OPSET and all(
        value.type.WhichOneof("value") == "tensor_type"
        and value.type.tensor_type.elem_type in TORCH_TYPES
        for value in values
    )


def _array(item: Any) -> Any:
    return numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item


def _case(case: Any, inputs: list[Any], outputs: list[Any]) -> Case:
    model, fed = _with_initializers(case.model, [_array(item) for item in inputs])
    tensors = [to_torch(np.array(value)) for value in fed]
    return Case(case.name, model, tensors, [_array(item) for item in outputs], case.rtol, case.atol)


def _problems(cases: list[Case], path: Path) -> Iterator[tuple[Case, Exception | None]]:
    """What is wrong with each. They are read as one file, as each export takes a tenth of a second,
    and in halves where that does not work."""
    try:
        found = _run(cases, path)
    except Exception as error:
        middle = len(cases) // 2
        if middle:
            yield from _problems(cases[:middle], path)
            yield from _problems(cases[middle:], path)
        else:
            yield cases[0], error
        return
    for case in cases:
        outputs, found = found[: len(case.outputs)], found[len(case.outputs) :]
        try:
            _compare(case, outputs)
        except AssertionError as difference:
            yield case, difference
        else:
            yield case, None


def _run(cases: list[Case], path: Path) -> list[torch.Tensor]:
    """The outputs of all, from one file that holds them side by side."""
    whole = onnx.ModelProto(
        ir_version=cases[0].model.ir_version, opset_import=cases[0].model.opset_import
    )
    whole.graph.name = "side by side"
    for number, case in enumerate(cases):
        graph = onnx.compose.add_prefix(case.model, f"{number}/").graph
        for part in ("node", "input", "output", "initializer", "value_info"):
            getattr(whole.graph, part).extend(getattr(graph, part))
    path.write_bytes(whole.SerializeToString())
    tensors = [tensor for case in cases for tensor in case.fed]
    network = packlight.load(path, tensors)
    with torch.no_grad():
        found = list(network(*tensors))
    assert len(found) == sum(len(case.outputs) for case in cases)
    return found


def _compare(case: Case, found: list[torch.Tensor]) -> None:
    for tensor, expected in zip(found, case.outputs, strict=True):
        kind = str(expected.dtype)
        assert tensor.dtype == to_torch(np.array(expected)).dtype
        assert tuple(tensor.shape) == expected.shape
        ours = tensor.float().numpy() if kind == "bfloat16" else tensor.numpy()
        theirs = expected.astype(np.float32) if kind == "bfloat16" else expected
        tolerance = max(case.rtol, _HALF.get(kind, 0.0))
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=case.atol)


def _with_initializers(
    model: onnx.ModelProto, inputs: list[Any]
) -> tuple[onnx.ModelProto, list[Any]]:
    """The model with what must be known as initializers, and the inputs that are left."""
    changed = onnx.ModelProto.FromString(model.SerializeToString())
    graph = changed.graph
    fixed = set()
    for item in graph.node:
        operator = operator_of(Node(item.op_type, "", 0, (), (), {}))
        positions = _QUANTIZED.get(item.op_type, set()) | (operator.known if operator else set())
        fixed.update(name for at, name in enumerate(item.input) if at in positions)
    kept, values = [], []
    for declared, value in zip(list(graph.input), inputs, strict=True):
        if declared.name in fixed:
            graph.initializer.append(numpy_helper.from_array(value, declared.name))
        else:
            kept.append(declared)
            values.append(value)
    del graph.input[:]
    graph.input.extend(kept)
    return changed, values


def test_most_of_the_node_tests_pass() -> None:
    if not OUTCOME["passed"]:
        pytest.skip("the node tests did not run before this one")
    assert OUTCOME["failed"] == 0
    assert OUTCOME["passed"] >= 1400
