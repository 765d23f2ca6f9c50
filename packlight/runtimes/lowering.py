"""What every converter for phones wants of a graph before it reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, fx

from packlight.graph import add_weight, aten, free_name, is_call, is_weight, quantized, value_of
from packlight.network import Network
from packlight.types import Array

#: their weights count output channels along the second axis
_TURNED = (aten.matmul, aten.mm, aten.conv_transpose1d, aten.conv_transpose2d)


def with_one_sample(network: Network) -> Network:
    """A copy of a network that takes one sample at a time where the batch could vary."""
    examples = tuple(
        value[:1] if varies else value
        for value, varies in zip(network.example_inputs, network.dynamic_batch, strict=True)
    )
    still = (False,) * len(examples)
    return replace(network.copy(), example_inputs=examples, dynamic_batch=still).retraced()


def store_by_channel(module: fx.GraphModule) -> None:
    """Give all stored integers a scale and a zero point for each channel, stored as well: files
    that were read say one for all of them, and zeros that are made when they are needed."""
    for node in list(module.graph.nodes):
        if is_call(node, quantized.dequantize_per_tensor) and is_weight(node.args[0]):
            levels, scale, zero, low, high, dtype = node.args
            axis = 1 if any(is_call(user, *_TURNED) for user in node.users) else 0
            count = value_of(module, levels).shape[axis]
            scales, zeros = torch.full((count,), scale), torch.full((count,), zero)
        elif is_call(node, quantized.dequantize_per_channel) and not is_weight(node.args[2]):
            levels, scale, zero, axis, low, high, dtype = node.args
            scales, zeros = constant(module, scale), constant(module, zero)
        else:
            continue
        name = str(levels.target)
        numbers = [
            add_weight(module, node, free_name(module, f"{name}_{what}"), value, trainable=False)
            for what, value in (("scales", scales), ("zeros", zeros))
        ]
        with module.graph.inserting_before(node):
            restored = module.graph.call_function(
                quantized.dequantize_per_channel.default,
                (levels, *numbers, axis, low, high, dtype),
            )
        restored.meta = dict(node.meta)
        node.replace_all_uses_with(restored)
    module.graph.eliminate_dead_code()
    module.recompile()


def cut_where_padding_is_negative(module: fx.GraphModule) -> None:
    """Write a padding that takes rows away as the slice that it is."""
    graph = module.graph
    for node in list(graph.nodes):
        if not is_call(node, aten.pad, aten.constant_pad_nd):
            continue
        margins: list[int] = list(node.args[1])
        if min(margins) >= 0:
            continue
        source, shape = node.args[0], list(node.meta["val"].shape)
        added = [max(margin, 0) for margin in margins]
        with graph.inserting_before(node):
            whole = source
            if any(added):
                whole = graph.call_function(
                    node.target, (source, added, *node.args[2:]), node.kwargs
                )
            for at in range(0, len(margins), 2):
                axis = len(shape) - 1 - at // 2
                if min(margins[at : at + 2]) < 0:
                    start = max(-margins[at], 0)
                    end = start + shape[axis]
                    whole = graph.call_function(aten.slice.Tensor, (whole, axis, start, end))
        whole.meta = dict(node.meta)
        node.replace_all_uses_with(whole)
        graph.erase_node(node)
    module.recompile()


def lookups(module: fx.GraphModule) -> list[fx.Node]:
    """The calls that look shared weights up: rows of a codebook, picked by bytes in the file."""
    fixed = _computed(module)
    return [
        node
        for node in module.graph.nodes
        if is_call(node, aten.embedding)
        and is_weight(node.args[0])
        and node.args[1] in fixed
        and _held(module, node.args[1]).dtype == torch.uint8
    ]


def _held(module: fx.GraphModule, node: fx.Node) -> Tensor:
    """The tensor in the file that a computed value begins with."""
    while not is_weight(node) and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return constant(module, node)


@dataclass(frozen=True)
class Lookup:
    """A weight as a table that indices pick from, with groups of channels or vectors.

    Args:
        table: (1, ... groups ..., 1, k, d) float32: k entries of d numbers per group; the groups
            lie along the axis that counts output channels.
        indices: uint8, the weight's shape with that axis divided by d.
        axis: along which an entry's d numbers lie; None where d is 1.
    """

    table: Array = field(repr=False)
    indices: Array = field(repr=False)
    axis: int | None


def read_lookup(module: fx.GraphModule, lookup: fx.Node) -> Lookup | None:
    """What a lookup picks from.

    Returns:
        None where it is a single table of numbers, or where the groups differ in length.
    """
    centres: Tensor = constant(module, lookup.args[0])
    rows: fx.Node = lookup.args[1]
    length, vector = centres.shape
    first = None
    if is_call(rows, aten.add):
        rows, starts = rows.args
        first = constant(module, starts)
    indices = constant(module, rows).numpy().astype(np.uint8)
    groups = 1 if first is None else len(first.unique())
    if groups == 1 and vector == 1:
        return None
    axis = _axis_of_vectors(lookup) if first is None else _axis_of_groups(first)
    blocks = indices.shape[axis]
    if blocks % groups:
        return None
    if first is not None and len(set(torch.bincount(first.flatten()).tolist()) - {0}) > 1:
        return None
    shape = [1] * indices.ndim
    shape[axis] = groups
    table = centres.numpy().reshape(*shape, length // groups, vector)
    return Lookup(table, indices, axis if vector > 1 else None)


def _axis_of_groups(first: Tensor) -> int:
    return max(range(first.ndim), key=lambda axis: first.shape[axis])


def _axis_of_vectors(lookup: fx.Node) -> int:
    """The axis behind which the vectors' own axis is moved."""
    (moved,) = lookup.users
    order: list[int] = list(moved.args[1])
    return order.index(len(order) - 1) - 1


