"""Weights that an older Core ML network holds (coremltools, mlmodel/format/NeuralNetwork.proto)."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from packlight.coding.openers.protobuf import fields, number, numbers, parts, text
from packlight.coding.openers.tensor import ITEM_SIZES, Tensor

_NETWORK_LAYERS, _LAYER_NAME = 1, 1
_CONVOLUTION, _INNER_PRODUCT = 100, 140
_OUTPUTS, _KERNEL_CHANNELS, _GROUPS, _KERNEL, _TURNED, _CONVOLUTION_WEIGHTS = 1, 2, 10, 20, 60, 90
_INPUTS, _INNER_OUTPUTS, _INNER_WEIGHTS = 1, 2, 20
_WEIGHTS = {1: "float32", 2: "float16", 30: "uint8", 31: "int8"}


def tensors(data: bytes, start: int, end: int) -> Iterator[Tensor]:
    """The weights of every convolution and inner product, fp32, fp16 and of 8 bits."""
    for at, to in parts(data, start, end, _NETWORK_LAYERS):
        name = text(data, at, to, _LAYER_NAME)
        for kind, a, b in fields(data, at, to):
            if kind == _CONVOLUTION:
                yield from _weights(data, a, b, _CONVOLUTION_WEIGHTS, _kernel(data, a, b), name)
            elif kind == _INNER_PRODUCT:
                shape = number(data, a, b, _INNER_OUTPUTS), number(data, a, b, _INPUTS)
                yield from _weights(data, a, b, _INNER_WEIGHTS, shape, name)


def _kernel(data: bytes, start: int, end: int) -> tuple[int, ...]:
    rows, channels = (number(data, start, end, field) for field in (_OUTPUTS, _KERNEL_CHANNELS))
    taps = [n for at, to in parts(data, start, end, _KERNEL) for n in numbers(data, at, to)]
    if number(data, start, end, _TURNED):
        rows, channels = channels, rows // max(number(data, start, end, _GROUPS), 1)
    return rows, channels, *(taps or (3, 3))


def _weights(
    data: bytes, start: int, end: int, field: int, shape: tuple[int, ...], name: str
) -> Iterator[Tensor]:
    for at, to in parts(data, start, end, field):
        for kind, a, b in fields(data, at, to):
            if kind in _WEIGHTS and prod(shape) * ITEM_SIZES[_WEIGHTS[kind]] == b - a > 0:
                yield Tensor(a, _WEIGHTS[kind], shape, name)
