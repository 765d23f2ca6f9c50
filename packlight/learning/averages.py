"""The running average of a network's weights: what is validated and handed out.

Steps scatter the weights around where they are going; their average lies nearer, so the network
that holds it answers better than any single step's.
Source: Polyak & Juditsky, SIAM J. Control Optim. 30 (1992) 838.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Average:
    """The exponential average of every float of a module; other values are the last ones.

    Args:
        module: whose parameters and buffers are followed.
        decay: of the average, 0 for none: the weights themselves.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.count = 0
        self.values = {name: value.clone() for name, value in _state(module).items()}

    @torch.no_grad()
    def follow(self) -> None:
        """Take in the weights of a step. The first steps count more: what they began with goes."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count)) if self.decay else 0.0
        for name, value in _state(self.module).items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1 - decay)
            else:
                self.values[name].copy_(value)


@torch.no_grad()
def put_state(module: nn.Module, values: dict[str, Tensor]) -> None:
    """Give a module's parameters and buffers these values."""
    for name, value in _state(module).items():
        value.copy_(values[name])


def copied(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's parameters and buffers."""
    return {name: value.clone() for name, value in _state(module).items()}


def _state(module: nn.Module) -> dict[str, Tensor]:
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: value.detach() for name, value in named}
