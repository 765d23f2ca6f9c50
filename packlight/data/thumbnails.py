"""Inputs as small pictures to look at: pixels from what the network was given, as PNG files.

What `images` did to pixels is undone where that gives pixels again; other numbers are stretched
over the range from black to white, each picture by itself.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from packlight.data.images import Layout, Preprocess
from packlight.data.inputs import layout_of
from packlight.data.samples import Samples
from packlight.types import Array

SIDE = 64  # pixels of the longer side at most
LEAST_SIDE = 4  # pixels: what is narrower is no picture to anyone
MOST_BYTES = 110_000  # of all pictures together: base64 makes 4 letters of 3 bytes
COLOURS = 128  # of a picture in colour that was made smaller; a palette takes half the bytes
ROUNDING = 0.5  # what a pixel may be off once the preprocessing is undone


def thumbnails(samples: Samples, inputs: Sequence[Any], how: Preprocess) -> list[bytes]:
    """PNG files of samples, in their order, until `MOST_BYTES` are full.

    Args:
        samples: few; they are read at once.
        inputs: the network's TensorSpecs.
        how: the preprocessing that the samples went through.
    Returns:
        Nothing where the network's input is no picture of 1 or 3 channels, or can not be shown.
    """
    layout = layout_of(inputs[0]) if len(inputs) == 1 else None
    if layout is None or layout.channels not in (1, 3) or not len(samples):
        return []
    if min(layout.height, layout.width) < LEAST_SIDE:
        return []
    (values,) = samples.arrays()
    files: list[bytes] = []
    for pixels in to_pixels(values, layout, how):
        file = _png(pixels)
        if sum(map(len, files)) + len(file) > MOST_BYTES:
            break
        files.append(file)
    return files


def to_pixels(values: Array, layout: Layout, how: Preprocess) -> Array:
    """The inverse of `images.to_inputs`.

    Args:
        values: (n, C, H, W), or (n, H, W, C) as the layout says.
    Returns:
        (n, H, W, C) uint8, red first. A picture whose values no pixel leads to has its least value
        black and its greatest white.
    """
    values = values if layout.last else values.transpose(0, 2, 3, 1)
    if values.dtype == np.uint8:
        pixels = values
    else:
        values = np.nan_to_num(values.astype(np.float64))
        pixels = _undone(values, how)
        for index in np.flatnonzero(~_possible(pixels)):
            low, high = values[index].min(), values[index].max()
            pixels[index] = 255 * (values[index] - low) / ((high - low) or 1.0)
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return pixels[..., ::-1] if how.bgr and layout.channels == 3 else pixels


def _undone(values: Array, how: Preprocess) -> Array:
    scale = 1 / 255 if how.scale is None else how.scale
    return np.asarray((values * (how.std or 1.0) + (how.mean or 0.0)) / scale)


def _possible(pixels: Array) -> Array:
    """Which of (n, H, W, C) are pixels but for rounding."""
    flat = pixels.reshape(len(pixels), -1)
    inside = (flat.min(1) >= -ROUNDING) & (flat.max(1) <= 255 + ROUNDING)
    return np.asarray(inside & (flat.max(1) - flat.min(1) >= 1))


def _png(pixels: Array) -> bytes:
    """(H, W, C) as a PNG, made smaller where it is larger than `SIDE`."""
    height, width, channels = pixels.shape
    image: Image.Image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    if max(height, width) > SIDE:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        if channels == 3:
            image = image.quantize(COLOURS)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
