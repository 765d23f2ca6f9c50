"""Quantised weights inside the graph: int8 integers and their scales where the floats were.

A quantised layer reads `dequantize_per_channel(conv1.weight_quantized, conv1.weight_scale)`. Its
bias becomes int32 on the grid that the integer kernel accumulates on, input scale x weight scale,
where the input is on a grid itself. Either way only as many bits of a bias are written as matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx

from packlight.graph import aten, is_call, quantized, set_value
from packlight.network import Network
from packlight.shrink.grid_search import Solved, coarse
from packlight.shrink.layers import Layer, value_of_name
from packlight.types import Array


@dataclass(frozen=True)
class Slot:
    """Where a layer's integers go.

    Args:
        layer: of the network before quantisation.
        input_scale: the scale of the grid its input is on; None where the input is float.
        integer_bias: whether the bias is int32.
    """

    layer: Layer
    input_scale: float | None
    integer_bias: bool

    def values(self, solved: Solved) -> dict[str, Array]:
        """What the graph's buffers hold for a solution."""
        layer, bias = self.layer, solved.bias
        shared = _shared(solved.scale)
        result = {
            quantized_name(layer.weight): solved.levels,
            scale_of(layer.weight): shared,
            zero_point_of(layer.weight): np.zeros(shared.shape, np.int8),
        }
        if layer.bias is None or bias is None:
            return result
        if not self.integer_bias:
            result[layer.bias] = coarse(bias, solved.bias_step).astype(np.float32)
            return result
        assert self.input_scale is not None
        bias_scale = (np.float32(self.input_scale) * solved.scale).astype(np.float32)
        limit = 2**31 - 1
        levels = np.rint(coarse(bias / bias_scale, solved.bias_step / bias_scale.max()))
        result[quantized_name(layer.bias)] = np.clip(levels, -limit, limit).astype(np.int32)
        result[scale_of(layer.bias)] = _shared(bias_scale)
        return result


def quantized_name(weight: str) -> str:
    """The buffer that holds a parameter's integers."""
    return f"{weight}_quantized"


def scale_of(weight: str) -> str:
    """The buffer that holds a parameter's scales."""
    return f"{weight}_scale"


def zero_point_of(weight: str) -> str:
    """The buffer that holds a parameter's zero points: zeros, the grid is symmetric."""
    return f"{weight}_zero_point"


def _shared(scale: Array) -> Array:
    """One scale for all channels where they are equal: a number instead of a vector."""
    scale = scale.astype(np.float32)
    return scale[0].reshape(()) if (scale == scale[0]).all() else scale


def insert(network: Network, layers: Sequence[Layer]) -> tuple[Network, list[Slot]]:
    """A copy of a network (activations already on grids) that reads integers for its weights.

    The integers are placeholders, all different so that no exporter merges them, until
    `fill` puts a solution in.
    """
    rewritten = network.copy()
    module = rewritten.module
    by_name = {node.name: node for node in module.graph.nodes}
    noise = np.random.default_rng(0)
    slots = []
    for layer in layers:
        call = by_name[layer.node.name]
        channels = layer.shape[layer.axis]
        slot = Slot(layer, *_integer_input(layer, call))
        slots.append(slot)
        dtype = value_of_name(network, layer.weight).dtype
        levels = noise.integers(-127, 128, layer.shape, dtype=np.int8)
        scale = noise.uniform(0.5, 1, channels).astype(np.float32)
        weight = next(
            node
            for node in module.graph.nodes
            if node.op == "get_attr" and node.target == layer.weight
        )
        _replace(rewritten, weight, levels, scale, layer.axis)
        if slot.integer_bias:
            bias = next(
                node
                for node in module.graph.nodes
                if node.op == "get_attr" and node.target == layer.bias
            )
            fake = noise.integers(-(2**20), 2**20, channels, dtype=np.int32)
            _replace(rewritten, bias, fake, noise.uniform(0.5, 1, channels).astype(np.float32), 0)
        assert dtype == torch.float32
    return rewritten.refreshed(), slots


def _integer_input(layer: Layer, call: fx.Node) -> tuple[float | None, bool]:
    source = call.args[0]
    if layer.kind in ("other", "recurrent") or not is_call(source, quantized.dequantize_per_tensor):
        return None, False
    assert isinstance(source, fx.Node)
    scale = float(source.args[1])
    # a linear layer on more than two dimensions is written as MatMul and Add: its bias stays float
    flat = not is_call(call, aten.linear) or call.meta["val"].ndim == 2
    return scale, layer.bias is not None and flat and layer.kind in ("conv", "linear")


def _replace(network: Network, weight: fx.Node, levels: Array, scale: Array, axis: int) -> None:
    module, graph = network.module, network.module.graph
    name = str(weight.target)
    limits = np.iinfo(levels.dtype)
    dtype = torch.int8 if levels.dtype == np.int8 else torch.int32
    set_value(module, quantized_name(name), torch.from_numpy(levels), trainable=False)
    set_value(module, scale_of(name), torch.from_numpy(scale), trainable=False)
    zeros = torch.zeros(len(scale), dtype=torch.int64)
    set_value(module, zero_point_of(name), zeros, trainable=False)
    low = -127 if dtype is torch.int8 else int(limits.min)
    names = (quantized_name(name), scale_of(name), zero_point_of(name))
    with graph.inserting_before(weight):
        sources = [graph.get_attr(text) for text in names]
        restored = graph.call_function(
            quantized.dequantize_per_channel.default,
            (*sources, axis, low, int(limits.max), dtype),
        )
    weight.replace_all_uses_with(restored)
    graph.erase_node(weight)


def fill(network: Network, values: dict[str, Array]) -> None:
    """Put a solution into the graph's buffers, in place."""
    for name, array in values.items():
        old = value_of_name(network, name)
        new = torch.from_numpy(np.ascontiguousarray(array)).to(old.dtype)
        with torch.no_grad():
            old.copy_(new.expand_as(old))