def spell_out(module: fx.GraphModule, lookup: fx.Node) -> str:
    """Replace a lookup, and what only reshapes its result, by the floats that it gives.

    Returns:
        The parameter that holds them.
    """
    last, fixed = lookup, _computed(module)
    while len(last.users) == 1 and next(iter(last.users)) in fixed:
        last = next(iter(last.users))
    name = str(lookup.args[0].target).removesuffix("_codebook")
    name = free_name(module, name)
    last.replace_all_uses_with(add_weight(module, last, name, constant(module, last)))
    module.graph.eliminate_dead_code()
    return name


def constant(module: fx.GraphModule, node: fx.Node) -> Tensor:
    """The value of a node that depends on no input."""
    if is_weight(node):
        return value_of(module, node).detach()
    args, kwargs = fx.node.map_arg(
        (node.args, node.kwargs), lambda source: constant(module, source)
    )
    assert callable(node.target)
    with torch.no_grad():
        value: Tensor = node.target(*args, **kwargs)
    return value.contiguous()


def matrix_of(apply: Callable[[Tensor], Tensor], axis: int, sizes: Sequence[int]) -> Array:
    """What a separable operator does along one of its dimensions.

    Args:
        apply: takes and gives (samples, channels, *sizes).
        axis: of `sizes`.
        sizes: of its input.
    Returns:
        (output, input); the other dimensions add nothing to it, their rows sum to one.
    """
    shape = [1, sizes[axis]] + [1] * len(sizes)
    shape[2 + axis] = sizes[axis]
    eye = torch.eye(sizes[axis]).reshape(shape)
    whole = eye.expand(
        1,
        sizes[axis],
        *(size for size in (sizes[at] if at != axis else sizes[axis] for at in range(len(sizes)))),
    ).contiguous()
    with torch.no_grad():
        made = apply(whole)
    for at in reversed(range(len(sizes))):
        if at != axis:
            made = made.select(2 + at, 0)
    matrix: Array = made[0].T.contiguous().numpy()
    return matrix


def _computed(module: fx.GraphModule) -> set[fx.Node]:
    """The nodes that depend on no input."""
    found: set[fx.Node] = set()
    for node in module.graph.nodes:
        if is_weight(node) or (
            node.op == "call_function" and all(one in found for one in node.all_input_nodes)
        ):
            found.add(node)
    return found
