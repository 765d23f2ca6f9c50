"""Arithmetic on values known while reading: sizes, mostly.

Symbolic sizes come in object arrays, on which numpy calls Python's own operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch

from packlight.readers.onnx.graph import NUMPY_TYPES, TORCH_TYPES, Node
from packlight.readers.onnx.registry import host
from packlight.readers.onnx.values import HOST_LIMIT, Array, settled


def _host_divide(a: Array, b: Array) -> Array:
    if a.dtype == object or b.dtype == object:
        whole = not any(isinstance(x, (float, torch.SymFloat)) for x in [*a.flat, *b.flat])
        return np.asarray(a // b if whole else a / b, dtype=object)
    if a.dtype.kind in "iu":
        if not b.all():
            raise ZeroDivisionError("division by zero")
        return ((np.abs(a) // np.abs(b)) * (np.sign(a) * np.sign(b))).astype(a.dtype)
    return np.divide(a, b)


def _each(run: Callable[..., Any]) -> Callable[..., Array]:
    """A function of Python numbers on object arrays."""

    def on_arrays(*arrays: Array) -> Array:
        shaped = np.broadcast_arrays(*arrays)
        result = np.empty(shaped[0].shape, dtype=object)
        for index in np.ndindex(result.shape):
            result[index] = run(*[array[index] for array in shaped])
        return settled(result)

    return on_arrays


_HOST_BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    # on plain arrays, on object arrays
    "Add": (np.add, np.add),
    "And": (np.logical_and, _each(lambda a, b: bool(a) and bool(b))),
    "Div": (_host_divide, _host_divide),
    "Equal": (np.equal, _each(lambda a, b: bool(a == b))),
    "Greater": (np.greater, _each(lambda a, b: bool(a > b))),
    "GreaterOrEqual": (np.greater_equal, _each(lambda a, b: bool(a >= b))),
    "Less": (np.less, _each(lambda a, b: bool(a < b))),
    "LessOrEqual": (np.less_equal, _each(lambda a, b: bool(a <= b))),
    "Mul": (np.multiply, np.multiply),
    "Or": (np.logical_or, _each(lambda a, b: bool(a) or bool(b))),
    "Sub": (np.subtract, np.subtract),
    "Xor": (np.logical_xor, _each(lambda a, b: bool(a) != bool(b))),
}


@host(*_HOST_BINARY)
def binary_on_host(node: Node, a: Array, b: Array) -> Any:
    """Arithmetic on sizes."""
    if _too_large(a, b):
        return NotImplemented
    symbolic = a.dtype == object or b.dtype == object
    with np.errstate(all="ignore"):
        result = _HOST_BINARY[node.op][symbolic](a, b)
    return result


@host("Max", "Min")
def extreme_on_host(node: Node, *values: Array) -> Any:
    """Largest or smallest of several sizes."""
    if _too_large(*values):
        return NotImplemented
    if any(value.dtype == object for value in values):
        pick = torch.sym_max if node.op == "Max" else torch.sym_min
        return reduce(_each(pick), values)
    return reduce(np.maximum if node.op == "Max" else np.minimum, values)


@host("Sum")
def sum_on_host(node: Node, *values: Array) -> Any:
    """Sum of several sizes."""
    return NotImplemented if _too_large(*values) else reduce(np.add, values)


@host("Mod")
def mod_on_host(node: Node, a: Array, b: Array) -> Any:
    """Remainder of sizes."""
    if _too_large(a, b):
        return NotImplemented
    if a.dtype == object or b.dtype == object:
        return _each(lambda x, y: x % y)(a, b)
    if b.dtype.kind in "iu" and not b.all():
        raise ZeroDivisionError("division by zero")
    with np.errstate(all="ignore"):
        return np.fmod(a, b) if node.get("fmod", 0) else np.mod(a, b)


@host("Pow")
def power_on_host(node: Node, a: Array, b: Array) -> Any:
    """Power of known numbers."""
    if _too_large(a, b) or a.dtype == object or b.dtype == object:
        return NotImplemented
    with np.errstate(all="ignore"):
        return np.power(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype)


_HOST_UNARY: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]] = {
    "Abs": (np.abs, _each(abs)),
    "Ceil": (np.ceil, _each(lambda x: x if isinstance(x, (int, torch.SymInt)) else math.ceil(x))),
    "Exp": (np.exp, None),
    "Floor": (
        np.floor,
        _each(lambda x: x if isinstance(x, (int, torch.SymInt)) else math.floor(x)),
    ),
    "Log": (np.log, None),
    "Neg": (np.negative, np.negative),
    "Not": (np.logical_not, _each(lambda x: not x)),
    "Reciprocal": (np.reciprocal, None),
    "Round": (np.round, None),
    "Sqrt": (np.sqrt, None),
}


@host(*_HOST_UNARY)
def unary_on_host(node: Node, x: Array) -> Any:
    """Functions of known numbers."""
    plain, symbolic = _HOST_UNARY[node.op]
    if x.dtype != object:
        with np.errstate(all="ignore"):
            return np.asarray(plain(x)).astype(bool if node.op == "Not" else x.dtype)
    if symbolic is None:
        return NotImplemented
    return np.asarray(symbolic(x), dtype=object)


@host("Where")
def where_on_host(node: Node, condition: Array, a: Array, b: Array) -> Any:
    """One size or the other."""
    if _too_large(condition, a, b):
        return NotImplemented
    return np.where(condition.astype(bool), a, b)


@host("Cast")
def cast_on_host(node: Node, x: Array) -> Any:
    """Change of type; a symbolic size turns into a symbolic float and back."""
    dtype = TORCH_TYPES.get(node.get("to"))
    if dtype is None:
        return NotImplemented
    if x.dtype == object:
        if dtype.is_floating_point:
            return _each(lambda i: torch.sym_float(i))(x)
        return _each(_whole)(x)
    if dtype == torch.bfloat16:
        return NotImplemented
    with np.errstate(all="ignore"):
        return x.astype(NUMPY_TYPES[node.get("to")])


def _whole(item: Any) -> Any:
    return item if isinstance(item, torch.SymInt) else torch.sym_int(item)


def _too_large(*arrays: Array) -> bool:
    return math.prod(np.broadcast_shapes(*[array.shape for array in arrays])) > HOST_LIMIT
