"""Which channels go, against every candidate tried; and what repairing brings back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from packlight.errors import BadInput
from packlight.fuse import fuse
from packlight.network import Network
from packlight.shrink import channels, curvature, repairing, thinning
from packlight.shrink.layers import find_layers
from packlight.weighing import weigh
from tests.networks import blocks, images, plain, settled
from tests.reference import prune as reference
from tests.shrink.test_quantize import correlated


def measured(network: Network, samples: torch.Tensor):
    """The network's curvature on samples."""
    watched = network.copy()
    layers = find_layers(watched)
    loss = curvature.classifier_loss(False)
    return curvature.collect(watched, layers, [(value[None],) for value in samples], loss)


@pytest.fixture(scope="module", params=[plain, blocks])
def case(request):
    """A network, its curvature, and samples that it was not measured on."""
    network = fuse(request.param()).network
    return network, measured(network, images(60, seed=1)), images(100, seed=2)


def missed(network, other, x):
    """Power of the difference, relative to that of what the outputs vary by."""
    with torch.no_grad():
        (wanted,), (given,) = network(x), other(x)
    return float((wanted - given).square().sum() / (wanted - wanted.mean(0)).square().sum())


def test_channels_go_in_the_order_of_trying_them_all():
    rng = np.random.default_rng(0)
    parts = []
    for taps in (1, 3):  # two readers of the same five channels, the second with three taps
        moments = correlated(1, 6 * taps, taps)[0] + 0.1 * np.eye(6 * taps)
        channel = np.repeat([0, 1, 2, -1, 3, 4], taps)
        parts.append(thinning.Part(rng.normal(size=(4, 6 * taps)), moments, channel))
    order, rise, first = thinning.eliminate(parts, 5)

    def cost(gone):
        return sum(
            0.5
            * reference.error(
                part.weights,
                part.moments,
                np.tile(~np.isin(part.channel, gone), (len(part.weights), 1)),
            )
            for part in parts
        )

    np.testing.assert_allclose(first, [cost([channel]) for channel in range(5)], rtol=1e-6)
    gone: list[int] = []
    for step in range(5):
        rises = {
            channel: cost([*gone, channel]) - cost(gone)
            for channel in range(5)
            if channel not in gone
        }
        best = min(rises, key=lambda channel: rises[channel])
        assert order[step] == best
        assert rise[step] == pytest.approx(rises[best], rel=1e-6)
        gone.append(best)


def test_rebuilt_weights_are_the_least_squares_fit():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3
    rows = rng.normal(size=(1, 4, 6))
    kept = np.array([True, False, True, True, False, True])
    centred = x - x.mean(0)
    moments = (centred.T @ centred / len(x))[None]
    found = repairing.reconstruct(rows, curvature.Curvature((moments,), x.mean(0)[None], 1.0), kept)
    ridge = 0.01 * np.trace(moments[0]) / 6
    left = np.concatenate([centred[:, kept], np.sqrt(ridge * len(x)) * np.eye(4)])
    pulled = np.sqrt(ridge * len(x)) * rows[0][:, kept].T  # the ridge draws to the old weights
    target = np.concatenate([centred @ rows[0].T, pulled])
    np.testing.assert_allclose(found[0].T, np.linalg.lstsq(left, target, rcond=None)[0], rtol=1e-6)


def test_thinning_reaches_the_share_asked_for(case):
    network, curvatures, x = case
    before = weigh(network).totals
    for share in (0.9, 0.6):
        thinned = thinning.thin(network, curvatures, macs_share=share)
        after = weigh(thinned.network).totals
        assert after.macs <= share * before.macs
        assert after.macs == pytest.approx(thinned.macs * before.macs)
        assert thinned.macs > share - 0.4  # 16 channels are halved at once
        finer = thinning.thin(network, curvatures, macs_share=share, multiple=1)
        assert share - 0.3 < finer.macs <= share
    thinned = thinning.thin(network, curvatures, params_share=0.7)
    after = weigh(thinned.network).totals.parameter_count
    assert after == pytest.approx(thinned.parameters * before.parameter_count)
    assert after <= 0.7 * before.parameter_count
    with torch.no_grad():
        assert thinned.network(x)[0].shape == network(x)[0].shape


def test_repairing_and_then_refining_brings_answers_back(case):
    network, curvatures, x = case
    thinned = thinning.thin(network, curvatures, macs_share=0.7)
    narrow = channels.remove(network, thinned.keep)
    batches = [(value,) for value in images(200, seed=1).split(50)]
    refined = repairing.refine(network, thinned.network, thinned.keep, batches)
    raw, repaired, last = (missed(network, net, x) for net in (narrow, thinned.network, refined))
    assert repaired < 0.8 * raw
    assert last <= repaired


