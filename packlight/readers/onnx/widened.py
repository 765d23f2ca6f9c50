"""Integers that become floats once: when onnxruntime loads the file, and not in every run.

    int8 initialiser -> Cast to float -> Mul by its scales -> a float kernel's weight

is to the bit what `DequantizeLinear` with zero points of zero computes. onnxruntime keeps that
operator for its integer kernels, and where none reads it, computes it anew in every run; Cast and
Mul it computes ahead. `widen` writes weights so that only float kernels read, `dequantised` reads
them as what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import TensorProto, helper, numpy_helper

from packlight.readers.onnx.file import STANDARD, drop_unread, opset_of, readers_of

_KERNELS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_RECURRENT = ("GRU", "LSTM", "RNN")  # in floats, whatever their input is
_MOVES = ("Transpose", "Slice", "Concat", "Unsqueeze")  # as gates and directions are put together
_FIRST_OPSET = 13  # whose DequantizeLinear has scales by channel


def widen(graph: onnx.GraphProto) -> int:
    """Write weights of float kernels with Cast and Mul; returns how many.

    Args:
        graph: changed in place; scales by channel get the rank of their weight.
    """
    held = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node.op_type for node in graph.node for name in node.output}
    readers = readers_of(graph)
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in graph.node:
        grid = _grid(node, held)
        if grid is None or not _in_floats(node.output[0], readers, makers):
            nodes.append(node)
            continue
        weight, scale, axis = grid
        if scale.dims:
            scale.dims[:] = [size if at == axis else 1 for at, size in enumerate(weight.dims)]
        whole = f"{node.output[0]}_whole"
        nodes.append(helper.make_node("Cast", [weight.name], [whole], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [whole, scale.name], [node.output[0]]))
        count += 1
    if count:
        del graph.node[:]
        graph.node.extend(nodes)
        drop_unread(graph)
    return count


def dequantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with `DequantizeLinear` in place of Cast and Mul; changed in place."""
    if opset_of(model) < _FIRST_OPSET:
        return model
    graph = model.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = readers_of(graph)
    ends = {value.name for value in [*graph.input, *graph.output]}
    gone = []
    for node in graph.node:
        cast = makers.get(node.input[0]) if _is(node, "Mul", 2) else None
        if cast is None or not _casts(cast, TensorProto.FLOAT):
            continue
        rank, scale = _rank_of_int8(cast.input[0], held, makers), held.get(node.input[1])
        if rank is None or scale is None or scale.data_type != TensorProto.FLOAT:
            continue
        if ends & {cast.output[0], scale.name}:
            continue
        axes = [axis for axis, size in enumerate(scale.dims) if size != 1]
        alone = len(readers[cast.output[0]]) == len(readers[scale.name]) == 1
        if not alone or len(axes) > 1 or len(scale.dims) not in (0, rank):
            continue
        node.op_type, node.input[0] = "DequantizeLinear", cast.input[0]
        if axes:
            node.attribute.append(helper.make_attribute("axis", axes[0]))
        scale.dims[:] = [scale.dims[axis] for axis in axes]
        gone.append(cast)
    for cast in gone:
        graph.node.remove(cast)
    return model


def _grid(
    node: onnx.NodeProto, held: Mapping[str, onnx.TensorProto]
) -> tuple[onnx.TensorProto, onnx.TensorProto, int] | None:
    """The int8 weight that a node dequantises around zero, its scales, and the axis of these."""
    if node.op_type != "DequantizeLinear" or any(
        one.name == "block_size" for one in node.attribute
    ):
        return None
    weight, scale, *zeros = [held.get(name) for name in node.input]
    if weight is None or scale is None or weight.data_type != TensorProto.INT8:
        return None
    if any(zero is None or numpy_helper.to_array(zero).any() for zero in zeros):
        return None
    told = [one.i for one in node.attribute if one.name == "axis"]
    return weight, scale, (told or [1])[0] % max(len(weight.dims), 1)


def _in_floats(
    weight: str, readers: Mapping[str, Sequence[onnx.NodeProto]], makers: Mapping[str, str]
) -> bool:
    """Whether every reader of a weight is a kernel that computes in floats."""

    def reads(one: onnx.NodeProto) -> bool:
        if one.op_type in _MOVES:
            return _in_floats(one.output[0], readers, makers)
        if one.op_type in _RECURRENT:
            return weight in one.input[1:3]
        on_grid = makers.get(one.input[0]) == "DequantizeLinear"
        return one.op_type in _KERNELS and one.input[1] == weight and not on_grid

    kernels = readers.get(weight, ())
    return bool(kernels) and all(map(reads, kernels))


def _is(node: onnx.NodeProto, kind: str, inputs: int = 1) -> bool:
    standard = node.op_type == kind and node.domain in STANDARD
    return standard and len(node.input) == inputs and len(node.output) == 1


def _casts(node: onnx.NodeProto, kind: int) -> bool:
    return _is(node, "Cast") and any(one.name == "to" and one.i == kind for one in node.attribute)


def _rank_of_int8(
    name: str, held: Mapping[str, onnx.TensorProto], makers: Mapping[str, onnx.NodeProto]
) -> int | None:
    """How many dimensions stored int8 has, also if it is stored narrower (`runtimes.narrow`)."""
    rank = None
    maker = makers.get(name)
    if maker is not None and _is(maker, "Reshape", 2):
        shape = held.get(maker.input[1])
        rank = shape.dims[0] if shape is not None and len(shape.dims) == 1 else None
        scattered = makers.get(maker.input[0])
        if rank is None or scattered is None or not _is(scattered, "ScatterElements", 3):
            return None
        maker = makers.get(scattered.input[0])
    if maker is None:
        tensor = held.get(name)
        return len(tensor.dims) if tensor and tensor.data_type == TensorProto.INT8 else None
    tensor = held.get(maker.input[0]) if _casts(maker, TensorProto.INT8) else None
    return None if tensor is None else rank or len(tensor.dims)
