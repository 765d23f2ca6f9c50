"""Channels taken out: what is left computes what the original does with those channels unread."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from packlight import readers
from packlight.errors import BadInput, PacklightError
from packlight.fuse import fuse
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import channels
from packlight.shrink.coupling_rules import RULES
from packlight.shrink.layers import value_of_name
from packlight.weighing import weigh
from tests.networks import Blocks, Plain, images, settled
from tests.shared import shared


class Residual(nn.Module):
    """Two producers meet in an addition, one of them through batch norm."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.inner = nn.Conv2d(12, 20, 3, padding=1)
        self.outer = nn.Conv2d(20, 12, 1)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.outer(F.silu(self.inner(x))) + x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Concat(nn.Module):
    """Offsets: a concatenation, read whole and in slices; zeros padded on as channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 12, 3, padding=1)
        self.whole = nn.Conv2d(20, 6, 1)
        self.part = nn.Conv2d(13, 6, 1)

    def forward(self, x):
        joined = torch.cat([F.relu(self.a(x)), self.b(x).sigmoid()], 1)
        padded = F.pad(joined[:, 5:16], (0, 0, 0, 0, 0, 2))
        return self.whole(joined) * self.part(padded)


class Depthwise(nn.Module):
    """A depthwise convolution with two outputs for every input, and squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, stride=2)
        self.depthwise = nn.Conv2d(10, 20, 3, padding=1, groups=10)
        self.slope = nn.PReLU(20)
        self.squeeze, self.excite = nn.Conv2d(20, 5, 1), nn.Conv2d(5, 20, 1)
        self.up = nn.ConvTranspose2d(20, 9, 2, stride=2)
        self.point = nn.Conv2d(9, 3, 1)

    def forward(self, x):
        x = self.slope(self.depthwise(F.relu6(self.stem(x))))
        x = x * self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))).sigmoid()
        return self.point(F.relu(self.up(x)))


class Shuffle(nn.Module):
    """ShuffleNet's unit: chunk, grouped convolutions, a channel shuffle spelt out."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.left = nn.Conv2d(12, 12, 1, groups=3)
        self.right = nn.Conv2d(12, 12, 3, padding=1)
        self.last = nn.Conv2d(24, 12, 1, groups=4)
        self.head = nn.Conv2d(12, 4, 1)

    def forward(self, x):
        left, right = F.relu(self.stem(x)).chunk(2, dim=1)
        x = torch.cat([F.relu(self.left(left)), F.relu(self.right(right))], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        first, second = torch.split(x, [12, 12], 1)
        return self.head(F.relu(self.last(torch.cat([second, first], 1))))


class Attention(nn.Module):
    """A transformer block: heads, a hidden layer, and a stream that layer norms keep as it is."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 4, stride=4)
        self.first, self.second = nn.LayerNorm(24), nn.LayerNorm(24)
        self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 24)
        self.up, self.down = nn.Linear(24, 40), nn.Linear(40, 24)
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        n, t, c = x.shape
        q, k, v = self.qkv(self.first(x)).reshape(n, t, 3, 4, 6).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = (q @ k.transpose(-2, -1) / 6**0.5).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, c))
        x = x + self.down(F.gelu(self.up(self.second(x))))
        return self.head(x.mean(1))


