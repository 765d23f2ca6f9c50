"""A quantised graph as XNNPACK reads one: the same integers, in the pattern its partitioner takes.

XNNPACK's integer kernels want int8 where packlight's grids are uint8, and a float bias that they
round to int32 themselves. `rewritten` makes that of a copy, exactly:

1. a uint8 grid becomes int8: level and zero point less 128, the real numbers unchanged;
2. every reader of a rounded value gets a dequantise call of its own;
3. biases become float, each layer's its own; rounded again on input scale x weight scale they are
   the same integers;
4. a layer whose output is rounded keeps its int8 weights: a static integer kernel;
5. a layer whose output stays float gets the kernel with int8 weights and float output. That one
   rounds its own input, over the range that each sample happens to span; two more input channels
   with weights of zero hold the ends of the grid, so that it finds the very same grid;
6. weights that no integer kernel can read (a float input, a depthwise layer with a float output)
   are stored as the floats that they stand for; so are shared weights, looked up in codebooks;
7. the mean over an image keeps its axes until after it;
8. a padding with zeros behind a rounding moves ahead of it, where every grid holds zero as well:
   the integer kernel of the convolution wants a rounded value;
9. a product with a stored matrix becomes a linear layer with the matrix turned;
10. rows of integers are looked up as such, and multiplied with their scales;
11. a convolution over a signal whose output stays float becomes one over an image of width 1;
12. a GELU by tanh is spelt out: executorch asks XNNPACK for the one by erf instead, 5e-4 beside.

Source of the pattern: what torchao's `convert_pt2e` makes for executorch's XNNPACKQuantizer.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import fx

from packlight.graph import (
    add_weight,
    argument,
    aten,
    free_name,
    is_call,
    is_weight,
    pads_with_zeros,
    quantized,
    value_of,
)
from packlight.network import Network
from packlight.runtimes.lowering import (
    constant,
    cut_where_padding_is_negative,
    lookups,
    spell_out,
    store_by_channel,
    with_one_sample,
)

_SHIFT = 128  # uint8 level -> int8 level
_INT8 = (-128, 127, torch.int8)
_CLAMPS = (aten.relu, aten.relu_, aten.relu6, aten.hardtanh, aten.hardtanh_)
_STATIC = (aten.conv1d, aten.conv2d, aten.conv_transpose2d, aten.linear)


def rewritten(network: Network) -> Network:
    """A copy of a network, its batch fixed to one sample, in XNNPACK's pattern.

    Args:
        network: float, or quantised as `packlight.fit` makes it; left as it is.
    """
    made = with_one_sample(network)
    module = made.module
    cut_where_padding_is_negative(module)
    store_by_channel(module)
    for lookup in lookups(module):
        spell_out(module, lookup)
    for node in list(module.graph.nodes):
        if is_call(node, aten.gelu) and node.kwargs.get("approximate") == "tanh":
            _spell_gelu(module, node)
    for node in list(module.graph.nodes):
        if is_call(node, aten.pad, aten.constant_pad_nd):
            _pad_first(module.graph, node)
    for node in list(module.graph.nodes):
        if is_call(node, quantized.quantize_per_tensor, quantized.dequantize_per_tensor):
            _make_signed(node)
        elif is_call(node, aten.mean):
            _keep_rank(module.graph, node)
    for node in list(module.graph.nodes):
        if is_call(node, quantized.dequantize_per_tensor):
            _one_per_reader(node)
    for node in list(module.graph.nodes):
        if is_call(node, *_STATIC, aten.conv_transpose1d):
            _own_bias(module, node)
    for node in list(module.graph.nodes):
        if is_call(node, aten.matmul, aten.mm):
            _make_linear(module, node)
    for node in list(module.graph.nodes):
        if is_call(node, aten.conv1d, aten.conv_transpose1d):
            _make_two_dimensional(module, node)
    for node in list(module.graph.nodes):
        if is_call(node, quantized.dequantize_per_channel):
            _serve(module, node)
    return made.refreshed()


def _spell_gelu(module: fx.GraphModule, gelu: fx.Node) -> None:
    """x (1 + tanh(u)) / 2 is x sigmoid(2 u), where 2 u = x (b + a x x)."""
    slope = 2 * math.sqrt(2 / math.pi)
    held = [
        add_weight(module, gelu, free_name(module, name), torch.tensor([value]), trainable=False)
        for name, value in (("gelu_a", 0.044715 * slope), ("gelu_b", slope))
    ]
    graph, x = module.graph, gelu.args[0]
    with graph.inserting_before(gelu):
        square = graph.call_function(aten.mul.Tensor, (x, x))
        scaled = graph.call_function(aten.mul.Tensor, (square, held[0]))
        factor = graph.call_function(aten.add.Tensor, (scaled, held[1]))
        twice = graph.call_function(aten.mul.Tensor, (x, factor))
        gate = graph.call_function(aten.sigmoid.default, (twice,))
        made = graph.call_function(aten.mul.Tensor, (x, gate))
    made.meta = dict(gelu.meta)
    gelu.replace_all_uses_with(made)
    graph.erase_node(gelu)


def _pad_first(graph: fx.Graph, pad: fx.Node) -> None:
    restored: Any = pad.args[0]
    if not is_call(restored, quantized.dequantize_per_tensor):
        return
    rounded = restored.args[0]
    if not is_call(rounded, quantized.quantize_per_tensor):
        return
    grid = restored.args[1:]
    if rounded.args[1:] != grid or not pads_with_zeros(pad):
        return
    with graph.inserting_before(pad):
        around = graph.call_function(pad.target, (rounded.args[0], *pad.args[1:]), pad.kwargs)
        levels = graph.call_function(rounded.target, (around, *grid))
        again = graph.call_function(restored.target, (levels, *grid))
    around.meta, again.meta = dict(pad.meta), dict(pad.meta)
    levels.meta["val"] = pad.meta["val"].to(rounded.meta["val"].dtype)
    pad.replace_all_uses_with(again)
    graph.erase_node(pad)
    for stale in (restored, rounded):
        if not stale.users:
            graph.erase_node(stale)


def _make_signed(node: fx.Node) -> None:
    value, scale, zero, low, high, dtype = node.args
    if dtype is torch.uint8:
        node.args = (value, scale, zero - _SHIFT, low - _SHIFT, high - _SHIFT, torch.int8)


def _one_per_reader(node: fx.Node) -> None:
    for reader in list(node.users)[1:]:
        with node.graph.inserting_before(reader):
            own = node.graph.call_function(node.target, node.args)
        own.meta = dict(node.meta)
        reader.replace_input_with(node, own)


def _own_bias(module: fx.GraphModule, layer: fx.Node) -> None:
    """executorch rounds a bias for the first layer that reads it."""
    bias: Any = argument(layer, 2, "bias")
    if is_weight(bias) and len(bias.users) > 1:
        name = free_name(module, f"{bias.target}_own")
        layer.replace_input_with(bias, add_weight(module, layer, name, value_of(module, bias)))


def _serve(module: fx.GraphModule, restored: fx.Node) -> None:
    """Give every reader of a layer's dequantised numbers the form that its kernel reads."""
    for reader in list(restored.users):
        if is_call(reader, aten.embedding) and restored.args[3] == 0:
            _scale_rows(module, reader, restored)
            continue
        kernel = _kernel(reader, restored)
        if kernel == "static":
            continue
        if kernel == "dynamic":
            _pin_range(module, reader, restored)
        else:
            _spell_out(module, reader, restored)
    if not restored.users:
        module.graph.erase_node(restored)


