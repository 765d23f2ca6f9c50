"""ExecuTorch programs -> their tensors, by name and shape.

What a delegate computes is its own affair, and most of a program is delegates: the layers are not
listed. The memory that its activations were given is in the file.
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path

from packlight.coding.openers import executorch
from packlight.coding.openers.flatbuffers import root
from packlight.coding.openers.tensor import Tensor
from packlight.errors import BadInput
from packlight.units import show_size
from packlight.weighing.formats.operations import Listing, Operation, Weight
from packlight.weighing.formats.packed import zeros_in

_PLANS, _PLAN_DELEGATES, _PLAN_MEMORY, _DELEGATE_ID = 1, 7, 8, 0
_ODD = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError),
    *(ValueError, struct.error),
)


def read_listing(path: Path) -> Listing:
    """List a program's constants, those inside XNNPACK's delegates included.

    Raises:
        BadInput: it is no program, or is damaged.
    """
    data = path.read_bytes()
    if data[4:8] != b"ET12":
        raise BadInput(f"{path.name} is no ExecuTorch program, or it is cut off or damaged")
    try:
        notes = _notes(data)
        operations = [
            _row(data, tensor, number)
            for number, tensor in enumerate(executorch.tensors(data))
            if isinstance(tensor, Tensor)
        ]
    except _ODD as problem:
        raise BadInput(f"{path.name} is cut off or damaged ({problem})") from problem
    return Listing({}, operations, (), (), notes)


def _row(data: bytes, tensor: Tensor, number: int) -> Operation:
    content = data[tensor.offset : tensor.offset + tensor.size]
    if len(content) < tensor.size:
        raise ValueError(f"tensor {tensor.name!r} ends behind the file")
    zeros = zeros_in(content, tensor.dtype, prod(tensor.shape))
    name = tensor.name or f"tensor {number}"
    return Operation(
        name=name,
        type="Tensor",
        reads=(),
        writes=(),
        role="tensor",
        weights=(Weight(f"{name}@{tensor.offset}", tensor.shape, tensor.size, zeros),),
        parameters="x".join(map(str, tensor.shape)) or "1",
    )


def _notes(data: bytes) -> list[str]:
    plans = root(data).tables(_PLANS)
    delegates = sorted(
        {
            delegate.text(_DELEGATE_ID) or "a delegate"
            for plan in plans
            for delegate in plan.tables(_PLAN_DELEGATES)
        }
    )
    # the first size is a place holder, and the runtime ignores it
    memory = sum(size for plan in plans[:1] for size in plan.numbers(_PLAN_MEMORY, "q")[1:])
    notes = ["an ExecuTorch program tells tensors and no layers: what they compute is not known"]
    if delegates:
        notes.append(f"part of it is run by {', '.join(delegates)}")
    if memory > 0:
        notes.append(f"{show_size(memory)} of memory are planned for its activations")
    return notes
