"""The inputs to trace with, and which of them have a batch that may vary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from packlight.errors import BadInput
from packlight.readers.onnx.graph import Port
from packlight.readers.onnx.values import Array, to_torch

SEED = 0
MAX_ELEMENTS = 1 << 28  # of one input: a gigabyte of float32


@dataclass(frozen=True)
class Examples:
    """One tensor per input, whether its batch may vary, and what had to be decided."""

    tensors: tuple[Tensor, ...]
    dynamic: tuple[bool, ...]
    notes: tuple[str, ...]


def make_examples(
    ports: Sequence[Port], given: Sequence[Any] | None, fixed: Mapping[str, Array]
) -> Examples:
    """Check the user's example inputs, or make some.

    Args:
        ports: the inputs of the file.
        given: one array or tensor per input; those in `fixed` may be left out.
        fixed: inputs whose value is decided.
    Raises:
        BadInput: sizes other than the batch are open, or an example does not fit its input.
    """
    batch = _batch_name(ports, fixed)
    dynamic = [
        port.name not in fixed and bool(port.shape) and _is_open(port.shape, 0) for port in ports
    ]
    notes: list[str] = []
    if any(_elsewhere(port, batch) for port in ports if port.name not in fixed) and any(dynamic):
        dynamic = [False] * len(dynamic)
        notes.append(f"the batch is fixed: {batch!r} is a later dimension of an input as well")
    if given is None:
        tensors = _made(ports, fixed, batch)
    else:
        tensors = _checked(ports, given, fixed)
        rival = _rival(ports, tensors, dynamic)
        if rival:
            dynamic = [False] * len(dynamic)
            notes.append(rival)
        leading = [value.shape[0] for value, open_ in zip(tensors, dynamic, strict=True) if open_]
        dynamic = [
            open_ and value.shape[0] == leading[0]
            for value, open_ in zip(tensors, dynamic, strict=True)
        ]
    return Examples(tuple(tensors), tuple(dynamic), tuple(notes))


def _is_open(shape: tuple[int | str | None, ...] | None, axis: int) -> bool:
    return shape is not None and not isinstance(shape[axis], int)


def _batch_name(ports: Sequence[Port], fixed: Mapping[str, Array]) -> str | None:
    for port in ports:
        if port.name not in fixed and port.shape and isinstance(port.shape[0], str):
            return port.shape[0]
    return None


def _elsewhere(port: Port, batch: str | None) -> bool:
    return batch is not None and port.shape is not None and batch in port.shape[1:]


def _rival(ports: Sequence[Port], tensors: list[Tensor], dynamic: list[bool]) -> str:
    """Why the batch can not vary: another input may have it in a later dimension.

    A recurrent network's state is (layers, batch, features); fed with another batch than the
    samples it would be broadcast, and nobody would notice.
    """
    batches = {int(value.shape[0]) for value, open_ in zip(tensors, dynamic, strict=True) if open_}
    for port, value in zip(ports, tensors, strict=True):
        if not port.shape or _is_open(port.shape, 0):
            continue
        for axis in range(1, len(port.shape)):
            if _is_open(port.shape, axis) and int(value.shape[axis]) in batches:
                size = int(value.shape[axis])
                return (
                    f"the batch is fixed to {size}: dimension {axis} of {port.name} may be it too"
                )
    return ""


def _made(ports: Sequence[Port], fixed: Mapping[str, Array], batch: str | None) -> list[Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    tensors = []
    for port in ports:
        if port.name in fixed:
            tensors.append(to_torch(fixed[port.name]).clone())
            continue
        if port.shape is None:
            raise BadInput(
                f"the file does not say how many dimensions input {port.name!r} has; give "
                "example_inputs (on the command line: --input-shape)"
            )
        shape = []
        for axis, size in enumerate(port.shape):
            if isinstance(size, int):
                shape.append(size)
            elif axis == 0 or (batch is not None and size == batch):
                shape.append(1)
            else:
                name = f" ({size!r})" if size else ""
                raise BadInput(
                    f"input {port.name!r} leaves dimension {axis}{name} open, and only the batch "
                    "may vary; give example_inputs of the size your app uses (on the command "
                    "line: --input-shape)"
                )
        if math.prod(shape) > MAX_ELEMENTS:
            raise BadInput(
                f"input {port.name!r} of shape {shape} is larger than any network for a phone takes"
            )
        if port.dtype.is_floating_point:
            tensors.append(torch.randn(shape, generator=generator).to(port.dtype))
        else:
            tensors.append(torch.zeros(shape, dtype=port.dtype))
    return tensors


def _checked(
    ports: Sequence[Port], given: Sequence[Any], fixed: Mapping[str, Array]
) -> list[Tensor]:
    wanted = [port for port in ports if port.name not in fixed]
    names = [port.name for port in ports]
    if len(given) == len(ports):
        values = dict(zip(names, given, strict=True))
    elif len(given) == len(wanted):
        values = dict(zip([port.name for port in wanted], given, strict=True))
    else:
        raise BadInput(
            f"{len(given)} example inputs were given, but the file has {len(ports)}: "
            f"{', '.join(names)}"
        )
    return [
        to_torch(fixed[port.name]).clone()
        if port.name in fixed
        else _fitting(port, values[port.name])
        for port in ports
    ]


def _fitting(port: Port, value: Any) -> Tensor:
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError):
        raise BadInput(f"the example of input {port.name!r} is no array of numbers") from None
    tensor = tensor.detach().cpu()
    if tensor.dtype != port.dtype:
        if tensor.is_floating_point() and not port.dtype.is_floating_point:
            raise BadInput(
                f"input {port.name!r} is of type {_name(port.dtype)}, its example of type "
                f"{_name(tensor.dtype)}"
            )
        tensor = tensor.to(port.dtype)
    if port.shape is None:
        return tensor
    fits = tensor.ndim == len(port.shape) and all(
        not isinstance(size, int) or size == found
        for size, found in zip(port.shape, tensor.shape, strict=True)
    )
    if not fits:
        allowed = "x".join(str(size) if size is not None else "?" for size in port.shape)
        found = "x".join(str(size) for size in tensor.shape)
        raise BadInput(
            f"the example of input {port.name!r} has the shape {found or 'scalar'}, the file says "
            f"{allowed or 'scalar'}"
        )
    return tensor


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
