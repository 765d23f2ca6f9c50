"""Each rewrite takes place where it is exact, and nowhere else."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import nn

from packlight.fuse import fuse
from packlight.fuse.moves import compose_moves
from packlight.fuse.repeats import drop_repeats
from packlight.graph import RECURRENT, aten, is_call, quantized
from packlight.network import Network
from packlight.shrink.layers import find_layers
from tests.networks import images, settled

F = nn.functional


class Calls(nn.Module):
    """A function of an image as a module, with a convolution of its own."""

    def __init__(self, function, **settings) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, **settings)
        self.function = function

    def forward(self, image):
        return self.function(image, self.conv)


def traced(function, **settings) -> Network:
    torch.manual_seed(0)
    return Network.from_module(settled(Calls(function, **settings)), (images(2),))


def count(network: Network, *operators) -> int:
    return sum(is_call(node, *operators) for node in network.module.graph.nodes)


def fused(network: Network, *, tolerance: float = 1e-6) -> Network:
    made = fuse(network).network
    x = images(3, seed=7)
    for old, new in zip(network(x), made(x), strict=True):
        torch.testing.assert_close(new, old, rtol=tolerance, atol=tolerance)
    return made


PADS = (aten.pad, aten.constant_pad_nd)


@pytest.mark.parametrize(
    ("amounts", "settings"),
    [
        ((1, 1, 1, 1), {}),
        ((2, 2, 1, 1), {"padding": (0, 3), "stride": 2}),
        ((1, 1), {"padding": 1, "bias": False}),
        ((1, 1, 2, 2, 0, 0), {"dilation": 2}),
    ],
)
def test_zeros_on_both_sides_become_the_convolution_s_own(amounts, settings):
    network = traced(lambda x, conv: conv(F.pad(x, amounts)), **settings)
    assert count(network, *PADS) == 1
    assert count(fused(network), *PADS) == 0


@pytest.mark.parametrize(
    "function",
    [
        lambda x, conv: conv(F.pad(x, (1, 1, 1, 1), value=0.5)),
        lambda x, conv: conv(F.pad(x, (0, 1, 0, 1))),
        lambda x, conv: conv(F.pad(x, (1, 1, 1, 1), mode="reflect")),
        lambda x, conv: conv(F.pad(x, (-1, -1, -1, -1))),
        lambda x, conv: conv(F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 2)),
        lambda x, conv: conv(F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 2, count_include_pad=False)),
        lambda x, conv: conv(y := F.pad(x, (1, 1, 1, 1))) + y.sum(),
        lambda x, conv: conv(F.pad(x[:, :1], (1, 1, 1, 1, 1, 1))),
    ],
)
def test_other_paddings_stay(function):
    network = traced(function)
    before = count(network, *PADS, aten.reflection_pad2d)
    assert before == 1
    assert count(fused(network), *PADS, aten.reflection_pad2d) == 1


def test_two_permutations_are_one_or_none():
    network = traced(lambda x, _: torch.relu(x.permute(0, 2, 3, 1).permute(0, 3, 1, 2)))
    assert count(fused(network, tolerance=0), aten.permute) == 0
    network = traced(lambda x, _: torch.relu(x.permute(0, 2, 3, 1).transpose(1, -1)))
    made = fused(network, tolerance=0)
    assert count(made, aten.permute, aten.transpose) == 1
    network = traced(lambda x, _: ((y := x.permute(0, 2, 3, 1)) * 2, y.permute(0, 3, 1, 2) + 1))
    assert count(fused(network, tolerance=0), aten.permute) == 1  # the first is still read


def test_an_output_that_is_the_input_keeps_its_copy():
    network = traced(lambda x, _: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2))
    (made,) = fused(network, tolerance=0).results()
    assert made.op == "call_function"


def test_of_two_reshapes_the_second_stays():
    network = traced(lambda x, _: torch.relu(x.reshape(-1, 3, 256).reshape(-1, 48, 16)))
    made = fused(network, tolerance=0)
    assert count(made, aten.reshape, aten.view) == 1
    assert compose_moves(made.copy()) == 0
    network = traced(lambda x, _: x.reshape(-1, 3, 256).permute(0, 2, 1).reshape(-1, 48, 16))
    assert count(fused(network, tolerance=0), aten.reshape, aten.view) == 2


def test_a_reshape_of_what_was_permuted_is_no_view():
    network = traced(lambda x, _: x.permute(0, 2, 3, 1).reshape(-1, 768).view(-1, 48, 16))
    assert count(fused(network, tolerance=0), aten.reshape, aten.view) == 1


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: torch.relu(torch.relu(x)), 1),
        (lambda x: F.relu6(torch.relu(x)), 1),
        (lambda x: torch.relu(F.relu6(x)), 1),
        (lambda x: F.relu6(F.hardtanh(x, 0.0, 4.0)), 1),
        (lambda x: torch.relu(torch.clamp(x, max=1.0)), 2),
        (lambda x: torch.clamp(torch.clamp(x, -1.0, 0.5), 0.0, 2.0), 2),
        (lambda x: torch.relu(x - torch.relu(x)), 2),
    ],
)
def test_a_clamp_inside_another_goes(function, left):
    made = fused(traced(lambda x, _: function(x)), tolerance=0)
    assert count(made, aten.relu, aten.relu6, aten.hardtanh, aten.clamp) == left


GRID = (0.02, 7, 0, 255, torch.uint8)
OTHER = (0.03, 7, 0, 255, torch.uint8)


def rounded(x, grid=GRID):
    levels = quantized.quantize_per_tensor(x, *grid)
    return quantized.dequantize_per_tensor(levels, *grid)


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: rounded(rounded(x)), 1),
        (lambda x: rounded(rounded(x), OTHER), 2),
        (lambda x: rounded(rounded(x) * 2), 2),
        (lambda x: (rounded(x) + 1, rounded(x) * 2), 1),
        (lambda x: (rounded(x) + 1, rounded(x, OTHER) * 2), 2),
    ],
)
def test_numbers_are_rounded_once_to_a_grid(function, left):
    network = traced(lambda x, _: function(x))
    made = fused(network, tolerance=0)
    assert count(made, quantized.quantize_per_tensor) == left
    assert drop_repeats(made.copy()) == 0


class Gated(nn.Module):
    """Gates in another order than the recurrent layer has them, one of them read twice."""

    def __init__(self) -> None:
        super().__init__()
        gates = nn.GRU(3, 4, batch_first=True)
        self.w, self.r = gates.weight_ih_l0, gates.weight_hh_l0
        self.w_bias, self.r_bias = gates.bias_ih_l0, gates.bias_hh_l0

    def forward(self, image):
        reset, update, new = self.w.chunk(3)
        first, second, third = self.r.split(4)
        parameters = [torch.cat([update, reset, new]), torch.cat([second, first, third])]
        x = image.mean(3).transpose(1, 2)
        state = x.new_zeros(1, x.shape[0], 4)
        biases = [self.w_bias, self.r_bias]
        y, _ = torch.gru(x, state, [*parameters, *biases], True, 1, 0.0, False, False, True)
        return y + new.sum()


def test_weights_cut_into_gates_and_joined_again_are_weights():
    network = fused(Network.from_module(Gated().eval(), (images(2),)))
    assert count(network, aten.chunk, aten.split, aten.cat) == 0
    assert count(network, operator.getitem) == 1  # of what the layer gives
    layers = {layer.shape: layer for layer in find_layers(network)}
    assert {(12, 3), (12, 4)} <= {*layers}
    assert layers[12, 4].weight == "r"
    assert layers[12, 3].weight in ("w", "w_1")  # something else is made of it, too


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bias": False}])
def test_layers_in_one_recurrent_call_are_taken_apart(kind, options):
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = kind(3, 4, 3, batch_first=True, **options)

        def forward(self, image):
            y, states = self.layer(image.mean(3).transpose(1, 2))
            return y, *(states if isinstance(states, tuple) else [states])

    torch.manual_seed(0)
    network = fused(Network.from_module(Deep().eval(), (images(2),)))
    assert count(network, *RECURRENT) == 3
    assert {layer.kind for layer in find_layers(network)} == {"recurrent"}
