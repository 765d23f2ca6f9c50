"""How each operator passes channel ids on: one rule per operator, none means that it pins.

A rule takes the `Coupling` so far and a call, ties and pins ids, and returns what the call's
result carries. It holds for removing channels, not for changing them: an operator may do to a
channel what it likes as long as it never looks at another one.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from torch import fx

from packlight.graph import argument, is_weight, layer_name
from packlight.shrink.coupling import CARRIED, READ, WRITTEN, Carried, Coupling, Rule, Value
from packlight.weighing.operators import operator_name

# what looks at one number at a time, with any number of operands
_ELEMENTWISE = (
    "abs add alias bitwise_not celu clamp clamp_max clamp_min clone contiguous cos detach div "
    "dropout elu eq erf exp feature_dropout ge gelu gt hardsigmoid hardswish hardtanh le "
    "leaky_relu lift_fresh_copy log log_sigmoid logical_not lt maximum minimum mish mul ne neg "
    "pow reciprocal relu relu6 round rsqrt rsub selu sigmoid sign silu sin softplus softsign "
    "sqrt square sub tanh threshold to type_as where _to_copy"
)
# what looks at one channel at a time, or at all positions of it
_POOLING = (
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d "
    "adaptive_max_pool2d avg_pool1d avg_pool2d avg_pool3d instance_norm max_pool1d max_pool2d "
    "max_pool3d upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d "
    "upsample_nearest2d upsample_trilinear3d _adaptive_avg_pool2d"
)
_RESHAPES = "flatten reshape squeeze unflatten unsqueeze view _unsafe_view"
_REDUCTIONS = "amax amin mean sum"
_ALONG_AN_AXIS = "cumsum log_softmax softmax _log_softmax _softmax"


def _elementwise(c: Coupling, node: fx.Node) -> Value:
    rank = len(c.shape(node))
    operands = [source for source in node.all_input_nodes if c.shapes.get(source) != ()]
    lead = next((value for item in operands if (value := _wide(c, node, item, rank))), None)
    if lead is None:
        return None
    for item in operands:
        shape = c.shape(item)
        axis = lead.axis - (rank - len(shape))
        value = c.carried(item)
        if value is not None and value.axis != axis:
            for ids in (lead.ids, value.ids):
                c.pin(ids, f"{layer_name(node)} joins channels along two axes")
        elif axis < 0 or shape[axis] != len(lead.ids):
            continue  # one number for all channels
        elif value is not None:
            c.tie(lead.ids, value.ids)
        elif is_weight(item):
            c.follow(item, axis, node, lead.ids)
        else:
            c.pin(lead.ids, f"{operator_name(node)} joins it with {item.name}, which stays")
    return lead


def _wide(c: Coupling, node: fx.Node, source: fx.Node, rank: int) -> Value:
    """What an operand carries, counted along the axes of the result."""
    value = c.carried(source)
    if value is None:
        return None
    axis = value.axis + rank - len(c.shape(source))
    if c.shape(node)[axis] != len(value.ids):
        c.pin(value.ids, f"{operator_name(node)} spreads its one channel over many")
        return None
    return Carried(axis, value.ids)


def _pooling(c: Coupling, node: fx.Node) -> Value:
    value = c.carried(node.args[0])
    if value is None:
        return None
    shape = c.shape(node.args[0])
    spatial = int(operator_name(node)[-2]) if operator_name(node)[-1] == "d" else len(shape) - 2
    if value.axis >= len(shape) - spatial:
        return c.refuse(node, "mixes the positions along its channels")
    for weight in node.all_input_nodes[1:]:
        c.follow(weight, 0, node, value.ids)
    return value


def _batch_norm(c: Coupling, node: fx.Node) -> Value | list[Value]:
    value = c.carried(node.args[0])
    if value is None:
        return None
    if value.axis != 1:
        return c.refuse(node, "normalises along another axis")
    for weight in node.args[1:5]:
        c.follow(weight, 0, node, value.ids)
    several = isinstance(c.shapes[node], list)
    return [value, None, None] if several else value


def _convolution(c: Coupling, node: fx.Node) -> Value:
    source, weight = node.args[0], node.args[1]
    general = operator_name(node) == "convolution"
    transposed = "transpose" in operator_name(node) or (general and argument(node, 6, "transposed"))
    groups = int(argument(node, 8 if general else 6, "groups", 1))
    if not is_weight(weight):
        return c.refuse(node, "has a weight that is computed")
    sizes = c.shape(weight)
    axis = len(c.shape(node)) - (len(sizes) - 2) - 1
    if transposed and groups > 1:
        return c.refuse(node, "is transposed and grouped")
    written = c.side(weight, 1 if transposed else 0, WRITTEN, node)
    c.follow(argument(node, 2, "bias"), 0, node, written)
    if groups == 1:
        c.read(weight, 0 if transposed else 1, node, source, axis)
        return Carried(axis, written)
    value = c.carried(source)
    if value is None or value.axis != axis:
        c.refuse(node, "reads channels along another axis")
        c.pin(written, f"{layer_name(node)} has groups over what is not made of channels")
    elif sizes[1] == 1:  # depthwise: one output, or some, for every channel
        c.tie(c.tie_rows(written.reshape(groups, -1)), value.ids)
        c.sides[str(weight.target), 0].role = CARRIED
    else:  # groups stay equally wide: a place goes out of all of them at once
        places = c.tie_rows(value.ids.reshape(groups, -1).T)
        c.tie(c.side(weight, 1, READ, node), places)
        c.tie_rows(written.reshape(groups, -1).T)
    return Carried(axis, written)


def _linear(c: Coupling, node: fx.Node) -> Value:
    """linear(x, W (out, in), bias); matmul(x, W (in, out)); addmm(bias, x, W (in, out))."""
    added = operator_name(node) == "addmm"
    turned = operator_name(node) == "linear"
    source, weight = node.args[1:3] if added else node.args[:2]
    if not is_weight(weight) or len(c.shape(weight)) != 2:
        return c.refuse(node, "multiplies it with a value") if turned else _product(c, node)
    c.read(weight, 1 if turned else 0, node, source, len(c.shape(source)) - 1)
    written = c.side(weight, 0 if turned else 1, WRITTEN, node)
    bias = node.args[0] if added else argument(node, 2, "bias") if turned else None
    c.follow(bias, 0, node, written)
    return Carried(len(c.shape(node)) - 1, written)


def _product(c: Coupling, node: fx.Node) -> Value:
    """A product of two values, or attention: channels along a batch axis, as heads, go along."""
    rank = len(c.shape(node))
    operands = [item for item in node.all_input_nodes if c.shapes.get(item) != ()]
    carried = [_wide_batch(c, item, rank) for item in operands]
    lead = next((value for value in carried if value is not None), None)
    if lead is None or lead.axis >= rank - 2:
        return c.refuse(node, "sums over it")
    for item, value in zip(operands, carried, strict=True):
        axis = lead.axis - (rank - len(c.shape(item)))
        if value is not None and value.axis == lead.axis and len(value.ids) == len(lead.ids):
            c.tie(lead.ids, value.ids)
        elif value is not None or (axis >= 0 and c.shape(item)[axis] != 1):
            return c.refuse(node, "meets channels that stay")
    return lead


def _wide_batch(c: Coupling, item: fx.Node, rank: int) -> Value:
    value = c.carried(item)
    return value and Carried(value.axis + rank - len(c.shape(item)), value.ids)


def _embedding(c: Coupling, node: fx.Node) -> Value:
    weight = node.args[0]
    if not is_weight(weight):
        return c.refuse(node, "has a weight that is computed")
    return Carried(len(c.shape(node)) - 1, c.side(weight, 1, WRITTEN, node))


def _prelu(c: Coupling, node: fx.Node) -> Value:
    value, slope = c.carried(node.args[0]), node.args[1]
    if value is None or prod(c.shape(slope)) == 1:
        return value
    if value.axis != 1:
        return c.refuse(node, "has slopes along another axis")
    c.follow(slope, 0, node, value.ids)
    return value


def _cat(c: Coupling, node: fx.Node) -> Value:
    sources = node.args[0]
    assert isinstance(sources, (list, tuple))
    values = [c.carried(item) for item in sources]
    lead = next((value for value in values if value is not None), None)
    if lead is None:
        return None
    dim = int(argument(node, 1, "dim", 0)) % len(c.shape(node))
    if any(value is not None and value.axis != lead.axis for value in values):
        return c.refuse(node, "joins channels along two axes")
    if dim != lead.axis:  # the same channels, more positions
        for value in values:
            if value is None:
                return c.refuse(node, "joins it with what stays")
            c.tie(lead.ids, value.ids)
        return lead
    parts = [
        c.fresh(c.shape(item)[dim], "it is not made of channels") if value is None else value.ids
        for item, value in zip(sources, values, strict=True)
    ]
    return Carried(dim, np.concatenate(parts))


def _reshape(c: Coupling, node: fx.Node) -> Value:
    source = node.args[0]
    value = c.carried(source)
    if value is None:
        return None
    before, after = c.shape(source), c.shape(node)
    count, inner = len(value.ids), prod(before[value.axis + 1 :])
    for axis in range(len(after)):
        below = prod(after[axis + 1 :])
        if below * after[axis] < count * inner:
            break
        if count == 1 or inner % below or after[axis] % (count * inner // below):
            continue
        # the axis holds `outer` copies of the channels, each channel `repeats` times
        repeats = inner // below
        outer = after[axis] // (count * repeats)
        if _whole(before, value.axis, outer):
            return Carried(axis, np.tile(np.repeat(value.ids, repeats), outer))
    return _split_axis(c, node, value, before, after)


def _whole(shape: tuple[int, ...], axis: int, outer: int) -> bool:
    """Whether that many copies are whole axes ahead of the channels, the batch not among them."""
    while outer > 1 and axis > 1:
        axis -= 1
        if outer % shape[axis]:
            return False
        outer //= shape[axis]
    return outer == 1


def _split_axis(
    c: Coupling, node: fx.Node, value: Carried, before: tuple[int, ...], after: tuple[int, ...]
) -> Value:
    """One axis of channels becomes several: one of them still counts channels, the others tie.

    In images that is the widest: a place in every group, as channel shuffles have them. Where
    channels come last it is the last but one: a whole head of attention.
    """
    count, inner = len(value.ids), prod(before[value.axis + 1 :])
    for stop in range(len(after), 0, -1):
        if prod(after[stop:]) != inner:
            continue
        start = stop
        while start > 0 and prod(after[start:stop]) < count:
            start -= 1
        sizes = after[start:stop]
        if prod(sizes) != count or len(sizes) < 2:
            continue
        last = value.axis == len(before) - 1
        kept = len(sizes) - 2 if last else max(range(len(sizes)), key=lambda i: (sizes[i], i))
        rows = np.moveaxis(value.ids.reshape(sizes), kept, 0).reshape(sizes[kept], -1)
        return Carried(start + kept, c.tie_rows(rows))
    return c.refuse(node, "cuts across channels")


def _permute(c: Coupling, node: fx.Node) -> Value:
    value = c.carried(node.args[0])
    if value is None:
        return None
    rank = len(c.shape(node))
    order = list(range(rank))
    if operator_name(node) == "permute":
        order = [int(axis) % rank for axis in argument(node, 1, "dims")]
    else:
        a, b = (0, 1) if operator_name(node) == "t" else node.args[1:3]
        a, b = int(a) % rank, int(b) % rank
        order[a], order[b] = order[b], order[a]
    return Carried(order.index(value.axis), value.ids)


def _expand(c: Coupling, node: fx.Node) -> Value:
    value = c.carried(node.args[0])
    if value is None:
        return None
    return _wide(c, node, node.args[0], len(c.shape(node)))


def _pad(c: Coupling, node: fx.Node) -> Value:
    value = c.carried(node.args[0])
    if value is None:
        return None
    pad: Any = argument(node, 1, "pad")
    place = 2 * (len(c.shape(node)) - 1 - value.axis)  # pads are listed from the last axis on
    if len(pad) <= place or pad[place : place + 2] == [0, 0]:
        return value
    if argument(node, 2, "mode", "constant") not in ("constant", 0, 0.0) or min(pad) < 0:
        return c.refuse(node, "pads along its channels")
    edges = [c.fresh(count, "it is padding") for count in pad[place : place + 2]]
    return Carried(value.axis, np.concatenate([edges[0], value.ids, edges[1]]))


def _reduction(c: Coupling, node: fx.Node) -> Value:
    value = c.carried(node.args[0])
    if value is None:
        return None
    rank = len(c.shape(node.args[0]))
    dims: Any = argument(node, 1, "dim")
    dims = [dims] if isinstance(dims, int) else dims or range(rank)
    gone = {int(axis) % rank for axis in dims}
    if value.axis in gone:
        return c.refuse(node, "reduces over its channels")
    if len(c.shape(node)) == rank:
        return value
    return Carried(value.axis - sum(axis < value.axis for axis in gone), value.ids)


def _along_an_axis(c: Coupling, node: fx.Node) -> Value:
    value = c.carried(node.args[0])
    axis = int(argument(node, 1, "dim")) % len(c.shape(node))
    if value is not None and value.axis == axis:
        return c.refuse(node, "mixes its channels")
    return value


def _layer_norm(c: Coupling, node: fx.Node) -> Value:
    value = c.carried(node.args[0])
    sizes: Any = argument(node, 1, "normalized_shape")
    if value is not None and value.axis >= len(c.shape(node)) - len(sizes):
        return c.refuse(node, "normalises over its channels")
    return value


def _slice(c: Coupling, node: fx.Node) -> Value:
    value = c.carried(node.args[0])
    axis = int(argument(node, 1, "dim", 0)) % len(c.shape(node))
    if value is None or value.axis != axis:
        return value
    start, stop, step = (
        argument(node, i, name) for i, name in ((2, "start"), (3, "end"), (4, "step"))
    )
    if step not in (None, 1) or not all(isinstance(x, (int, type(None))) for x in (start, stop)):
        return c.refuse(node, "takes some of its channels")
    return Carried(axis, value.ids[start:stop])


def _select(c: Coupling, node: fx.Node) -> Value:
    source = node.args[0]
    value = c.carried(source)
    if value is None:
        return None
    axis = int(argument(node, 1, "dim", 0)) % len(c.shape(source))
    if axis == value.axis:
        return c.refuse(node, "takes one of its channels")
    return Carried(value.axis - (axis < value.axis), value.ids)


def _parts(c: Coupling, node: fx.Node) -> Value | list[Value]:
    """split, chunk: several values, each with some of the channels or with some positions."""
    value = c.carried(node.args[0])
    if value is None:
        return None
    shapes = c.shapes[node]
    axis = int(argument(node, 2, "dim", 0)) % len(shapes[0])
    if axis != value.axis:
        return [value] * len(shapes)
    ends = np.cumsum([shape[axis] for shape in shapes])[:-1]
    return [Carried(axis, ids) for ids in np.split(value.ids, ends)]


def _unbind(c: Coupling, node: fx.Node) -> Value | list[Value]:
    value = c.carried(node.args[0])
    if value is None:
        return None
    axis = int(argument(node, 1, "dim", 0)) % (len(c.shapes[node][0]) + 1)
    if axis == value.axis:
        return c.refuse(node, "takes its channels apart")
    return [Carried(value.axis - (axis < value.axis), value.ids)] * len(c.shapes[node])


def _getitem(c: Coupling, node: fx.Node) -> Value:
    values: Any = c.values.get(node.args[0])
    return values[node.args[1]] if isinstance(values, list) else None


def _shuffle(c: Coupling, node: fx.Node) -> Value:
    value = c.carried(node.args[0])
    if value is None or value.axis != 1:
        return c.refuse(node, "shuffles along another axis")
    groups = int(argument(node, 1, "groups"))
    return Carried(1, np.repeat(c.tie_rows(value.ids.reshape(groups, -1).T), groups))


def _pixel_shuffle(c: Coupling, node: fx.Node) -> Value:
    value = c.carried(node.args[0])
    axis = len(c.shape(node)) - 3
    if value is None or value.axis != axis:
        return c.refuse(node, "shuffles along another axis")
    factor = int(argument(node, 1, "upscale_factor"))
    return Carried(axis, c.tie_rows(value.ids.reshape(-1, factor**2)))


def _size(c: Coupling, node: fx.Node) -> Value:
    """The size of another axis is free to use; that of the channels is baked in."""
    value = c.carried(node.args[0])
    if value is not None and value.axis == argument(node, 1, "dim"):
        c.refuse(node, "reads how many channels there are")
    return None


def _nothing(c: Coupling, node: fx.Node) -> Value:
    return None


def _table() -> dict[str, Rule]:
    several: list[tuple[str, Rule]] = [
        (_ELEMENTWISE, _elementwise),
        (_POOLING, _pooling),
        (_RESHAPES, _reshape),
        (_REDUCTIONS, _reduction),
        (_ALONG_AN_AXIS, _along_an_axis),
        ("conv1d conv2d conv3d convolution", _convolution),
        ("conv_transpose1d conv_transpose2d conv_transpose3d", _convolution),
        ("batch_norm cudnn_batch_norm native_batch_norm", _batch_norm),
        ("_native_batch_norm_legit_no_training", _batch_norm),
        ("addmm linear matmul mm", _linear),
        ("bmm scaled_dot_product_attention", _product),
        ("embedding", _embedding),
        ("prelu _prelu_kernel", _prelu),
        ("cat concat", _cat),
        ("permute transpose t", _permute),
        ("expand", _expand),
        ("constant_pad_nd pad", _pad),
        ("layer_norm rms_norm", _layer_norm),
        ("slice", _slice),
        ("select", _select),
        ("chunk split split_with_sizes", _parts),
        ("unbind", _unbind),
        ("getitem", _getitem),
        ("channel_shuffle native_channel_shuffle", _shuffle),
        ("pixel_shuffle", _pixel_shuffle),
        ("sym_size", _size),
        ("_assert_tensor_metadata _assert_scalar _assert_async", _nothing),
    ]
    return {name: rule for names, rule in several for name in names.split()}


RULES = _table()
