"""Which weights stay, what that costs, and how gradients pass through them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from packlight.shrink import discrete
from packlight.shrink.discrete import Choice, DiscreteWeight
from packlight.shrink.layers import find_layers, value_of_name
from tests.networks import plain
from tests.reference import choosing


def _layer(rows: int, columns: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    worth = torch.rand(rows, columns, generator=generator, dtype=torch.float64) ** 4
    kept = torch.rand(rows, columns, generator=generator) < 0.4
    return worth, kept


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 7), (8, 5)])
def test_bits_and_densities_are_those_of_the_plain_count(rows, columns, seed):
    _, kept = _layer(rows, columns, seed)
    wanted = choosing.density(kept.tolist(), discrete.PRIOR)
    np.testing.assert_allclose(discrete.density(kept).numpy(), wanted, rtol=1e-5)
    wanted_bits = choosing.bits(kept.tolist(), 2.5, discrete.PRIOR, 3.0)
    assert discrete.bits(kept, 2.5, 3.0) == pytest.approx(wanted_bits, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", [12.0, 40.0, 90.0])
@pytest.mark.parametrize("row_bits", [0.0, 4.0])
def test_the_choice_is_that_of_one_weight_after_the_other(row_bits, budget, seed):
    worth, kept = _layer(6, 9, seed)
    (found,) = discrete.choose([Choice(worth, kept, 2.0, row_bits)], budget)
    known = worth.tolist(), kept.tolist()
    wanted = choosing.choose(*known, 2.0, budget, discrete.PRIOR, row_bits)
    assert found.tolist() == wanted


def test_layers_share_one_budget_and_the_one_worth_more_gets_more():
    worth, kept = _layer(20, 20, 0)
    dear, cheap = discrete.choose([Choice(worth, kept, 2.0), Choice(worth / 50, kept, 2.0)], 900.0)
    assert dear.sum() > 2 * cheap.sum()
    assert discrete.bits(dear, 2.0) + discrete.bits(cheap, 2.0) <= 900.0


def test_nothing_is_kept_that_is_worth_nothing():
    worth, kept = _layer(4, 4, 0)
    (found,) = discrete.choose([Choice(worth * 0, kept, 2.0)], 1e9)
    assert not found.any()


@pytest.fixture
def weight() -> DiscreteWeight:
    network = plain()
    layer = find_layers(network)[1]
    return DiscreteWeight(layer, value_of_name(network, layer.weight))


def test_what_is_rounded_is_level_times_step_and_zero_where_nothing_is_kept(weight):
    kept = torch.rand(weight._rows(weight.kept).shape) < 0.3
    weight.keep(kept)
    weight.place_step()
    weight.rounding = True
    levels = weight.levels()
    np.testing.assert_allclose(
        weight().detach().numpy(), levels * weight.step, rtol=1e-5, atol=1e-9
    )
    assert ((levels != 0) == weight.kept.numpy()).all()
    assert (weight._rows(weight.kept) == kept).all()


def test_gradients_reach_the_shadow_also_where_nothing_is_kept(weight):
    weight.keep(torch.zeros_like(weight._rows(weight.kept)))
    weight.rounding = True
    (weight() * 3).sum().backward()
    assert (weight.shadow.grad == 3).all()
