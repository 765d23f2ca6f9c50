"""Exact rewrites leave the outputs as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from packlight.fuse import fuse
from packlight.graph import is_call
from packlight.network import Network
from tests.networks import images, plain, settled

aten = torch.ops.aten


def count(network, *operators):
    return sum(is_call(node, *operators) for node in network.module.graph.nodes)


def test_batch_norms_disappear_into_the_layers_before_them():
    network = plain()
    fused = fuse(network)
    assert count(network, aten.batch_norm) == 2
    assert count(fused.network, aten.batch_norm) == 0
    assert fused.changes["fold_batch_norm"] == 2
    assert fused.error < 1e-5
    names = set(fused.network.module.state_dict())
    assert names == {
        "conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc.weight", "fc.bias"
    }  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_takes_its_batch_norm(groups):
    module = settled(nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=groups), nn.BatchNorm2d(6)))
    network = Network.from_module(module, (torch.randn(2, 4, 5, 5),))
    fused = fuse(network)
    assert count(fused.network, aten.batch_norm) == 0
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(fused.network(x)[0], module(x), atol=1e-5, rtol=1e-4)


def test_a_batch_norm_whose_layer_is_read_elsewhere_stays():
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    network = Network.from_module(settled(Branch()), (images(2),))
    assert count(fuse(network).network, aten.batch_norm) == 1


def test_a_transposed_weight_is_transposed_once_and_keeps_its_name():
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 4))

        def forward(self, x):
            return x @ (self.weight.t() * 2)

    network = Network.from_module(Transposed(), (torch.randn(2, 4),))
    fused = fuse(network).network
    assert list(fused.module.state_dict()) == ["weight"]
    assert fused.module.get_parameter("weight").shape == (4, 5)
    assert fused.module.get_parameter("weight").requires_grad
    assert count(fused, aten.t, aten.transpose, aten.mul) == 0


def test_identities_are_removed():
    class Idle(nn.Module):
        def forward(self, x):
            x = nn.functional.dropout(x.contiguous(), 0.5, self.training)
            return torch.relu(x.reshape(x.shape).to(torch.float32))

    network = Network.from_module(Idle(), (images(2),))
    fused = fuse(network).network
    assert sum(node.op == "call_function" for node in fused.module.graph.nodes) == 1


def test_attention_survives_the_loss_of_its_copies():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    network = Network.from_module(layer, (torch.randn(2, 5, 16),))
    assert fuse(network).error < 1e-5


def test_the_network_that_was_given_is_left_alone():
    network = plain()
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    fuse(network)
    for name, value in network.module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert count(network, aten.batch_norm) == 2


def test_fused_networks_stay_trainable_and_batched():
    fused = fuse(plain()).network
    (output,) = fused(images(5))
    output.sum().backward()
    assert output.shape[0] == 5
    assert all(value.grad is not None for value in fused.module.parameters())
