"""Arithmetic, comparison and logic, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from packlight.readers.onnx.graph import TORCH_TYPES, Node
from packlight.readers.onnx.registry import op
from packlight.readers.onnx.values import Array, constant

# torch stores these but computes little with them; int64 holds their sums and products modulo 2^64
_AWKWARD = (torch.uint16, torch.uint32, torch.uint64)

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Round": torch.round,  # half to even, as ONNX asks
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
}


@op(*_UNARY)
def unary(node: Node, x: Tensor) -> Tensor:
    """A function of each element."""
    return _narrow(_UNARY[node.op], x)


def _divide(a: Any, b: Any) -> Any:
    first = a if isinstance(a, Tensor) else b
    return a / b if first.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _minimum(a: Any, b: Any) -> Tensor:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.minimum(a, b)
    return torch.clamp(a, max=b) if isinstance(a, Tensor) else torch.clamp(b, max=a)


def _maximum(a: Any, b: Any) -> Tensor:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.maximum(a, b)
    return torch.clamp(a, min=b) if isinstance(a, Tensor) else torch.clamp(b, min=a)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b,
    "And": lambda a, b: torch.logical_and(*_both(a, b)),
    "BitwiseAnd": lambda a, b: a & b,
    "BitwiseOr": lambda a, b: a | b,
    "BitwiseXor": lambda a, b: a ^ b,
    "Div": _divide,
    "Equal": lambda a, b: a == b,
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b,
    "Mul": lambda a, b: a * b,
    "Or": lambda a, b: torch.logical_or(*_both(a, b)),
    "Sub": lambda a, b: a - b,
    "Xor": lambda a, b: torch.logical_xor(*_both(a, b)),
}
_COMPARISONS = frozenset(["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
_VARIADIC: dict[str, Callable[[Any, Any], Any]] = {
    "Max": _maximum,
    "Mean": lambda a, b: a + b,
    "Min": _minimum,
    "Sum": lambda a, b: a + b,
}


@op(*_BINARY, either=[0, 1])
def binary(node: Node, a: Tensor | Array, b: Tensor | Array) -> Tensor:
    """A function of two broadcast tensors; a constant of one element stays a plain number."""
    left, right = operands(a, b)
    result = _narrow(_BINARY[node.op], left, right)
    return result.bool() if node.op in _COMPARISONS else result


@op(*_VARIADIC, either=range(64))
def variadic(node: Node, *values: Tensor | Array) -> Tensor:
    """A function of any number of broadcast tensors."""
    total = values[0] if isinstance(values[0], Tensor) else constant(values[0])
    for value in values[1:]:
        left, right = operands(total, value)
        total = _narrow(_VARIADIC[node.op], left, right)
    return total / len(values) if node.op == "Mean" else total


@op("Pow", either=[0, 1])
def power(node: Node, base: Tensor | Array, exponent: Tensor | Array) -> Tensor:
    """Power, of the type of the base."""
    dtype = base.dtype if isinstance(base, Tensor) else constant(base).dtype
    left, right = operands(base, exponent)
    if isinstance(right, float) and isinstance(left, Tensor) and right.is_integer():
        right = int(right)
    if isinstance(left, Tensor) and isinstance(right, int) and right < 0:
        right = float(right)
    result = torch.pow(left, right)
    return result if result.dtype == dtype else result.to(dtype)


@op("Mod", either=[0, 1])
def mod(node: Node, a: Tensor | Array, b: Tensor | Array) -> Tensor:
    """Remainder: with the sign of the divisor, or of the dividend when `fmod` is set."""
    left, right = (constant(x) if isinstance(x, np.ndarray) else x for x in (a, b))
    return _narrow(torch.fmod if node.get("fmod", 0) else torch.remainder, left, right)


@op("BitShift")
def bit_shift(node: Node, x: Tensor, amount: Tensor) -> Tensor:
    """Shift of unsigned integers."""
    if x.dtype == torch.uint64 and node.get("direction") == "RIGHT":
        raise node.unsupported("64-bit unsigned integers")
    left = node.get("direction") == "LEFT"
    return _narrow(torch.bitwise_left_shift if left else torch.bitwise_right_shift, x, amount)


@op("IsInf")
def is_inf(node: Node, x: Tensor) -> Tensor:
    """Where a number is infinite, by sign if asked for."""
    positive, negative = node.get("detect_positive", 1), node.get("detect_negative", 1)
    if positive and negative:
        return torch.isinf(x)
    if positive or negative:
        return x == (math.inf if positive else -math.inf)
    return torch.zeros_like(x, dtype=torch.bool)


@op("Where", either=[1, 2])
def where(node: Node, condition: Tensor, a: Tensor | Array, b: Tensor | Array) -> Tensor:
    """One or the other, by a condition."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        a = constant(a)
    left, right = operands(a, b)
    return torch.where(condition, left, right)


