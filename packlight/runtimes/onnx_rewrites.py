"""Exact rewrites of ONNX graphs that no Network can hold.

1. `Pad` with zeros, then `Conv`: the convolution pads, by as much more.
2. The same with a rounding between them (`QuantizeLinear`, `DequantizeLinear`): zero is on every
   grid, so it makes no difference whether zeros are put around numbers or around rounded ones.
   If the numbers lie on that grid already, the rounding goes as well.
3. `ReduceMean` over all positions of an image, its dimensions kept: `GlobalAveragePool`.

Left alone: other numbers than zero, paddings of the batch or of channels, paddings that cut, and
values that somebody else reads. onnxruntime applies rule 1 itself but not rule 2, and so pads as
floats what it has to round twice; it averages integers only in the operator of rule 3.
"""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from packlight.readers.onnx.file import readers_of

_ROUNDING = ("QuantizeLinear", "DequantizeLinear")


def pad_in_convolutions(graph: onnx.GraphProto, only: str | None = None) -> int:
    """Apply rules 1 and 2; returns how many paddings went away.

    Args:
        graph: changed in place.
        only: the output of the padding to look at; default: all.
    """
    readers = readers_of(graph)
    constants = _constants(graph)
    outputs = {value.name for value in graph.output}
    makers = {name: node for node in graph.node for name in node.output}
    gone: list[onnx.NodeProto] = []
    count = 0
    for pad in graph.node:
        if only not in (None, *pad.output):
            continue
        amounts = _amounts(pad, constants)
        chain = _to_convolution(pad, readers, outputs)
        if amounts is None or not chain:
            continue
        *rounding, layer = chain
        before = makers.get(pad.input[0])
        if rounding and before is not None and before.op_type == "DequantizeLinear":
            if not all(_same_grid(before, one, constants) for one in rounding):
                continue  # rounded twice; runtimes make one rounding of it, which is another
            gone += rounding
            layer.input[0] = pad.input[0]
        else:
            readers[pad.output[0]][0].input[0] = pad.input[0]
        _widen(layer, amounts)
        gone.append(pad)
        count += 1
    for node in gone:
        graph.node.remove(node)
    return count


def pool_means(graph: onnx.GraphProto) -> int:
    """Apply rule 3; returns how many means it took.

    Args:
        graph: with the sizes of values known to `value_info`; changed in place.
    """
    constants = _constants(graph)
    known = [*graph.value_info, *graph.input]
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in known}
    count = 0
    for node in graph.node:
        rank = ranks.get(node.input[0], 0) if node.input else 0
        if node.op_type != "ReduceMean" or len(node.input) != 2 or rank < 3:
            continue
        if any(one.name == "keepdims" and one.i == 0 for one in node.attribute):
            continue
        axes = constants.get(node.input[1])
        over = set() if axes is None else {axis % rank for axis in numpy_helper.to_array(axes)}
        if over == set(range(2, rank)):
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]
            count += 1
    return count


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    return constants


def _amounts(
    pad: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
) -> tuple[list[int], list[int]] | None:
    """What a padding with zeros puts before and after each dimension of an image; else None."""
    mode = next((one.s for one in pad.attribute if one.name == "mode"), b"constant")
    if pad.op_type != "Pad" or mode != b"constant" or len([*filter(None, pad.input[3:])]):
        return None
    given = [constants.get(name) for name in pad.input[1:3] if name]
    if not given or any(one is None for one in given):
        return None
    pads, *number = [numpy_helper.to_array(one) for one in given if one is not None]
    rank = pads.size // 2
    before, after = pads[:rank].tolist(), pads[rank:].tolist()
    if any(one.any() for one in number) or any(before[:2] + after[:2]) or pads.min() < 0:
        return None
    return before[2:], after[2:]


def _to_convolution(
    pad: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]], outputs: set[str]
) -> list[onnx.NodeProto]:
    """What lies between a padding and the end of the convolution that alone reads it, if one does.

    Returns:
        A rounding's two operators, if there is one, and the convolution; otherwise nothing.
    """
    chain = [pad]
    for step in (*_ROUNDING, None):
        value = chain[-1].output[0]
        following = readers.get(value, [])
        if value in outputs or len(following) != 1 or following[0].input[:1] != [value]:
            return []
        chain += following
        if chain[-1].op_type == "Conv":
            told = [one.s for one in chain[-1].attribute if one.name == "auto_pad"]
            return chain[1:] if told in ([], [b"NOTSET"]) else []
        if chain[-1].op_type != step:
            return []
    return []


def _same_grid(
    one: onnx.NodeProto, other: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
) -> bool:
    """Whether both round to, or from, one step and one zero for all values, and the same."""
    grids = [[constants.get(name) for name in node.input[1:]] for node in (one, other)]
    if len(grids[0]) != len(grids[1]):
        return False
    for a, b in zip(*grids, strict=True):
        if a is None or b is None or a.data_type != b.data_type:
            return False
        first, second = numpy_helper.to_array(a), numpy_helper.to_array(b)
        if first.size != 1 or first.item() != second.item():
            return False
    return True


def _widen(layer: onnx.NodeProto, amounts: tuple[list[int], list[int]]) -> None:
    """Let a convolution pad by more."""
    wanted = [*amounts[0], *amounts[1]]
    for attribute in layer.attribute:
        if attribute.name == "pads":
            total = [old + more for old, more in zip(attribute.ints, wanted, strict=True)]
            attribute.ints[:] = total
            return
    layer.attribute.append(onnx.helper.make_attribute("pads", wanted))