def _scale_rows(module: fx.GraphModule, lookup: fx.Node, restored: fx.Node) -> None:
    """Look rows of integers up, and their scales, instead of rows of floats."""
    levels, scale = restored.args[:2]
    if lookup.args[0] is not restored or constant(module, restored.args[2]).any():
        _spell_out(module, lookup, restored)
        return
    graph, rows = module.graph, lookup.args[1]
    name = free_name(module, f"{levels.target}_column")
    column = constant(module, scale).float().unsqueeze(1)
    scales = add_weight(module, lookup, name, column, trainable=False)
    with graph.inserting_before(lookup):
        picked = graph.call_function(lookup.target, (levels, rows))
        floats = graph.call_function(aten.to.dtype, (picked, torch.float32))
        scaled = graph.call_function(lookup.target, (scales, rows))
        made = graph.call_function(aten.mul.Tensor, (floats, scaled))
    made.meta = dict(lookup.meta)
    lookup.replace_all_uses_with(made)
    graph.erase_node(lookup)


def _spell_out(module: fx.GraphModule, reader: fx.Node, restored: fx.Node) -> None:
    name = free_name(module, str(restored.args[0].target).removesuffix("_quantized"))
    floats = add_weight(module, restored, name, constant(module, restored))
    reader.replace_input_with(restored, floats)


