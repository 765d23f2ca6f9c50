"""Graph -> nn.Module: runs the nodes with torch, parameters under the file's own names.

Weights: every floating-point initializer with at least one dimension, and every floating-point
Constant that a layer reads, directly or through views of it. They become parameters; statistics
of batch norms and scales of quantised tensors become buffers, because nothing may be trained
there. Other constants become buffers too, and are read as numbers wherever an operator wants
numbers.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from functools import partial
from itertools import chain, count
from keyword import iskeyword
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from packlight.errors import BadInput, PacklightError
from packlight.readers.onnx.file import MAX_STEPS, first_line
from packlight.readers.onnx.graph import Constant, Graph, Node
from packlight.readers.onnx.registry import check_supported, host_of, operator_of
from packlight.readers.onnx.values import (
    HOST_LIMIT,
    SYMBOLIC,
    Array,
    Known,
    Value,
    as_tensor,
    is_float,
    settled,
    to_torch,
)

# inputs that hold statistics or scales; their positions by operator
_UNTRAINED = {
    "BatchNormalization": (3, 4),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (0, 1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "Resize": (1, 2),
    "Upsample": (1,),
}
LAYERS = frozenset(
    (
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "GRU",
        "Gemm",
        "GroupNormalization",
        "InstanceNormalization",
        "LSTM",
        "LayerNormalization",
        "MatMul",
        "PRelu",
        "RMSNormalization",
        "RNN",
    )
)
MAX_DEPTH = 50  # of the dots in a name that become modules
_SMALL_INTEGERS = 4096  # elements of an integer constant that shapes may be computed from


class OnnxModule(nn.Module):
    """A graph as a module; `forward` takes one tensor per input and returns a tuple.

    Args:
        graph: what to run.
        fixed: values of inputs that are taken as constants.
    """

    def __init__(self, graph: Graph, fixed: Mapping[str, Array]) -> None:
        super().__init__()
        self._graph = graph
        self._fixed = fixed
        self._homes: dict[int, str] = {}  # id of a Constant -> dotted name of its tensor
        self._numbers = count(1)  # for names that can not be kept
        self._place_all(graph, _untrained(graph), _read_by_layers(graph))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the graph."""
        values: dict[str, Value] = {}
        for port, given in zip(self._graph.inputs, inputs, strict=True):
            fixed = self._fixed.get(port.name)
            values[port.name] = given if fixed is None else Known(fixed)
        results = self._run_graph(self._graph, values)
        outputs: list[Tensor] = []
        seen = {id(given) for given in inputs}
        for result in results:
            tensor = as_tensor(result)
            # an output that is an input, a weight or another output is a value of its own
            if isinstance(result, Known) or id(tensor) in seen:
                tensor = tensor.clone()
            seen.add(id(tensor))
            outputs.append(tensor)
        return tuple(outputs)

    def _run_graph(self, graph: Graph, outer: MutableMapping[str, Value]) -> list[Value]:
        values: MutableMapping[str, Value] = ChainMap({}, outer)
        for name, constant in graph.constants.items():
            values[name] = self._known(constant)
        for node in graph.nodes:
            results = self._run_node(node, values)
            for name, result in zip(node.outputs, results, strict=False):
                if name:
                    if result is None:
                        raise node.unsupported(f"its output {name!r} is asked for")
                    values[name] = result
        try:
            return [values[name] for name in graph.outputs]
        except KeyError as missing:
            raise BadInput(f"no node makes the output {missing}") from None

    def _run_node(self, node: Node, values: MutableMapping[str, Value]) -> list[Value | None]:
        try:
            inputs = [values[name] if name else None for name in node.inputs]
        except KeyError as missing:
            raise node.bad(f"nothing makes its input {missing}") from None
        if node.op == "Identity":
            return [inputs[0]]
        try:
            if node.op == "If":
                return self._take_branch(node, inputs, values)
            if node.op == "Loop":
                return self._unroll(node, inputs, values)
            return run_operator(node, inputs)
        except PacklightError:
            raise
        except NotImplementedError as problem:
            raise node.unsupported(first_line(problem)) from problem
        except Exception as problem:
            text = first_line(problem)
            if "not implemented for" in text or "unsupported" in text.lower():
                raise node.unsupported(text) from problem
            raise BadInput(
                f"node {node.name!r} ({node.op}) can not run: {text}; the file is damaged, or "
                "its inputs must be of other sizes (give example_inputs)"
            ) from problem

    def _take_branch(
        self, node: Node, inputs: list[Value | None], values: MutableMapping[str, Value]
    ) -> list[Value | None]:
        condition = inputs[0]
        if not isinstance(condition, Known):
            raise node.unsupported(
                "its condition depends on data; only sizes, constants and scalar inputs can "
                "choose a branch"
            )
        if condition.array.size != 1:
            raise node.bad(f"its condition has {condition.array.size} elements instead of one")
        branch = "then_branch" if bool(condition.array.reshape(-1)[0]) else "else_branch"
        graph = node.get(branch)
        if graph.inputs or len(graph.outputs) != len(node.outputs):
            raise node.bad(f"its {branch} has inputs, or too many or too few outputs")
        check_supported(graph)
        return [*self._run_graph(graph, values)]

    def _unroll(
        self, node: Node, inputs: list[Value | None], values: MutableMapping[str, Value]
    ) -> list[Value | None]:
        """The steps of a loop one after the other, as often as can be told without data."""
        body = node.get("body")
        limit, going, *carried = [*inputs, None, None][: max(len(inputs), 2)]
        names = [port.name for port in body.inputs]
        made = len(body.outputs) - 1 - len(carried)  # in every step, and stacked in the end
        if len(names) != 2 + len(carried) or made < 0:
            raise node.bad(f"{len(carried)} values go in, and its body is for others")
        check_supported(body)
        most = MAX_STEPS + 1 if limit is None else _number(node, limit)
        stacks: list[list[Value]] = [[] for _ in range(made)]
        step = 0
        while step < most and (going is None or _number(node, going)):
            if step == MAX_STEPS:
                raise node.unsupported(f"it runs more than {MAX_STEPS} times")
            given = [Known(np.array(step)), going or Known(np.array(True)), *carried]
            inner = ChainMap(dict(zip(names, given, strict=True)), values)
            going, *results = self._run_graph(body, inner)
            carried, new = results[: len(carried)], results[len(carried) :]
            for stack, value in zip(stacks, new, strict=True):
                stack.append(value)
            step += 1
        if made and not step:
            raise node.unsupported("it never runs")
        return [*carried, *(torch.stack([*map(as_tensor, stack)]) for stack in stacks)]

    def _known(self, constant: Constant) -> Known:
        home = self._homes.get(id(constant))
        if home is None:
            return Known(constant.array)
        weight = is_float(constant.array) or constant.array.size > _SMALL_INTEGERS
        return Known(constant.array, lambda: self._tensor(home), weight)

    def _tensor(self, home: str) -> Tensor:
        owner, _, leaf = home.rpartition(".")
        tensor: Tensor = getattr(self.get_submodule(owner), leaf)
        return tensor

    def _place_all(self, graph: Graph, untrained: set[str], layers: set[str]) -> None:
        for name, constant in graph.constants.items():
            array = constant.array
            if array.size == 0 or (is_float(array) and array.ndim == 0):
                continue
            if constant.inline and array.size == 1 and name not in layers:
                continue
            tensor = to_torch(array)
            owner, home = self._place(name)
            leaf = home.rpartition(".")[2]
            trained = name in layers if constant.inline else name not in untrained
            if tensor.is_floating_point() and trained:
                owner.register_parameter(leaf, nn.Parameter(tensor))
            else:
                owner.register_buffer(leaf, tensor)
            self._homes[id(constant)] = home
        for node in graph.nodes:
            for body in node.graphs():
                self._place_all(body, untrained, layers)

    def _place(self, name: str) -> tuple[nn.Module, str]:
        """Where a tensor of this name goes: its own name if that is free and can be used."""
        plain = "".join(letter if letter.isalnum() else "_" for letter in name)
        candidates = chain([name, plain], (f"{plain}_{number}" for number in self._numbers))
        for candidate in candidates:
            owner = self._owner(candidate)
            if owner is not None:
                return owner, candidate
        raise AssertionError("there is always another number")

    def _owner(self, name: str) -> nn.Module | None:
        *path, leaf = name.split(".")
        if len(path) > MAX_DEPTH or not all(map(_can_be_attribute, [*path, leaf])):
            return None
        owner: nn.Module = self
        missing: list[str] = []
        for part in path:
            below = getattr(owner, part, None) if not missing else None
            if isinstance(below, nn.Module):
                owner = below
            elif below is None and not hasattr(nn.Module(), part):
                missing.append(part)
            else:
                return None
        if not missing and hasattr(owner, leaf):
            return None
        if hasattr(nn.Module(), leaf):
            return None
        for part in missing:
            owner.add_module(part, nn.Module())
            owner = getattr(owner, part)
        return owner


