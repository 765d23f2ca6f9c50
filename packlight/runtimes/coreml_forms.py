"""Weights in fewer bytes, for iOS 18: int8 levels in four bits, and without their zeros; tables of
few values without zeros.

Whatever the form, what decompresses is the very number: for levels, level times scale in float32 as
from plain int8. Zeros that are left out cost a bit each, which says where they are. A table of
levels whose zeros are left out, scaled by channel behind it, would be smaller still. It is not
written: coremltools 9 can not decompress that chain, because `constexpr_lut_to_sparse` gives no
value to a `constexpr_sparse_blockwise_shift_scale` behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from coremltools.converters.mil import Builder
from coremltools.converters.mil.mil import types

from packlight.types import Array

INDEX_BITS = (1, 2, 3, 4, 6, 8)  # as iOS 18 has them
_CALL = 400  # bytes of one more operator and of the header of what it reads


@dataclass(frozen=True)
class _Form:
    size: float
    build: Callable[[], Any]


def narrow(values: Array, kind: str) -> Array:
    """Integers as coremltools wants those of fewer than 8 bits: `kind` is "int4", "uint1" ..."""
    made: Array = values.astype(types.nptype_from_builtin(types.string_to_builtin(kind)))
    return made


@dataclass(frozen=True)
class Picked:
    """A table of few values, without the zeros of what picks from it.

    Args:
        size: bytes that it takes.
        build: makes the operators, given the last one's name and what all go ahead of.
    """

    size: float
    build: Callable[[dict[str, Any]], Any]


def table_without_zeros(floats: Array) -> Picked | None:
    """Floats as a table of those that are not zero, an index for each, and a bit that places them.

    Returns:
        None where there are more of them than the largest table holds.
    """
    nonzero = floats != 0
    values, indices = np.unique(floats[nonzero], return_inverse=True)
    bits = next((bits for bits in INDEX_BITS if 1 << bits >= len(values)), None)
    if bits is None:
        return None
    table = np.pad(values, (0, (1 << bits) - len(values)), mode="edge")

    def build(place: dict[str, Any]) -> Any:
        where, picked = Builder.constexpr_lut_to_sparse(
            indices_mask=narrow(nonzero, "uint1"),
            indices_nonzero_data=narrow(indices.reshape(-1).astype(np.uint8), f"uint{bits}"),
            lut=table.reshape(*[1] * floats.ndim, -1, 1),
            before_op=place["before_op"],
            name=f"{place['name']}_picked",
        )
        return Builder.constexpr_sparse_to_dense(nonzero_data=picked, mask=where, **place)

    return Picked(floats.size / 8 + len(indices) * bits / 8 + (4 << bits) + 2 * _CALL, build)


def smallest(levels: Array, scale: Array, name: str, before: Any) -> Any:
    """The operators that decompress to `levels * scale` and take the fewest bytes.

    Args:
        levels: int8.
        scale: float32, broadcast against them.
        name, before: of the last operator, and the one that all go ahead of.
    """
    nonzero = levels != 0
    kept = levels[nonzero]
    mask = levels.size / 8 + _CALL

    def place(suffix: str = "") -> dict[str, Any]:
        return {"name": f"{name}{suffix}", "before_op": before}

    def dense(data: Any) -> Any:
        return Builder.constexpr_blockwise_shift_scale(data=data, scale=scale, **place())

    def sparse(data: Any) -> Any:
        where, scaled = Builder.constexpr_sparse_blockwise_shift_scale(
            data_mask=narrow(nonzero, "uint1"),
            nonzero_data=data,
            scale=scale,
            **place("_scaled"),
        )
        return Builder.constexpr_sparse_to_dense(nonzero_data=scaled, mask=where, **place())

    forms = [_Form(levels.size, lambda: dense(levels))]
    if kept.size:
        forms.append(_Form(mask + kept.size, lambda: sparse(kept)))
    if levels.min() >= -8 and levels.max() <= 7:
        forms.append(_Form(levels.size / 2, lambda: dense(narrow(levels, "int4"))))
        if kept.size:
            forms.append(_Form(mask + kept.size / 2, lambda: sparse(narrow(kept, "int4"))))
    return min(forms, key=lambda form: form.size).build()
