"""Programs whose memory is known from papers, and irregular ones, built by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence

from packlight.weighing.program import Program, Step, Value


class Builder:
    """Adds float32 layers one by one."""

    def __init__(self, *shape: int) -> None:
        self.values: dict[str, Value] = {}
        self.steps: list[Step] = []
        self.input = self._value("input", shape)

    def layer(self, kind: str, reads: Sequence[str], *shape: int, over: bool = False) -> str:
        """A step with one output, which may overwrite its inputs if `over`."""
        name = self._value(f"{kind}{len(self.steps)}", shape)
        overwrites = tuple(reads) if over else ()
        self.steps.append(Step(name, kind, tuple(reads), (name,), may_overwrite=overwrites))
        return name

    def view(self, source: str, *shape: int) -> str:
        """A reshape."""
        name = self._value(f"view{len(self.steps)}", shape)
        self.steps.append(Step(name, "reshape", (source,), (name,), view_of=source))
        return name

    def program(self, *outputs: str) -> Program:
        """What was built."""
        return Program(self.values, tuple(self.steps), (self.input,), outputs)

    def _value(self, name: str, shape: tuple[int, ...]) -> str:
        size = 4
        for axis in shape:
            size *= axis
        self.values[name] = Value(name, shape, "float32", size)
        return name


def mobilenet_v1() -> Program:
    """As TFLite runs it: norms and activations inside the convolutions, 1001 classes."""
    net = Builder(224, 224, 3)
    side, channels = 112, 32
    x = net.layer("conv", [net.input], side, side, channels)
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
    for width, stride in [*blocks, (1024, 2), (1024, 1)]:
        side //= stride
        x = net.layer("depthwise", [x], side, side, channels)
        x = net.layer("pointwise", [x], side, side, width)
        channels = width
    x = net.layer("pool", [x], 1, 1, 1024)
    x = net.view(net.layer("conv", [x], 1, 1, 1001), 1001)
    return net.program(net.layer("softmax", [x], 1001))


def mobilenet_v2() -> Program:
    """torchvision's layout, norms and activations as steps of their own."""
    net = Builder(3, 224, 224)

    def conv(kind: str, x: str, *shape: int, clamp: bool = True) -> str:
        x = net.layer(kind, [x], *shape)
        x = net.layer("norm", [x], *shape, over=True)
        return net.layer("relu6", [x], *shape, over=True) if clamp else x

    side, channels = 112, 32
    x = conv("conv", net.input, channels, side, side)
    for expand, width, count, first in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for index in range(count):
            stride = first if index == 0 else 1
            y, inner = x, channels * expand
            if expand > 1:
                y = conv("expand", y, inner, side, side)
            side //= stride
            y = conv("depthwise", y, inner, side, side)
            y = conv("project", y, width, side, side, clamp=False)
            if stride == 1 and channels == width:
                y = net.layer("add", [x, y], width, side, side, over=True)
            x, channels = y, width
    x = conv("conv", x, 1280, side, side)
    x = net.view(net.layer("pool", [x], 1280, 1, 1), 1280)
    return net.program(net.layer("linear", [x], 1000))


def randomly_wired(nodes: int = 32, seed: int = 0, *, by_level: bool = False) -> Program:
    """A Watts-Strogatz graph of ring degree 4, rewired with probability 0.75, made acyclic by its
    numbering; a node adds what it reads and convolves (Xie et al., arXiv:1904.01569).

    Args:
        by_level: the nodes in the order of their distance from the input, as some exporters write
            them; otherwise by their number.
    """
    rng = random.Random(seed)
    edges = set()
    for node in range(nodes):
        for reach in (1, 2):
            other = (node + reach) % nodes
            if rng.random() < 0.75:
                other = rng.choice([x for x in range(nodes) if x != node])
            edges.add((min(node, other), max(node, other)))
    level = [0] * nodes
    for node in range(nodes):
        level[node] = 1 + max((level[a] for a, b in edges if b == node), default=0)
    net = Builder(32, 32, 16)
    made: dict[int, str] = {}
    for node in sorted(range(nodes), key=lambda node: level[node] if by_level else node):
        reads = [made[a] for a, b in sorted(edges) if b == node] or [net.input]
        made[node] = net.layer("node", reads, 32, 32, 16)
    ends = [made[node] for node in range(nodes) if not any(a == node for a, _ in edges)]
    return net.program(net.layer("mean", ends, 32, 32, 16))


def concatenating_cell(branches: int = 8) -> Program:
    """A NASNet-like cell, its branches written level by level: each widens, then narrows."""
    net = Builder(28, 28, 16)
    wide = [net.layer("wide", [net.input], 28, 28, 64) for _ in range(branches)]
    deep = [net.layer("deep", [x], 28, 28, 64) for x in wide]
    slim = [net.layer("slim", [x], 28, 28, 8) for x in deep]
    return net.program(net.layer("concat", slim, 28, 28, 8 * branches))