class Rearranged(nn.Module):
    """Operators that move channels: shuffles of channels and pixels, unflattening, upsampling."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.mix = nn.Sequential(nn.ChannelShuffle(3), nn.Conv2d(12, 24, 1), nn.PixelShuffle(2))
        self.norm = nn.InstanceNorm2d(6, affine=True)
        self.narrow = nn.Conv2d(6, 5, 2, stride=2, bias=False)
        self.line = nn.Conv1d(5, 7, 3, padding=1)
        self.head = nn.Linear(7 * 8, 4)

    def forward(self, x):
        x = F.leaky_relu(self.norm(self.mix(self.stem(x))))
        x = F.interpolate(self.narrow(x), scale_factor=0.5, mode="nearest").mean(3).clamp(-1, 1)
        x = torch.stack([self.line(x), self.line(x)]).sum(0) * torch.ones(7, 1)
        return self.head(x.unsqueeze(1).squeeze(1).flatten(1))


GRAPHS = [Plain, Blocks, Residual, Concat, Depthwise, Shuffle, Attention, Rearranged]


def network_of(module: nn.Module, fused: bool = True) -> Network:
    network = Network.from_module(settled(module), (images(2),))
    return fuse(network).network if fused else network


def some(groups, seed=0, share=0.6):
    """A choice for every group that can be pruned."""
    rng = np.random.default_rng(seed)
    keep = {}
    for group in groups:
        if group.pinned is None:
            keep[group.name] = rng.random(group.size) < share
            keep[group.name][rng.integers(group.size)] = True
    return keep


def unread(network: Network, groups, keep) -> Network:
    """The original, every column that reads a channel taken out set to zero."""
    copy = network.copy()
    for group in groups:
        for side in group.sides:
            if side.role == "read" and group.name in keep:
                weight = value_of_name(copy, side.weight)
                stays = torch.from_numpy((side.channel < 0) | keep[group.name][side.channel])
                shape = [-1 if axis == side.axis else 1 for axis in range(weight.ndim)]
                weight.data.mul_(stays.reshape(shape))
    return copy


def assert_same(first, second, tolerance=1e-5):
    for a, b in zip(first, second, strict=True):
        assert float((a - b).abs().max()) <= tolerance * float(a.abs().max())


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", GRAPHS)
def test_the_pruned_network_equals_the_original_without_those_channels(kind, fused):
    network = network_of(kind(), fused)
    groups = channels.find_groups(network)
    assert any(group.pinned is None for group in groups)
    keep = some(groups, seed=fused)
    pruned = channels.remove(network, keep)
    x = images(3)  # another batch than the network was traced with
    with torch.no_grad():
        assert_same(unread(network, groups, keep)(x), pruned(x))
    assert weigh(pruned).totals.macs < weigh(network).totals.macs
    assert weigh(pruned).totals.parameter_count < weigh(network).totals.parameter_count


@pytest.mark.parametrize("kind", [Residual, Concat, Depthwise, Shuffle, Attention])
def test_onnxruntime_runs_the_pruned_network_at_any_batch(kind):
    network = network_of(kind())
    keep = some(channels.find_groups(network), 5)
    pruned = channels.remove(network, keep)
    file = onnx_file.to_bytes(pruned)
    assert len(file) < len(onnx_file.to_bytes(network))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        x = images(batch, 9)
        with torch.no_grad():
            wanted = pruned(x)
        answers = session.run(None, {network.input_names[0]: x.numpy()})
        assert_same(wanted, [torch.from_numpy(answer) for answer in answers], 1e-4)


@pytest.mark.parametrize("name", ["resnet8_cifar10_bn.onnx", "squeezenet1_1.onnx"])
def test_real_networks_are_pruned_exactly(name):
    network = fuse(readers.load(shared("models", name))).network
    groups = channels.find_groups(network)
    keep = some(groups)
    pruned = channels.remove(network, keep)
    generator = torch.Generator().manual_seed(0)
    x = 255 * torch.rand(network.example_inputs[0].shape, generator=generator)
    with torch.no_grad():
        wanted = unread(network, groups, keep)(x)
        assert_same(wanted, pruned(x))
    session = onnxruntime.InferenceSession(onnx_file.to_bytes(pruned))
    answers = session.run(None, {network.input_names[0]: x.numpy()})
    assert_same(wanted, [torch.from_numpy(answer) for answer in answers], 1e-4)


def test_a_wrong_rule_is_noticed(monkeypatch):
    monkeypatch.setitem(RULES, "add", lambda coupling, node: coupling.carried(node.args[0]))
    network = network_of(Residual())
    with pytest.raises((PacklightError, RuntimeError)):
        channels.remove(network, some(channels.find_groups(network)))


def test_an_addition_ties_both_producers():
    groups = {group.name: group for group in channels.find_groups(network_of(Residual()))}
    assert groups["stem"].written_by == ("stem", "outer")
    assert groups["stem"].read_by == ("inner", "head")
    assert groups["inner"].written_by == ("inner",)
    assert groups["head"].pinned == "the network gives it back as output"


def test_a_flattened_map_ties_every_position_to_its_channel():
    groups = channels.find_groups(network_of(Plain()))
    (reading,) = [
        side for group in groups for side in group.sides if side.weight == "fc.weight" and side.axis
    ]
    np.testing.assert_array_equal(reading.channel, np.repeat(np.arange(32), 16))


def test_a_whole_head_goes_from_query_key_and_value():
    groups = {group.name: group for group in channels.find_groups(network_of(Attention()))}
    heads, hidden = groups["qkv"], groups["up"]
    assert (heads.size, hidden.size) == (4, 40)
    written = next(side for side in heads.sides if side.weight == "qkv.weight")
    np.testing.assert_array_equal(written.channel, np.tile(np.repeat(np.arange(4), 6), 3))
    assert "layer_norm" in groups["stem"].pinned


def test_groups_of_a_convolution_stay_equally_wide():
    module = nn.Sequential(
        nn.Conv2d(3, 12, 1), nn.Conv2d(12, 18, 1, groups=3), nn.ReLU(), nn.Conv2d(18, 2, 1)
    )
    network = network_of(module)
    read, written, _ = groups = channels.find_groups(network)
    assert (read.size, written.size) == (4, 6)  # a place in each of three groups
    keep = some(groups)
    pruned = channels.remove(network, keep)
    x = images(2)
    with torch.no_grad():
        assert_same(unread(network, groups, keep)(x), pruned(x))
    weight = value_of_name(pruned, "1.weight")
    assert tuple(weight.shape[:2]) == (3 * keep[written.name].sum(), keep[read.name].sum())


class Odd(nn.Module):
    """One producer for each operator that can not pass channels on."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 8, 1) for _ in range(7))
        self.norm = nn.GroupNorm(2, 8)
        self.ends = nn.ModuleList(nn.Conv2d(8, 2, 1) for _ in range(7))

    def forward(self, x):
        a, b, c, d, e, f, g = (conv(x) for conv in self.convs)
        carried = (
            self.norm(a),
            b.softmax(1),
            c + F.pad(x, (0, 0, 0, 0, 0, 5)),
            d.flip(1),
            e[:, ::2].repeat(1, 2, 1, 1),
            f.permute(0, 2, 3, 1)
            .reshape(-1, 4, 16, 16, 2)
            .sum(-1)
            .repeat(1, 2, 1, 1)[: x.shape[0]],
            g.cumsum(1),
        )
        return sum(end(value) for end, value in zip(self.ends, carried, strict=True))


