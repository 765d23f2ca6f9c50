"""Gates are recognised however they are spelt, and only if they are ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from packlight.fuse import fuse
from packlight.graph import is_call
from packlight.network import Network

aten = torch.ops.aten


class Spelt(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def named(function) -> tuple[int, int, int]:
    """Calls of hardsigmoid, of hardswish, and all calls, once fused; the answers stay."""
    x = torch.linspace(-8, 8, 201).reshape(3, 67)
    network = Network.from_module(Spelt(function), (x,))
    fused = fuse(network).network
    torch.testing.assert_close(fused(x)[0], function(x), atol=1e-6, rtol=1e-5)
    nodes = [
        node for node in fused.module.graph.nodes if is_call(node) or node.op == "call_function"
    ]
    return (
        sum(is_call(node, aten.hardsigmoid) for node in nodes),
        sum(is_call(node, aten.hardswish) for node in nodes),
        len([node for node in nodes if not is_call(node, aten.sym_size)]),
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.relu6(x + 3) / 6,
        lambda x: F.relu6(3 + x) * (1 / 6),
        lambda x: torch.clamp(x / 6 + 0.5, 0, 1),
        lambda x: torch.clamp(0.16666667163372040 * x + 0.5, 0, 1),
        lambda x: torch.clamp(x * 2 + 6, 0, 12) / 3 / 4,
        lambda x: F.hardtanh((x - 3 + 6) / 3, 0, 2) * 0.5,
        F.hardsigmoid,
    ],
)
def test_hardsigmoid(function):
    assert named(function) == (1, 0, 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * F.relu6(x + 3) / 6,
        lambda x: F.relu6(x + 3) * x * (1 / 6),
        lambda x: x * (F.relu6(x + 3) / 6),
        lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1),
        lambda x: F.hardsigmoid(x) * x,
        lambda x: torch.clamp(x + 3, 0, 6) / 2 * x / 3,
        F.hardswish,
    ],
)
def test_hardswish(function):
    assert named(function) == (0, 1, 1)


def test_a_gate_that_is_read_twice_stays_one_gate():
    def squeezed(x):
        gate = F.relu6(x + 3) / 6
        return x * gate + gate

    assert named(squeezed)[:2] == (1, 0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.relu6(x + 3) / 5,
        lambda x: F.relu6(x + 2) / 6,
        lambda x: F.relu(x + 3) / 6,
        lambda x: torch.clamp(x * 0.2 + 0.5, 0, 1),
        lambda x: F.relu6(x + 3) / -6,
        lambda x: F.relu6(x) / 6,
        lambda x: torch.clamp(x / -6 + 0.5, 0, 1),
    ],
)
def test_what_is_no_gate_is_left_alone(function):
    assert named(function)[:2] == (0, 0)


def test_integers_are_left_alone():
    function = lambda x: torch.clamp(x + 3, 0, 6) / 6  # noqa: E731
    x = torch.arange(-9, 9).reshape(2, 9)
    fused = fuse(Network.from_module(Spelt(function), (x,))).network
    assert not any(is_call(node, aten.hardsigmoid) for node in fused.module.graph.nodes)
    torch.testing.assert_close(fused(x)[0], function(x))
