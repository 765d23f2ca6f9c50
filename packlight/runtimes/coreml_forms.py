"""int8 levels in fewer bytes, for iOS 18: int4, palettes of levels, and zeros left out.

Whatever the form, what decompresses is level times scale in float32, as from plain int8. Zeros
that are left out cost a bit each, which says where they are.
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

    def sparse(where: Any, data: Any) -> Any:
        where, data = Builder.constexpr_sparse_blockwise_shift_scale(
            data_mask=where, nonzero_data=data, scale=scale, **place("_scaled")
        )
        return Builder.constexpr_sparse_to_dense(nonzero_data=data, mask=where, **place())

    def looked_up() -> Any:
        table, indices, bits = _palette(levels)
        found = Builder.constexpr_lut_to_dense(
            indices=narrow(indices, f"uint{bits}"),
            lut=table.reshape(*(1,) * levels.ndim, -1, 1),
            **place("_levels"),
        )
        return dense(found)

    def sparse_looked_up() -> Any:
        table, indices, bits = _palette(kept)
        where, found = Builder.constexpr_lut_to_sparse(
            indices_mask=narrow(nonzero, "uint1"),
            indices_nonzero_data=narrow(indices, f"uint{bits}"),
            lut=table.reshape(*(1,) * levels.ndim, -1, 1),
            **place("_levels"),
        )
        return sparse(where, found)

    forms = [_Form(levels.size, lambda: dense(levels))]
    if levels.min() >= -8 and levels.max() <= 7:
        forms.append(_Form(levels.size / 2, lambda: dense(narrow(levels, "int4"))))
    forms.append(_Form(levels.size * _bits(levels) / 8 + _CALL, looked_up))
    if kept.size:
        forms.append(_Form(mask + kept.size, lambda: sparse(narrow(nonzero, "uint1"), kept)))
        forms.append(_Form(mask + kept.size * _bits(kept) / 8 + 2 * _CALL, sparse_looked_up))
    return min(forms, key=lambda form: form.size).build()


def _bits(levels: Array) -> int:
    """Of an index into a table of every level that occurs."""
    count = len(np.unique(levels))
    return next(bits for bits in INDEX_BITS if 1 << bits >= count)


def _palette(levels: Array) -> tuple[Array, Array, int]:
    """A table of 2^bits float32 levels, the index of each, and bits."""
    values, indices = np.unique(levels, return_inverse=True)
    bits = _bits(levels)
    table = np.full(1 << bits, values[-1], np.float32)
    table[: len(values)] = values
    return table, indices.reshape(levels.shape), bits
