"""How bits are shared out among layers: one coarseness for all, against every other choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import packlight
from packlight.coding import rate
from packlight.fuse import fuse
from packlight.network import Network
from packlight.shrink import curvature, grid_search
from packlight.shrink.layers import find_layers
from tests.networks import settled

CHOICES = 9  # of coarsenesses for each layer, a factor of 1.4 apart
SPARE = 1.06  # how far from the best of all choices the shared one may be


class Four(nn.Module):
    """Four layers whose outputs count very differently, for (n, 32)."""

    def __init__(self, gains: tuple[float, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(32, 32), nn.Linear(32, 48), nn.Linear(48, 24)])
        self.head = nn.Linear(24, 8)
        self.gains = gains

    def forward(self, x: Tensor) -> Tensor:
        for layer, gain in zip(self.layers, self.gains, strict=True):
            x = torch.tanh(gain * layer(x))
        return self.head(x)


def _samples(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gains", [(1.0, 1.0, 1.0), (0.2, 3.0, 0.5), (3.0, 0.3, 2.0)])
def test_one_coarseness_for_all_is_as_good_as_the_best_of_all_choices(gains):
    network = fuse(Network.from_module(settled(Four(gains)), (_samples(2),))).network
    watched = network.copy()
    layers = find_layers(watched)
    singles = [(x[None],) for x in _samples(200)]
    found = curvature.collect(watched, layers, singles, curvature.classifier_loss(False))
    prepared = grid_search.prepare(network, layers, found)
    middle = float(np.median([3 * one.finest for one in prepared]))
    frontiers = []
    for one in prepared:
        points = [
            grid_search.solve(one, middle * 1.4 ** (step - CHOICES // 2)) for step in range(CHOICES)
        ]
        frontiers.append([(rate.estimate(point.levels), point.damage) for point in points])
    every = np.array(
        [np.sum(choice, axis=0) for choice in itertools.product(*frontiers)]
    )  # (choices, bits and damage)
    for step in range(2, CHOICES - 2):
        bits, damage = np.sum([frontier[step] for frontier in frontiers], axis=0)
        best = every[every[:, 0] <= bits, 1].min()
        assert damage <= SPARE * best


class Sensitive(nn.Module):
    """Three layers, of which the first and the last only correct a little what passes them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = (nn.Linear(32, 32) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.03 * self.first(x)
        x = self.middle(x)
        return x + 0.03 * self.last(x)


def test_a_layer_sensitive_to_noise_keeps_its_bits(tmp_path):
    x = _samples(400)
    result = packlight.fit(
        Network.from_module(settled(Sensitive()), (x[:2],)),
        x.numpy(),
        target_size="2.2KB",
        calibrate=200,
        out=tmp_path,
    )
    bits = {layer["name"]: layer["bits_per_weight"] for layer in result.report["layers"]}
    assert bits["middle"] > max(bits["first"], bits["last"]) + 2
    assert result.met
