"""Which channels hang together: every position of every axis that carries channels gets an id.

A layer that writes channels gives each an id of its own. The ids are carried through the graph by
one rule per operator (`coupling_rules`): an activation keeps them, a concatenation joins them, a
flattening repeats them, an addition ties the ids that meet. A layer that reads channels ties the
columns of its weight to them. In the end positions with the same id can only go together, and
ids that reach a place that nobody may narrow are pinned, with the reason.

A value carries ids along one axis at most. Where a rule would need two, the ids are pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from packlight.graph import is_weight, layer_name, value_of
from packlight.network import Network
from packlight.types import Array
from packlight.weighing.operators import operator_name

WRITTEN, READ, CARRIED = "written", "read", "carried"


@dataclass(frozen=True)
class Carried:
    """What a value carries.

    Args:
        axis: the axis that counts channels.
        ids: (size of that axis,) int64.
    """

    axis: int
    ids: Array


Value = Carried | None
Rule = Callable[["Coupling", fx.Node], "Value | list[Value]"]


@dataclass
class Side:
    """One axis of a weight that follows channels.

    Args:
        weight: the parameter's or buffer's name.
        axis: of the stored tensor.
        ids: (size of that axis,).
        role: WRITTEN where the axis makes channels, READ where a layer sums over them, CARRIED
            where each number belongs to one channel, as a bias.
        layer: that uses it, for reports.
    """

    weight: str
    axis: int
    ids: Array
    role: str
    layer: str


class Coupling:
    """The ids of one network.

    Args:
        network: looked at, not changed.
    """

    def __init__(self, network: Network) -> None:
        from packlight.shrink.coupling_rules import RULES

        self.module = network.module
        self.shapes = _shapes(network)
        self.sides: dict[tuple[str, int], Side] = {}
        self.values: dict[fx.Node, Value | list[Value]] = {}
        self._parent: list[int] = []
        self._pinned: dict[int, str] = {}  # root -> why
        self._known: set[tuple[str, fx.Node]] = set()  # which reader of which weight has a rule
        names = dict(zip(network.results(), network.output_names, strict=False))
        for node in self.module.graph.nodes:
            if node.op != "call_function":
                continue
            rule = RULES.get(operator_name(node))
            self.values[node] = rule(self, node) if rule else self.refuse(node, "has no rule")
        for node, name in names.items():
            self.pin_value(node, f"the network gives it back as {name}")
        self._pin_foreign_readers()

    # ids

    def fresh(self, count: int, why: str | None = None) -> Array:
        """New ids, pinned if there is a reason."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        ids = np.arange(start, start + count)
        if why is not None:
            self.pin(ids, why)
        return ids

    def roots(self, ids: Array) -> Array:
        """The one id that stands for all it is tied to."""
        return np.array([self._root(int(item)) for item in ids], dtype=np.int64)

    def tie(self, first: Array, second: Array) -> None:
        """Position by position, these go together."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            if low == high:
                continue
            self._parent[high] = low
            why = self._pinned.pop(high, None)
            if why is not None:
                self._pinned.setdefault(low, why)

    def tie_rows(self, ids: Array) -> Array:
        """Tie all ids of each row of a matrix; returns the first column."""
        for column in ids.T[1:]:
            self.tie(ids[:, 0], column)
        return np.ascontiguousarray(ids[:, 0])

    def pin(self, ids: Array, why: str) -> None:
        """These stay."""
        for root in self.roots(ids).tolist():
            self._pinned.setdefault(root, why)

    def pinned(self, ids: Array) -> list[str | None]:
        """Why each of these stays; None where it may go."""
        return [self._pinned.get(root) for root in self.roots(ids).tolist()]

    def _root(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    # values

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The shape of a value in a run on the example inputs; of a weight as it is stored."""
        if is_weight(node):
            return tuple(value_of(self.module, node).shape)
        shape: tuple[int, ...] = self.shapes[node]
        return shape

    def carried(self, node: Any) -> Value:
        """What one value carries; nothing for inputs, weights and numbers."""
        value = self.values.get(node) if isinstance(node, fx.Node) else None
        return value if isinstance(value, Carried) else None

    def pin_value(self, node: Any, why: str) -> None:
        """What this value, or any of these values, carries stays."""
        values = self.values.get(node) if isinstance(node, fx.Node) else None
        for value in values if isinstance(values, list) else [values]:
            if value is not None:
                self.pin(value.ids, why)

    def refuse(self, node: fx.Node, why: str) -> Value:
        """Pin whatever this call reads; its result carries nothing."""
        for source in node.all_input_nodes:
            self.pin_value(source, f"{operator_name(node)} ({layer_name(node)}) {why}")
        return None

    # weights

    def side(self, weight: fx.Node, axis: int, role: str, reader: fx.Node) -> Array:
        """The ids along one axis of a weight, new where it is used for the first time."""
        name = str(weight.target)
        key = (name, axis)
        self._known.add((name, reader))
        if key not in self.sides:
            ids = self.fresh(value_of(self.module, weight).shape[axis])
            self.sides[key] = Side(name, axis, ids, role, layer_name(reader))
        elif role != CARRIED and self.sides[key].role != WRITTEN:
            self.sides[key].role = role
        return self.sides[key].ids

    def follow(self, weight: Any, axis: int, reader: fx.Node, ids: Array) -> None:
        """A weight with one number (or one slice) for each of these channels."""
        if weight is None:
            return
        if not is_weight(weight) or self.shape(weight)[axis] != len(ids):
            self.pin(ids, f"{layer_name(reader)} reads a parameter that is computed")
            return
        self.tie(self.side(weight, axis, CARRIED, reader), ids)

    def read(self, weight: fx.Node, axis: int, reader: fx.Node, source: Any, at: int) -> None:
        """A layer sums over the channels that its input carries along the axis `at`."""
        ids = self.side(weight, axis, READ, reader)
        value = self.carried(source)
        if value is None:
            self.pin(ids, f"{layer_name(reader)} reads what is not made of channels")
        elif value.axis != at or len(value.ids) != len(ids):
            for pinned in (ids, value.ids):
                self.pin(pinned, f"{layer_name(reader)} reads channels along two axes")
        else:
            self.tie(ids, value.ids)

    def _pin_foreign_readers(self) -> None:
        """A weight that an operator without a rule reads as well keeps its shape."""
        sides: dict[str, list[Side]] = {}
        for side in self.sides.values():
            sides.setdefault(side.weight, []).append(side)
        for node in self.module.graph.nodes:
            if not is_weight(node) or str(node.target) not in sides:
                continue
            for reader in node.users:
                if (str(node.target), reader) not in self._known:
                    for side in sides[str(node.target)]:
                        self.pin(side.ids, f"{reader.name} reads {side.weight} as well")


class _Shapes(fx.Interpreter):
    """Runs the graph and keeps the shape of every value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[fx.Node, Any] = {}

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if isinstance(value, Tensor):
            self.found[node] = tuple(value.shape)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            self.found[node] = [getattr(item, "shape", ()) for item in value]
        else:
            self.found[node] = ()
        return value


def _shapes(network: Network) -> dict[fx.Node, Any]:
    shapes = _Shapes(network.module)
    with torch.no_grad():
        shapes.run(*network.example_inputs)
    return shapes.found
