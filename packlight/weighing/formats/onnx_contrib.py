"""Shapes of the operators that onnxruntime adds to ONNX (docs/ContribOperators.md there), where
they are those of a standard operator or follow from one line. The first input leads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, helper

Shape = tuple[int | None, ...] | None
Found = tuple[int, tuple[int | None, ...]] | None
Rule = Callable[[NodeProto, Sequence[Shape], Sequence[int]], Found]

DOMAINS = ("com.microsoft", "com.microsoft.nchwc")


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """A node's attribute as a plain value."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def _same(node: NodeProto, shapes: Sequence[Shape], kinds: Sequence[int]) -> Found:
    return None if shapes[0] is None else (kinds[0], shapes[0])


def _dequantized(node: NodeProto, shapes: Sequence[Shape], kinds: Sequence[int]) -> Found:
    return None if shapes[0] is None else (kinds[1], shapes[0])


def _quantized(node: NodeProto, shapes: Sequence[Shape], kinds: Sequence[int]) -> Found:
    kind = kinds[2] if len(kinds) > 2 else 2
    return None if shapes[0] is None else (kind, shapes[0])


def _broadcast(position: int) -> Rule:
    def rule(node: NodeProto, shapes: Sequence[Shape], kinds: Sequence[int]) -> Found:
        first, second = shapes[0], shapes[position]
        if first is None or second is None or None in first or None in second:
            return None
        sizes = np.broadcast_shapes(*(tuple(s or 0 for s in shape) for shape in (first, second)))
        return kinds[0], tuple(int(size) for size in sizes)

    return rule


def _few_bits(node: NodeProto, shapes: Sequence[Shape], kinds: Sequence[int]) -> Found:
    return None if not shapes[0] else (kinds[0], (*shapes[0][:-1], attribute(node, "N")))


def _product(position: int) -> Rule:
    def rule(node: NodeProto, shapes: Sequence[Shape], kinds: Sequence[int]) -> Found:
        left, right = shapes[0], shapes[position]
        if left is None or right is None or min(len(left), len(right)) < 2:
            return None
        if attribute(node, "transA"):
            left = (*left[:-2], left[-1], left[-2])
        if attribute(node, "transB"):
            right = (*right[:-2], right[-1], right[-2])
        return kinds[0], (*left[:-1], right[-1])

    return rule


def _pooled(node: NodeProto, shapes: Sequence[Shape], kinds: Sequence[int]) -> Found:
    shape = shapes[0]
    if shape is None or len(shape) < 3:
        return None
    ones = (1,) * (len(shape) - 2)
    last = attribute(node, "channels_last", 0)
    return kinds[0], (shape[0], *ones, shape[-1]) if last else (*shape[:2], *ones)


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *("BiasGelu", "FastGelu", "Gelu", "QuickGelu", "LayerNormalization"),
            *("SimplifiedLayerNormalization", "SkipLayerNormalization", "QLinearLeakyRelu"),
            *("SkipSimplifiedLayerNormalization", "QLinearSigmoid", "QLinearSoftmax"),
        ),
        _same,
    ),
    "DequantizeLinear": _dequantized,
    "QuantizeLinear": _quantized,
    "QLinearAdd": _broadcast(3),
    "QLinearMul": _broadcast(3),
    "MatMulNBits": _few_bits,
    "FusedMatMul": _product(1),
    "FusedGemm": _product(1),
    "QGemm": _product(3),
    "QLinearGlobalAveragePool": _pooled,
}
