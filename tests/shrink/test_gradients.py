"""Gradients of single samples, whole and in two factors, against autograd's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from packlight.network import Network
from packlight.shrink.gradients import SPARE, Gradient, Pulls, in_factors
from packlight.shrink.layers import find_layers


class Twice(nn.Module):
    """One linear layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(24, 24)

    def forward(self, x):
        return self.one(torch.tanh(self.one(x)))


class Tied(nn.Module):
    """A weight that is multiplied with inputs, and read in another way as well."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(24, 16)

    def forward(self, x):
        return self.one(x) + self.one.weight.square().sum(1)


class Times(nn.Module):
    """A weight on the right of a product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24, 16))

    def forward(self, x):
        return torch.tanh(x) @ self.weight


def steps(count):
    return torch.randn(1, count, 24)


def picture(size):
    return torch.randn(1, 3, size, size)


CASES = [
    (lambda: nn.Linear(24, 16), lambda: steps(1), True),
    (lambda: nn.Linear(24, 16), lambda: steps(5), True),
    (lambda: nn.Linear(24, 16), lambda: steps(6), False),  # more than a third of its rows
    (Twice, lambda: steps(4), True),
    (Twice, lambda: steps(5), False),  # ten positions in all
    (Tied, lambda: steps(3), False),
    (Times, lambda: steps(3), True),
    (lambda: nn.Conv2d(3, 24, 3), lambda: picture(4), True),
    (lambda: nn.Conv2d(3, 24, 3), lambda: picture(9), False),
    (lambda: nn.Conv2d(3, 27, 3, groups=3, bias=False), lambda: picture(3), True),
    (lambda: nn.ConvTranspose2d(3, 4, 3), lambda: picture(1), True),
    (lambda: nn.ConvTranspose2d(3, 4, 3), lambda: picture(4), False),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("module", "inputs", "thin"), CASES)
def test_gradients_are_autograds_and_thin_where_that_is_less_work(module, inputs, thin, seed):
    torch.manual_seed(seed)
    module, inputs = module(), inputs()
    signs = torch.randn(module(inputs).shape)
    own = torch.autograd.grad((module(inputs) * signs).sum(), list(module.parameters()))

    network = Network.from_module(module, (inputs,))
    (layer,) = find_layers(network)
    pulls = Pulls(network, [layer])
    (output,) = pulls.outputs([inputs.numpy()])
    found, biases = pulls.of((output * signs).sum())
    gradient = found[layer.name]
    assert (gradient.basis is not None) == thin
    wanted = torch.from_numpy(layer.rows(own[0].numpy()).copy())
    made = gradient.others if gradient.basis is None else gradient.basis @ gradient.others
    torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-4)
    assert gradient.energy == pytest.approx(float(wanted.square().sum()), rel=1e-4)
    if layer.bias:
        torch.testing.assert_close(biases[layer.name], own[1], atol=1e-4, rtol=1e-4)


def test_every_call_of_a_layer_is_looked_at():
    network = Network.from_module(Twice(), (steps(4),))
    seen = []
    pulls = Pulls(network, find_layers(network), lambda layer, call, value: seen.append(value))
    pulls.outputs([steps(4).numpy()])
    assert [tuple(value.shape) for value in seen] == [(1, 4, 24), (1, 4, 24)]


def test_what_does_not_depend_on_weights_pulls_at_none():
    network = Network.from_module(nn.Linear(24, 16), (steps(1),))
    pulls = Pulls(network, find_layers(network))
    pulls.outputs([steps(1).numpy()])
    assert pulls.of(torch.zeros(())) == ({}, {})


@pytest.mark.parametrize("positions", [1, 4])
def test_a_gradient_in_factors_is_the_gradient(positions):
    torch.manual_seed(0)
    rows = torch.randn(2, 12, positions) @ torch.randn(2, positions, 20)
    found = in_factors(rows, positions)
    count = positions + SPARE
    assert found.basis.shape == (2, 12, count)
    eye = torch.eye(count).expand(2, -1, -1)
    torch.testing.assert_close(found.basis.transpose(1, 2) @ found.basis, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.basis @ found.others, rows, atol=1e-4, rtol=1e-4)
    assert in_factors(torch.zeros(2, 12, 20), positions) is not None


def test_factors_that_are_not_all_of_a_gradient_are_not_taken():
    torch.manual_seed(0)
    rows = torch.randn(1, 12, 4 + SPARE) @ torch.randn(1, 4 + SPARE, 20)
    assert in_factors(rows, 3) is None  # somebody else reads the weight too
    assert in_factors(rows * torch.nan, 4) is None
    assert Gradient(rows).energy == pytest.approx(float(rows.square().sum()), rel=1e-5)
