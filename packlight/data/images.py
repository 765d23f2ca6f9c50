"""Images become network inputs: resize, crop, scale, normalise, as torchvision does.

Pixels are kept as bytes after decoding, so that a search that reads the same image fifty times
decodes it once; they become floats batch by batch.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from PIL import Image

from packlight.errors import BadInput
from packlight.types import Array

KEPT_BYTES = 512 * 2**20  # of decoded pixels kept in memory
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's names by the number of channels
# Left to itself Pillow also opens Postscript, by starting another program.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM", "TIFF")


@dataclass(frozen=True)
class Preprocess:
    """How pixels become numbers.

    Args:
        resize: the short side's length after scaling down or up (bilinear, antialiased); without
            it and without `crop`, images are brought to the network's own size.
        crop: side of the square cut out of the centre, or (height, width).
        scale: multiplies the pixel; default 1/255.
        mean, std: per channel or one for all, in scaled units: (pixel * scale - mean) / std.
        bgr: blue first.
    """

    resize: int | None = None
    crop: int | tuple[int, int] | None = None
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    bgr: bool = False

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            value = getattr(self, name)
            sizes = value if isinstance(value, tuple) else (value,)
            if any(size is not None and size < 1 for size in sizes):
                raise BadInput(f"{name} {value} is no size in pixels; give 1 or more")
        if self.scale is not None and not (isfinite(self.scale) and self.scale):
            raise BadInput(f"scale {self.scale} leaves no picture; give a number other than 0")
        if not all(isfinite(value) for value in (*self.mean, *self.std)):
            raise BadInput("mean or std holds a value that is not finite; give ordinary numbers")
        if any(value == 0 for value in self.std):
            raise BadInput("std holds a 0; the numbers are divided by it")

    @property
    def touches_numbers(self) -> bool:
        """Whether anything but the size was asked for."""
        return self.scales or self.bgr

    @property
    def scales(self) -> bool:
        """Whether a pixel's value is to become another one than by default."""
        return self.scale is not None or bool(self.mean) or bool(self.std)

    @property
    def touches_size(self) -> bool:
        """Whether a size was asked for."""
        return self.resize is not None or self.crop is not None


@dataclass(frozen=True)
class Layout:
    """An image input of a network.

    Args:
        channels, height, width: sizes.
        last: channels come last (NHWC).
        dtype: what the network takes: floating, or uint8.
    """

    channels: int
    height: int
    width: int
    last: bool
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.channels} channels of {self.height}x{self.width}"


def to_inputs(pixels: Array, layout: Layout, how: Preprocess) -> Array:
    """Bytes (n, H, W, C) as the network wants them.

    Returns:
        (n, C, H, W) or (n, H, W, C) of the network's dtype.
    """
    if how.bgr and layout.channels >= 3:
        pixels = pixels[..., [2, 1, 0, *range(3, layout.channels)]]  # opacity stays last
    values = to_numbers(pixels, layout.dtype, how, layout.channels)
    return np.ascontiguousarray(values if layout.last else values.transpose(0, 3, 1, 2))


def to_numbers(pixels: Array, dtype: np.dtype[Any], how: Preprocess, channels: int = 1) -> Array:
    """Bytes, whose last axis counts the channels if there are several, scaled and normalised.

    Returns:
        The same shape, of `dtype`; unchanged where the network takes bytes.
    """
    if not np.issubdtype(dtype, np.floating):
        return pixels.astype(dtype, copy=False)
    scale = 1 / 255 if how.scale is None else how.scale
    values = pixels.astype(np.float32) * np.float32(scale)
    if how.mean:
        values = values - _per_channel("mean", how.mean, channels)
    if how.std:
        values = values / _per_channel("std", how.std, channels)
    return values.astype(dtype, copy=False)


def check_scaling(dtype: np.dtype[Any], how: Preprocess) -> None:
    """Make sure that a network of bytes is not to be given scaled ones.

    Raises:
        BadInput: says what to leave out.
    """
    scaled = how.scale not in (None, 1) or how.mean or how.std
    if scaled and not np.issubdtype(dtype, np.floating):
        raise BadInput(f"the network takes {dtype}, pixels as they are; leave out scale, mean, std")


def _per_channel(name: str, values: tuple[float, ...], channels: int) -> Array:
    if len(values) not in (1, channels):
        raise BadInput(
            f"{name} has {len(values)} numbers, the network takes {channels} channels; "
            f"give 1 or {channels}"
        )
    return np.asarray(values, dtype=np.float32)


class Decoder:
    """Reads images by number and keeps what it decoded.

    Args:
        names: of the image files.
        open_bytes: file name -> its bytes.
        layout: of the network's input.
        how: sizes and numbers.
    """

    def __init__(
        self,
        names: list[str],
        open_bytes: Callable[[str], bytes],
        layout: Layout,
        how: Preprocess,
    ) -> None:
        self._names, self._open, self._layout, self._how = names, open_bytes, layout, how
        self._kept: dict[int, Array] = {}
        self._most = KEPT_BYTES // (layout.channels * layout.height * layout.width)

    def __call__(self, indices: Array) -> tuple[Array, ...]:
        layout = self._layout
        if not len(indices):
            empty = np.zeros((0, layout.height, layout.width, layout.channels), np.uint8)
            return (to_inputs(empty, layout, self._how),)
        pixels = np.stack([self._pixels(int(index)) for index in indices])
        return (to_inputs(pixels, layout, self._how),)

    def _pixels(self, index: int) -> Array:
        found = self._kept.get(index)
        if found is None:
            found = self._decode(self._names[index])
            if len(self._kept) < self._most:
                self._kept[index] = found
        return found

    def _decode(self, name: str) -> Array:
        layout = self._layout
        try:
            with warnings.catch_warnings():
                # an image that claims more pixels than Pillow trusts is a mistake or an attack
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                image: Image.Image = Image.open(io.BytesIO(self._open(name)), formats=FORMATS)
                if image.mode.startswith(("I", "F")):  # converting would clip, not scale
                    raise BadInput(
                        f"{name} has more than 8 bits a channel (mode {image.mode}); "
                        "save it with 8 bits"
                    )
                image = _sized(image.convert(MODES[layout.channels]), layout, self._how, name)
        except BadInput:
            raise
        except Exception as problem:
            raise BadInput(
                f"{name} is not an image that can be read ({problem}); remove or replace it"
            ) from problem
        if (image.height, image.width) != (layout.height, layout.width):
            raise BadInput(
                f"{name} is {image.height}x{image.width} after resize and crop, the network takes "
                f"{layout.height}x{layout.width}; give --crop {layout.height}"
            )
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _sized(image: Image.Image, layout: Layout, how: Preprocess, name: str) -> Image.Image:
    if how.resize is None and how.crop is None:
        if (image.height, image.width) == (layout.height, layout.width):
            return image
        # as large as it takes for the network's window to fit inside
        share = max(layout.height / image.height, layout.width / image.width)
        size = (round(image.width * share), round(image.height * share))
        image = image.resize(size, Image.Resampling.BILINEAR)
        return _centre(image, layout.height, layout.width)
    if how.resize is not None and min(image.size) != how.resize:
        short = min(image.size)
        # torchvision's rounding: the long side is cut to a whole number
        width, height = (int(how.resize * side / short) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if how.crop is not None:
        height, width = how.crop if isinstance(how.crop, tuple) else (how.crop, how.crop)
        if image.height < height or image.width < width:
            raise BadInput(
                f"{name} is {image.height}x{image.width}, too small to crop {height}x{width} from; "
                f"give --resize {max(height, width)}"
            )
        image = _centre(image, height, width)
    return image


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
