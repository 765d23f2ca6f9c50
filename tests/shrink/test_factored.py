"""Layers in factors compute what the weight that the factors make computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from packlight.errors import BadInput
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnxruntime import Session
from packlight.shrink.curvature import Curvature
from packlight.shrink.factored import candidates, replace
from packlight.shrink.layers import Layer, find_layers, weight_array
from packlight.weighing import weigh
from tests.shrink.test_layers import Call

CASES = {
    "conv": (nn.Conv2d(4, 6, 3), (2, 4, 9, 8)),
    "stride": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 4, 9, 8)),
    "dilation": (nn.Conv2d(4, 6, 3, dilation=2, padding=2, bias=False), (2, 4, 9, 8)),
    "same": (nn.Conv2d(4, 6, (3, 4), padding="same"), (2, 4, 9, 8)),
    "valid": (nn.Conv2d(4, 6, 3, padding="valid", stride=2), (2, 4, 9, 8)),
    "pointwise": (nn.Conv2d(8, 6, 1, stride=2, padding=1), (2, 8, 9, 8)),
    "row": (nn.Conv2d(4, 6, (1, 3), padding=(0, 1), stride=2), (2, 4, 9, 8)),
    "conv1d": (nn.Conv1d(4, 6, 5, stride=2, padding=2), (2, 4, 17)),
    "linear": (nn.Linear(7, 9), (2, 7)),
    "linear on three dimensions": (nn.Linear(7, 9), (2, 5, 7)),
    "matmul": (Call(), (2, 5, 7)),
}
FORMS = {"svd", "channel", "tucker", "spatial", "cp"}


def traced(name: str) -> tuple[Network, Layer, torch.Tensor]:
    torch.manual_seed(0)
    module, shape = CASES[name]
    x = torch.randn(shape)
    network = Network.from_module(module, (x,))
    (layer,) = find_layers(network)
    return network, layer, x


def seen(layer: Layer, x: torch.Tensor) -> Curvature:
    """The curvature of one batch, without gradients."""
    windows = layer.windows(x)[0].double().numpy()
    mean = windows.mean(0) if layer.centred else np.zeros(windows.shape[1])
    centred = windows - mean
    moments = centred.T @ centred / len(centred)
    return Curvature((moments[None],), mean[None], 1.0)


@pytest.mark.parametrize("name", CASES)
def test_a_layer_in_factors_answers_as_the_weight_they_make(name):
    network, layer, x = traced(name)
    found = candidates(layer, layer.rows(weight_array(network, layer.weight)), seen(layer, x))
    assert {one.form for one in found} == (
        {"svd"}
        if name in ("pointwise", "linear", "linear on three dimensions", "matmul")
        else FORMS - ({"spatial"} if name in ("row", "conv1d") else set())
    )
    # one of each form
    for candidate in {one.form: one for one in found}.values():
        made = replace(network, {layer.name: candidate})
        plainly = network.copy()
        with torch.no_grad():
            rows = candidate.factors.composed().reshape(1, len(candidate.shift), -1)
            weight = plainly.module.get_parameter(layer.weight)
            weight.copy_(torch.from_numpy(layer.stored(rows)))
            if layer.bias is not None:
                bias = plainly.module.get_parameter(layer.bias)
                bias.add_(torch.from_numpy(candidate.shift))
        wanted = plainly(x)[0].detach()
        torch.testing.assert_close(made(x)[0].detach(), wanted, atol=1e-5, rtol=1e-5)
        assert layer.weight not in dict(made.module.named_parameters())


@pytest.mark.parametrize("name", ["stride", "same", "conv1d", "linear on three dimensions"])
def test_onnxruntime_answers_the_same_at_any_batch(name):
    network, layer, x = traced(name)
    found = candidates(layer, layer.rows(weight_array(network, layer.weight)), seen(layer, x))
    made = replace(network, {layer.name: found[-1]})
    session = Session(onnx_file.to_bytes(made))
    more = torch.cat([x, -x, 2 * x])
    np.testing.assert_allclose(session(more.numpy())[0], made(more)[0].detach(), atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_parameters_and_macs_are_those_that_weigh_counts(name):
    network, layer, x = traced(name)
    weights = layer.rows(weight_array(network, layer.weight))
    bias = 0 if layer.bias is None else len(weights[0])
    for candidate in candidates(layer, weights, seen(layer, x), [0.5]):
        totals = weigh(replace(network, {layer.name: candidate})).totals
        assert totals.parameter_count == candidate.parameters + bias
        assert totals.macs == candidate.macs


@pytest.mark.parametrize("name", ["conv", "dilation", "linear", "matmul"])
def test_candidates_keep_within_their_share(name):
    network, layer, x = traced(name)
    weights = layer.rows(weight_array(network, layer.weight))
    for candidate in candidates(layer, weights, seen(layer, x), [0.5]):
        assert min(candidate.rank) == 1 or candidate.parameters <= 0.5 * weights.size
        assert candidate.error > 0


def test_the_bias_takes_over_what_the_mean_input_loses():
    torch.manual_seed(0)
    network = Network.from_module(nn.Linear(12, 8), (torch.randn(2, 12),))
    (layer,) = find_layers(network)
    x = torch.randn(500, 12) + 5
    curvature = seen(layer, x)
    weights = layer.rows(weight_array(network, layer.weight))
    (candidate,) = candidates(layer, weights, curvature, [0.5])
    made = replace(network, {layer.name: candidate})
    gap = (made(x)[0] - network(x)[0]).detach()
    assert gap.mean(0).abs().max() < 1e-3 * gap.abs().max()
    # the error is that of the outputs around their mean, but for the damping
    assert float(gap.square().sum(1).mean()) == pytest.approx(candidate.error, rel=0.1)


def test_layers_in_groups_stay_whole():
    network = Network.from_module(nn.Conv2d(4, 6, 3, groups=2), (torch.randn(2, 4, 6, 6),))
    (layer,) = find_layers(network)
    weights = layer.rows(weight_array(network, layer.weight))
    moments = np.ones((2, 18, 18))
    assert candidates(layer, weights, Curvature((moments,), np.zeros((2, 18)), 1.0)) == []
    other, same, x = traced("conv")
    found = candidates(same, same.rows(weight_array(other, same.weight)), seen(same, x))
    with pytest.raises(BadInput, match="can not be factored; leave it whole"):
        replace(network, {layer.name: found[0]})


def test_factors_of_another_layer_are_refused():
    network, layer, x = traced("conv")
    found = candidates(layer, layer.rows(weight_array(network, layer.weight)), seen(layer, x))
    with pytest.raises(BadInput, match="no layer 'conv9'"):
        replace(network, {"conv9": found[0]})
    linear, one, _ = traced("linear")
    with pytest.raises(BadInput, match="its factors make"):
        replace(linear, {one.name: found[0]})


def test_a_weight_read_twice_stays_whole():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(7, 7)

        def forward(self, x):
            return self.fc(self.fc(x))

    network = Network.from_module(Twice(), (torch.randn(2, 7),))
    (layer,) = find_layers(network)
    weights = layer.rows(weight_array(network, layer.weight))
    curvature = Curvature((np.eye(7)[None],), np.zeros((1, 7)), 1.0)
    with pytest.raises(BadInput, match="is read more than once"):
        replace(network, {layer.name: candidates(layer, weights, curvature)[0]})
