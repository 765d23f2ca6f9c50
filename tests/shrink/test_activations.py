"""Activations on grids: where, on which range, and the same numbers in onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from packlight.graph import is_call, quantized
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnxruntime import Session
from packlight.shrink import activations
from packlight.shrink.activations import Grid, Histogram, best_range, find_places, grid_between
from packlight.shrink.layers import find_layers
from tests.networks import blocks, images


def observed(network, count=32):
    places = find_places(network, find_layers(network))
    grids = activations.observe(network, places, [(images(count),)])
    return places, grids


def test_what_a_concatenation_joins_shares_its_grid():
    network = blocks()
    places = find_places(network, find_layers(network))
    joined = next(place for place in places if "cat" in place.nodes)
    assert len(joined.nodes) == 3  # both branches, after their ReLUs, and the concatenation
    assert all(name.startswith(("relu", "cat")) for name in joined.nodes)


def test_the_last_layers_output_stays_float():
    network = blocks()
    names = {name for place in find_places(network, find_layers(network)) for name in place.nodes}
    assert not names & {"linear", "softmax"}


class Twice(nn.Module):
    """A weight that two calls share."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return torch.tanh(self.layer(torch.tanh(self.layer(x))))


def test_convolutions_that_share_a_weight_are_all_rounded_but_neither_loops_nor_volumes():
    for layer, shape, rounded in (
        (nn.Conv2d(3, 3, 1), (1, 3, 4, 4), 3),
        (nn.Linear(3, 3), (1, 3), 0),
        (nn.Conv3d(3, 3, 1), (1, 3, 2, 4, 4), 0),
    ):
        network = Network.from_module(Twice(layer), (torch.randn(shape),))
        assert len(find_places(network, find_layers(network))) == rounded


def test_what_a_mean_reads_is_rounded_where_the_mean_is():
    network = blocks()
    places = find_places(network, find_layers(network))
    (mean,) = [n for n in network.module.graph.nodes if is_call(n, torch.ops.aten.mean)]
    rounded = {name for place in places for name in place.nodes}
    assert {mean.name, mean.args[0].name} <= rounded
    assert not any({mean.name, mean.args[0].name} <= set(place.nodes) for place in places)


def test_a_grid_holds_zero_exactly():
    for low, high in [(-1.3, 2.7), (0.0, 5.0), (-3.0, 0.0), (-1e-9, 1e9)]:
        grid = grid_between(low, high)
        assert 0 <= grid.zero <= activations.TOP
        assert grid.low <= 0 <= grid.high


@pytest.mark.parametrize("high", [1.0, 6.0, 255.0])
def test_pixels_and_clamped_values_keep_the_grid_that_they_are_on(high):
    assert grid_between(0.0, high) == Grid(float(np.float32(high / activations.TOP)), 0)


@pytest.mark.parametrize("seed", range(3))
def test_the_range_has_the_least_squared_error_of_all_tried(seed):
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, 20_000) * (1 + seed)
    low, high = values.min(), values.max()
    counts, edges = np.histogram(values, activations.BINS, (low, high))
    grid = best_range(counts, edges, low, high)

    def error(candidate: Grid) -> float:
        levels = np.clip(np.rint(values / candidate.scale) + candidate.zero, 0, activations.TOP)
        return float(np.square(values - candidate.scale * (levels - candidate.zero)).mean())

    others = [grid_between(low * a, high * b) for a in (0.3, 0.6, 1) for b in (0.3, 0.6, 1)]
    assert error(grid) <= 1.02 * min(error(other) for other in others)
    assert error(grid) < error(grid_between(low, high))


def test_constant_values_get_a_grid():
    assert best_range(np.zeros(4), np.linspace(-1, 1, 5), 0.0, 0.0) == Grid(1.0, 0)


@pytest.mark.parametrize("scales", [(1.0, 0.01, 30.0), (300.0, 0.0, 1e-9), (0.0, 7.0, 0.1)])
def test_a_histogram_that_grows_counts_what_is_counted_at_once(scales):
    rng = np.random.default_rng(0)
    batches = [scale * rng.integers(-999, 999, 500) / 512 for scale in scales]
    growing, parts = Histogram(), Histogram()
    for batch in batches:
        growing.add(torch.from_numpy(batch))
        part = Histogram()
        part.add(torch.from_numpy(batch[:250]))
        part.add(torch.from_numpy(batch[250:]))
        parts.join(part)
    values = np.concatenate(batches)
    wanted, _ = np.histogram(values, growing.edges())
    for found in (growing, parts):
        assert (found.low, found.high) == (min(values.min(), 0), max(values.max(), 0))
        assert found.counts.sum() == len(values)
        # float32 may take a value beside an edge for one on its other side
        assert np.abs(np.cumsum(found.counts - wanted)).max() <= 5
    assert np.abs(values).max() <= growing.edges()[-1] < 2 * np.abs(values).max()


def test_what_is_not_finite_is_not_counted():
    seen = Histogram()
    seen.add(torch.tensor([np.nan, np.inf, -np.inf, 3e38, 0.5, -0.25]))
    seen.add(torch.tensor([-3e38]))
    seen.add(torch.tensor([np.nan]))
    assert (seen.low, seen.high, seen.counts.sum()) == (-0.25, 0.5, 2)


def test_a_relu_that_the_grid_makes_superfluous_goes_away_and_nothing_changes():
    network = blocks()
    places, grids = observed(network)
    rounded = activations.insert(network, places, grids)
    kept = [n for n in rounded.module.graph.nodes if is_call(n, torch.ops.aten.relu)]
    assert not kept
    x = images(4, seed=9)
    with torch.no_grad():
        (wanted,) = network(x)
        (made,) = rounded(x)
    assert 0 < float((wanted - made).abs().max()) < 0.1


def test_onnxruntime_computes_what_the_graph_computes():
    network = blocks()
    places, grids = observed(network)
    rounded = activations.insert(network, places, grids)
    x = images(4, seed=9)
    (wanted,) = rounded(x)
    (made,) = Session(onnx_file.to_bytes(rounded.retraced()))(x.numpy())
    # one level of one activation may round the other way
    np.testing.assert_allclose(made, wanted.detach().numpy(), atol=5e-3)


def test_no_pair_is_left_without_its_other_half():
    network = blocks()
    rounded = activations.insert(network, *observed(network))
    nodes = list(rounded.module.graph.nodes)
    pairs = [n for n in nodes if is_call(n, quantized.quantize_per_tensor)]
    assert pairs
    for node in pairs:
        (user,) = node.users
        assert is_call(user, quantized.dequantize_per_tensor)
        assert user.args[1:] == node.args[1:]
