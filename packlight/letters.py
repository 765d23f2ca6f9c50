"""Pictures of letters as a camera sees them, drawn here, each with its label.

The demo needs data that ships with the package, so it renders it: A-Z and 0-9 in four typefaces,
turned, moved, resized, blurred, unevenly lit and noisy. A glyph is drawn once, at twice the
resolution; an image is that glyph seen through a random affine map, so thousands are made per
second and training never sees the same one twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from importlib.util import find_spec
from math import pi
from pathlib import Path
from string import ascii_uppercase, digits
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from packlight.errors import BadInput
from packlight.types import Array

CHARSET = ascii_uppercase + digits
SIZE = 32  # pixels: side of an image
SHARP = 2  # glyph pixels per image pixel
FILL = 0.65  # a typeface's largest glyph, as a fraction of the frame: it may turn and still fit
CHUNK = 1024  # images rendered together; bounds the memory, 40 MB at 32 px
NOT_A_CHARACTER = "\uffff"  # drawn as the typeface's mark for a missing glyph


@dataclass(frozen=True)
class Bounds:
    """How far an image may stray from the clean glyph: enough, and no more.

    A small network has only so much room. Shown letters upside down it will learn them, and pay
    with the accuracy of the upright ones that the camera really sees. So each distortion has a
    bound, set to what a hand-held phone does to a sign, and a draw is uniform inside it.

    Args:
        rotation: degrees, to either side, 0..45; beyond that an N becomes a Z.
        shift: along each axis, to either side, as a fraction of the frame, 0..0.25.
        scale: larger or smaller by this fraction, 0..0.5.
        blur: standard deviation in pixels of the strongest Gaussian blur, 0..4.
        noise: standard deviation of the strongest pixel noise, black to white being 1, 0..0.5.
        contrast: the least difference between ink and paper, 0.05..1. Either may be the darker.
        background: how much the light may change from one side to the other, 0..1.
    """

    rotation: float = 12.0
    shift: float = 0.08
    scale: float = 0.15
    blur: float = 1.0
    noise: float = 0.08
    contrast: float = 0.4
    background: float = 0.3

    def __post_init__(self) -> None:
        for field in fields(self):
            low, high = _ALLOWED[field.name]
            value = getattr(self, field.name)
            if not low <= value <= high:  # also true for NaN
                raise BadInput(f"{field.name} is {value}; a bound from {low:g} to {high:g} works")


_ALLOWED = {
    "rotation": (0, 45),
    "shift": (0, 0.25),
    "scale": (0, 0.5),
    "blur": (0, 4),
    "noise": (0, 0.5),
    "contrast": (0.05, 1),
    "background": (0, 1),
}


class Typeface(NamedTuple):
    """A name for messages, and the function that opens the font at a size in pixels."""

    name: str
    at: Callable[[float], Any]


def render(
    count: int,
    seed: int | Sequence[int],
    *,
    charset: str = CHARSET,
    size: int = SIZE,
    bounds: Bounds | None = None,
) -> tuple[Array, Array]:
    """Draw labelled images; the same arguments give the same bytes.

    Args:
        count: how many, 0 or more; every class appears equally often, give or take one.
        seed: another seed, other images: a number from 0, or several, as in (seed, step). Zeros at
            the end change nothing.
        charset: the classes, distinct characters that every typeface can draw.
        size: side of an image in pixels, 8..256.
        bounds: how far images may stray from the clean glyphs; None for the defaults.
    Returns:
        images: uint8 (count, 1, size, size); labels: int64 (count,), positions in charset.
    Raises:
        BadInput: names the argument, or the character and the typeface that lacks it.
    """
    if count < 0:
        raise BadInput(f"count is {count}; 0 or more images can be drawn")
    if not 8 <= size <= 256:
        raise BadInput(f"size is {size}; images of 8 to 256 pixels can be drawn")
    glyphs = _glyphs(charset, size)
    bounds = bounds or Bounds()
    dice = _dice(seed)
    labels = torch.randperm(count, generator=dice) % len(charset)
    faces = torch.randint(len(glyphs), (count,), generator=dice)
    images = torch.empty((count, 1, size, size), dtype=torch.uint8)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        images[part] = _photograph(glyphs[faces[part], labels[part]], size, bounds, dice)
    return images.numpy(), labels.numpy()


def typefaces() -> list[Typeface]:
    """Sans, serif, bold serif and rounded: the four that images are drawn in."""
    return [
        Typeface("Aileron", ImageFont.load_default),
        Typeface("Caladea", partial(_truetype, "font-caladea", "Caladea-Regular.ttf")),
        Typeface("Caladea Bold", partial(_truetype, "font-caladea", "Caladea-Bold.ttf")),
        Typeface("Fredoka One", partial(_truetype, "font-fredoka-one", "FredokaOne-Regular.ttf")),
    ]


def _dice(seed: int | Sequence[int]) -> torch.Generator:
    """A generator of its own for every seed: torch's alone would take 0 and 2**32 for the same."""
    try:
        mixed = np.random.SeedSequence(seed)
    except (TypeError, ValueError) as problem:
        raise BadInput(f"seed is {seed!r}; a whole number from 0, or several, works") from problem
    return torch.Generator().manual_seed(int(mixed.generate_state(1)[0]))