def _kernel(reader: fx.Node, restored: fx.Node) -> str:
    """Which kernel reads these numbers: "static", "dynamic" (its output is float) or "float"."""
    if (
        not is_call(reader, *_STATIC)
        or reader.args[1] is not restored
        or restored.args[-1] is not torch.int8
        or (is_call(reader, aten.conv_transpose2d) and argument(reader, 6, "groups", 1) != 1)
        or not is_call(reader.args[0], quantized.dequantize_per_tensor)
    ):
        return "float"
    if _rounded(reader):
        return "static"
    flat = is_call(reader, aten.linear)
    whole = is_call(reader, aten.conv2d) and argument(reader, 6, "groups", 1) == 1
    return "dynamic" if flat or whole else "float"


def _make_linear(module: fx.GraphModule, product: fx.Node) -> None:
    restored: Any = product.args[1]
    if not is_call(restored, quantized.dequantize_per_channel):
        return
    levels, scale, zero, axis, *kind = restored.args
    value = value_of(module, levels)
    if value.ndim != 2 or axis != 1:
        return
    name = free_name(module, f"{levels.target}_turned")
    turned = add_weight(module, restored, name, value.T.contiguous(), trainable=False)
    graph = module.graph
    with graph.inserting_before(product):
        weight = graph.call_function(restored.target, (turned, scale, zero, 0, *kind))
        linear = graph.call_function(aten.linear.default, (product.args[0], weight))
    weight.meta["val"] = restored.meta["val"].T
    linear.meta = dict(product.meta)
    product.replace_all_uses_with(linear)
    graph.erase_node(product)
    graph.eliminate_dead_code()


def _make_two_dimensional(module: fx.GraphModule, layer: fx.Node) -> None:
    """Give a convolution over a signal a width of 1, and round its input to the same grid again.

    executorch does so itself, but also where the weights are floats, and then stops.
    """
    source, restored, *rest = layer.args
    stored = restored.args[0] if is_call(restored, quantized.dequantize_per_channel) else restored
    turned = is_call(layer, aten.conv_transpose1d)
    if not (
        is_call(source, quantized.dequantize_per_tensor)
        and is_call(source.args[0], quantized.quantize_per_tensor)
        and is_weight(stored)
        and (turned or stored is restored or not _rounded(layer))
        and all(isinstance(setting, (list, tuple, int)) for setting in rest[1:])
    ):
        return
    name = free_name(module, f"{stored.target}_wide")
    value = value_of(module, stored).detach().unsqueeze(-1)
    weight = add_weight(module, layer, name, value, trainable=False)
    graph, rounded = module.graph, source.args[0]
    ends: list[Any] = [[1], [0], [0], None, [1]] if turned else [[1], [0], [1], None]
    bias, *settings = rest or [None]
    with graph.inserting_before(layer):
        image = graph.call_function(aten.unsqueeze.default, (source, -1))
        levels_in = graph.call_function(rounded.target, (image, *rounded.args[1:]))
        again = graph.call_function(source.target, (levels_in, *source.args[1:]))
        if stored is not restored:
            weight = graph.call_function(restored.target, (weight, *restored.args[1:]))
        operator_2d = aten.conv_transpose2d.input if turned else aten.conv2d.default
        spread = [
            one if end is None else [*one, *end] for one, end in zip(settings, ends, strict=False)
        ]
        made = graph.call_function(operator_2d, (again, weight, bias, *spread))
        flat = graph.call_function(aten.squeeze.dim, (made, -1))
    again.meta["val"] = source.meta["val"].unsqueeze(-1)
    weight.meta["val"] = restored.meta["val"].unsqueeze(-1)
    made.meta["val"] = layer.meta["val"].unsqueeze(-1)
    flat.meta = dict(layer.meta)
    layer.replace_all_uses_with(flat)
    graph.erase_node(layer)
    graph.eliminate_dead_code()


