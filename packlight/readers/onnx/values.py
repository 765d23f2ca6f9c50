"""Values known while reading, next to tensors that are not.

A graph's value is either a `Tensor`, which depends on an input, or `Known`, which does not: it
is a constant of the file, a size, or computed from such. Sizes, axes and steps must be numbers
when the graph is traced, and weights must stay parameters, so a Known can be asked for both: its
`array` (numpy; dtype object when it holds a symbolic size) and its `tensor()`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = np.ndarray[Any, Any]

HOST_LIMIT = 1 << 16  # elements of a value that is worked out while reading and not while running

SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)


class Known:
    """A value that depends on no input.

    Args:
        array: the numbers, or a function that works them out.
        tensor: a function that makes the tensor; default: a constant from `array`.
        weight: it is a weight or computed from one: whoever can use the tensor should.
    """

    def __init__(
        self,
        array: Array | Callable[[], Array],
        tensor: Callable[[], Tensor] | None = None,
        weight: bool = False,
    ) -> None:
        self._array = array
        self._tensor = tensor
        self.weight = weight

    @property
    def array(self) -> Array:
        """The numbers."""
        if not isinstance(self._array, np.ndarray):
            self._array = self._array()
        return self._array

    def tensor(self) -> Tensor:
        """The tensor: a parameter, a buffer, or a constant of the graph."""
        return self._tensor() if self._tensor else constant(self.array)

    def scalar(self) -> Any:
        """The number of a one-element value that is no weight, otherwise None."""
        if self.weight or self.array.size != 1:
            return None
        return self.array.reshape(()).item()


Value: TypeAlias = Tensor | Known


def as_tensor(value: Value) -> Tensor:
    """The tensor of either kind of value."""
    return value.tensor() if isinstance(value, Known) else value


def settled(array: Array, dtype: Any = np.int64) -> Array:
    """An object array without symbolic elements becomes a plain one."""
    if array.dtype != object or any(isinstance(item, SYMBOLIC) for item in array.flat):
        return array
    kinds = {type(item) for item in array.flat}
    if kinds <= {bool, np.bool_} and kinds:
        return array.astype(np.bool_)
    if any(issubclass(kind, (float, np.floating)) for kind in kinds):
        return array.astype(np.float32)
    return array.astype(dtype)


def sizes(values: Sequence[Any]) -> Array:
    """A 1-D array of sizes, some of them perhaps symbolic."""
    array = np.empty(len(values), dtype=object)
    array[:] = [value if isinstance(value, SYMBOLIC) else int(value) for value in values]
    return settled(array)


def numbers(array: Array) -> list[Any]:
    """A 0-D or 1-D array of integers as Python ints and SymInts."""
    return [
        item if isinstance(item, SYMBOLIC) else int(item) for item in array.reshape(-1).tolist()
    ]


def constant(array: Array) -> Tensor:
    """An array as a constant of the graph; symbolic sizes become 0-D tensors, stacked."""
    if array.dtype != object:
        return to_torch(array)
    parts = [torch.scalar_tensor(item, dtype=_dtype_of(item)) for item in array.flat]
    if array.ndim == 0:
        return parts[0]
    return torch.stack(parts).reshape(array.shape)


def _dtype_of(item: Any) -> torch.dtype:
    if isinstance(item, (torch.SymFloat, float)):
        return torch.float32
    if isinstance(item, (torch.SymBool, bool)):
        return torch.bool
    return torch.int64


def to_torch(array: Array) -> Tensor:
    """A tensor that shares the array's memory where it can."""
    if str(array.dtype) == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    if not array.flags.c_contiguous or not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)


def is_float(array: Array) -> bool:
    """Whether an array holds floating-point numbers, bfloat16 included."""
    return array.dtype.kind == "f" or str(array.dtype) == "bfloat16"


def is_integer(value: Any) -> bool:
    """Whether a number is a plain Python integer rather than a symbolic one."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, SYMBOLIC)


def product(values: Sequence[Any]) -> Any:
    """The product of sizes, symbolic ones included."""
    return math.prod(values)
