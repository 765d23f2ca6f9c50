"""Curvature against sums written out sample by sample."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from packlight.network import Network
from packlight.shrink import curvature
from packlight.shrink.layers import find_layers
from tests.networks import images, plain
from tests.reference import shrinking

F = nn.functional


def samples(network, count):
    return [(value[None],) for value in images(count, seed=7)]


def collected(network, data, loss):
    layers = find_layers(network)
    return layers, curvature.collect(network, layers, data, loss, seed=3)


def signed(logs, generator):
    signs = torch.randint(0, 2, (1, len(logs)), generator=generator)[0].tolist()
    roots = logs.detach().exp().sqrt().tolist()
    return sum(
        (2 * sign - 1) * root * log for sign, root, log in zip(signs, roots, logs, strict=True)
    )


def test_moments_and_sensitivity_match_loops_over_samples():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    network = Network.from_module(module, (torch.randn(2, 4),))
    data = [(torch.randn(1, 4),) for _ in range(32)]
    layers, found = collected(network, data, curvature.classifier_loss(False))

    # the same, by hand: one sample after the other, every chunk's signs from a seed of its own
    inputs, gradients, of_biases = [], [], []
    begin = {2 * chunk: 3 * 16 + chunk for chunk in range(16)}
    for at, (x,) in enumerate(data):
        if at in begin:
            generator = torch.Generator().manual_seed(begin[at])
        logs = module(x).log_softmax(1)[0]
        pulls = torch.autograd.grad(signed(logs, generator), [module[0].weight, module[0].bias])
        inputs.append(x[0].double().numpy())
        gradients.append(pulls[0].double().numpy())
        of_biases.append(pulls[1].double().numpy())
    X = np.array(inputs)
    mean = X.mean(0)
    covariance = shrinking.shrunk(np.split(X, 16))
    pull = sum(g.T @ g for g in gradients)
    blend = 0.5 * covariance + 0.5 * pull * np.trace(covariance) / np.trace(pull)
    energy = np.mean([np.square(g).sum() for g in gradients])

    first = found[layers[0].name]
    np.testing.assert_allclose(first.mean[0], mean, rtol=1e-5)
    np.testing.assert_allclose(first.moments[0][0], blend, rtol=1e-3, atol=1e-5)
    assert first.sensitivity == pytest.approx(energy / (3 * np.trace(covariance)), rel=1e-4)
    assert first.of_bias == pytest.approx(np.square(of_biases).mean(), rel=1e-4)


@pytest.mark.parametrize("probabilities", [False, True])
def test_signs_say_on_average_what_labels_drawn_say(probabilities, monkeypatch):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), *[nn.Softmax(1)] * probabilities)
    loss = curvature.classifier_loss(probabilities)
    x = torch.randn(1, 4)
    logs = module(x).log() if probabilities else module(x).log_softmax(1)

    def squared(value):
        (gradient,) = torch.autograd.grad(value, [module[0].weight], retain_graph=True)
        return gradient.flatten()[:, None] * gradient.flatten()

    fisher = sum(float(log.detach().exp()) * squared(log) for log in logs[0])
    all_signs = list(itertools.product([-1, 1], repeat=3))
    drawn = iter(all_signs)
    monkeypatch.setattr(curvature, "_signs", lambda values, _: torch.tensor([next(drawn)]))
    found = [squared(loss((module(x),), torch.Generator())) for _ in all_signs]
    torch.testing.assert_close(sum(found) / len(found), fisher)


def test_whichever_the_signs_a_sure_network_says_how_sure():
    """A label drawn would say 0.0001 in 99 cases of a hundred, and 0.98 in one."""
    scores = torch.tensor([[np.log(0.99), np.log(0.01)]], requires_grad=True)
    loss, generator = curvature.classifier_loss(False), torch.Generator().manual_seed(0)
    for _ in range(20):
        (gradient,) = torch.autograd.grad(loss((scores,), generator), [scores])
        assert float(gradient[0, 0]) ** 2 == pytest.approx(0.99 * 0.01, rel=0.2)


def test_blocks_of_columns_are_the_diagonal_of_the_whole(monkeypatch):
    # each block is shrunk for itself
    monkeypatch.setattr(curvature.Moments, "shrunk", lambda self, covariance, count: covariance)
    network = plain()
    data = samples(network, 4)
    layers, whole = collected(network, data, curvature.classifier_loss(False))
    monkeypatch.setattr(curvature, "MAX_COLUMNS", 100)
    monkeypatch.setattr(curvature, "GRADIENT_SHARE", 0.0)
    _, blocks = collected(network, data, curvature.classifier_loss(False))
    monkeypatch.setattr(curvature, "MAX_COLUMNS", 10**6)
    _, whole = collected(network, data, curvature.classifier_loss(False))
    name = next(layer.name for layer in layers if len(blocks[layer.name].moments) > 1)
    start = 0
    for block in blocks[name].moments:
        stop = start + block.shape[1]
        np.testing.assert_allclose(
            block, whole[name].moments[0][:, start:stop, start:stop], rtol=1e-4, atol=1e-6
        )
        start = stop
    assert start == whole[name].moments[0].shape[1]


class Loop(nn.Module):
    """A layer called once for every step, or all steps in one call."""

    def __init__(self, cell: bool) -> None:
        super().__init__()
        self.cell = cell
        self.layer = nn.RNN(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        if not self.cell:
            return self.head(self.layer(x)[0][:, -1])
        layer, state = self.layer, x.new_zeros(len(x), 4)
        for step in range(x.shape[1]):
            inputs = F.linear(x[:, step], layer.weight_ih_l0, layer.bias_ih_l0)
            states = F.linear(state, layer.weight_hh_l0, layer.bias_hh_l0)
            state = torch.tanh(inputs + states)
        return self.head(state)


@pytest.mark.parametrize("cell", [True, False])
def test_the_inputs_of_a_loop_are_those_of_all_its_steps(cell):
    torch.manual_seed(0)
    module = Loop(cell)
    network = Network.from_module(module, (torch.randn(2, 6, 3),))
    data = [(torch.randn(1, 6, 3),) for _ in range(5)]
    layers, found = collected(network, data, curvature.projection_loss([1.0]))
    inputs, states, _ = (found[layer.name] for layer in layers)
    X = torch.cat([x[0] for (x,) in data]).double().numpy()
    H = np.concatenate([module.layer(x)[0][0].detach().double().numpy() for (x,) in data])
    if cell:  # a call's states are those that it reads; one for all steps gives them
        H = np.concatenate([np.vstack([np.zeros(4), h[:-1]]) for h in np.split(H, 5)])
    assert inputs.mean[0] == pytest.approx(X.mean(0), abs=1e-6)
    assert states.mean[0] == pytest.approx(H.mean(0), abs=1e-6)
    assert states.sensitivity > 0


def test_a_layer_the_loss_ignores_has_no_sensitivity():
    class Ignores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.used(x), self.unused(x)

    network = Network.from_module(Ignores(), (torch.randn(2, 4),))
    data = [(torch.randn(1, 4),) for _ in range(3)]
    _, found = collected(network, data, curvature.classifier_loss(False))
    assert found["used"].sensitivity > 0
    assert found["unused"].sensitivity == found["unused"].of_bias == 0


def test_a_noisier_output_counts_in_units_of_its_own_spread():
    module = nn.Linear(4, 3)
    network = Network.from_module(module, (torch.randn(2, 4),))
    data = [(torch.randn(1, 4),) for _ in range(5)]
    near = collected(network.copy(), data, curvature.projection_loss([1.0]))[1]
    far = collected(network.copy(), data, curvature.projection_loss([10.0]))[1]
    assert near[next(iter(near))].sensitivity == pytest.approx(
        100 * far[next(iter(far))].sensitivity, rel=1e-4
    )


def test_few_samples_hide_no_direction():
    """Where 24 of 40 directions were never seen, H still charges for them."""
    torch.manual_seed(1)
    network = Network.from_module(nn.Linear(40, 5), (torch.randn(2, 40),))
    data = [(torch.randn(1, 40),) for _ in range(16)]
    layers, found = collected(network, data, curvature.classifier_loss(False))
    own = np.linalg.eigvalsh(found[layers[0].name].moments[0][0])
    assert own[0] > 0.2 * own.mean()


def test_many_samples_are_believed():
    torch.manual_seed(1)
    network = Network.from_module(nn.Linear(4, 2), (torch.randn(2, 4),))
    spread = torch.tensor([1.0, 1.0, 0.1, 0.01])
    data = [(torch.randn(1, 4) * spread,) for _ in range(2000)]
    layers, found = collected(network, data, curvature.classifier_loss(False))
    own = np.linalg.eigvalsh(found[layers[0].name].moments[0][0])
    assert own[0] < 0.01 * own.mean()
