"""Distortions that leave the answers alone, so that few samples teach like many.

An image may be moved, turned, stretched and sheared a little, and mirrored: each only as far as the
original network keeps its answers on the samples themselves. Other inputs stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

KEEPS = 0.9  # share of answers that a distortion must leave as they were
STRENGTHS = (1.0, 0.5, 0.25)
TURN, STRETCH, SHEAR, MOVE = 0.17, 0.1, 0.15, 0.14  # radians, share, share, half widths: the most

Answers = Callable[[Tensor], Tensor]
"""A batch of inputs -> (n,) the network's answers."""


@dataclass(frozen=True)
class Distortion:
    """What may be done to a sample.

    Args:
        strength: of the affine part, 0 for none.
        mirrored: whether left and right may be exchanged.
    """

    strength: float = 0.0
    mirrored: bool = False

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """A distorted copy of (n, channels, height, width)."""
        if self.mirrored:
            mirrored = torch.rand(len(batch), 1, 1, 1, generator=generator) < 0.5
            batch = torch.where(mirrored, batch.flip(3), batch)
        return affine(batch, self.strength, generator) if self.strength else batch

    def fading(self, done: float) -> Distortion:
        """The distortion when a share of the training is done: the less, the more is."""
        return replace(self, strength=self.strength * max(1.0 - done, 0.0))


def affine(batch: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Every image turned, stretched, sheared and moved at random; what comes in is the edge's."""

    def between(most: float) -> Tensor:
        return (2 * torch.rand(len(batch), generator=generator) - 1) * most * strength

    turn, stretch, shear = between(TURN), 1 + between(STRETCH), between(SHEAR)
    matrix = torch.stack(
        [
            torch.stack([turn.cos() * stretch, shear - turn.sin() * stretch, between(MOVE)], 1),
            torch.stack([turn.sin() * stretch, turn.cos() * stretch, between(MOVE)], 1),
        ],
        1,
    )
    grid = F.affine_grid(matrix, list(batch.shape), align_corners=False)
    return F.grid_sample(batch, grid, padding_mode="border", align_corners=False)


def find_distortion(inputs: Sequence[Tensor], answers: Answers, seed: int) -> Distortion:
    """The strongest distortion that leaves the answers alone.

    Args:
        inputs: one tensor per network input, some hundred samples.
        answers: of the original network.
        seed: for the distortions tried.
    """
    if len(inputs) != 1 or not _image(inputs[0]):
        return Distortion()
    (batch,) = inputs
    known = answers(batch)

    def kept(distortion: Distortion) -> bool:
        generator = torch.Generator().manual_seed(seed)
        return float((answers(distortion(batch, generator)) == known).double().mean()) >= KEEPS

    strength = next((value for value in STRENGTHS if kept(Distortion(value))), 0.0)
    # half of the samples are mirrored: all others keep their answers
    mirrored = float((answers(batch.flip(3)) == known).double().mean()) >= KEEPS
    return Distortion(strength, mirrored)


def _image(value: Tensor) -> bool:
    """Whether a batch holds pictures: one or three channels, both sides of some length."""
    return value.ndim == 4 and value.shape[1] in (1, 3) and min(value.shape[2:]) >= 16
