"""Every layer, seen as a matrix, computes what the layer computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from packlight.fuse import fuse
from packlight.network import Network
from packlight.shrink.layers import find_layers, weight_array


class Call(nn.Module):
    """x @ weight, with the weight on the right."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(7, 4))

    def forward(self, x):
        return torch.matmul(x, self.weight)


CASES = {
    "conv": (nn.Conv2d(4, 6, 3), (2, 4, 9, 8)),
    "stride": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 4, 9, 8)),
    "dilation": (nn.Conv2d(4, 6, 3, dilation=2, padding=2), (2, 4, 9, 8)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2, bias=False), (2, 4, 9, 8)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding="same"), (2, 4, 9, 8)),
    "same": (nn.Conv2d(4, 6, (4, 2), dilation=(1, 3), padding="same"), (2, 4, 9, 8)),
    "conv3d": (nn.Conv3d(4, 6, (2, 3, 1), (1, 2, 1), (1, 0, 2), groups=2), (2, 4, 5, 9, 8)),
    "no batch": (nn.Conv2d(4, 6, 3), (4, 9, 8)),
    "conv1d": (nn.Conv1d(4, 6, 5, stride=2, padding=2), (2, 4, 17)),
    "linear": (nn.Linear(7, 3), (2, 5, 7)),
    "matmul": (Call(), (2, 5, 7)),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_times_windows_is_the_output(name):
    module, shape = CASES[name]
    x = torch.randn(shape)
    network = Network.from_module(module, (x,), dynamic_batch=False)
    (layer,) = find_layers(network)
    rows = torch.from_numpy(layer.rows(weight_array(network, layer.weight))).float()
    made = torch.einsum("grn,gpn->grp", rows, layer.windows(x))  # (G, R, positions)
    (wanted,) = network(x)
    rank = len(layer.shape) - 2  # of positions
    if layer.bias is not None:
        wanted = wanted - module.bias.reshape(-1, *[1] * rank)
    channel = -1 - rank
    wanted = wanted.movedim(channel, 0).reshape(made.shape[0] * made.shape[1], -1)
    torch.testing.assert_close(made.reshape(wanted.shape), wanted, atol=1e-5, rtol=1e-5)


def test_turns_take_all_of_many_windows_once():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 52, 53)
    module = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    (layer,) = find_layers(Network.from_module(module, (x,), dynamic_batch=False))
    every = layer.windows(x)
    parts = [layer.windows(x, turn=turn) for turn in range(9)]  # a third of either dimension
    assert sum(part.shape[1] for part in parts) == every.shape[1]
    assert all(part.shape[1] < every.shape[1] / 8 for part in parts)
    taken = torch.cat(parts, 1)
    for group in range(4):
        rows = [sorted(map(tuple, one[group].tolist())) for one in (every, taken)]
        assert rows[0] == rows[1]
    torch.testing.assert_close(layer.windows(x, turn=9), parts[0])


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(4, 8, 3, groups=4), (1, 4, 40, 40)),  # few positions
        (nn.Conv2d(64, 8, 1), (1, 64, 52, 52)),  # many, but many columns
        (nn.Linear(7, 3), (2000, 7)),
    ],
)
def test_turns_take_all_windows_that_are_wanted(module, shape):
    x = torch.randn(shape)
    (layer,) = find_layers(Network.from_module(module, (x,), dynamic_batch=False))
    torch.testing.assert_close(layer.windows(x, turn=3), layer.windows(x))


@pytest.mark.parametrize("name", CASES)
def test_stored_is_the_inverse_of_rows(name):
    module, shape = CASES[name]
    network = Network.from_module(module, (torch.randn(shape),), dynamic_batch=False)
    (layer,) = find_layers(network)
    weight = weight_array(network, layer.weight)
    np.testing.assert_array_equal(layer.stored(layer.rows(weight)), weight)


def test_a_transposed_convolution_has_one_scale_per_output_channel():
    module = nn.ConvTranspose2d(3, 5, 2)
    network = Network.from_module(module, (torch.randn(1, 3, 4, 4),), dynamic_batch=False)
    (layer,) = find_layers(network)
    weight = weight_array(network, layer.weight)
    rows = layer.rows(weight)
    assert rows.shape == (1, 5 * 4, 3)
    np.testing.assert_array_equal(layer.stored(rows), weight)
    per_row = np.repeat(np.arange(5.0), 4)[None]
    np.testing.assert_array_equal(layer.channels(per_row), np.arange(5.0))


class Reader(nn.Module):
    def __init__(self, layer: type[nn.RNNBase], **options) -> None:
        super().__init__()
        self.layer = layer(3, 4, batch_first=True, **options)

    def forward(self, x):
        return self.layer(x)[0]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_reads_its_inputs_and_its_states(kind):
    torch.manual_seed(0)
    module = Reader(kind, bidirectional=True)
    x = torch.randn(2, 5, 3)
    network = Network.from_module(module, (x,))
    layers = find_layers(network)
    names = [f"layer.{name}" for name, _ in module.layer.named_parameters() if "weight" in name]
    assert [layer.weight for layer in layers] == names
    assert [layer.bias for layer in layers] == [name.replace("weight", "bias") for name in names]
    inputs, states, _, back = layers
    result = module.layer(x)
    np.testing.assert_array_equal(inputs.windows(x)[0], x.reshape(10, 3))
    for layer, start in ((states, 0), (back, 4)):
        wanted = result[0][:, :, start : start + 4].reshape(10, 4).detach()
        np.testing.assert_array_equal(layer.windows(result)[0].detach(), wanted)
    assert all(
        layer.stored(layer.rows(np.ones(layer.shape))).shape == layer.shape for layer in layers
    )


def test_weights_of_several_recurrent_layers_in_one_call_are_not_seen():
    network = Network.from_module(Reader(nn.GRU, num_layers=2), (torch.randn(2, 5, 3),))
    assert [layer.kind for layer in find_layers(network)] == ["other"] * 4
    assert [layer.kind for layer in find_layers(fuse(network).network)] == ["recurrent"] * 4


def test_a_shared_weight_is_found_once():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(self.fc(x))

    network = Network.from_module(Twice(), (torch.randn(2, 4),))
    (layer,) = find_layers(network)
    assert len(layer.calls) == 2
    assert layer.bias is None  # read twice, so it can not be bent for one reader