def _can_be_attribute(part: str) -> bool:
    """Whether torch can write this name into the source of a graph, where it is not quoted."""
    return bool(part) and part.isprintable() and not {*part} & {*"\"'\\{}"} and not iskeyword(part)


def _number(node: Node, value: Value) -> int:
    """What says how often a loop runs."""
    if not isinstance(value, Known) or value.array.size != 1:
        raise node.unsupported("how often it runs depends on data")
    return int(value.array.reshape(-1)[0])


def run_operator(node: Node, inputs: list[Value | None]) -> list[Value | None]:
    """Run one node on the host if everything it reads is known there, otherwise with torch."""
    on_host = host_of(node)
    if on_host is not None and all(value is None or isinstance(value, Known) for value in inputs):
        known = [value for value in inputs if isinstance(value, Known)]
        if any(value.weight for value in known):
            return _later(node, inputs)
        results = _listed(on_host(node, *[_array(value) for value in inputs]))
        if results[0] is not NotImplemented:
            return [_checked(node, result) for result in results]
    return [*_run_torch(node, inputs)]


def _later(node: Node, inputs: list[Value | None]) -> list[Value | None]:
    """Values computed from weights: by torch if a tensor is wanted, on the host if numbers are."""
    arrays: list[Any] = []
    tensors: list[Any] = []

    def array(position: int) -> Array:
        if not arrays:
            on_host = host_of(node)
            assert on_host is not None
            arrays.extend(_listed(on_host(node, *[_array(value) for value in inputs])))
        if arrays[0] is NotImplemented:
            raise node.unsupported("its result is needed while reading and is too large for that")
        return settled(np.asarray(arrays[position]))

    def tensor(position: int) -> Tensor:
        if not tensors:
            tensors.extend(_run_torch(node, inputs))
        result: Tensor = tensors[position]
        return result

    return [
        Known(partial(array, position), partial(tensor, position), weight=True)
        for position in range(len(node.outputs))
    ]


