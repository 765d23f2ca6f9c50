"""The zoo's networks are the published ones: parameters to the last, MACs to 0.1 %."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from inspect import isfunction

import pytest
import torch
from torch import nn

import packlight
from packlight import zoo
from packlight.errors import BadInput
from packlight.zoo.blocks import channel_shuffle, make_divisible
from packlight.zoo.condense import condense_step, condensed
from tests.networks import settled
from tests.reference.zoo import macs

# parameters; MACs at 224 and how exact that figure is: half of its last digit, or 0.1 %
PUBLISHED = [
    ("alexnet", {}, 61_100_840, 714e6, 0.5e6),
    ("vgg16", {}, 138_357_544, 15_470e6, 5e6),
    ("resnet18", {}, 11_689_512, 1_814e6, 0.5e6),
    ("resnet50", {}, 25_557_032, 4_089e6, 0.5e6),
    ("squeezenet1_0", {}, 1_248_424, 819e6, 0.5e6),
    ("squeezenet1_1", {}, 1_235_496, 349e6, 0.5e6),
    ("mobilenet_v1", {}, 4_231_976, 568.7e6, 0.05e6),
    ("mobilenet_v1", {"width": 0.75}, 2_585_560, 325e6, 0.5e6),
    ("mobilenet_v1", {"width": 0.5}, 1_331_592, 149e6, 0.5e6),
    ("mobilenet_v1", {"width": 0.25}, 470_072, 41e6, 0.5e6),
    ("mobilenet_v2", {}, 3_504_872, 300.8e6, 0.05e6),
    ("mobilenet_v3_small", {}, 2_542_856, 56.5e6, 0.05e6),
    ("mobilenet_v3_large", {}, 5_483_032, 216.6e6, 0.05e6),
    ("mobilenet_v4_conv_small", {}, 3_774_024, 190e6, 5e6),
    ("shufflenet_v2", {"width": 0.5}, 1_366_792, 40e6, 0.5e6),
    ("shufflenet_v2", {}, 2_278_604, 145e6, 0.5e6),
    ("shufflenet_v2", {"width": 1.5}, 3_503_624, 296e6, 0.5e6),
    ("shufflenet_v2", {"width": 2.0}, 7_393_996, 583e6, 0.5e6),
    ("efficientnet_lite0", {}, 4_652_008, None, 0),
    ("lenet_300_100", {}, 266_610, 266_200, 0),
    ("lenet5", {}, 431_080, 2_293_000, 0),
    ("resnet8", {}, 77_946, 12_501_632, 0),
]
# small enough to run: the least that keeps every stage
SMALL = {
    "alexnet": {"width": 0.125, "resolution": 63},
    "vgg16": {"width": 0.125, "resolution": 32},
    "lenet5": {"width": 0.5},
    "lenet_300_100": {"width": 0.5},
    "shufflenet_v1": {"width": 0.25, "resolution": 64, "groups": 8},
    "condensenet": {"width": 0.5, "resolution": 64, "groups": 4, "condensation": 4},
}
NETWORKS = [
    name for name in zoo.__all__ if name not in ("condense_step", "condensed", "group_lasso")
]


def unallocated(name: str, **arguments) -> nn.Module:
    with torch.device("meta"):
        return getattr(zoo, name)(**arguments)


def count(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


@pytest.mark.parametrize(("name", "arguments", "parameters", "published", "exact"), PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(name, arguments, parameters, published, exact):
    network = unallocated(name, **arguments)
    assert count(network) == parameters
    if published is not None:
        found = macs(network, (1, *network.input_shape))
        assert abs(found - published) <= max(exact, 0.001 * published)


@pytest.mark.parametrize(
    ("groups", "published"), [(1, 143e6), (2, 140e6), (3, 137e6), (4, 133e6), (8, 137e6)]
)
def test_shufflenet_v1_costs_about_the_same_for_all_groups(groups, published):
    """The paper's figures; they leave out something that differs by 1 % at most."""
    network = unallocated("shufflenet_v1", groups=groups)
    assert macs(network, (1, 3, 224, 224)) == pytest.approx(published, rel=0.011)


