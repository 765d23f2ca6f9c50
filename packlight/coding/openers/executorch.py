"""Tensors of an ExecuTorch program (pytorch/executorch, schema/program.fbs): constants, named data,
and what its XNNPACK delegates hold.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod

from packlight.coding.openers import xnnpack
from packlight.coding.openers.flatbuffers import Table, root
from packlight.coding.openers.tensor import Derived, Tensor

_PLANS, _BUFFERS, _INLINE, _SEGMENTS, _CONSTANTS, _MUTABLES, _NAMED = 1, 2, 3, 4, 5, 6, 7
_PLAN_VALUES, _PLAN_CHAINS, _PLAN_OPERATORS, _PLAN_DELEGATES = 2, 5, 6, 7
_CHAIN_INSTRUCTIONS = 2
_INSTRUCTION_KIND, _INSTRUCTION = 0, 1
_CALL, _DELEGATE_CALL = 1, 2  # kinds
_CALLED, _OPERATOR_NAME = 0, 0
_VALUE_KIND, _VALUE, _VALUE_TENSOR = 0, 1, 5
_SCALAR_TYPE, _OFFSET, _SIZES, _ORDER, _BUFFER, _ALLOCATION, _EXTRA = 0, 1, 2, 3, 5, 6, 9
_EXTRA_SEGMENTS, _EXTRA_NAME, _EXTRA_LOCATION = 0, 1, 2
_SEGMENT_OFFSET, _SEGMENT_SIZE = 0, 1
_OFFSETS_SEGMENT, _OFFSETS = 0, 1
_NAMED_KEY, _NAMED_SEGMENT = 0, 1
_DELEGATE_PROCESSED, _PROCESSED_LOCATION, _PROCESSED_INDEX = 1, 0, 1
_HEADER = slice(8, 12)
_SEGMENT_BASE = 24
_CHANNELS_LAST = (0, 2, 3, 1)
_TYPES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    5: "float16",
    6: "float32",
    11: "uint8",
    12: "int8",
    13: "uint8",
    14: "int32",
    15: "bfloat16",
    27: "uint16",
}


def tensors(data: bytes) -> Iterator[Tensor | Derived]:
    """Every constant of a known type, and the scales of XNNPACK's biases."""
    program = root(data)
    base = 0
    if data[_HEADER] == b"eh00":
        (base,) = struct.unpack_from("<Q", data, _SEGMENT_BASE)
    segments = [
        (base + segment.number(_SEGMENT_OFFSET, "Q"), segment.number(_SEGMENT_SIZE, "Q"))
        for segment in program.tables(_SEGMENTS)
    ]
    inline = [entry.vector(0, 1) for entry in program.tables(_INLINE)]
    named = {
        entry.text(_NAMED_KEY): segments[entry.number(_NAMED_SEGMENT, "I")]
        for entry in program.tables(_NAMED)
    }
    buffers = _Buffers(program, segments)
    for plan in program.tables(_PLANS):
        for value in plan.tables(_PLAN_VALUES):
            tensor = value.table(_VALUE)
            if tensor and value.number(_VALUE_KIND, "B") == _VALUE_TENSOR:
                yield from _tensor(tensor, buffers)
        for delegate in plan.tables(_PLAN_DELEGATES):
            processed = delegate.table(_DELEGATE_PROCESSED)
            if processed:
                held = segments if processed.number(_PROCESSED_LOCATION, "b") else inline
                at, _ = held[processed.number(_PROCESSED_INDEX, "I")]
                yield from xnnpack.tensors(program, at, named)


def program_calls(data: bytes) -> tuple[list[str], list[int]]:
    """What a program's first method calls.

    Returns:
        Names of the operators called, and for each call of a delegate the nodes in it.
    """
    program = root(data)
    plan = program.tables(_PLANS)[0]
    operators = [one.text(_OPERATOR_NAME) for one in plan.tables(_PLAN_OPERATORS)]
    inside = [_nodes_of(program, one) for one in plan.tables(_PLAN_DELEGATES)]
    called, delegated = [], []
    for chain in plan.tables(_PLAN_CHAINS):
        for instruction in chain.tables(_CHAIN_INSTRUCTIONS):
            kind, call = instruction.number(_INSTRUCTION_KIND, "B"), instruction.table(_INSTRUCTION)
            if kind == _CALL and call:
                called.append(operators[call.number(_CALLED, "i")])
            elif kind == _DELEGATE_CALL and call:
                delegated.append(inside[call.number(_CALLED, "i")])
    return called, delegated


def _nodes_of(program: Table, delegate: Table) -> int:
    """How many nodes XNNPACK was given in a delegate."""
    processed = delegate.table(_DELEGATE_PROCESSED)
    if not processed:
        return 0
    base = 0
    if program.data[_HEADER] == b"eh00":
        (base,) = struct.unpack_from("<Q", program.data, _SEGMENT_BASE)
    index = processed.number(_PROCESSED_INDEX, "I")
    if processed.number(_PROCESSED_LOCATION, "b"):
        at = base + program.tables(_SEGMENTS)[index].number(_SEGMENT_OFFSET, "Q")
    else:
        at, _ = program.tables(_INLINE)[index].vector(0, 1)
    return xnnpack.count_nodes(program, at)


class _Buffers:
    """Where the items of tensors lie, by the tensors' buffer numbers."""

    def __init__(self, program: Table, segments: list[tuple[int, int]]) -> None:
        self._own = [buffer.vector(0, 1) for buffer in program.tables(_BUFFERS)]
        constants = program.table(_CONSTANTS)
        self._constants = _places(constants, segments) if constants else []
        self._mutables = [_places(entry, segments) for entry in program.tables(_MUTABLES)]

    def place(self, tensor: Table) -> int | None:
        """Where a tensor's items begin, if this file holds them."""
        number, extra = tensor.number(_BUFFER, "I"), tensor.table(_EXTRA)
        if not number or (extra and extra.number(_EXTRA_LOCATION, "b")):
            return None
        if self._own:
            return self._own[number][0]
        if tensor.table(_ALLOCATION):
            return self._mutables[extra.number(_EXTRA_SEGMENTS, "Q") if extra else 0][number]
        return self._constants[number]


def _places(offsets: Table, segments: list[tuple[int, int]]) -> list[int]:
    start, _ = segments[offsets.number(_OFFSETS_SEGMENT, "I")]
    return [start + offset for offset in offsets.numbers(_OFFSETS, "Q")]


def _tensor(tensor: Table, buffers: _Buffers) -> Iterator[Tensor]:
    at = buffers.place(tensor)
    kind, sizes = tensor.number(_SCALAR_TYPE, "b"), tensor.numbers(_SIZES)
    if at is None or kind not in _TYPES or min(sizes, default=1) < 1:
        return
    order = tensor.numbers(_ORDER, "B") or tuple(range(len(sizes)))
    extra = tensor.table(_EXTRA)
    name = extra.text(_EXTRA_NAME) if extra else ""
    shape = tuple(sizes[axis] for axis in order)
    last = order == _CHANNELS_LAST
    found = Tensor(at, _TYPES[kind], shape, name, channels_last=last)
    if prod(shape) == prod(sizes):
        yield found.moved(tensor.number(_OFFSET, "i") * found.width)
