"""Typefaces, and every character drawn in them once.

Four ship with the package: sans, serif, bold serif and rounded. Others are font files of the
user's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from packlight.errors import BadInput
from packlight.types import Array

SHARP = 2  # glyph pixels per image pixel
FILL = 0.65  # a typeface's largest glyph, as a fraction of the frame: it may turn and still fit
NOT_A_CHARACTER = "\uffff"  # drawn as the typeface's mark for a missing glyph
TRIAL = 16  # pixels: type in which a file is looked at
ALIKE = 0.1  # of their ink that differs, at most, where two glyphs are one shape

Font = str | os.PathLike[str]


class Typeface(NamedTuple):
    """A name for messages, and the function that opens the font at a size in pixels."""

    name: str
    at: Callable[[float], Any]


def typefaces(fonts: Sequence[Font] | None = None) -> list[Typeface]:
    """The four that ship, or those in font files.

    Raises:
        BadInput: no file, or one that holds no font.
    """
    if fonts is None:
        return [
            Typeface("Aileron", ImageFont.load_default),
            Typeface("Caladea", partial(_shipped, "font-caladea", "Caladea-Regular.ttf")),
            Typeface("Caladea Bold", partial(_shipped, "font-caladea", "Caladea-Bold.ttf")),
            Typeface(
                "Fredoka One", partial(_shipped, "font-fredoka-one", "FredokaOne-Regular.ttf")
            ),
        ]
    if not fonts:
        raise BadInput("no font was given; give one or more font files, or leave fonts out")
    return [_of_file(Path(font)) for font in fonts]


def twins(
    charset: str, size: int, fonts: Sequence[Font] | None = None, scale: float = 0.0
) -> list[tuple[str, str]]:
    """Characters that one typeface draws as the same shape: no network tells them apart there.

    Args:
        charset, size, fonts: as of `render`.
        scale: by which fraction an image may be larger or smaller, each alike.
    Returns:
        (two characters, typeface) for every pair of one shape, in sizes that meet.
    """
    found = []
    names = [face.name for face in typefaces(fonts)]
    for name, sheet in zip(
        names, inked(charset, size, None if fonts is None else tuple(map(str, fonts))), strict=True
    ):
        sides = _sides(sheet)
        full = _enlarged(sheet, sides).flatten(1)
        ink = full.sum(1)
        same = torch.cdist(full, full, p=1) < ALIKE * torch.minimum(ink[:, None], ink)
        meet = (sides[:, None] / sides) <= (1 + scale) / (1 - scale) + 0.01
        alike = torch.triu(same & meet & meet.T, diagonal=1)
        found += [(charset[i] + charset[j], name) for i, j in alike.nonzero().tolist()]
    return found


@lru_cache(maxsize=4)
def inked(charset: str, size: int, fonts: tuple[str, ...] | None) -> Tensor:
    """Every character in every typeface as ink in 0..1, for images of `size` pixels.

    Returns:
        float32 (typefaces, characters, side, side), the side SHARP times the size.
    Raises:
        BadInput: no font, no charset, or a character that a typeface lacks.
    """
    if not charset or len(set(charset)) != len(charset):
        raise BadInput(f"charset is {charset!r}; one or more characters, each once, can be drawn")
    side = size * SHARP
    ink = np.stack([_draw(face, charset, side) for face in typefaces(fonts)])
    # A pixel gathers light over its whole area: without this, thin strokes would flicker.
    footprint = torch.tensor([1.0, 2.0, 1.0]) / 4
    sheets = torch.from_numpy(ink).view(-1, 1, side, side)
    sheets = F.conv2d(sheets, torch.outer(footprint, footprint)[None, None], padding=1)
    return sheets.view(ink.shape)


def _sides(sheet: Tensor) -> Tensor:
    """Glyphs (characters, side, side), centred -> the longer side of each, as a share (n,)."""
    side = sheet.shape[-1]
    inked_ = sheet > 0.5
    return torch.maximum(inked_.any(1).sum(1), inked_.any(2).sum(1)).clamp_min(1) / side


def _enlarged(sheet: Tensor, sides: Tensor) -> Tensor:
    """Every glyph so large that its longer side fills the frame."""
    matrix = torch.zeros(len(sheet), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = sides
    where = F.affine_grid(matrix, [len(sheet), 1, *sheet.shape[1:]], align_corners=False)
    return F.grid_sample(sheet[:, None], where, align_corners=False)[:, 0]


def _draw(face: Typeface, charset: str, side: int) -> Array:
    """One typeface, its characters centred and of one type size: (characters, side, side)."""
    trial = face.at(side)
    missing = bytes(trial.getmask(NOT_A_CHARACTER))
    for character in charset:
        mask = trial.getmask(character)
        if mask.getbbox() is None or bytes(mask) == missing:
            raise BadInput(
                f"{face.name} can not draw {character!r} (U+{ord(character):04X}); "
                "leave it out of charset, or give a font that has it"
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


def _shipped(package: str, file: str, size: float) -> Any:
    spec = find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise BadInput(f"the typeface in {package} is not installed; try: pip install {package}")
    return ImageFont.truetype(str(Path(spec.origin).parent / "files" / file), size)


def _of_file(path: Path) -> Typeface:
    """A font file, once it has been opened."""
    if not path.is_file():
        raise BadInput(f"the font {path} does not exist; give a .ttf or .otf file")
    try:
        family, style = ImageFont.truetype(str(path), TRIAL).getname()
    except (OSError, ValueError) as problem:
        raise BadInput(
            f"{path} holds no font that can be read ({problem}); give a .ttf or .otf file"
        ) from problem
    named = " ".join(part for part in (family, style) if part and part != "Regular")
    return Typeface(named or path.name, partial(ImageFont.truetype, str(path)))
