"""Weights that train under a constraint: some fixed, or many sharing one value.

Each module makes a weight of the shape that the network reads, from the numbers that training may
change. Gradients of a shared value are the sum over all the weights that share it (Han et al.,
arXiv:1510.00149, section 3.3), which is what differentiating the look-up gives.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from packlight.shrink.palettize import Codebook


class Masked(nn.Module):
    """A weight of which only some are trained; the others are zero.

    Args:
        weight: where to start.
        kept: booleans of the same shape.
    """

    kept: Tensor

    def __init__(self, weight: Tensor, kept: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.register_buffer("kept", kept)

    def forward(self) -> Tensor:
        """The weight."""
        return self.weight * self.kept


class Partly(nn.Module):
    """A weight of which only some are trained; the others stay as they are.

    Args:
        weight: where to start.
        free: booleans of the same shape: what is trained.
    """

    free: Tensor
    fixed: Tensor

    def __init__(self, weight: Tensor, free: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.register_buffer("free", free)
        self.register_buffer("fixed", weight.detach().clone())

    def forward(self) -> Tensor:
        """The weight."""
        return torch.where(self.free, self.weight, self.fixed)


class Shared(nn.Module):
    """A weight looked up in a codebook of which the centres are trained.

    Args:
        codebook: of single weights, one for the whole tensor; a centre that is zero stays zero.
    """

    indices: Tensor
    moves: Tensor

    def __init__(self, codebook: Codebook) -> None:
        super().__init__()
        centres = torch.from_numpy(codebook.centres.reshape(-1, 1).copy())
        self.centres = nn.Parameter(centres)
        self.register_buffer("moves", centres != 0)
        self.register_buffer("indices", torch.from_numpy(codebook.indices).long())

    def forward(self) -> Tensor:
        """The weight."""
        return F.embedding(self.indices, self.centres * self.moves).squeeze(-1)
