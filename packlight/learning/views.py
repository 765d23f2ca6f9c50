"""Views of a picture: moved and mirrored copies that mean the same, so that few teach like many.

What may be done is measured: a move or a mirror that costs the teacher answers is left out, so that
digits are not mirrored. A copy is made of whole pixels, on bytes as on floats; what comes in at a
border is the picture's own edge, mirrored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

MOVES = (1 / 8, 1 / 16)  # of a side, the most in each direction; the first is 4 of 32 pixels
KEEPS = 0.95  # share of its good answers that the teacher must keep
LEAST_SIDE = 16  # pixels, for a move


@dataclass(frozen=True)
class Views:
    """What may be done to a picture.

    Args:
        move: pixels, the most in each direction; 0 for none.
        mirrored: whether left and right may be exchanged.
        last: whether channels come last.
    """

    move: int = 0
    mirrored: bool = False
    last: bool = False

    def __call__(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """Other views of (n, c, h, w), or of (n, h, w, c) where channels come last."""
        if not (self.move or self.mirrored):
            return pictures
        height, width = pictures.shape[1:3] if self.last else pictures.shape[2:4]
        rows = self._places(len(pictures), height, generator)
        columns = self._places(len(pictures), width, generator)
        if self.mirrored:
            turned = torch.rand(len(pictures), 1, generator=generator) < 0.5
            columns = torch.where(turned, columns.flip(1), columns)
        return _gathered(pictures, rows, columns, self.last)

    def fading(self, done: float) -> Views:
        """The views when a share of the training is done: the smaller a move, the more is.

        Towards the end a small network learns the pictures as they will come.
        """
        return replace(self, move=round(self.move * (1 - done)))

    def _places(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """(count, side): where every pixel of a view comes from."""
        places = torch.arange(side).expand(count, side)
        if not self.move:
            return places
        moved = torch.randint(-self.move, self.move + 1, (count, 1), generator=generator)
        return _reflected(places + moved, side)

    def to_dict(self) -> dict[str, Any]:
        """As the report holds it."""
        return {"move_pixels": self.move, "mirrored": self.mirrored}


def find_views(pictures: Tensor, last: bool, good: Callable[[Tensor], float], seed: int) -> Views:
    """The strongest views that cost no answers.

    Args:
        pictures: (n, c, h, w), or (n, h, w, c) where `last`; some hundred.
        good: the share of them, seen otherwise, that the teacher answers well.
        seed: for the views tried.
    """
    shape = pictures.shape[1:]
    channels, sides = (shape[2], shape[:2]) if last else (shape[0], shape[1:])
    if channels not in (1, 3, 4) or min(sides) < LEAST_SIDE:
        return Views(last=last)
    enough = KEEPS * good(pictures)

    def kept(views: Views) -> bool:
        return good(views(pictures, torch.Generator().manual_seed(seed))) >= enough

    moves = [round(min(sides) * share) for share in MOVES]
    move = next((one for one in moves if kept(Views(one, last=last))), 0)
    mirrored = good(pictures.flip(2 if last else 3)) >= enough
    return Views(move, mirrored, last)


def _reflected(places: Tensor, side: int) -> Tensor:
    """Places outside 0..side - 1 as seen in a mirror at the border, which is not repeated."""
    places = places.abs()
    return torch.where(places >= side, 2 * (side - 1) - places, places)


def _gathered(pictures: Tensor, rows: Tensor, columns: Tensor, last: bool) -> Tensor:
    """The pixels at (n, rows, columns) of every picture."""
    samples = torch.arange(len(pictures))[:, None, None]
    rows, columns = rows[:, :, None], columns[:, None, :]
    if last:
        return pictures[samples, rows, columns]
    # moved to the end, the channels of a pixel are copied together
    return pictures.permute(0, 2, 3, 1)[samples, rows, columns].permute(0, 3, 1, 2)
