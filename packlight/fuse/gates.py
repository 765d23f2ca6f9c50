"""Gates that are straight between two clamps, recognised where they are spelt out.

1. s clamp(a x + b, low, high) that is clamp(x / 6 + 1/2, 0, 1): `hardsigmoid`;
2. x times that: `hardswish`.

s, a and b are numbers, multiplied, divided and added in any order, as exporters of MobileNet v3 do:
x relu6(x + 3) / 6. One operator each in every runtime, where four pass over the memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx

from packlight.graph import CLAMPS, aten, clamp_ends, is_call
from packlight.network import Network

_NEAR = 1e-6  # numbers were written as float32


@dataclass(frozen=True)
class _Gate:
    """scale clamp(slope x + offset, low, high), and whether that is multiplied with x."""

    x: fx.Node
    slope: float
    offset: float
    low: float
    high: float
    scale: float = 1.0
    times_x: bool = False

    @property
    def hard(self) -> bool:
        """Whether it is a sixth of x plus a half, between 0 and 1."""
        found = (self.slope, self.offset, self.low, self.high)
        wanted = (1 / 6, 0.5, 0.0, 1.0)
        return all(
            math.isclose(self.scale * a, b, rel_tol=_NEAR, abs_tol=_NEAR)
            for a, b in zip(found, wanted, strict=True)
        )


def name_gates(network: Network) -> int:
    """Apply the rules; returns how many gates were recognised."""
    graph = network.module.graph
    count = 0
    for node in list(graph.nodes):
        gate = _gate(node)
        if gate is None or not _float(gate.x):
            continue
        end, times_x = _end(node, gate)
        if end is None or (end is node and is_call(node, aten.hardsigmoid)):
            continue
        with graph.inserting_before(end):
            target = aten.hardswish.default if times_x else aten.hardsigmoid.default
            named = graph.call_function(target, (gate.x,))
        named.meta = dict(end.meta)
        end.replace_all_uses_with(named)
        count += 1
    return count


def _float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _gate(node: fx.Node) -> _Gate | None:
    """What a clamp does to what lies before a line of numbers."""
    if is_call(node, aten.hardsigmoid):
        return _Gate(node.args[0], 1 / 6, 0.5, 0.0, 1.0)
    ends = clamp_ends(node) if is_call(node, *CLAMPS) else None
    if ends is None:
        return None
    x: Any = node.args[0]
    slope, offset = 1.0, 0.0
    while (step := _step(x)) is not None:
        x, factor, more = step
        offset += slope * more
        slope *= factor
    return _Gate(x, slope, offset, *ends)


def _end(node: fx.Node, gate: _Gate) -> tuple[fx.Node | None, bool]:
    """The last node on the way from the clamp whose value is a gate, and whether times x."""
    end, times_x = (node if gate.hard else None), False
    while len(node.users) == 1:
        (user,) = node.users
        step = _step(user)
        if step is not None and step[2] == 0 and step[1] > 0:
            gate = replace(gate, scale=gate.scale * step[1])
        elif not gate.times_x and is_call(user, aten.mul) and set(user.args) == {node, gate.x}:
            gate = replace(gate, times_x=True)
        else:
            break
        node = user
        if gate.hard:
            end, times_x = node, gate.times_x
    return end, times_x


def _step(node: Any) -> tuple[Any, float, float] | None:
    """What a calculation with a number is done to, its factor and its offset."""
    if not is_call(node, aten.mul, aten.div, aten.add, aten.sub) or node.kwargs:
        return None
    if len(node.args) != 2:
        return None
    x, number = node.args
    if is_call(node, aten.mul, aten.add) and isinstance(x, (int, float)):
        x, number = number, x
    if not isinstance(number, (int, float)) or not isinstance(x, fx.Node):
        return None
    if is_call(node, aten.mul):
        return x, float(number), 0.0
    if is_call(node, aten.div):
        return None if number == 0 else (x, 1 / number, 0.0)
    return x, 1.0, float(-number if is_call(node, aten.sub) else number)
