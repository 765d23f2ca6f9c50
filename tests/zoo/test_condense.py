"""Learned group convolutions: what the masks kept, and what they become."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from packlight import zoo
from packlight.errors import BadInput
from packlight.zoo.condense import CondensedConv, LearnedGroupConv
from tests.networks import settled
from tests.reference.zoo import grouped, kept_inputs

CASES = [(8, 8, 2, 2), (12, 6, 3, 4), (16, 8, 4, 4), (8, 12, 4, 2), (6, 4, 1, 2), (6, 4, 2, 1)]


def layer(inputs: int, outputs: int, groups: int, condensation: int, seed: int = 0):
    torch.manual_seed(seed)
    return LearnedGroupConv(inputs, outputs, groups, condensation, bias=True)


@pytest.mark.parametrize("case", CASES)
def test_masks_keep_what_the_slow_reference_keeps(case):
    learned = layer(*case)
    zoo.condense_step(learned, 1.0)
    kept = kept_inputs(learned.weight.detach()[:, :, 0, 0], *case[2:])
    assert [row.nonzero().flatten().tolist() for row in learned.mask] == kept
    x = torch.randn(2, case[0], 3, 3)
    expected = grouped(learned.weight.detach()[:, :, 0, 0], kept, x)
    with torch.no_grad():
        assert torch.allclose(learned(x) - learned.bias[:, None, None], expected, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_condensed_layer_computes_what_the_masked_one_did(case):
    learned = layer(*case)
    zoo.condense_step(learned, 1.0)
    small = zoo.condensed(learned)
    assert isinstance(small, CondensedConv)
    assert small.conv.groups == case[2]
    assert small.conv.weight.numel() * case[3] == learned.weight.numel()
    x = torch.randn(2, case[0], 5, 5)
    with torch.no_grad():
        assert torch.allclose(small(x), learned(x), atol=1e-5)


def test_a_condensed_network_computes_what_the_masked_one_did():
    network = settled(zoo.condensenet(width=0.5, resolution=32, classes=10, blocks=(2, 2),
                                      groups=4, condensation=4))  # fmt: skip
    zoo.condense_step(network, 1.0)
    small = zoo.condensed(network)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before, after = network(images), small(images)
    assert before.std() > 0
    assert torch.allclose(after, before, atol=1e-5)
    masked = [one for one in network.modules() if isinstance(one, LearnedGroupConv)]
    kinds = [one for one in small.modules() if isinstance(one, (LearnedGroupConv, CondensedConv))]
    assert all(isinstance(one, CondensedConv) for one in kinds)
    for learned, ordinary in zip(masked, kinds, strict=True):
        assert ordinary.conv.weight.numel() * learned.condensation == learned.weight.numel()
    assert any(isinstance(one, LearnedGroupConv) for one in network.modules())  # the original stays


def test_the_schedule_condenses_in_the_first_half_in_equal_stages():
    learned = layer(16, 8, 2, 4)
    seen = []
    for step in range(13):
        zoo.condense_step(learned, step / 12)
        seen.append(int(learned.mask[0].sum()))
    # three stages of a sixth each; then a quarter of the inputs is left
    assert seen == [16, 16, 12, 12, 8, 8, 4, 4, 4, 4, 4, 4, 4]
    assert (learned.mask.sum(1) == 4).all()


def test_dropped_inputs_stay_dropped_and_are_not_trained():
    learned = layer(8, 4, 2, 4)
    zoo.condense_step(learned, 0.2)
    before = learned.mask.clone()
    dropped = before == 0
    assert dropped.any()
    learned(torch.randn(1, 8, 2, 2)).sum().backward()
    gradients = learned.weight.grad.view(2, 2, 8).abs().sum(1)
    assert (gradients[dropped] == 0).all()
    with torch.no_grad():
        learned.weight.view(2, 2, 8)[dropped[:, None].expand(2, 2, 8)] = 100.0
    zoo.condense_step(learned, 1.0)
    assert (learned.mask[dropped] == 0).all()


def test_the_lasso_is_the_norm_of_each_group_and_input():
    learned = layer(6, 4, 2, 3)
    zoo.condense_step(learned, 0.25)
    expected = 0.0
    for group in range(2):
        for column in range(6):
            if learned.mask[group, column]:
                pair = learned.weight[2 * group : 2 * group + 2, column, 0, 0]
                expected += float(pair.detach().norm())
    found = zoo.group_lasso(nn.Sequential(learned))
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.backward()
    assert learned.weight.grad.isfinite().all()
    assert zoo.group_lasso(nn.Identity()).item() == 0


def test_a_checkpoint_goes_on_where_it_was():
    learned, again = layer(8, 4, 2, 4), layer(8, 4, 2, 4, seed=1)
    zoo.condense_step(learned, 0.4)
    again.load_state_dict(learned.state_dict())
    assert again.stage == learned.stage == 2
    zoo.condense_step(learned, 1.0)
    zoo.condense_step(again, 1.0)
    assert again.mask.equal(learned.mask)


def test_what_is_not_possible_is_told():
    learned = layer(8, 4, 2, 4)
    with pytest.raises(BadInput, match="8 of 8 inputs"):
        zoo.condensed(learned)
    with pytest.raises(BadInput, match=r"progress=1\.5"):
        zoo.condense_step(learned, 1.5)
    zoo.condense_step(learned, 0.5)
    with pytest.raises(BadInput, match="behind"):
        zoo.condense_step(learned, 0.1)
    with pytest.raises(BadInput, match="do not divide"):
        layer(7, 4, 2, 4)
