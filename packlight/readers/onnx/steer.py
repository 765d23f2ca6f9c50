"""Inputs that choose a branch get their value.

Some files hold two networks and an input that picks one (`sr == 16000`). A branch must be taken
while reading, so such an input becomes a constant: the one the user gives, the one in the example
inputs, or else the one that makes the condition true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from packlight.errors import BadInput, PacklightError
from packlight.readers.onnx.graph import Graph, Node, Port
from packlight.readers.onnx.module import run_operator
from packlight.readers.onnx.registry import host_of
from packlight.readers.onnx.values import Array, Known


@dataclass(frozen=True)
class Steered:
    """Values of inputs that are taken as constants, and a sentence on each."""

    values: dict[str, Array]
    notes: list[str]


def steer(
    graph: Graph, constants: Mapping[str, Any], example_inputs: Sequence[Any] | None
) -> Steered:
    """Find a value for every input that a branch depends on.

    Raises:
        BadInput: `constants` names no input, or gives a value of the wrong type or shape.
    """
    ports = {port.name: port for port in graph.inputs}
    values: dict[str, Array] = {}
    notes: list[str] = []
    for name, given in constants.items():
        if name not in ports:
            known = ", ".join(ports) or "none"
            raise BadInput(f"constants names {name!r}, but the inputs of the file are: {known}")
        values[name] = _constant(ports[name], given)
        notes.append(f"input {name} is taken as {_text(values[name])}")
    examples = dict(zip(ports, example_inputs or (), strict=False))
    for node in graph.nodes:
        if node.op != "If":
            continue
        upstream = _upstream(graph, node.inputs[0])
        inputs = [name for name in _sources(upstream, node.inputs[0]) if name in ports]
        open_inputs = [name for name in inputs if name not in values]
        if len(open_inputs) != 1 or not all(host_of(item) for item in upstream):
            continue  # not for us to decide; the module says why if it can not either
        (name,) = open_inputs
        if not _can_steer(ports[name]):
            continue
        if name in examples and len(examples) == len(ports):
            candidates = [_constant(ports[name], examples[name])]
        else:
            candidates = _candidates(graph, upstream, ports[name])
        for candidate in candidates:
            outcome = _evaluate(graph, upstream, {**values, name: candidate}, node.inputs[0])
            if outcome or len(candidates) == 1:
                values[name] = candidate
                notes.append(
                    f"input {name} is taken as {_text(candidate)}: the other branch of "
                    f"{node.name} is dropped"
                )
                break
    return Steered(values, notes)


def _constant(port: Port, given: Any) -> Array:
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu().numpy()
    array = np.asarray(given)
    dtype = torch.empty(0, dtype=port.dtype).numpy().dtype
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise BadInput(
            f"the value of input {port.name!r} is {given!r}; a value of type {dtype} is needed"
        )
    array = array.astype(dtype)
    shape = port.shape
    if shape is not None and array.ndim != len(shape):
        if array.size == 1 and all(size in (1, None) or isinstance(size, str) for size in shape):
            return array.reshape([1] * len(shape))
        raise BadInput(
            f"the value of input {port.name!r} has {array.ndim} dimensions instead of {len(shape)}"
        )
    return array


def _can_steer(port: Port) -> bool:
    if port.shape is None or any(size not in (1, None) for size in port.shape):
        return False
    return len(port.shape) <= 1 and not port.dtype.is_floating_point


def _upstream(graph: Graph, name: str) -> list[Node]:
    wanted = {name}
    found = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            found.append(node)
            wanted.update(node.inputs)
    return found[::-1]


def _sources(nodes: list[Node], name: str) -> list[str]:
    return [name, *(source for node in nodes for source in node.inputs)]


def _candidates(graph: Graph, upstream: list[Node], port: Port) -> list[Array]:
    """Values worth trying: True and False, or the numbers that the condition is made of and
    their neighbours."""
    shape = [1] * len(port.shape or ())
    if port.dtype == torch.bool:
        tried: list[Any] = [True, False]
    else:
        found = []
        for name in dict.fromkeys(_sources(upstream, "")):
            constant = graph.constants.get(name)
            if constant is not None and constant.array.dtype.kind in "iu":
                found += constant.array.reshape(-1)[:4].tolist()
        tried = [value + step for step in (0, 1, -1) for value in found]
    dtype = torch.empty(0, dtype=port.dtype).numpy().dtype
    fitting = [value for value in tried if np.array_equal(np.asarray(value).astype(dtype), value)]
    return [np.full(shape, value, dtype) for value in fitting]


def _evaluate(graph: Graph, nodes: list[Node], values: Mapping[str, Array], name: str) -> bool:
    known = {key: Known(value) for key, value in values.items()}
    known |= {key: Known(constant.array) for key, constant in graph.constants.items()}
    try:
        for node in nodes:
            results = run_operator(node, [known[key] if key else None for key in node.inputs])
            for key, result in zip(node.outputs, results, strict=False):
                if isinstance(result, Known):
                    known[key] = result
        return bool(known[name].array.all())
    except (PacklightError, KeyError, ValueError, TypeError, OverflowError):
        return False


def _text(value: Array) -> str:
    return str(value.item()) if value.size == 1 else f"a constant of shape {list(value.shape)}"
