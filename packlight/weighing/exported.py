"""From a `torch.export` graph to a Program.

1. What only prepares constants is no step. Sizes and assertions are none either.
2. A reshape, or a call that gives back what it got, is a view.
3. An elementwise call may overwrite inputs of its output's size, and so may a batch norm.
4. Quantised calls run on integers: see integers.py.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from packlight.errors import BadInput
from packlight.graph import IDENTITIES, aten, is_call
from packlight.network import Network, quiet_torch
from packlight.weighing.integers import on_integers
from packlight.weighing.operators import ACTIVATIONS, operator_name
from packlight.weighing.program import Program, Step, Value
from packlight.weighing.sizes import tensors

_RESHAPES = (
    *IDENTITIES,
    aten._unsafe_view,
    aten.flatten,
    aten.reshape,
    aten.squeeze,
    aten.unflatten,
    aten.unsqueeze,
    aten.view,
)
# these give back what they got when shape and type stay the same
_NOTHING_IF_SAME = (
    aten._to_copy,
    aten.adaptive_avg_pool1d,
    aten.adaptive_avg_pool2d,
    aten.adaptive_avg_pool3d,
    aten.constant_pad_nd,
    aten.expand,
    aten.pad,
    aten.slice,
    aten.to,
)
_BATCH_NORMS = (aten.batch_norm, aten._native_batch_norm_legit_no_training)


def program_of_graph(
    network: Network, batch: int | None, input_shapes: dict[str, tuple[int, ...]]
) -> Program:
    """See `packlight.weighing.program.program_of`."""
    if input_shapes:
        network = _reshaped(network, input_shapes)
    elif any(
        "val" not in node.meta for node in network.module.graph.nodes if node.op == "call_function"
    ):
        network = network.retraced()
    fixed = network.batch
    if batch is not None and (batch < 1 or fixed not in (None, batch)):
        allowed = "any from 1" if fixed is None else str(fixed)
        raise BadInput(f"a batch of {batch} is not possible; this network takes {allowed}")
    walk = _Walk(network, batch or fixed or 1)
    for node in network.module.graph.nodes:
        walk.visit(node)
    return on_integers(walk.program())


def _reshaped(network: Network, shapes: dict[str, tuple[int, ...]]) -> Network:
    for name in shapes:
        if name not in network.input_names:
            names = ", ".join(network.input_names)
            raise BadInput(f"{name!r} is not an input of this network; it has {names}")
    examples = tuple(
        torch.zeros(shapes.get(name, tuple(example.shape)), dtype=example.dtype)
        for name, example in zip(network.input_names, network.example_inputs, strict=True)
    )
    network = network.copy()
    network = replace(network, example_inputs=examples, dynamic_batch=(False,) * len(examples))
    try:
        with quiet_torch():
            mode = FakeTensorMode(allow_non_fake_inputs=True)
            FakeTensorProp(network.module, mode).propagate(*examples)
        return network
    except Exception as problem:
        written = ", ".join(f"{name}={'x'.join(map(str, size))}" for name, size in shapes.items())
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:300]
        raise BadInput(f"the network does not run with {written}: {reason}") from problem


class _Walk:
    """The values and steps of one graph, nodes visited in order."""

    def __init__(self, network: Network, batch: int) -> None:
        self.batch = batch
        self.symbol: Any = None
        for node, varies in zip(network.placeholders(), network.dynamic_batch, strict=True):
            size = node.meta["val"].shape[0] if varies else 1
            if isinstance(size, torch.SymInt):
                self.symbol = size.node.expr
        self.results = network.results()
        self.input_names = iter(network.input_names)
        self.values: dict[str, Value] = {}
        self.steps: list[Step] = []
        self.inputs: list[str] = []
        self.named: dict[fx.Node, str] = {}  # the value that a node makes
        self.weight: dict[fx.Node, str] = {}  # a constant, and the parameter behind it

    def program(self) -> Program:
        """What was found."""
        outputs = tuple(
            dict.fromkeys(self.named[node] for node in self.results if node in self.named)
        )
        return Program(self.values, tuple(self.steps), tuple(self.inputs), outputs)

    def visit(self, node: fx.Node) -> None:
        """Add the node's values and its step, if it has any."""
        if node.op == "placeholder":
            name = next(self.input_names)
            self.inputs.append(self._add(node, name, node.meta["val"]))
        elif node.op == "get_attr":
            self.weight[node] = str(node.target)
        elif node.op == "call_function" and node not in self.named and not self._is_constant(node):
            self._call(node)

    def _is_constant(self, node: fx.Node) -> bool:
        sources = node.all_input_nodes
        if not tensors(node):
            self.weight[node] = ""
        elif all(source in self.weight for source in sources):
            self.weight[node] = next((self.weight[source] for source in sources), "")
        return node in self.weight

    def _call(self, node: fx.Node) -> None:
        sources = [source for source in node.all_input_nodes if source in self.named]
        reads = tuple(dict.fromkeys(self.named[source] for source in sources))
        weight = next((self.weight[x] for x in node.all_input_nodes if self.weight.get(x)), "")
        view: str | None = None
        overwrite: tuple[str, ...] = ()
        if isinstance(node.meta["val"], Tensor):
            writes: tuple[str, ...] = (self._add(node, node.name, node.meta["val"]),)
            made = self.values[writes[0]]
            if len(reads) == 1 and _is_view(node, self.values[reads[0]], made):
                view = reads[0]
            elif _is_elementwise(node):
                overwrite = tuple(x for x in reads if self.values[x].bytes == made.bytes)
        else:
            writes = self._add_picked(node)
        self.steps.append(
            Step(
                name=weight.rpartition(".")[0] or weight or node.name,
                kind=operator_name(node),
                reads=reads,
                writes=writes,
                view_of=view,
                may_overwrite=overwrite,
            )
        )

    def _add_picked(self, node: fx.Node) -> tuple[str, ...]:
        """The results of a call with several; a runtime never makes those that nobody picks."""
        names = {}
        for user in node.users:
            index = user.args[1]
            names[index] = self._add(user, f"{node.name}.{index}", user.meta["val"])
        return tuple(names.values())

    def _add(self, node: fx.Node, name: str, value: Tensor) -> str:
        shape = tuple(self._size(size) for size in value.shape)
        count = prod(1 if size is None else size for size in shape)
        dtype = str(value.dtype).removeprefix("torch.")
        self.named[node] = name
        self.values[name] = Value(name, shape, dtype, count * value.element_size())
        return name

    def _size(self, size: Any) -> int | None:
        if not isinstance(size, torch.SymInt):
            return int(size)
        expression = size.node.expr
        if self.symbol is not None:
            expression = expression.subs(self.symbol, self.batch)
        return int(expression) if expression.is_number else None


def _is_view(node: fx.Node, source: Value, made: Value) -> bool:
    if source.bytes != made.bytes:
        return False
    same = source.shape == made.shape and source.dtype == made.dtype
    return is_call(node, *_RESHAPES) or (same and is_call(node, *_NOTHING_IF_SAME))


def _is_elementwise(node: fx.Node) -> bool:
    tags = getattr(node.target, "tags", ())
    return (
        torch.Tag.pointwise in tags
        or operator_name(node) in ACTIVATIONS
        or is_call(node, *_BATCH_NORMS)
    )
