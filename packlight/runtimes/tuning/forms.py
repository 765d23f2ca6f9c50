"""Other forms of layers with equal answers, up to the rounding of floats.

Each form is a function (graph, node) -> whether it changed the graph. Which one is faster depends
on the runtime's kernels and on the processor, so `tune` times them where they are to run.

    padded     a convolution whose number of outputs no block of channels divides, with channels of
               zeros that are cut off after the activations and pools that follow
    pad        zeros that a Pad puts around an image, as the padding of the convolution behind it,
               also past a rounding
    conv       a dense layer as a 1x1 convolution, whose weights are blocked like a convolution's
    factored   a dense layer whose matrix has a low rank, as two thin ones
    merged     two dense layers with nothing between them, as one
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import onnx
from onnx import helper

from packlight.runtimes.onnx_rewrites import pad_in_convolutions
from packlight.runtimes.tuning.graph import Graph, attribute
from packlight.types import Array

BLOCK = 8  # channels that onnxruntime's blocked layout holds side by side, with AVX2
RANK_ERROR = 1e-7  # of the matrix's largest singular value: what rounding leaves of a zero
_CHANNELWISE = {"Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool", "Sigmoid", "Tanh"}

Form = Callable[[Graph, onnx.NodeProto], bool]


def constant_weights(graph: Graph) -> bool:
    """Take the weights off the list of inputs, so that the runtime may rely on them.

    Files of IR version 3 list every weight as an input too, and later ones may: a caller could
    replace it, so onnxruntime folds nothing into it.
    """
    inputs = graph.model.graph.input
    names = {tensor.name for tensor in graph.model.graph.initializer}
    kept = [port for port in inputs if port.name not in names]
    changed = len(kept) < len(inputs)
    if changed:
        del inputs[:]
        inputs.extend(kept)
        graph.model.ir_version = max(graph.model.ir_version, 4)
        graph.inputs = {port.name for port in kept}
    return changed


def padded(graph: Graph, node: onnx.NodeProto) -> bool:
    weight = _conv_weight(graph, node)
    if weight is None or len(weight) % BLOCK == 0 or _groups(node) != 1 or graph.opset < 10:
        return False
    bias = graph.constant(node.input[2]) if _has_bias(node) else None
    if _has_bias(node) and bias is None:
        return False
    own, more = len(weight), -len(weight) % BLOCK
    last = node
    while (then := graph.only_user(last.output[0])) and then.op_type in _CHANNELWISE:
        if len(then.output) != 1 or then.input[0] != last.output[0]:
            break
        last = then
    node.input[1] = graph.add(_more_rows(weight, more), node.input[1])
    if bias is not None:
        node.input[2] = graph.add(_more_rows(bias, more), node.input[2])
    out = last.output[0]
    last.output[0] = f"{out}_padded"
    del graph.model.graph.value_info[:]  # it tells sizes of what is wider now
    ends = [graph.add(np.array([at], np.int64), out) for at in (0, own, 1)]
    graph.insert_after(last, helper.make_node("Slice", [last.output[0], *ends], [out]))
    return True


def pad(graph: Graph, node: onnx.NodeProto) -> bool:
    return pad_in_convolutions(graph.model.graph, only=node.output[0]) > 0


def conv(graph: Graph, node: onnx.NodeProto) -> bool:
    weight = _gemm_weight(graph, node)
    if weight is None:
        return False
    out = node.output[0]
    shape = graph.add(np.array([0, -1, 1, 1], np.int64), out)
    kernel = graph.add(weight[:, :, None, None], node.input[1])
    graph.replace(
        node,
        [
            helper.make_node("Reshape", [node.input[0], shape], [f"{out}_image"]),
            helper.make_node(
                "Conv",
                [f"{out}_image", kernel, *node.input[2:]],
                [f"{out}_conv"],
                kernel_shape=[1, 1],
            ),
            helper.make_node("Flatten", [f"{out}_conv"], [out]),
        ],
    )
    return True


def factored(graph: Graph, node: onnx.NodeProto) -> bool:
    weight = _gemm_weight(graph, node)
    if weight is None or weight.dtype != np.float32 or min(weight.shape) < 8:
        return False
    left, sizes, right = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
    rank = int((sizes > RANK_ERROR * sizes[0]).sum()) if sizes[0] else 0
    if not 0 < rank * sum(weight.shape) < prod(weight.shape):
        return False
    root = np.sqrt(sizes[:rank])
    first = graph.add((root[:, None] * right[:rank]).astype(np.float32), node.input[1])
    second = graph.add((left[:, :rank] * root).astype(np.float32), node.input[1])
    out = node.output[0]
    graph.replace(
        node,
        [
            helper.make_node("Gemm", [node.input[0], first], [f"{out}_thin"], transB=1),
            helper.make_node("Gemm", [f"{out}_thin", second, *node.input[2:]], [out], transB=1),
        ],
    )
    return True


def merged(graph: Graph, node: onnx.NodeProto) -> bool:
    first = _gemm_weight(graph, node)
    then = graph.only_user(node.output[0])
    second = None if then is None else _gemm_weight(graph, then)
    if first is None or then is None or second is None or then.input[0] != node.output[0]:
        return False
    biases = [graph.constant(one.input[2]) if _has_bias(one) else None for one in (node, then)]
    if any(_has_bias(one) and b is None for one, b in zip((node, then), biases, strict=True)):
        return False
    product = second.astype(np.float64) @ first.astype(np.float64)
    shift = np.zeros(len(second))
    if biases[0] is not None:
        shift = shift + second.astype(np.float64) @ biases[0].astype(np.float64).reshape(-1)
    if biases[1] is not None:
        shift = shift + biases[1].reshape(-1)
    names = [graph.add(value.astype(first.dtype), node.input[1]) for value in (product, shift)]
    made = helper.make_node("Gemm", [node.input[0], *names], [then.output[0]], transB=1)
    graph.replace(then, [made])
    graph.remove(node)
    return True


FORMS: dict[str, Form] = {
    "padded": padded,
    "pad": pad,
    "conv": conv,
    "factored": factored,
    "merged": merged,
}


def _conv_weight(graph: Graph, node: onnx.NodeProto) -> Array | None:
    """(out, in / groups, ...) of a convolution with constant float weights."""
    weight = graph.constant(node.input[1]) if node.op_type == "Conv" else None
    return weight if weight is not None and weight.dtype == np.float32 else None


def _gemm_weight(graph: Graph, node: onnx.NodeProto) -> Array | None:
    """(out, in) of a Gemm that is a plain dense layer with constant weights."""
    if node.op_type != "Gemm" or attribute(node, "transA", 0):
        return None
    if attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1:
        return None
    weight = graph.constant(node.input[1])
    if weight is None:
        return None
    weight = weight if attribute(node, "transB", 0) else weight.T
    if _has_bias(node):
        bias = graph.constant(node.input[2])
        if bias is None or bias.shape != (len(weight),):
            return None
    return weight


def _has_bias(node: onnx.NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _groups(node: onnx.NodeProto) -> int:
    return int(attribute(node, "group", 1))


def _more_rows(values: Array, more: int) -> Array:
    return np.concatenate([values, np.zeros((more, *values.shape[1:]), values.dtype)])
