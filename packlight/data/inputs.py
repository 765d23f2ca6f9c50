"""What an input of the network takes: numbers of which type, and whether they are an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from packlight.data.images import Layout, Preprocess, check_scaling
from packlight.errors import BadInput


def image_layout(inputs: Sequence[Any], how: Preprocess, source: str) -> Layout:
    """How the only input holds an image.

    Raises:
        BadInput: it holds none, or there are several inputs.
    """
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs)
        raise BadInput(
            f"the network has {len(inputs)} inputs ({names}) and {source} holds images; "
            "give an .npz with these names"
        )
    layout = layout_of(inputs[0])
    if layout is None:
        raise BadInput(
            f"the network's input {inputs[0]} is no image, and {source} holds images; give an .npz"
        )
    check_scaling(layout.dtype, how)
    return layout


def layout_of(spec: Any) -> Layout | None:
    """How the input holds an image; None if it does not."""
    sizes = spec.sample_shape
    if len(sizes) != 3 or None in sizes:
        return None
    dtype = numpy_dtype(spec)
    if not (np.issubdtype(dtype, np.floating) or dtype == np.uint8):
        return None
    if sizes[0] in (1, 3, 4):
        return Layout(sizes[0], sizes[1], sizes[2], last=False, dtype=dtype)
    if sizes[2] in (1, 3, 4):
        return Layout(sizes[2], sizes[0], sizes[1], last=True, dtype=dtype)
    return None


def numpy_dtype(spec: Any) -> np.dtype[Any]:
    """The type of its numbers; BadInput for one that NumPy can not calculate with."""
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError:
        dtype = None
    # with ml_dtypes imported NumPy knows bfloat16 by name, but can not calculate with it
    if dtype is None or dtype.kind not in "biuf":
        raise BadInput(
            f"the network's input {spec.name} is {spec.dtype}, which arrays can not hold; give a "
            "network that takes float32"
        )
    return dtype


def is_float(spec: Any) -> bool:
    """Whether it takes fractions."""
    return bool(np.issubdtype(numpy_dtype(spec), np.floating))


def sizes_text(shape: Sequence[Any]) -> str:
    """3x224x224, for messages."""
    return "x".join("N" if size is None else str(size) for size in shape) or "one number"


def short(problem: Exception) -> str:
    """The first line of what went wrong, for messages."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:120]
