"""The layer that breaks a network is the one that is named."""

from __future__ import annotations

import numpy as np
import torch

from packlight.coding import rate
from packlight.fuse import fuse
from packlight.shrink import curvature, explaining, grid_search
from packlight.shrink.layers import find_layers, value_of_name
from tests.networks import images, plain


def test_the_layer_that_was_rounded_too_far_comes_first_with_what_mending_it_costs():
    network = fuse(plain()).network
    watched = network.copy()
    layers = find_layers(watched)
    x = images(32, seed=2)
    singles = [(one[None],) for one in x]
    found = curvature.collect(watched, layers, singles, curvature.classifier_loss(False))
    prepared = grid_search.prepare(network, find_layers(network), found)
    finest = [grid_search.solve(layer, 0.0) for layer in prepared]
    mended = {one.layer.name: solved for one, solved in zip(prepared, finest, strict=True)}
    with torch.no_grad():
        wanted = network(x)[0]

    def measure(solved):
        copy = network.copy()
        with torch.no_grad():
            for layer, one in zip(find_layers(copy), solved, strict=True):
                shape = [-1 if axis == layer.axis else 1 for axis in range(len(layer.shape))]
                weight = torch.from_numpy(one.levels * one.scale.reshape(shape))
                value_of_name(copy, layer.weight).copy_(weight)
            distance = float((copy(x)[0] - wanted).square().mean())
        return distance, round(sum(rate.estimate(one.levels) for one in solved) / 8)

    for broken in range(3):
        start = max(layer.finest for layer in prepared)
        solved = list(finest)
        solved[broken] = grid_search.solve(prepared[broken], 8 * start)
        first, *others = explaining.explain(solved, mended, measure)
        assert first.layer == prepared[broken].layer.name
        assert first.damage > 10 * max(abs(other.damage) for other in others)
        assert first.bytes == measure(finest)[1] - measure(solved)[1]
        assert np.isclose(first.damage, measure(solved)[0] - measure(finest)[0])