def test_channels_that_repeat_others_go_first_and_cost_nothing():
    module = settled(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3)))
    with torch.no_grad():  # channels 8 to 15 are 0 to 7 in other sizes
        module[0].weight[8:] = 2 * module[0].weight[:8]
        module[0].bias[8:] = 2 * module[0].bias[:8]
    network = Network.from_module(module, (images(2),))
    curvatures = measured(network, images(40))
    groups = channels.find_groups(network)
    found = thinning.scores(network, groups, find_layers(network), curvatures)["0"]
    assert len({channel % 8 for channel in found.order[:8]}) == 8
    assert found.rise[:8].sum() < 0.05 * found.rise.sum()
    thinned = thinning.thin(network, curvatures, macs_share=0.5)
    assert thinned.widths == {"0": (16, 8)}
    assert missed(network, thinned.network, images(50, seed=3)) < 1e-2


def test_what_a_channel_takes_adds_up_to_what_is_saved(case):
    network, curvatures, _ = case
    groups = channels.find_groups(network)
    found = thinning.scores(network, groups, find_layers(network), curvatures)
    before = weigh(network).totals
    for name, score in found.items():
        channel = int(score.order[0])
        keep = {name: np.arange(len(score.order)) != channel}
        after = weigh(channels.remove(network, keep)).totals
        assert before.macs - after.macs == pytest.approx(score.macs[channel])
        saved = before.parameter_count - after.parameter_count
        assert saved == pytest.approx(score.parameters[channel])


def test_widths_are_multiples_and_no_group_is_emptied(case):
    network, curvatures, _ = case
    thinned = thinning.thin(network, curvatures, macs_share=0.35)
    for before, after in thinned.widths.values():
        grain = 8 if before >= 16 else 4
        assert after % grain == 0
        assert after > 0


def test_a_layer_that_no_gradient_reached_is_not_taken_for_free(case):
    network, curvatures, _ = case
    deaf = {
        name: curvature.Curvature(value.moments, value.mean, 0.0)
        for name, value in curvatures.items()
    }
    groups = channels.find_groups(network)
    found = thinning.scores(network, groups, find_layers(network), deaf)
    assert all((score.rise > 0).all() for score in found.values())


def test_everything_may_stay(case):
    network, curvatures, x = case
    thinned = thinning.thin(network, curvatures, macs_share=1.0)
    assert thinned.keep == {}
    assert missed(network, thinned.network, x) < 1e-10


def test_nothing_but_the_copy_changes(case):
    network, curvatures, _ = case
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    batches = [(images(20),)]
    thinned = thinning.thin(network, curvatures, macs_share=0.7, batches=batches)
    after = network.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    for parameter in thinned.network.module.parameters():
        assert torch.isfinite(parameter).all()


def test_refined_weights_are_the_least_squares_fit_to_the_original():
    torch.manual_seed(0)
    module = settled(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))
    network = Network.from_module(module, (torch.randn(2, 6),))
    keep = {"0": np.arange(8) < 5}
    narrow = channels.remove(network, keep)
    batches = [(torch.randn(40, 6),) for _ in range(8)]
    refined = repairing._fitted(network, narrow, keep, batches)
    x = torch.cat([batch for (batch,) in batches])
    with torch.no_grad():
        wanted = module(x).double().numpy()
        hidden = torch.relu(module[0](x))[:, :5].double().numpy()
        found = refined(x)[0].double().numpy()
    centred = hidden - hidden.mean(0)
    ridge = 0.01 * np.square(centred).sum() / 5
    old = module[2].weight.detach().double().numpy()[:, :5].T
    left = np.concatenate([centred, np.sqrt(ridge) * np.eye(5)])
    target = np.concatenate([wanted - wanted.mean(0), np.sqrt(ridge) * old])
    weights = np.linalg.lstsq(left, target, rcond=None)[0]
    np.testing.assert_allclose(found, centred @ weights + wanted.mean(0), atol=1e-4)


def test_refining_that_does_not_help_is_dropped(case):
    network, curvatures, _ = case
    thinned = thinning.thin(network, curvatures, macs_share=0.7)
    useless = [(images(1),)] * 3 + [(images(40, seed=5),)]  # fitted on one image, judged on others
    kept = repairing.refine(network, thinned.network, thinned.keep, useless)
    assert kept is thinned.network
    assert repairing.refine(network, thinned.network, thinned.keep, []) is thinned.network


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({}, "one goal"),
        ({"macs_share": 0.5, "params_share": 0.5}, "one goal"),
        ({"macs_share": 0.0}, "share of 0.0"),
        ({"params_share": 1.2}, "share of 1.2"),
        ({"macs_share": 0.5, "multiple": 6}, "power of two"),
        ({"macs_share": 0.001}, "can not be reached"),
    ],
)
def test_a_goal_that_is_not_possible_is_refused(case, goal, message):
    network, curvatures, _ = case
    with pytest.raises(BadInput, match=message):
        thinning.thin(network, curvatures, **goal)
