"""Small questions and edits on a Network's graph, shared by the passes."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the Q/DQ operators of PT2E
from torch import Tensor, fx, nn

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed

#: calls that give back what they got, once a network only infers
IDENTITIES = (
    aten.alias,
    aten.clone,
    aten.contiguous,
    aten.detach,
    aten.dropout,
    aten.dropout_,
    aten.feature_dropout,
    aten.lift_fresh_copy,
)

#: calls of recurrent layers on sequences of one length
RECURRENT = (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)

#: calls that keep numbers within an interval
CLAMPS = (
    aten.clamp,
    aten.clamp_,
    aten.clamp_min,
    aten.hardtanh,
    aten.hardtanh_,
    aten.relu,
    aten.relu_,
    aten.relu6,
    aten.relu6_,
)


def is_call(node: Any, *operators: Any) -> bool:
    """Whether `node` calls one of these ATen operators (any overload of a packet counts)."""
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return False
    packet = getattr(node.target, "overloadpacket", node.target)
    return node.target in operators or packet in operators


def is_weight(node: Any) -> bool:
    """Whether `node` reads a parameter or a buffer."""
    return isinstance(node, fx.Node) and node.op == "get_attr"


def pair(value: Any) -> tuple[int, int]:
    """A number for both dimensions, or one for each, as operators over images take either."""
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    return (int(numbers[0]), int(numbers[-1]))


def per_dimension(value: Any, rank: int) -> list[int]:
    """One number per dimension, as operators take it: a number, one in a list, or all of them."""
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    return [int(number) for number in numbers] * (rank if len(numbers) == 1 else 1)


def value_of(module: fx.GraphModule, node: fx.Node) -> Tensor:
    """The tensor that a `get_attr` node reads."""
    owner, _, leaf = str(node.target).rpartition(".")
    value: Tensor = getattr(module.get_submodule(owner), leaf)
    return value


def set_value(module: fx.GraphModule, name: str, value: Tensor, *, trainable: bool = True) -> None:
    """Store a tensor under a dotted name, as a parameter if it is float and trainable."""
    owner_name, _, leaf = name.rpartition(".")
    owner: nn.Module = module
    for part in owner_name.split(".") if owner_name else []:
        if not hasattr(owner, part):
            owner.add_module(part, nn.Module())
        owner = getattr(owner, part)
    if hasattr(owner, leaf):
        delattr(owner, leaf)
    if trainable and value.is_floating_point():
        owner.register_parameter(leaf, nn.Parameter(value.detach().clone()))
    else:
        owner.register_buffer(leaf, value.detach().clone())


def has_value(module: fx.GraphModule, name: str) -> bool:
    """Whether a parameter, a buffer or a submodule of this dotted name exists."""
    owner: Any = module
    for part in name.split("."):
        if not hasattr(owner, part):
            return False
        owner = getattr(owner, part)
    return True


def add_weight(
    module: fx.GraphModule, before: fx.Node, name: str, value: Tensor, *, trainable: bool = True
) -> fx.Node:
    """Store a tensor and insert a `get_attr` node that reads it ahead of `before`."""
    set_value(module, name, value, trainable=trainable)
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(name)
    node.meta["val"] = value
    return node


def free_name(module: fx.GraphModule, wanted: str) -> str:
    """`wanted`, or the first `wanted_1`, `wanted_2`, ... that nothing has yet."""
    name, count = wanted, 0
    while has_value(module, name):
        count += 1
        name = f"{wanted}_{count}"
    return name


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument of a call, given by position or by name."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def pads_with_zeros(node: fx.Node) -> bool:
    """Whether a call of `pad` or `constant_pad_nd` puts zeros, and cuts nothing off."""
    if is_call(node, aten.constant_pad_nd):
        number = argument(node, 2, "value", 0)
    elif is_call(node, aten.pad) and argument(node, 2, "mode", "constant") == "constant":
        number = argument(node, 3, "value")
    else:
        return False
    amounts = node.args[1]
    numbers = isinstance(amounts, (list, tuple)) and all(isinstance(one, int) for one in amounts)
    return numbers and min(amounts) >= 0 and number in (None, 0)


def clamp_ends(node: fx.Node) -> tuple[float, float] | None:
    """The interval of a call of CLAMPS; None for others, and where data decide or it is empty."""
    if not is_call(node, *CLAMPS):
        return None
    low: Any
    high: Any
    if is_call(node, aten.relu, aten.relu_):
        low, high = 0.0, None
    elif is_call(node, aten.relu6, aten.relu6_):
        low, high = 0.0, 6.0
    elif is_call(node, aten.hardtanh, aten.hardtanh_):
        low, high = argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0)
    else:
        low, high = argument(node, 1, "min"), argument(node, 2, "max")
    ends = (-math.inf if low is None else low), (math.inf if high is None else high)
    numbers = all(isinstance(one, (int, float)) for one in ends)
    return ends if numbers and ends[0] <= ends[1] else None


def layer_name(node: fx.Node) -> str:
    """What to call a node in a report: the owner of its weight, otherwise its own name."""
    for source in node.all_input_nodes:
        if is_weight(source):
            owner = str(source.target).rpartition(".")[0]
            return owner or str(source.target)
    return node.name


def is_symbolic(value: Any) -> bool:
    """Whether a size is not a plain number."""
    return isinstance(value, (torch.SymInt, fx.Node))