def _photograph(glyphs: Tensor, size: int, bounds: Bounds, dice: torch.Generator) -> Tensor:
    """Ink (n, side, side) in 0..1, any side -> photographs, uint8 (n, 1, size, size)."""
    count = len(glyphs)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=dice)

    turn = draw(-bounds.rotation, bounds.rotation) * (pi / 180)
    zoom = draw(1 - bounds.scale, 1 + bounds.scale)
    right, down = draw(-bounds.shift, bounds.shift), draw(-bounds.shift, bounds.shift)
    ink = _blur(_see(glyphs, size, turn, zoom, right, down), draw(0, bounds.blur))

    ink = torch.where(_each(draw(0, 1) < 0.5), ink, 1 - ink)  # dark on light, or light on dark
    span = draw(bounds.contrast, 1)
    image = _each((1 - span) * draw(0, 1)) + _each(span) * ink
    image += _slope(size, draw(0, bounds.background), draw(-pi, pi))
    noise = torch.randn(image.shape, generator=dice)
    image += noise.mul_(_each(draw(0, bounds.noise)))
    return image.clamp_(0, 1).mul_(255).round_().to(torch.uint8)[:, None]


def _see(
    glyphs: Tensor, size: int, turn: Tensor, zoom: Tensor, right: Tensor, down: Tensor
) -> Tensor:
    """Move the camera: each image pixel looks up the glyph point that it shows, (n, size, size)."""
    cos, sin = torch.cos(turn) / zoom, torch.sin(turn) / zoom
    right, down = 2 * right, 2 * down  # affine_grid's frame runs from -1 to 1
    back = torch.stack(
        [cos, sin, -(cos * right + sin * down), -sin, cos, sin * right - cos * down], dim=1
    )
    where = F.affine_grid(back.view(-1, 2, 3), [len(glyphs), 1, size, size], align_corners=False)
    return F.grid_sample(glyphs[:, None], where, align_corners=False)[:, 0]


def _blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, each image (size, size) with its own sigma in pixels: K @ image @ K^T."""
    at = torch.arange(images.shape[-1], dtype=torch.float32)
    apart = (at[:, None] - at) ** 2
    kernel = torch.exp(-apart / (2 * _each(sigma).clamp_min(1e-3) ** 2))
    kernel /= kernel.sum(2, keepdim=True)
    return kernel @ images @ kernel.mT


def _slope(size: int, strength: Tensor, angle: Tensor) -> Tensor:
    """Uneven light (n, size, size): a plane of mean 0, `strength` higher at one side."""
    at = torch.linspace(-0.5, 0.5, size)
    along = _each(torch.cos(angle)) * at + _each(torch.sin(angle)) * at[:, None]
    return _each(strength) * along


def _each(values: Tensor) -> Tensor:
    """One number per image (n,), shaped to meet images (n, size, size)."""
    return values[:, None, None]


@lru_cache(maxsize=4)
def _glyphs(charset: str, size: int) -> Tensor:
    """Every character in every typeface as ink, float32 (typefaces, characters, side, side)."""
    if not charset or len(set(charset)) != len(charset):
        raise BadInput(f"charset is {charset!r}; one or more characters, each once, can be drawn")
    side = size * SHARP
    ink = np.stack([_draw(face, charset, side) for face in typefaces()])
    # A pixel gathers light over its whole area: without this, thin strokes would flicker.
    footprint = torch.tensor([1.0, 2.0, 1.0]) / 4
    sheets = torch.from_numpy(ink).view(-1, 1, side, side)
    sheets = F.conv2d(sheets, torch.outer(footprint, footprint)[None, None], padding=1)
    return sheets.view(ink.shape)


def _draw(face: Typeface, charset: str, side: int) -> Array:
    """One typeface, its characters centred and of one type size: (characters, side, side)."""
    trial = face.at(side)
    missing = bytes(trial.getmask(NOT_A_CHARACTER))
    for character in charset:
        mask = trial.getmask(character)
        if mask.getbbox() is None or bytes(mask) == missing:
            raise BadInput(
                f"{face.name} can not draw {character!r} (U+{ord(character):04X}); "
                "leave it out of charset"
            )
    boxes = [trial.getbbox(character) for character in charset]
    largest = max(max(right - left, low - top) for left, top, right, low in boxes)
    font = face.at(side * FILL * side / largest)
    sheet = np.empty((len(charset), side, side), dtype=np.float32)
    for index, character in enumerate(charset):
        left, top, right, low = font.getbbox(character)
        page = Image.new("L", (side, side))
        corner = ((side - left - right) / 2, (side - top - low) / 2)
        ImageDraw.Draw(page).text(corner, character, fill=255, font=font)
        sheet[index] = np.asarray(page, dtype=np.float32) / 255
    return sheet


def _truetype(package: str, file: str, size: float) -> Any:
    spec = find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise BadInput(f"the typeface in {package} is not installed; try: pip install {package}")
    return ImageFont.truetype(str(Path(spec.origin).parent / "files" / file), size)
