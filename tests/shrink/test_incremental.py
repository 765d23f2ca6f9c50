"""Columns rounded a few at a time, and what is left taught in between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import packlight
from packlight.fuse import fuse
from packlight.shrink import curvature, grid_search, incremental, recover, teaching
from packlight.shrink.incremental import Columns
from packlight.shrink.layers import find_layers
from tests.networks import blocks, images
from tests.shrink.brief import briefly

FINEST = 8.0  # times the finest step that int8 has: some ten levels on either side


@pytest.fixture(scope="module")
def prepared() -> list[grid_search.Prepared]:
    """Layers of all kinds of convolutions, prepared."""
    network = fuse(blocks()).network
    singles = [(image[None],) for image in images(24, seed=1)]
    watched = network.copy()
    found = curvature.collect(
        watched, find_layers(watched), singles, curvature.classifier_loss(False)
    )
    return grid_search.prepare(network, find_layers(network), found)


def _columns(one: grid_search.Prepared) -> Columns:
    coarseness = FINEST * one.finest
    guide = grid_search.solve(one, coarseness)
    assert len(np.unique(guide.levels)) > 4
    return Columns.of(one, coarseness, guide)


def test_share_after_share_is_the_whole_at_once(prepared):
    for one in prepared:
        whole = _columns(one).rounded(1.0)
        steps = _columns(one)
        for share in (0.3, 0.7, 1.0):
            steps = steps.rounded(share)
        np.testing.assert_array_equal(steps.levels, whole.levels)
        np.testing.assert_allclose(steps.weights, whole.weights)
        np.testing.assert_allclose(steps.bias, whole.bias)
        assert not whole.free.any()


def test_what_is_left_is_where_it_hurts_least(prepared):
    """Slow reference: the columns left, solved for at once from all that was lost."""
    for one in (one for one in prepared if len(one.factors) == 1):
        half = _columns(one).rounded(0.5)
        free = half.free
        assert free.sum() == len(free) - round(0.5 * len(free))
        for group, H in enumerate(one.factors[0].moments):
            lost = (one.weights - half.weights)[group][:, ~free]
            moved = lost @ H[np.ix_(~free, free)] @ np.linalg.inv(H[np.ix_(free, free)])
            expected = one.weights[group][:, free] + moved
            np.testing.assert_allclose(half.weights[group][:, free], expected, atol=1e-9)


def test_only_what_is_left_is_taught(prepared):
    for one in prepared:
        half = _columns(one).rounded(0.5)
        weight = half.partly()
        weight().square().sum().backward()
        moved = one.layer.rows(weight.weight.grad.numpy()) != 0
        assert not moved[:, :, ~half.free].any()
        values = {name: value + 1.0 for name, value in half.values().items()}
        taught = half.taught(values)
        np.testing.assert_array_equal(
            taught.weights[:, :, ~half.free], half.weights[:, :, ~half.free]
        )
        np.testing.assert_allclose(
            taught.weights[:, :, half.free], half.weights[:, :, half.free] + 1.0, rtol=1e-5
        )
        np.testing.assert_allclose(taught.bias, half.bias + 1.0, rtol=1e-5)


def test_dearer_bits_make_a_smaller_layer(prepared):
    levels = [_columns(prepared[0]).rounded(1.0, dear).levels for dear in (1, 30)]
    assert (levels[1] != 0).sum() < (levels[0] != 0).sum()


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setitem(teaching.SAMPLES, "normal", 5_000)
    monkeypatch.setattr(incremental, "SHARES", (0.6, 1.0))
    briefly(monkeypatch)


def _fit(model, data, out, **more):
    return packlight.fit(model, data[0], target_size="2KB", calibrate=100, out=out, **more)


@pytest.mark.usefixtures("brief")
def test_a_size_of_some_bits_a_weight_is_taught_share_by_share(model, data, tmp_path, monkeypatch):
    paces = []
    distil = recover.distil

    def watched(network, lesson, plan, **rest):
        paces.append(plan.pace)
        return distil(network, lesson, plan, **rest)

    monkeypatch.setattr(recover, "recover", lambda *_, **__: pytest.fail("all weights at once"))
    monkeypatch.setattr(recover, "distil", watched)
    first, second = (_fit(model, data, tmp_path / str(n), effort="normal") for n in range(2))
    assert first.met
    assert len(paces) == 2 * len(incremental.SHARES)
    assert first.packed.read_bytes() == second.packed.read_bytes()
    (visit,) = [visit for visit in first.report["visited"] if np.isnan(visit["tradeoff"])]
    assert visit["packed_bytes"] <= 2000


@pytest.mark.usefixtures("brief")
def test_teaching_that_does_harm_is_undone_and_soon_left(model, data, tmp_path, monkeypatch):
    paces = []
    monkeypatch.setattr(incremental, "SHARES", (0.4, 0.6, 0.8, 0.9, 1.0))

    def harm(network, lesson, plan, *, tied, **rest):
        paces.append(plan.pace)
        return {
            name: value.detach() + torch.randn_like(value)
            for name, value in network.module.named_parameters()
        }

    monkeypatch.setattr(recover, "distil", harm)
    rounded, harmed = (_fit(model, data, tmp_path / e, effort=e) for e in ("fast", "normal"))
    assert paces == [incremental.PACE * incremental.SHORTER**n for n in range(3)]  # then no more
    agreement = [r.report["accuracy"]["agreement"]["value"] for r in (rounded, harmed)]
    assert agreement[1] >= agreement[0] - 0.03
