"""What outputs have to do with each other, against sums written out sample by sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from packlight.network import Network
from packlight.shrink import curvature, grid_search, outputs
from packlight.shrink.layers import find_layers
from tests.networks import images, plain


def prepared_of(network, data, loss):
    layers = find_layers(network)
    found = curvature.collect(network.copy(), layers, data, loss)
    return grid_search.prepare(network, layers, found)


def unshrunk(monkeypatch):
    monkeypatch.setattr(curvature.Moments, "shrunk", lambda self, covariance, count: covariance)


def test_moments_between_rows_match_loops_over_samples(monkeypatch):
    unshrunk(monkeypatch)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    network = Network.from_module(module, (torch.randn(2, 4),))
    data = [(torch.randn(1, 4),) for _ in range(32)]
    loss = curvature.classifier_loss(False)
    prepared = prepared_of(network, data, loss)
    found = outputs.collect(network.copy(), prepared, data, loss, seed=3)

    # S by rounding: unit errors of the columns, each with what later columns do about it
    factor = prepared[0].factors[0]
    S = np.zeros((4, 4))
    for column in range(4):
        error = np.zeros(4)
        error[factor.order[column]] = 1
        free = factor.order[column + 1 :]
        H = factor.moments[0]
        error[free] = -np.linalg.solve(H[np.ix_(free, free)], H[free, factor.order[column]])
        S += np.outer(error, error)
    B = np.zeros((3, 3))
    for at, (x,) in enumerate(data):
        if at % 2 == 0:  # a chunk of two begins
            generator = torch.Generator().manual_seed(2**32 + 3 * 16 + at // 2)
        logs = module(x).log_softmax(1)
        signs = torch.randint(0, 2, logs.shape, generator=generator) * 2 - 1
        value = (signs * logs.detach().exp().sqrt() * logs).sum()
        (pull,) = torch.autograd.grad(value, [module[0].weight])
        G = pull.double().numpy()
        B += G @ S @ G.T / len(data)
    np.testing.assert_allclose(found[prepared[0].layer.name][0][0], B, rtol=1e-4, atol=1e-7)


def test_blocks_of_rows_are_the_diagonal_of_the_whole(monkeypatch):
    unshrunk(monkeypatch)
    network = plain()
    data = [(value[None],) for value in images(4, seed=7)]
    loss = curvature.classifier_loss(False)
    prepared = prepared_of(network, data, loss)
    whole = outputs.collect(network.copy(), prepared, data, loss)
    monkeypatch.setattr(outputs, "MAX_ROWS", 3)
    parts = outputs.collect(network.copy(), prepared, data, loss)
    split = 0
    for name, blocks in parts.items():
        start = 0
        for block in blocks:
            stop = start + block.shape[1]
            assert stop - start <= 3
            np.testing.assert_allclose(
                block, whole[name][0][:, start:stop, start:stop], rtol=1e-4, atol=1e-9
            )
            start = stop
        assert start == whole[name][0].shape[1]
        split += len(blocks) > 1
    assert split


@pytest.mark.parametrize(("count", "least", "most"), [(16, 0.2, 0.9), (2000, 0.0, 0.2)])
def test_few_samples_hide_no_direction_and_many_are_believed(count, least, most):
    # to add the same to all scores changes nothing: a direction that does no harm
    torch.manual_seed(1)
    network = Network.from_module(nn.Linear(3, 6), (torch.randn(2, 3),))
    data = [(torch.randn(1, 3),) for _ in range(count)]
    loss = curvature.classifier_loss(False)
    (moments,) = outputs.collect(
        network.copy(), prepared_of(network, data[:16], loss), data, loss
    ).values()
    own = np.linalg.eigvalsh(moments[0][0])
    assert least < own[0] / own.mean() < most


def test_a_bound_layer_is_as_sensitive_and_its_damage_is_what_its_outputs_tell():
    torch.manual_seed(0)
    network = Network.from_module(nn.Linear(5, 4), (torch.randn(2, 5),))
    data = [(torch.randn(1, 5),) for _ in range(40)]
    loss = curvature.classifier_loss(False)
    (one,) = prepared_of(network, data, loss)
    (moments,) = outputs.collect(network.copy(), [one], data, loss).values()
    bound = grid_search.bound(one, moments)
    assert bound.sensitivity == pytest.approx(one.sensitivity)
    assert bound.unit > one.unit  # what others make good may be larger

    lost = np.random.default_rng(0).normal(size=(1, 4, 5))
    B, H = bound.rows.moments[0][0], one.factors[0].moments[0]
    assert np.trace(B) == pytest.approx(4)
    damage = one.sensitivity * np.trace(B @ lost[0] @ H @ lost[0].T)
    assert grid_search.damage_of(bound, lost) == pytest.approx(damage)
    solved = grid_search.solve(bound, 3 * bound.finest)
    step = solved.scale[0]
    left = bound.weights - bound.layer.rows(solved.levels.astype(np.float64)) * step
    assert solved.damage == pytest.approx(grid_search.damage_of(bound, left))
    unseen = replace(bound, factors=[])
    damage = one.sensitivity * np.trace(B @ lost[0] @ lost[0].T)
    assert grid_search.damage_of(unseen, lost) == pytest.approx(damage)
