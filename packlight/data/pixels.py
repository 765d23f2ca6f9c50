"""Pixels become what the network saw in training: size, channels, scale, mean.

Pixels stay uint8 until a batch is made. A pixel has 256 values, so scale, mean and standard
deviation are one table of 256 numbers for each channel, worked out in float64 and rounded once:

    table[c][p] = (p * scale - mean[c]) / std[c]

A batch is looked up in it, which is faster than the arithmetic and settles the layout as well.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from packlight.errors import BadInput
from packlight.types import Array

if TYPE_CHECKING:
    from packlight.network import TensorSpec

CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}  # channels of a picture, and PIL's name for them
SCALE = 1 / 255  # what most training code does first


@dataclass(frozen=True)
class Preprocess:
    """What happens to an image before the network sees it, in this order.

    Args:
        resize: length of the short side in pixels (bilinear, antialiased).
        crop: side of the square cut from the centre. Where neither is given, an image is resized
            until it just covers the network's input, and the centre of that size is cut out.
        scale: multiplies the pixels 0..255; by default 1/255. 1 keeps them as they are.
        mean, std: subtracted from the scaled pixel, and divided by. One value, or one for each
            channel in the order in which the network takes the channels.
        bgr: the network takes blue, green, red.
    """

    resize: int | None = None
    crop: int | None = None
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    bgr: bool = False

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            side = getattr(self, name)
            if side is not None and side < 1:
                raise BadInput(f"--{name} {side} is no length; give pixels, 1 or more")
        if self.scale is not None and not (isfinite(self.scale) and self.scale):
            raise BadInput(f"--scale {self.scale} is not possible; give a number other than 0")
        for name in ("mean", "std"):
            if not all(isfinite(value) for value in getattr(self, name)):
                raise BadInput(f"--{name} holds a value that is not finite; give ordinary numbers")
        if not all(value > 0 for value in self.std):
            raise BadInput(f"--std {_listed(self.std)} divides; every value must be above 0")
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise BadInput(
                f"--crop {self.crop} is larger than --resize {self.resize}, the short side; "
                f"give --resize {self.crop} or more"
            )

    def given(self, *names: str) -> list[str]:
        """Those of the named arguments (default: all) that were given, as options."""
        return [
            f"--{field.name}"
            for field in fields(self)
            if (not names or field.name in names) and getattr(self, field.name) != field.default
        ]


@dataclass(frozen=True)
class Picture:
    """A network input that takes pictures.

    Args:
        name: the input's name.
        channels: 1 (grey), 3 or 4 (with transparency).
        height, width: in pixels; None where the network takes any.
        first: whether the channels stand before height and width.
        dtype: what the network takes.
    """

    name: str
    channels: int
    height: int | None
    width: int | None
    first: bool
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, spec: TensorSpec) -> Picture | None:
        """The picture an input takes; None where its shape is not that of a picture."""
        if len(spec.shape) != 4:
            return None
        _, *sizes = spec.shape
        for first, (channels, height, width) in (
            (True, sizes),
            (False, (sizes[2], sizes[0], sizes[1])),
        ):
            if channels in CHANNELS:
                return cls(spec.name, channels, height, width, first, dtype_of(spec))
        return None


def dtype_of(spec: TensorSpec) -> np.dtype[Any]:
    """The NumPy dtype of a network input.

    Raises:
        BadInput: NumPy has no such dtype.
    """
    name = str(spec.dtype).removeprefix("torch.")
    try:
        return np.dtype(name)
    except TypeError as problem:
        raise BadInput(
            f"the network's input {spec.name} is {name}, which arrays can not hold; "
            "export the network with float32 inputs"
        ) from problem


def pixel_table(preprocess: Preprocess, channels: int | None, dtype: np.dtype[Any]) -> Array:
    """What each pixel value becomes.

    Args:
        channels: of the picture; None for pixels that are not a picture.
        dtype: what the network takes: floating, or uint8, which takes the pixels as they are.
    Returns:
        (channels or 1, 256) of `dtype`; row c belongs to the network's channel c.
    Raises:
        BadInput: scale, mean or std do not suit the network.
    """
    rows = channels or 1
    pixels = np.arange(256, dtype=np.float64)
    if dtype == np.uint8:
        changed = preprocess.given("mean", "std")
        if preprocess.scale not in (None, 1):
            changed.insert(0, "--scale")
        if changed:
            raise BadInput(
                f"the network takes uint8 pixels as they are; leave out {', '.join(changed)}"
            )
        return np.tile(pixels.astype(np.uint8), (rows, 1))
    if not np.issubdtype(dtype, np.floating):
        raise BadInput(
            f"the network takes {dtype}, which pixels 0..255 can not be made into; "
            "give an .npz whose arrays hold what the network takes"
        )
    scale = SCALE if preprocess.scale is None else preprocess.scale
    mean = _for_channels("mean", preprocess.mean or (0.0,), rows)
    std = _for_channels("std", preprocess.std or (1.0,), rows)
    # 51 * (1/255) is not 0.2 but 51/255 is: dividing keeps the common case exact
    scaled = pixels / 255 if scale == SCALE else pixels * scale
    return ((scaled - mean[:, None]) / std[:, None]).astype(dtype)


def to_network(pixels: Array, table: Array, *, first: bool, bgr: bool) -> Array:
    """A batch of pictures as the network takes it.

    Args:
        pixels: (n, height, width, channels) uint8.
        table: (channels, 256).
        first: whether the result is (n, channels, height, width).
        bgr: whether channel 0 of the result is the pixels' channel 2.
    """
    n, height, width, channels = pixels.shape
    shape = (n, channels, height, width) if first else pixels.shape
    result = np.empty(shape, table.dtype)
    for channel in range(channels):
        source = pixels[..., 2 - channel if bgr and channel < 3 else channel]
        target = result[:, channel] if first else result[..., channel]
        target[...] = table[channel][source]
    return result


def check_size(preprocess: Preprocess, picture: Picture) -> Picture:
    """The picture with its size known, from the network or else from the crop.

    Raises:
        BadInput: the crop can never be what the network takes, or no size is known.
    """
    if preprocess.bgr and picture.channels < 3:
        raise BadInput(f"the network takes grey pictures ({picture.name}); leave out --bgr")
    height, width = picture.height or preprocess.crop, picture.width or preprocess.crop
    if height is None or width is None:
        raise BadInput(
            f"the network's input {picture.name} takes pictures of any size; give --crop"
        )
    if preprocess.crop is not None and (height, width) != (preprocess.crop, preprocess.crop):
        raise BadInput(
            f"--crop {preprocess.crop} gives {preprocess.crop}x{preprocess.crop} pixels, but the "
            f"network takes {width}x{height} (width x height); {_fitting(height, width)}"
        )
    return Picture(
        picture.name, picture.channels, height, width, picture.first, dtype=picture.dtype
    )


def fit_image(image: Image.Image, preprocess: Preprocess, picture: Picture, where: str) -> Array:
    """Resize and cut an image to the network's size.

    Args:
        image: decoded, of any mode.
        picture: with its size known.
        where: names the image in an error.
    Returns:
        (height, width, channels) uint8.
    Raises:
        BadInput: its size is not the network's afterwards, or it has more than 8 bits a channel.
    """
    height, width = picture.height or 0, picture.width or 0
    if image.mode.startswith(("I", "F")):
        raise BadInput(
            f"{where} has more than 8 bits a channel (mode {image.mode}); save it with 8 bits"
        )
    mode = CHANNELS[picture.channels]
    if image.mode != mode:
        image = image.convert(mode)
    found = image.size
    if preprocess.resize is None and preprocess.crop is None:
        image = _centre(_cover(image, height, width), height, width)
    else:
        if preprocess.resize is not None:
            image = _cover(image, preprocess.resize, preprocess.resize)
        if preprocess.crop is not None:
            if min(image.size) < preprocess.crop:
                raise BadInput(
                    f"{where} is {image.width}x{image.height} pixels, smaller than "
                    f"--crop {preprocess.crop}; give --resize {preprocess.crop} or more as well"
                )
            image = _centre(image, preprocess.crop, preprocess.crop)
        if image.size != (width, height):
            raise BadInput(
                f"{where} is {found[0]}x{found[1]} pixels and {image.width}x{image.height} after "
                f"--resize {preprocess.resize}, but the network takes {width}x{height}; "
                f"{_fitting(height, width)}"
            )
    return np.asarray(image, dtype=np.uint8).reshape(height, width, picture.channels)


def _cover(image: Image.Image, height: int, width: int) -> Image.Image:
    """The smallest size, of the same proportions, that covers height x width."""
    # whole numbers rounded down, as torchvision does for the long side
    if width * image.height >= height * image.width:
        size = (width, max(height, width * image.height // image.width))
    else:
        size = (max(width, height * image.width // image.height), height)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.size == (width, height):
        return image
    # half a pixel too many goes to the even side, as in torchvision
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _fitting(height: int, width: int) -> str:
    if height == width:
        return f"give --crop {height}, or neither --resize nor --crop"
    return "give neither --resize nor --crop, and images are resized and cut to that"


def _for_channels(name: str, values: tuple[float, ...], channels: int) -> Array:
    if len(values) not in (1, channels):
        allowed = "1 value" if channels == 1 else f"1 or {channels} values"
        raise BadInput(f"--{name} {_listed(values)} has {len(values)} values; give {allowed}")
    return np.broadcast_to(np.asarray(values, np.float64), (channels,))


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
