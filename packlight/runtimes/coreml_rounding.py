"""What coremltools is taught: to read rounded activations, and to round them as torch does.

torch multiplies by the scale's reciprocal, in float32, where MIL's `quantize` divides by the scale:
the last bit may differ, and where a value lies in the middle between two levels it decides which
one it becomes. Multiplied first and rounded with a scale of 1, it is torch's level on every system,
however that divides.

Imported in the process that converts; what is registered here would change coremltools for
everybody else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from coremltools.converters.mil import Builder
from coremltools.converters.mil.frontend.torch.ops import _get_inputs
from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.helper import block_context_manager
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

NAME = "packlight::multiply_ahead_of_rounding"
#: a pass of coremltools that divides the scales of sums by each other
INEXACT = "common::distributive_quantized_binary_op_scale_normalization"

_CONSTANTS = ("scale", "zero_point", "output_dtype")
_SCALAR_TYPES = {0: "uint8", 1: "int8"}  # of torch


@register_torch_op(torch_alias=["quantized_decomposed::quantize_per_tensor"], override=True)
def packlight_quantize(context: Any, node: Any) -> None:
    """Rounding to a grid, as PT2E writes it."""
    value, scale, zero, _, _, dtype = _get_inputs(context, node, min_expected=6)[:6]
    kind = _SCALAR_TYPES[int(dtype.val)]
    made = Builder.quantize(
        input=value,
        scale=np.float32(scale.val),
        zero_point=np.dtype(kind).type(zero.val),
        output_dtype=kind,
        name=node.name,
    )
    context.add(made)


@register_torch_op(torch_alias=["quantized_decomposed::dequantize_per_tensor"], override=True)
def packlight_dequantize(context: Any, node: Any) -> None:
    """And back."""
    levels, scale, zero, _, _, dtype = _get_inputs(context, node, min_expected=6)[:6]
    kind = _SCALAR_TYPES[int(dtype.val)]
    made = Builder.dequantize(
        input=levels,
        scale=np.float32(scale.val),
        zero_point=np.dtype(kind).type(zero.val),
        name=node.name,
    )
    context.add(made)


@register_pass(namespace="packlight")
class multiply_ahead_of_rounding(AbstractGraphPass):  # noqa: N801 (its name is the pass's)
    """Give every `quantize` a scale of 1, behind a product with the reciprocal of its own."""

    def apply(self, prog: Any) -> None:
        """Walk a program; the last pass, lest another take the product into a layer's weights."""
        for function in prog.functions.values():
            _walk(function, _Constants(function))


class _Constants:
    """Constants at the top of a function; equal ones are one."""

    def __init__(self, function: Any) -> None:
        self._first = function.operations[0] if function.operations else None
        self._held: dict[tuple[str, Any], Any] = {}

    def get(self, value: Any, reader: Any) -> Any:
        """The constant of a value that an operator is to read."""
        key = (type(value).__name__, value)
        if key not in self._held:
            name = f"held_{len(self._held)}"
            self._held[key] = _of(
                reader, Builder.const(val=value, name=name, before_op=self._first)
            )
        return self._held[key]


@block_context_manager
def _walk(block: Any, constants: _Constants) -> None:
    for op in list(block.operations):
        for inner in op.blocks:
            _walk(inner, constants)
        if op.op_type not in ("quantize", "dequantize"):
            continue
        given = {name: op.inputs[name] for name in _CONSTANTS if op.inputs.get(name) is not None}
        told = {name: constants.get(var.val, op) for name, var in given.items()}
        if op.op_type == "quantize":
            inverse = constants.get(np.float32(1 / float(op.scale.val)), op)  # in double, as torch
            scaled = Builder.mul(x=op.input, y=inverse, name=f"{op.name}_scaled", before_op=op)
            told |= {"input": _of(op, scaled), "scale": constants.get(np.float32(1), op)}
        op.set_inputs(**told)


def _of(op: Any, var: Any) -> Any:
    """Say that a new value came from where an operator did: coremltools wants to know."""
    var.op.scopes = dict(op.scopes)
    return var