def test_what_can_not_pass_channels_on_keeps_them_and_says_why():
    groups = channels.find_groups(network_of(Odd()))
    why = [group.pinned for group in groups if group.name.startswith("convs")]
    assert len(why) == 7
    assert None not in why
    words = ["group_norm", "softmax", "stays", "flip", "slice", "reshape", "cumsum"]
    for word, reason in zip(words, why, strict=True):
        assert word in reason


def test_a_weight_used_twice_narrows_once_and_alike():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.body = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
            self.head = nn.Conv2d(8, 2, 1)

        def forward(self, x):
            return self.head(self.body(F.relu(self.body(self.stem(x)))))

    network = network_of(Shared())
    groups = channels.find_groups(network)
    keep = some(groups)
    with torch.no_grad():
        x = images(2)
        assert_same(unread(network, groups, keep)(x), channels.remove(network, keep)(x))
    assert len([group for group in groups if group.pinned is None]) == 1


def test_a_weight_that_is_read_elsewhere_keeps_its_shape():
    class Looked(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

        def forward(self, x):
            return self.head(self.stem(x)) + self.head.weight.square().sum() * x.mean()

    network = Network.from_module(settled(Looked()), (images(2),))
    (stem, _) = channels.find_groups(network)
    assert "reads head.weight as well" in stem.pinned


def test_a_fixed_batch_of_one_stays():
    network = Network.from_module(settled(Plain()), (images(1),), dynamic_batch=False)
    groups = channels.find_groups(network)
    pruned = channels.remove(network, some(groups))
    assert pruned.batch == 1
    with torch.no_grad():
        assert_same(unread(network, groups, some(groups))(images(1)), pruned(images(1)))


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"nowhere": np.ones(3, bool)}, "no group 'nowhere'"),
        ({"stem": np.ones(3, bool)}, "12 channels"),
        ({"stem": np.ones(12)}, "float64"),
        ({"stem": np.zeros(12, bool)}, "nothing is left"),
        ({"head": np.arange(4) > 0}, "have to stay: the network gives it back"),
    ],
)
def test_a_choice_that_is_not_possible_is_refused(keep, message):
    with pytest.raises(BadInput, match=message):
        channels.remove(network_of(Residual()), keep)


def test_the_original_is_left_as_it_is():
    network = network_of(Residual())
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    channels.remove(network, some(channels.find_groups(network)))
    after = network.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