@pytest.mark.parametrize(("parts", "published"), [(8, 2.9e6), (4, 4.8e6)])
def test_condensenet_has_the_published_parameters_once_condensed(parts, published):
    network = unallocated("condensenet", groups=parts, condensation=parts)
    condense_step(network, 1.0)
    assert count(condensed(network)) == pytest.approx(published, abs=0.05e6)


def test_a_bypass_costs_nothing():
    for name in ("squeezenet1_0", "squeezenet1_1"):
        assert count(unallocated(name, bypass=True)) == count(unallocated(name))
    torch.manual_seed(0)
    image = torch.rand(1, 3, 64, 64)
    plain = zoo.squeezenet1_1(width=0.25, resolution=64).eval()
    bypassed = zoo.squeezenet1_1(width=0.25, resolution=64, bypass=True).eval()
    for own, other in zip(bypassed.parameters(), plain.parameters(), strict=True):
        own.data = other.data
    assert not torch.allclose(plain(image), bypassed(image))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_runs_and_learns(name):
    torch.manual_seed(0)
    small = {"width": 0.25, "resolution": 32} | SMALL.get(name, {})
    network = getattr(zoo, name)(classes=7, channels=2, **small)
    images = torch.rand(2, *network.input_shape)
    assert network.input_shape[0] == 2
    logits = network(images)
    assert logits.shape == (2, 7)
    nn.functional.cross_entropy(logits, torch.tensor([1, 5])).backward()
    still = [name for name, value in network.named_parameters() if value.grad is None]
    assert not still
    with torch.no_grad():
        assert network.eval()(images[:1]).isfinite().all()


def test_a_network_becomes_one_of_packlights_and_is_weighed():
    network = settled(zoo.resnet8(resolution=16, classes=5))
    loaded = packlight.load(network, (torch.rand(1, 3, 16, 16),))
    found = packlight.weigh(loaded).totals.macs
    assert found == macs(unallocated("resnet8", classes=5), (1, 3, 16, 16))
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(loaded(images)[0], network(images), atol=1e-5)


def test_width_and_resolution_are_what_they_say():
    half = unallocated("vgg16", width=0.5, resolution=64)
    assert half.input_shape == (3, 64, 64)
    convolutions = [layer for layer in half.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions][:4] == [32, 32, 64, 64]
    # a classifier that reads positions is made for its resolution
    small, large = unallocated("alexnet", resolution=112), unallocated("alexnet")
    assert count(small) < count(large) / 2


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("alexnet", {"resolution": 62}, "63"),
        ("mobilenet_v2", {"width": 0}, "width=0"),
        ("mobilenet_v2", {"classes": 0}, "classes=0"),
        ("vgg16", {"channels": 1.5}, "channels=1.5"),
        ("shufflenet_v1", {"groups": 5}, "1, 2, 3, 4, 8"),
        ("condensenet", {"blocks": ()}, "blocks"),
        ("condensenet", {"groups": 0}, "groups=0"),
    ],
)
def test_what_is_not_possible_is_told(name, arguments, word):
    with pytest.raises(BadInput, match=word):
        unallocated(name, **arguments)


def test_shuffled_channels_come_from_all_groups():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert channel_shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert channel_shuffle(channel_shuffle(x, 2), 3).equal(x)


@pytest.mark.parametrize(
    ("channels", "rounded"), [(8, 8), (3, 8), (11, 16), (12, 16), (20, 24), (18.5, 24), (90.2, 88)]
)
def test_widths_are_multiples_of_eight_and_never_a_tenth_too_small(channels, rounded):
    assert make_divisible(channels) == rounded


def test_naming_the_zoo_loads_no_torch():
    script = "import sys, packlight; packlight.zoo; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_functions_stay_functions_whatever_was_imported():
    for module in set(zoo._HOME.values()):
        import_module(f"packlight.zoo.{module}")
    assert all(isfunction(getattr(zoo, name)) for name in zoo.__all__)