def _run_torch(node: Node, inputs: list[Value | None]) -> list[Any]:
    operator = operator_of(node)
    if operator is None:
        raise node.unsupported("an input of it depends on the network's inputs")
    arguments: list[Any] = []
    for position, value in enumerate(inputs):
        if value is None:
            arguments.append(None)
        elif position in operator.raw:
            arguments.append(value)
        elif position in operator.known:
            if not isinstance(value, Known):
                name = node.inputs[position]
                raise node.unsupported(f"its input {name!r} depends on data and must be constant")
            arguments.append(value.array)
        elif position in operator.either and isinstance(value, Known) and not value.weight:
            arguments.append(value.array)
        else:
            arguments.append(as_tensor(value))
    results = _listed(operator.run(node, *arguments))
    return results


def _listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, (tuple, list)) else [results]


def _array(value: Value | None) -> Array | None:
    return value.array if isinstance(value, Known) else None


def _checked(node: Node, result: Any) -> Known:
    array = np.asarray(result) if not isinstance(result, SYMBOLIC) else np.array(result, object)
    if array.size > HOST_LIMIT * 16:
        raise node.unsupported(f"it makes a constant of {array.size:,} elements")
    return Known(settled(array))


def _untrained(graph: Graph) -> set[str]:
    """The tensors that hold statistics or scales, also where they are equal to a weight.

    Of equal tensors exporters keep one, and give it further names with Identity.
    """
    names: set[str] = set()
    for node in reversed(_flattened(graph)[0]):
        if node.op == "Identity" and names.intersection(node.outputs):
            names.update(node.inputs)
        for position in _UNTRAINED.get(node.op, ()):
            names.update(node.inputs[position : position + 1])
    return names


def _read_by_layers(graph: Graph) -> set[str]:
    """The constants that layers read, also after they were cut, joined or turned."""
    nodes, fixed = _flattened(graph)
    for node in nodes:
        if node.inputs and all(not name or name in fixed for name in node.inputs):
            fixed.update(node.outputs)
    names: set[str] = set()
    for node in reversed(nodes):
        if node.op in LAYERS or names.intersection(node.outputs):
            untrained = _UNTRAINED.get(node.op, ())
            names.update(
                name
                for position, name in enumerate(node.inputs)
                if name in fixed and position not in untrained
            )
    return names


def _flattened(graph: Graph) -> tuple[list[Node], set[str]]:
    """The nodes of a graph and of those inside it, and the names of all constants."""
    nodes, constants = [], {*graph.constants}
    for node in graph.nodes:
        for body in node.graphs():
            inner, below = _flattened(body)
            nodes += inner
            constants |= below
        nodes.append(node)
    return nodes, constants
