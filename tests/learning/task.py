"""A small task to learn: which quarter of an image is the brightest.

As a script, it trains and writes the losses and the weights: torchrun starts it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from packlight.learning.distributed import joined
from packlight.learning.training import Plan, train

BATCH = 33  # not a multiple of two


class Small(nn.Module):
    """(n, 3, 8, 8) -> (n, 4), with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(32, 4)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(image)))
        return self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))


def batch_of(step: int, count: int = BATCH) -> tuple[Tensor, Tensor]:
    """The samples of a step."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(count, 3, 8, 8, generator=generator)
    labels = torch.randint(4, (count,), generator=generator)
    for place in range(4):
        top, left = 4 * (place // 2), 4 * (place % 2)
        images[labels == place, :, top : top + 4, left : left + 4] += 1.0
    return images, labels


def cross_entropy(module: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Of the module's answers."""
    images, labels = batch
    return F.cross_entropy(module(images), labels)


def learnt() -> dict[str, Any]:
    """The losses of a short training, and all numbers of the module afterwards."""
    torch.manual_seed(0)
    module = Small()
    history = train(module, batch_of, cross_entropy, Plan(steps=12, rate=1e-2))
    state = {name: value.flatten().tolist() for name, value in module.state_dict().items()}
    return {"losses": history.losses, "state": state}


if __name__ == "__main__":
    with joined() as world:
        found = learnt()
        if world.leads:
            Path(sys.argv[1]).write_text(json.dumps(found))
