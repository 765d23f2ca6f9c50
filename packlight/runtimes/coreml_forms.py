"""int8 levels in fewer bytes, for iOS 18: in four bits, and without their zeros.

Whatever the form, what decompresses is level times scale in float32, as from plain int8. Zeros
that are left out cost a bit each, which says where they are. (A table of levels, scaled by channel
behind it, would be smaller still; coremltools 9 can not decompress the two in a row.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
