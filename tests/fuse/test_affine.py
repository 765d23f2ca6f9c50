"""Factors and offsets fold into the layer before them, and nothing else does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from packlight.fuse import fuse
from packlight.graph import is_call
from packlight.network import Network

aten = torch.ops.aten
ARITHMETIC = (aten.add, aten.sub, aten.rsub, aten.mul, aten.div)


class After(nn.Module):
    """A layer, and what is done to its output."""

    def __init__(self, layer: nn.Module, function, *constants: torch.Tensor) -> None:
        super().__init__()
        self.layer, self.function = layer, function
        for number, constant in enumerate(constants):
            self.register_buffer(f"c{number}", constant)

    def forward(self, x):
        return self.function(self.layer(x), *self.buffers(recurse=False))


def channels(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.5


def left(module: nn.Module, x: torch.Tensor) -> int:
    """How many calculations are left; the answers are what they were, also on other inputs."""
    network = Network.from_module(module.eval(), (x,))
    fused = fuse(network)
    other = torch.randn(x.shape)
    torch.testing.assert_close(fused.network(other)[0], module(other), atol=1e-5, rtol=1e-4)
    assert set(fused.network.module.state_dict()) <= {"layer.weight", "layer.bias", "c0"}
    return sum(is_call(node, *ARITHMETIC) for node in fused.network.module.graph.nodes)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "function",
    [
        lambda y, c: y + c,
        lambda y, c: c + y,
        lambda y, c: y - c,
        lambda y, c: y * c,
        lambda y, c: y / c,
        lambda y, c: (y * c - 3) / 0.2,
        lambda y, c: 0.2 * y + c * 0 + 0.5,
    ],
)
def test_one_number_per_channel_folds(function, bias):
    layer = nn.Conv2d(3, 4, 3, groups=1, bias=bias)
    assert left(After(layer, function, channels(1, 4, 1, 1)), torch.randn(2, 3, 6, 6)) == 0


@pytest.mark.parametrize(
    ("layer", "constant", "x"),
    [
        (nn.Linear(5, 4), channels(4), torch.randn(2, 5)),
        (nn.Linear(5, 4), channels(1, 4), torch.randn(2, 7, 5)),
        (nn.Conv1d(3, 4, 3), channels(4, 1), torch.randn(2, 3, 9)),
        (nn.Conv2d(4, 4, 3, groups=4), channels(4, 1, 1), torch.randn(2, 4, 6, 6)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), channels(1, 6, 1, 1), torch.randn(2, 4, 5, 5)),
        (nn.Conv2d(3, 4, 3), channels(1), torch.randn(2, 3, 6, 6)),
    ],
)
def test_every_layer_takes_them(layer, constant, x):
    assert left(After(layer, lambda y, c: y * c - c, constant), x) == 0


@pytest.mark.parametrize(
    ("function", "constants"),
    [
        (lambda y: y * y, []),
        (lambda y: (y + 1) * y, []),  # read twice
        (lambda y: 1 - y, []),
        (lambda y: 1 / (y.abs() + 1), []),
        (lambda y, c: y + c, [channels(1, 1, 4, 4)]),  # by position
        (lambda y, c: y + c, [channels(4)]),  # by column
        (lambda y, c: y * c, [channels(2, 1, 1, 1)]),  # by sample
        (lambda y, c: y[:, :1] + c, [channels(1, 4, 1, 1)]),  # spreads one channel
    ],
)
def test_everything_else_stays(function, constants):
    module = After(nn.Conv2d(3, 4, 3), function, *constants)
    assert left(module, torch.randn(2, 3, 6, 6)) > 0


def test_shared_weights_are_left_alone():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(self.layer(x) * 2)

    assert left(Twice(), torch.randn(2, 4)) == 1
