"""Fold one factor and one offset per output channel into the layer before them.

f (W x + b) + s is again a layer of the same kind, with W' = f W and b' = f b + s.

1. The layer is a convolution, a transposed convolution or a linear layer with weights of its own;
2. nothing else reads its output;
3. what it is multiplied with or divided by, or what is added or subtracted, is a number, or a
   constant with one number for each of its output channels.

Exporters write so: biases as additions of their own, batch norms spelt out, a gate's slope.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from packlight.graph import add_weight, argument, aten, free_name, is_call, is_weight, value_of
from packlight.network import Network

_LAYERS = (aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution, aten.linear)
_TRANSPOSED = (aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)
_BOTH_WAYS = (aten.add, aten.add_, aten.mul, aten.mul_)


def fold_affine(network: Network) -> int:
    """Apply the rules; returns how many calculations went away."""
    module = network.module
    count = 0
    for node in list(module.graph.nodes):
        found = _affine(module, node)
        if found is None:
            continue
        layer, factor, shift = found
        put(module, layer, factor, shift)
        node.replace_all_uses_with(layer)
        constants = [one for one in node.all_input_nodes if is_weight(one)]
        module.graph.erase_node(node)
        for constant in constants:
            if not constant.users:
                module.graph.erase_node(constant)
        count += 1
    return count


def foldable(module: fx.GraphModule, layer: Any) -> bool:
    """Whether rules 1 and 2 hold."""
    return (
        is_call(layer, *_LAYERS, *_TRANSPOSED)
        and len(layer.users) == 1
        and is_weight(layer.args[1])
        and len(layer.args[1].users) == 1
        and (argument(layer, 2, "bias") is None or is_weight(argument(layer, 2, "bias")))
    )


def put(module: fx.GraphModule, layer: fx.Node, factor: Tensor | None, shift: Tensor) -> None:
    """Give a layer new weights.

    Args:
        module: that holds them.
        layer: for which `foldable` holds.
        factor: (outputs,) float64; None: one.
        shift: (outputs,) float64.
    """
    weight_node = layer.args[1]
    assert isinstance(weight_node, fx.Node)
    weight, name = value_of(module, weight_node), str(weight_node.target)
    new_weight = weight_node
    if factor is not None:
        folded = _scale_outputs(layer, weight.detach().double(), factor)
        new_weight = add_weight(module, layer, name, folded.to(weight.dtype))
    bias_node = argument(layer, 2, "bias")
    if bias_node is not None:
        old = value_of(module, bias_node).detach().double()
        shift = shift + (old if factor is None else old * factor)
    if bias_node is not None and len(bias_node.users) == 1:
        bias_name = str(bias_node.target)
    else:
        bias_name = free_name(module, _bias_name(name))
    new_bias = add_weight(module, layer, bias_name, shift.to(weight.dtype))
    args = list(layer.args) + [None] * (3 - len(layer.args))
    args[1], args[2] = new_weight, new_bias
    layer.args = tuple(args)
    layer.kwargs = {key: value for key, value in layer.kwargs.items() if key != "bias"}
    for stale in (weight_node, bias_node):
        if stale is not None and not stale.users:
            module.graph.erase_node(stale)


def _affine(module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, Tensor | None, Tensor] | None:
    """The layer, factor and offset of a calculation that can be folded."""
    if not is_call(node, *_BOTH_WAYS, aten.sub, aten.sub_, aten.div, aten.div_):
        return None
    if len(node.args) != 2 or node.kwargs:
        return None
    layer, other = node.args
    if is_call(node, *_BOTH_WAYS) and not foldable(module, layer):
        layer, other = other, layer
    if not foldable(module, layer):
        return None
    assert isinstance(layer, fx.Node)
    amount = _each(module, layer, node, other)
    if amount is None:
        return None
    if is_call(node, aten.mul, aten.mul_):
        return layer, amount, torch.zeros_like(amount)
    if is_call(node, aten.div, aten.div_):
        return layer, 1 / amount, torch.zeros_like(amount)
    return layer, None, (-amount if is_call(node, aten.sub, aten.sub_) else amount)


def _each(module: fx.GraphModule, layer: fx.Node, node: fx.Node, other: Any) -> Tensor | None:
    """One number for each output channel of a layer, if that is what `other` holds."""
    made, after = layer.meta.get("val"), node.meta.get("val")
    if not isinstance(made, Tensor) or not isinstance(after, Tensor):
        return None
    if made.shape != after.shape or made.dtype != after.dtype or not made.is_floating_point():
        return None
    last = is_call(layer, aten.linear)
    if not last and made.ndim != value_of(module, layer.args[1]).ndim:
        return None
    channels = made.shape[-1 if last else 1]
    if isinstance(other, (int, float)):
        return torch.full((channels,), float(other), dtype=torch.float64)
    if not is_weight(other):
        return None
    value = value_of(module, other).detach()
    if not value.is_floating_point() or value.ndim > made.ndim:
        return None
    sizes = [1] * (made.ndim - value.ndim) + [*value.shape]
    where = made.ndim - 1 if last else 1
    if any(size != 1 for axis, size in enumerate(sizes) if axis != where):
        return None
    return value.double().reshape(-1).expand(channels)


def _scale_outputs(layer: fx.Node, weight: Tensor, factor: Tensor) -> Tensor:
    transposed = is_call(layer, *_TRANSPOSED) or (
        is_call(layer, aten.convolution) and bool(argument(layer, 6, "transposed", False))
    )
    if not transposed:
        return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    # weight (in, out / groups, *kernel); group g makes the outputs [g * out / groups, ...)
    groups = int(argument(layer, 8 if is_call(layer, aten.convolution) else 6, "groups", 1))
    per_group = factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return (split * per_group).reshape(weight.shape)


def _bias_name(weight: str) -> str:
    owner, _, leaf = weight.rpartition(".")
    if leaf == "weight":
        return f"{owner}.bias" if owner else "bias"
    return f"{weight}_bias"