def _rounded(node: fx.Node) -> bool:
    """Whether nothing but a quantise call reads a layer's output, or its clamp's."""
    readers = list(node.users)
    if len(readers) == 1 and is_call(readers[0], *_CLAMPS):
        readers = list(readers[0].users)
    return len(readers) == 1 and is_call(readers[0], quantized.quantize_per_tensor)


def _pin_range(module: fx.GraphModule, layer: fx.Node, restored: fx.Node) -> None:
    """Let a layer with a float output round its input to the grid that the input is on."""
    source: Any = layer.args[0]
    stored: Any = restored.args[0]
    _, scale, zero, low, high, _ = source.args
    ends = [scale * (end - zero) for end in (low, high) if end != zero]
    graph = module.graph
    shape = list(source.meta["val"].shape)
    axis = 1 if is_call(layer, aten.conv2d) else len(shape) - 1
    shape[axis] = 1
    margin = torch.cat([torch.full(shape, end) for end in ends], axis)
    name = str(stored.target).removesuffix("_quantized")
    held = add_weight(module, layer, free_name(module, f"{name}_ends"), margin, trainable=False)
    with graph.inserting_before(layer):
        # no pad: executorch looks for the source of a rounded input through all but concatenations
        wide = graph.call_function(aten.cat.default, ([source, held], axis))
        grid = graph.call_function(
            quantized.choose_qparams.tensor, (wide, -128, 127, 1e-12, torch.int8)
        )
        numbers = [graph.call_function(operator.getitem, (grid, index)) for index in (0, 1)]
        rounded = graph.call_function(
            quantized.quantize_per_tensor.tensor, (wide, *numbers, *_INT8)
        )
        again = graph.call_function(
            quantized.dequantize_per_tensor.tensor, (rounded, *numbers, *_INT8)
        )
    levels = value_of(module, stored)
    zeros = levels.new_zeros((levels.shape[0], len(ends), *levels.shape[2:]))
    name = free_name(module, f"{name}_padded")
    padded = add_weight(module, restored, name, torch.cat([levels, zeros], 1), trainable=False)
    with graph.inserting_before(layer):
        weight = graph.call_function(restored.target, (padded, *restored.args[1:]))
    layer.replace_input_with(source, again)
    layer.replace_input_with(restored, weight)


def _keep_rank(graph: fx.Graph, mean: fx.Node) -> None:
    """XNNPACK averages an image only where the averaged axes stay, with a size of 1."""
    source: Any = mean.args[0]
    rank, axes = source.meta["val"].ndim, argument(mean, 1, "dim")
    if rank != 4 or not axes or argument(mean, 2, "keepdim", False):
        return
    if sorted(axis % rank for axis in axes) != [2, 3] or mean.kwargs.get("dtype") is not None:
        return
    shape = list(mean.meta["val"].shape)
    with graph.inserting_before(mean):
        kept = graph.call_function(aten.mean.dim, (source, [2, 3], True))
        flat = graph.call_function(aten.reshape.default, (kept, shape))
    mean.replace_all_uses_with(flat)
    graph.erase_node(mean)
