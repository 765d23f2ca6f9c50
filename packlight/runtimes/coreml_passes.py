"""What coremltools is taught: to keep weights compressed.

Imported in the process that converts; what is registered here would change coremltools for
everybody else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from coremltools.converters.mil import Builder
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.helper import block_context_manager
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from packlight.runtimes import coreml_forms
from packlight.runtimes.coreml import Int8
from packlight.runtimes.coreml_stored import Stored
from packlight.runtimes.lowering import Lookup
from packlight.types import Array

NAME = "packlight::hold_compressed"

_WEIGHTS = {  # operator -> its inputs that may be decompressed when the network is loaded
    "conv": ("weight",),
    "conv_transpose": ("weight",),
    "linear": ("weight",),
    "matmul": ("x", "y"),
    "gather": ("x",),
    "lstm": ("weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back"),
    "gru": ("weight_ih", "weight_hh"),
    "rnn": ("weight_ih", "weight_hh"),
}
_BITS = (1, 2, 4, 6, 8)  # of an index, as iOS 16 has them
_CALL = 200  # bytes that zeros left out take beside their bits

_stored = Stored()


def register(stored: Iterable[tuple[Array, Int8 | Lookup]]) -> None:
    """Say what the next conversion shall store in place of which floats."""
    global _stored
    _stored = Stored(stored)


def not_found() -> int:
    """How many of them the last conversion did not meet."""
    return _stored.missing()


@register_pass(namespace="packlight")
class hold_compressed(AbstractGraphPass):  # noqa: N801 (its name is the pass's)
    """Replace float weights by what decompresses to them."""

    def apply(self, prog: Any) -> None:
        """Walk a program."""
        for function in prog.functions.values():
            _walk(function, function.opset_version >= _ios18())


@block_context_manager
def _walk(block: Any, new: bool) -> None:
    for op in list(block.operations):
        for inner in op.blocks:
            _walk(inner, new)
        if op.op_type == "const" and _is_weight(op):
            made = _compressed(op, new)
            if made is not None:
                block.replace_uses_of_var_after_op(
                    anchor_op=op, old_var=op.outputs[0], new_var=made
                )
                block.remove_ops([op])


def _is_weight(op: Any) -> bool:
    """Whether a constant is read by layers only, as their weight."""
    (var,) = op.outputs
    value = var.val
    return (
        isinstance(value, np.ndarray)
        and value.dtype == np.float32
        and value.ndim > 1
        and bool(var.child_ops)
        and all(_reads_as_weight(reader, var) for reader in var.child_ops)
    )


def _reads_as_weight(reader: Any, var: Any) -> bool:
    names = {name for name, value in reader.inputs.items() if value is var}
    return names <= set(_WEIGHTS.get(reader.op_type, ()))


def _compressed(op: Any, new: bool) -> Any:
    """The call that decompresses to a constant, ahead of it; None where floats are no larger."""
    floats: Array = op.outputs[0].val
    what = _stored.find(floats)
    place = {"before_op": op, "name": f"{op.name}_stored"}
    if isinstance(what, Int8):
        return _dequantized(what, new, place)
    if isinstance(what, Lookup):
        return _looked_up(what, place)
    values, indices = np.unique(floats, return_inverse=True)
    bits = next((bits for bits in _BITS if 1 << bits >= len(values)), None)
    size = floats.nbytes if bits is None else floats.size * bits / 8 + (4 << bits)
    kept = np.count_nonzero(floats)
    sparse = kept * floats.itemsize + floats.size / 8 + _CALL if kept else floats.nbytes
    if new and kept:
        joint = coreml_forms.table_without_zeros(floats)
        if joint is not None and joint.size < min(sparse, size, floats.nbytes):
            return joint.build(place)
    if sparse < min(size, floats.nbytes):
        return _without_zeros(floats, new, place)
    if bits is None or size >= floats.nbytes:
        return None
    table = np.resize(values, 1 << bits)
    table[len(values) :] = values[-1]
    picked = indices.reshape(floats.shape).astype(np.uint8)
    if new:
        ones = (1,) * floats.ndim
        return _looked_up(Lookup(table.reshape(*ones, -1, 1), picked, None), place)
    return Builder.constexpr_lut_to_dense(
        indices=_packed(picked, bits),
        lut=table,
        shape=np.array(floats.shape, np.uint32),
        **place,
    )


def _without_zeros(floats: Array, new: bool, place: dict[str, Any]) -> Any:
    """The floats that are not zero, and a bit for each that says which they are."""
    nonzero = floats != 0
    if new:
        mask = coreml_forms.narrow(nonzero, "uint1")
        return Builder.constexpr_sparse_to_dense(nonzero_data=floats[nonzero], mask=mask, **place)
    return Builder.constexpr_sparse_to_dense(
        nonzero_data=floats[nonzero],
        mask=_packed(nonzero.astype(np.uint8), 1),
        shape=np.array(floats.shape, np.uint32),
        **place,
    )


def _ios18() -> Any:
    import coremltools

    return coremltools.target.iOS18


def _dequantized(what: Int8, new: bool, place: dict[str, Any]) -> Any:
    scale = what.scale
    if new:
        shape = [1] * what.levels.ndim
        shape[what.axis] = -1
        return coreml_forms.smallest(
            what.levels, scale.reshape(shape), place["name"], place["before_op"]
        )
    return Builder.constexpr_affine_dequantize(
        quantized_data=what.levels,
        zero_point=np.int8(0),
        scale=scale[0] if (scale == scale[0]).all() else scale,
        axis=np.int32(what.axis),
        **place,
    )


def _looked_up(what: Lookup, place: dict[str, Any]) -> Any:
    """A lookup as iOS 18 has it: the table's entries are a power of two, its indices that type."""
    held = what.table.shape[-2]
    bits = next(bits for bits in coreml_forms.INDEX_BITS if 1 << bits >= held)
    missing = [(0, 0)] * what.table.ndim
    missing[-2] = (0, (1 << bits) - held)
    axis = {} if what.axis is None else {"vector_axis": np.int32(what.axis)}
    return Builder.constexpr_lut_to_dense(
        indices=coreml_forms.narrow(what.indices, f"uint{bits}"),
        lut=np.pad(what.table, missing),
        **axis,
        **place,
    )


def _packed(indices: Array, bits: int) -> Array:
    """Indices, `bits` bits each, one after the other from the lowest bit of the first byte on."""
    each = np.unpackbits(indices.reshape(-1, 1), axis=1, count=bits, bitorder="little")
    return np.packbits(each.reshape(-1), bitorder="little")
