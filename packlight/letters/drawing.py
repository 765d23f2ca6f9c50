"""Pictures of letters as a camera sees them, drawn here, each with its label.

Turned, moved, resized, blurred, unevenly lit and noisy. A glyph is drawn once, at twice the
resolution; an image is that glyph seen through a random affine map, so thousands are made per
second and training never sees the same one twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from packlight.errors import BadInput
from packlight.letters.bounds import Bounds
from packlight.letters.charset import CHARSET
from packlight.letters.fonts import Font, inked
from packlight.types import Array

SIZE = 32  # pixels: side of an image
CHUNK = 1024  # images rendered together; bounds the memory, 40 MB at 32 px


def render(
    count: int,
    seed: int | Sequence[int],
    *,
    charset: str = CHARSET,
    size: int = SIZE,
    bounds: Bounds | None = None,
    fonts: Sequence[Font] | None = None,
) -> tuple[Array, Array]:
    """Draw labelled images; the same arguments give the same bytes.

    Args:
        count: how many, 0 or more; every class appears equally often, give or take one.
        seed: another seed, other images: a number from 0, or several, as in (seed, step). Zeros at
            the end change nothing.
        charset: the classes, distinct characters that every typeface can draw.
        size: side of an image in pixels, 8..256.
        bounds: how far images may stray from the clean glyphs; None for the defaults.
        fonts: font files (.ttf, .otf) to draw with, equally often; None for the four that ship.
    Returns:
        images: uint8 (count, 1, size, size); labels: int64 (count,), positions in charset.
    Raises:
        BadInput: names the argument, the file that is no font, or the character and the typeface
            that lacks it.
    """
    if count < 0:
        raise BadInput(f"count is {count}; 0 or more images can be drawn")
    if not 8 <= size <= 256:
        raise BadInput(f"size is {size}; images of 8 to 256 pixels can be drawn")
    glyphs = inked(charset, size, None if fonts is None else tuple(map(str, fonts)))
    bounds = bounds or Bounds()
    dice = _dice(seed)
    labels = torch.randperm(count, generator=dice) % len(charset)
    faces = torch.randint(len(glyphs), (count,), generator=dice)
    images = torch.empty((count, 1, size, size), dtype=torch.uint8)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        images[part] = _photograph(glyphs[faces[part], labels[part]], size, bounds, dice)
    return images.numpy(), labels.numpy()


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
