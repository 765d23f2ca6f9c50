"""Paddings in an ONNX graph become part of the convolutions that read them.

1. `Pad` with zeros, then `Conv`: the convolution pads, by as much more.
2. The same with a rounding between them (`QuantizeLinear`, `DequantizeLinear`): zero is on every
   grid, so it makes no difference whether zeros are put around numbers or around rounded ones.

Left alone: other numbers than zero, paddings of the batch or of channels, paddings that cut, and
values that somebody else reads. onnxruntime applies rule 1 itself but not rule 2, and so pads as
floats what it has to round twice. A Network's convolutions pad either side alike, which is why
this is done to the file.
"""

from __future__ import annotations

import onnx
from onnx import numpy_helper

_ROUNDING = ("QuantizeLinear", "DequantizeLinear")


def pad_in_convolutions(graph: onnx.GraphProto) -> int:
    """Apply the rules; returns how many paddings went away."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    outputs = {value.name for value in graph.output}
    gone = []
    for pad in graph.node:
        amounts = _amounts(pad, constants)
        layer = _convolution(pad, readers, outputs)
        if amounts is None or layer is None:
            continue
        _widen(layer, amounts)
        reader = readers[pad.output[0]][0]
        reader.input[0] = pad.input[0]
        gone.append(pad)
    for pad in gone:
        graph.node.remove(pad)
    return len(gone)


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


def _convolution(
    pad: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]], outputs: set[str]
) -> onnx.NodeProto | None:
    """The convolution that reads a padding, perhaps rounded, if nobody else does."""
    node = pad
    for step in (*_ROUNDING, None):
        value = node.output[0]
        following = readers.get(value, [])
        if value in outputs or len(following) != 1 or following[0].input[0] != value:
            return None
        (node,) = following
        if node.op_type == "Conv":
            told = next((one.s for one in node.attribute if one.name == "auto_pad"), b"NOTSET")
            return node if told == b"NOTSET" else None
        if node.op_type != step:
            return None
    return None


def _widen(layer: onnx.NodeProto, amounts: tuple[list[int], list[int]]) -> None:
    """Let a convolution pad by more."""
    wanted = [*amounts[0], *amounts[1]]
    for attribute in layer.attribute:
        if attribute.name == "pads":
            total = [old + more for old, more in zip(attribute.ints, wanted, strict=True)]
            attribute.ints[:] = total
            return
    layer.attribute.append(onnx.helper.make_attribute("pads", wanted))
