"""What integer kernels hold of a network with Q/DQ pairs.

A step whose inputs are all dequantised and whose result is only quantised, perhaps after
activations of its own, runs on integers: the float values ahead of the quantisation and behind the
dequantisations are never made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from packlight.weighing.program import Program, Step, Value

_QUANTIZE = (
    "QuantizeLinear",
    "quantize_per_channel",
    "quantize_per_tensor",
    "quantize_per_token",
)
_DEQUANTIZE = (
    "DequantizeLinear",
    "dequantize_per_channel",
    "dequantize_per_tensor",
    "dequantize_per_token",
)


def on_integers(program: Program) -> Program:
    """The program with the sizes that integer kernels hold, and their Q/DQ pairs as views."""
    maker = {name: step for step in program.steps for name in step.writes}
    readers: dict[str, list[Step]] = {name: [] for name in program.values}
    for step in program.steps:
        for name in step.reads:
            readers[name].append(step)

    def dequantized(name: str) -> bool:
        step = maker.get(name)
        if step is None:
            return False
        return step.kind in _DEQUANTIZE or (step.view_of is not None and dequantized(step.view_of))

    values, integer, views = dict(program.values), set(), {}
    for step in program.steps:
        if step.kind not in _QUANTIZE:
            continue
        ahead = _fused_ahead(step.reads[0], maker, readers, program.outputs, dequantized)
        for name in ahead:
            held = values[step.writes[0]]
            values[name] = replace(values[name], dtype=held.dtype, bytes=held.bytes)
            integer.add(maker[name])
        if ahead:
            views[step] = step.reads[0]

    def stays_integer(name: str) -> bool:
        return name not in program.outputs and all(
            reader in integer
            or (reader.view_of is not None and all(map(stays_integer, reader.writes)))
            for reader in readers[name]
        )

    for step in program.steps:
        if step.kind in _DEQUANTIZE and stays_integer(step.writes[0]):
            held = values[step.reads[0]]
            values[step.writes[0]] = replace(
                values[step.writes[0]], dtype=held.dtype, bytes=held.bytes
            )
            views[step] = step.reads[0]
    steps = tuple(
        replace(step, view_of=views.get(step, step.view_of), may_overwrite=_fitting(step, values))
        for step in program.steps
    )
    return replace(program, values=values, steps=steps)


def _fused_ahead(
    name: str,
    maker: dict[str, Step],
    readers: dict[str, list[Step]],
    outputs: tuple[str, ...],
    dequantized: Callable[[str], bool],
) -> list[str]:
    """The float values between an integer kernel and the quantisation of its result."""
    found: list[str] = []
    while name in maker and len(readers[name]) == 1 and name not in outputs:
        step = maker[name]
        found.append(name)
        if all(map(dequantized, step.reads)):
            return found
        if len(step.reads) != 1 or not (step.may_overwrite or step.view_of):
            break
        name = step.reads[0]
    return []


def _fitting(step: Step, values: dict[str, Value]) -> tuple[str, ...]:
    size = values[step.writes[0]].bytes if step.writes else 0
    return tuple(name for name in step.may_overwrite if values[name].bytes == size)