@op("Clip", either=[1, 2])
def clip(
    node: Node,
    x: Tensor,
    low: Tensor | Array | None = None,
    high: Tensor | Array | None = None,
) -> Tensor:
    """Limit to a range; 0 to 6 is relu6."""
    if node.opset < 11:
        # the attributes' defaults are the limits of float32
        least, most = node.get("min", -math.inf), node.get("max", math.inf)
        limits = [
            None if least < -3e38 else least,
            None if most > 3e38 else most,
        ]
    else:
        limits = [_limit(low), _limit(high)]
    if limits == [None, None]:
        return x
    if not any(isinstance(limit, Tensor) for limit in limits):
        if x.is_floating_point() and limits == [0, 6]:
            return torch.nn.functional.relu6(x)
        if x.is_floating_point() and limits == [0, None]:
            return torch.relu(x)
        return torch.clamp(x, *limits)
    for limit, pick in zip(limits, (_maximum, _minimum), strict=True):
        if limit is not None:
            x = pick(x, limit)
    return x


def _limit(value: Tensor | Array | None) -> Any:
    return value.reshape(()).item() if isinstance(value, np.ndarray) else value


@op("Cast")
def cast(node: Node, x: Tensor) -> Tensor:
    """Change of type."""
    dtype = TORCH_TYPES.get(node.get("to"))
    if dtype is None:
        raise node.unsupported("text, 8-bit floats and packed integers can not be computed with")
    return x if x.dtype == dtype else x.to(dtype)


@op("BitCast")
def bit_cast(node: Node, x: Tensor) -> Tensor:
    """The same bits read as another type of the same width."""
    dtype = TORCH_TYPES.get(node.get("to"))
    if dtype is None or dtype.itemsize != x.dtype.itemsize or torch.bool in (dtype, x.dtype):
        raise node.unsupported("between types of different width")
    return x.view(dtype)


@op("CastLike")
def cast_like(node: Node, x: Tensor, like: Tensor) -> Tensor:
    """Change to the type of another tensor."""
    return x.to(like.dtype)


def operands(a: Tensor | Array, b: Tensor | Array) -> tuple[Any, Any]:
    """Two operands for torch, constants of one element as plain numbers where that is the same."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return constant(a), constant(b)
    if isinstance(b, np.ndarray):
        return a, _number_or_tensor(b, a)
    if isinstance(a, np.ndarray):
        return _number_or_tensor(a, b), b
    return a, b


def _number_or_tensor(array: Array, other: Any) -> Any:
    if array.size == 1 and array.ndim <= other.ndim:
        return array.reshape(()).item()
    return constant(array)


def _both(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    return (
        a if isinstance(a, Tensor) else torch.tensor(a),
        b if isinstance(b, Tensor) else torch.tensor(b),
    )


def _narrow(run: Callable[..., Any], *values: Any) -> Tensor:
    """Run on int64 what torch can not run on wide unsigned integers."""
    dtypes = [value.dtype for value in values if isinstance(value, Tensor)]
    if not any(dtype in _AWKWARD for dtype in dtypes):
        result: Tensor = run(*values)
        return result
    widened = [value.to(torch.int64) if isinstance(value, Tensor) else value for value in values]
    result = run(*widened)
    return result.to(dtypes[0]) if result.dtype == torch.int64 else result
