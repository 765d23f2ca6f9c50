"""An ONNX file with its integers in fewer bits: the same numbers, the same kernels, fewer bytes.

    INT4 or INT2 initialiser -> Cast to int8 -> [ScatterElements: the few beyond] -> as before

onnxruntime computes all of it once, when it loads the file, and runs the very graph that it would
have run. Only stored bytes shrink: memory does not, and the packed download grows a little, because
eight bits tell a coder more than four.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from packlight.errors import BadInput
from packlight.types import Array

BITS = (8, 4, 2)
_SIGNED = {4: TensorProto.INT4, 2: TensorProto.INT2}
_UNSIGNED = {4: TensorProto.UINT4, 2: TensorProto.UINT2}
_OPSETS = {4: (21, 10), 2: (25, 12)}  # the first that has the type, and the file version it needs
_CHANGED = ("DFT", "GroupNormalization", "RoiAlign")  # mean something else from opset 20 or 21 on
_POSITION = 4  # bytes to say where a number is that lies beyond
_CALLS = 250  # bytes of the operators that bring such numbers back


@dataclass(frozen=True)
class _Form:
    """A tensor's integers in `bits` bits, and the places of those that they can not hold."""

    bits: int
    beyond: Array
    size: int


def narrowed(data: bytes, bits: int) -> bytes:
    """An ONNX file with integers in at least `bits` bits, where that makes it smaller.

    Args:
        data: a file whose weights are int8, or uint8 indices into codebooks.
        bits: 8, 4 or 2; tensors that are smaller in more bits are stored in more.
    Raises:
        BadInput: other bits, or an operator that later versions of ONNX define otherwise.
    """
    if bits not in BITS:
        raise BadInput(f"--bits {bits} is none of {', '.join(map(str, BITS))}")
    if bits == BITS[0]:
        return data
    model = onnx.load_from_string(data)
    graph = model.graph
    added: list[onnx.NodeProto] = []
    used = {
        _as_indices(graph, tensor, bits)
        if tensor.data_type == TensorProto.UINT8
        else _as_levels(graph, tensor, bits, added)
        for tensor in list(graph.initializer)
        if tensor.data_type in (TensorProto.INT8, TensorProto.UINT8)
    } - {8}
    if not used:
        return data
    changed = sorted({node.op_type for node in graph.node} & set(_CHANGED))
    if changed:
        raise BadInput(
            f"the network holds {changed[0]}, which the versions of ONNX that have 4 bits define "
            "otherwise; export without --bits"
        )
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    opset, version = _OPSETS[min(used)]
    for each in model.opset_import:
        if each.domain in ("", "ai.onnx"):
            each.version = max(each.version, opset)
    model.ir_version = max(model.ir_version, version)
    made: bytes = model.SerializeToString(deterministic=True)
    return made


def _as_levels(
    graph: onnx.GraphProto, tensor: onnx.TensorProto, bits: int, added: list[onnx.NodeProto]
) -> int:
    """Store a tensor's int8 levels in fewer bits; returns how many it took."""
    name, levels = tensor.name, numpy_helper.to_array(tensor)
    flat = levels.reshape(-1)
    best = min(_forms(flat, bits), key=lambda form: form.size)
    if best.bits == BITS[0]:
        return best.bits
    few = flat.copy()
    few[best.beyond] = 0
    shape = levels.shape if not best.beyond.size else flat.shape
    kind = _SIGNED[best.bits]
    packed = _packed(few, best.bits)
    tensor.CopyFrom(helper.make_tensor(f"{name}_{best.bits}", kind, shape, packed, raw=True))
    if not best.beyond.size:
        added.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.INT8))
        return best.bits
    extra = {
        f"{name}_at": best.beyond.astype(np.int32),
        f"{name}_beyond": flat[best.beyond],
        f"{name}_shape": np.array(levels.shape, np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in extra.items())
    at, beyond, sizes = extra
    added += [
        helper.make_node("Cast", [tensor.name], [f"{name}_cast"], to=TensorProto.INT8),
        helper.make_node("ScatterElements", [f"{name}_cast", at, beyond], [f"{name}_flat"]),
        helper.make_node("Reshape", [f"{name}_flat", sizes], [name]),
    ]
    return best.bits


def _forms(flat: Array, bits: int) -> Iterator[_Form]:
    yield _Form(BITS[0], np.zeros(0, np.int64), flat.size)
    for each in BITS[1:]:
        if each >= bits:
            half = 1 << (each - 1)
            beyond = np.flatnonzero((flat < -half) | (flat >= half))
            size = flat.size * each // 8 + len(beyond) * (_POSITION + 1) + _CALLS
            yield _Form(each, beyond, size)


def _as_indices(graph: onnx.GraphProto, tensor: onnx.TensorProto, bits: int) -> int:
    """Store indices that nothing but a Cast reads in fewer bits; returns how many it took."""
    if not all(node.op_type == "Cast" for node in _readers(graph.node, tensor.name)):
        return BITS[0]
    indices = numpy_helper.to_array(tensor)
    if not indices.size:
        return BITS[0]
    fits = [each for each in BITS if each >= bits and int(indices.max()) < 1 << each]
    if min(fits) < BITS[0]:
        kind = _UNSIGNED[min(fits)]
        packed = _packed(indices.reshape(-1), min(fits))
        tensor.CopyFrom(helper.make_tensor(tensor.name, kind, indices.shape, packed, raw=True))
    return min(fits)


def _packed(values: Array, bits: int) -> bytes:
    """Integers in `bits` bits each, the first in the lowest bits of the first byte."""
    each = 8 // bits
    parts = np.zeros(-(-len(values) // each) * each, np.uint8)
    parts[: len(values)] = values.astype(np.uint8) & ((1 << bits) - 1)
    rows = parts.reshape(-1, each) << np.arange(0, 8, bits, dtype=np.uint8)
    return np.bitwise_or.reduce(rows, axis=1).astype(np.uint8).tobytes()


def _readers(nodes: Iterable[onnx.NodeProto], name: str) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        if name in node.input:
            yield node
        for attribute in node.attribute:
            yield from _readers(attribute.g.node, name)
