"""Tensors of a TFLite file, and the scales and limits that follow from others.

Field numbers are those of TFLite's schema.fbs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from packlight.coding.openers.flatbuffers import Table, root
from packlight.coding.openers.tensor import Derived, Rows, Tensor

_MODEL_SUBGRAPHS, _MODEL_BUFFERS = 2, 4
_SUBGRAPH_TENSORS, _SUBGRAPH_OPERATORS = 0, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTIZATION = 0, 1, 2, 3, 4
_OPERATOR_INPUTS = 1
_BUFFER_DATA = 0
_QUANTIZATION_MIN, _QUANTIZATION_MAX, _QUANTIZATION_SCALE = 0, 1, 2
_QUANTIZATION_AXIS = 6
_WEIGHT_LIMIT = 127.0
_ROUNDED = 8  # ratios of two vectors that are one, but for the rounding of either
_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 7: "int16", 9: "int8"}


def tensors(data: bytes) -> Iterator[Tensor | Derived]:
    """Every tensor with data, its scales, and the scales of biases."""
    model = root(data)
    buffers = [buffer.vector(_BUFFER_DATA, 1) for buffer in model.tables(_MODEL_BUFFERS)]
    for graph in model.tables(_MODEL_SUBGRAPHS):
        scales: list[tuple[int, int]] = []
        for tensor in graph.tables(_SUBGRAPH_TENSORS):
            found = list(_tensor(tensor, buffers))
            yield from found
            quantization = tensor.table(_TENSOR_QUANTIZATION)
            scales.append(quantization.vector(_QUANTIZATION_SCALE, 4) if quantization else (0, 0))
            if quantization:
                yield from _limits(quantization, scales[-1], found)
        derived = set()
        for operator in graph.tables(_SUBGRAPH_OPERATORS):
            for scale in _bias_scale(data, operator, scales):
                derived.add(scale.offset)
                yield scale
        for at, count in scales:
            if count > 1 and at not in derived:
                yield Tensor(at, "float32", (count,), "scale")


def _tensor(tensor: Table, buffers: list[tuple[int, int]]) -> Iterator[Tensor]:
    at, size = buffers[tensor.number(_TENSOR_BUFFER, "I")]
    kind = tensor.number(_TENSOR_TYPE, "b")
    shape = tensor.numbers(_TENSOR_SHAPE)
    if not size or kind not in _TYPES or any(n <= 0 for n in shape):
        return
    found = Tensor(at, _TYPES[kind], shape, tensor.text(_TENSOR_NAME), channels_last=True)
    if prod(shape) * found.width == size:
        yield found


def _limits(
    quantization: Table, scale: tuple[int, int], weight: Sequence[Tensor]
) -> Iterator[Derived]:
    """The larger of a channel's -minimum and maximum is 127 times its scale, and the other one is
    within half a step of where its weights end."""
    at, count = scale
    axis = quantization.number(_QUANTIZATION_AXIS, "i")
    for field, limit in ((_QUANTIZATION_MAX, _WEIGHT_LIMIT), (_QUANTIZATION_MIN, -_WEIGHT_LIMIT)):
        limits, limit_count = quantization.vector(field, 4)
        if count > 1 and limit_count == count and at < limits:
            rows = _rows(weight, axis, count, lowest=limit < 0)
            yield Derived(limits, 4 * count, at, struct.pack("<f", limit), "weight limits", rows)


def _rows(weight: Sequence[Tensor], axis: int, count: int, *, lowest: bool) -> Rows | None:
    """The rows of a weight with a scale for each place of its first or last axis."""
    for tensor in weight:
        last = len(tensor.shape) - 1
        if tensor.dtype == "int8" and axis in (0, last) and tensor.shape[axis] == count:
            return Rows(tensor.offset, tensor.size // count, axis == last > 0, lowest)
    return None


def _bias_scale(data: bytes, operator: Table, scales: list[tuple[int, int]]) -> Iterator[Derived]:
    """A convolution's bias is held in units of its input's scale times its weights' scales."""
    inputs = operator.numbers(_OPERATOR_INPUTS)
    if len(inputs) < 3 or not all(0 <= i < len(scales) for i in inputs[:3]):
        return
    (x, x_count), (weight, weight_count), (bias, bias_count) = (scales[i] for i in inputs[:3])
    if x_count != 1 or bias_count != weight_count or bias_count < 2:
        return
    size = 4 * bias_count
    if weight < bias:
        yield Derived(bias, size, weight, data[x : x + 4], "bias scale")
    elif bias < weight:
        inverse = _ratio(data[bias : bias + size], data[weight : weight + size])
        if inverse:
            yield Derived(weight, size, bias, inverse, "scale")


def _ratio(old: bytes, new: bytes) -> bytes | None:
    """The fp32 number that makes most of the old numbers exactly the new ones, if there is one but
    for rounding."""
    before, after = (np.frombuffer(numbers, "<f4") for numbers in (old, new))
    with np.errstate(all="ignore"):
        ratios = np.unique(after / before)
        if len(ratios) > _ROUNDED or not np.isfinite(ratios).all():
            return None
        exact = [int((before * ratio == after).sum()) for ratio in ratios]
    return ratios[int(np.argmax(exact))].tobytes()
