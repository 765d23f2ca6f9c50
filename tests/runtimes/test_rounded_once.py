"""Roundings of values that are on the grid already go away, and no answer changes by a bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from packlight.graph import is_call, quantized
from packlight.network import Network
from packlight.runtimes.rounded_once import round_once

_DTYPES = (0, 255, torch.uint8)


def _rounded(value, scale=0.0371, zero=131):
    ops = torch.ops.quantized_decomposed
    return ops.dequantize_per_tensor(
        ops.quantize_per_tensor(value, scale, zero, *_DTYPES), scale, zero, *_DTYPES
    )


class _Moved(nn.Module):
    """Rounded, moved in all ways, and rounded again behind each."""

    def forward(self, x, y):
        x, y = _rounded(x), _rounded(y)
        x = _rounded(x.reshape(-1, 2, 4, 2, 4, 3).permute(0, 1, 3, 2, 4, 5))
        x = _rounded(torch.cat([x.reshape(-1, 12, 16), _rounded(y.transpose(1, 2))], 2))
        return _rounded(nn.functional.max_pool1d(x, 2))[:, 1:]


class _Changed(nn.Module):
    """Rounded to other grids, by way of a sum, or with a part that was not rounded."""

    def forward(self, x, y):
        other = _rounded(_rounded(x).flatten(), scale=0.05)
        higher = _rounded(_rounded(x).flatten(), zero=130)
        joined = _rounded(torch.cat([_rounded(x), y], 1))
        return other, higher, joined, _rounded(_rounded(x) * 1.5)


def _network(module, *shapes):
    noise = torch.Generator().manual_seed(0)
    examples = tuple(2 * torch.randn(shape, generator=noise) for shape in shapes)
    return Network.from_module(module, examples)


def _roundings(network):
    nodes = network.module.graph.nodes
    return sum(is_call(node, quantized.quantize_per_tensor) for node in nodes)


def test_values_that_are_only_moved_are_rounded_once():
    network = _network(_Moved(), (2, 8, 8, 3), (2, 5, 12))
    made = network.copy()
    round_once(made.module)
    assert _roundings(network) == 6
    assert _roundings(made) == 2
    with torch.no_grad():
        (wanted,), (got,) = network(*network.example_inputs), made(*network.example_inputs)
    np.testing.assert_array_equal(got.numpy(), wanted.numpy())


def test_roundings_that_change_something_stay():
    network = _network(_Changed(), (2, 6), (2, 6))
    made = network.copy()
    round_once(made.module)
    assert _roundings(made) == _roundings(network)


@pytest.mark.parametrize("scale", [1e-30, 2.0**-20 / 3, 0.1, 0.3, 12.7, 1e30])
def test_a_level_s_number_rounds_to_that_level(scale):
    scale = float(np.float32(scale))
    for zero in (0, 1, 128, 254, 255):
        levels = torch.arange(256, dtype=torch.uint8)
        ops = torch.ops.quantized_decomposed
        numbers = ops.dequantize_per_tensor(levels, scale, zero, *_DTYPES)
        assert torch.equal(ops.quantize_per_tensor(numbers, scale, zero, *_DTYPES), levels)
