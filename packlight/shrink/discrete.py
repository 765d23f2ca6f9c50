"""Weights as training sees them: few that are not zero, those on a grid, and a budget of bits.

Every layer keeps its weights as floats (the shadow), says which of them are kept (the mask) and on
which grid those lie. The network runs on the rounded weights; gradients reach the shadow as if
nothing had been rounded (straight-through), also where the mask holds a zero, so that a weight may
come back.

Which weights are kept is decided for all layers at once. A weight is worth what the loss would
rise without it, 1/2 w^2 f, with f the running mean of its squared gradients (empirical Fisher
information; of rank one in rows and columns, single weights are too noisy). It costs the bits that
say where it lies and what it holds. Kept are those with the most worth for a bit, until the budget
is spent. Places in full rows and columns cost fewer bits, so that whole rows and columns die out.

Sizes: R rows (output channels), n columns (inputs of a row).

Sources: LeCun et al., Optimal Brain Damage, NIPS 1989 (saliency); Bengio et al., arXiv:1308.3432
(straight-through); Guo et al., arXiv:1608.04493 (weights that come back); Esser et al.,
arXiv:1902.08153 (the step's gradient); Theis et al., arXiv:1801.05787 (Fisher information).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from packlight.shrink.layers import Layer
from packlight.shrink.quantize import LEVELS, short
from packlight.types import Array

STEP = 1.0  # the grid's step, in medians of the weights kept
MEMORY = 0.99  # of the running mean of squared gradients
PRIOR = 4.0  # weights' worth of the layer's own density in every row and column
FADED = 1e-3  # of the usual information: a row that has less has been dead for some 700 steps
STAYING = 1.3  # worth of a weight that is kept already: fewer come and go
HALVINGS = 30  # of the bracket around the threshold


@dataclass(frozen=True)
class Choice:
    """What one layer brings to the choice of weights.

    Args:
        worth: (R, n) rise of the loss without the weight; any unit, the same in all layers.
        kept: (R, n) booleans, the choice so far: it says what places cost.
        value_bits: sign and size of a weight kept.
        row_bits: what a row costs beside its weights; it goes with the last of them.
    """

    worth: Tensor
    kept: Tensor
    value_bits: float
    row_bits: float = 0.0


def density(kept: Tensor) -> Tensor:
    """(R, n) the probability that a weight is kept, judged by its row and its column."""
    places = kept.float()
    rows, columns = places.shape
    overall = (places.sum() + 0.5) / (places.numel() + 1)
    row = (places.sum(1, keepdim=True) + PRIOR * overall) / (columns + PRIOR)
    column = (places.sum(0, keepdim=True) + PRIOR * overall) / (rows + PRIOR)
    return (row * column / overall).clamp(1e-5, 0.7)


def bits(kept: Tensor, value_bits: float, row_bits: float = 0.0) -> float:
    """What a layer costs: places and values of the weights kept, and the rows that hold any."""
    chance = density(kept)
    places = torch.where(kept, chance, 1 - chance).log2().sum()
    return float(-places) + value_bits * int(kept.sum()) + row_bits * int(kept.any(1).sum())


def choose(layers: Sequence[Choice], budget: float) -> list[Tensor]:
    """Keep the weights with the most worth for a bit, within a budget of bits.

    Returns:
        (R, n) booleans for each layer. The budget holds for `bits` of what is returned.
    """
    ratios = []
    for layer in layers:
        chance = density(layer.kept)
        shared = layer.row_bits / layer.kept.sum(1, keepdim=True).clamp_min(1)
        price = ((1 - chance) / chance).log2() + layer.value_bits + shared
        ratios.append(layer.worth / price.clamp_min(1.0))
    highest = max(float(ratio.max()) for ratio in ratios)
    # nothing passes `low`, where all is kept, or everything that is worth something is
    low, high = -80.0, float(np.log(max(highest, 1e-34)))

    def above(threshold: float) -> list[Tensor]:
        return [ratio > float(np.exp(threshold)) for ratio in ratios]

    def cost(kept: list[Tensor]) -> float:
        pairs = zip(kept, layers, strict=True)
        return sum(bits(k, layer.value_bits, layer.row_bits) for k, layer in pairs)

    everything = above(low)
    if cost(everything) <= budget:
        return everything
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if cost(above(middle)) > budget:
            low = middle
        else:
            high = middle
    return above(high)


def take_up(fisher: Tensor, gradient: Tensor) -> None:
    """Let the running mean of squared gradients see one more."""
    fisher.mul_(MEMORY).add_(gradient.square(), alpha=1 - MEMORY)


class DiscreteWeight(nn.Module):
    """One layer's weight.

    Args:
        layer: says which axis counts output channels.
        weight: the float weight to start from.
        row_bits: what a row costs beside its weights.
    """

    def __init__(self, layer: Layer, weight: Tensor, row_bits: float = 0.0) -> None:
        super().__init__()
        self.layer, self.row_bits = layer, row_bits
        self.shadow = nn.Parameter(weight.detach().clone())
        self.kept = torch.ones_like(weight, dtype=torch.bool)
        self.fisher = torch.zeros_like(weight)
        self.log_step = nn.Parameter(torch.zeros(()))
        self.rounding = False
        self.place_step()

    def forward(self) -> Tensor:
        """The weight that the network runs on; gradients reach the shadow everywhere."""
        through = self.shadow - self.shadow.detach()
        if not self.rounding:
            return self.shadow.detach() * self.kept + through
        levels, step = self._levels(), self.log_step.exp()
        step = step * (self.step / float(step.detach()))
        # a larger step moves a weight as far as its level is from where its shadow lies
        off = (levels - self.shadow.detach() / step.detach()) * self.kept
        return levels * step.detach() + off * (step - step.detach()) + through

    def _levels(self) -> Tensor:
        scaled = self.shadow.detach() / self.step
        # a weight that is kept is not zero
        level = scaled.abs().round().clamp(1, LEVELS) * scaled.sign()
        return level * self.kept

    def levels(self) -> Array:
        """int8, the stored weight's shape."""
        found: Array = self._levels().to(torch.int8).numpy()
        return found

    @property
    def step(self) -> float:
        """The grid's step."""
        return float(short(np.exp(float(self.log_step.detach()))))

    def place_step(self) -> None:
        """Put the step where the weights kept are."""
        kept = self.shadow.detach()[self.kept].abs()
        middle = float(kept.median()) if kept.numel() else 0.0
        with torch.no_grad():
            self.log_step.fill_(float(np.log(max(STEP * middle, 1e-8))))

    def _smooth(self) -> Tensor:
        """(R, n) the Fisher information, of rank one."""
        fisher = self._rows(self.fisher).double()
        both = fisher.sum(1, keepdim=True) * fisher.sum(0, keepdim=True)
        return both / fisher.sum().clamp_min(1e-300)

    def learn(self) -> None:
        """Take up the gradient of a step."""
        if self.shadow.grad is not None:
            take_up(self.fisher, self.shadow.grad)

    def choice(self) -> Choice:
        """What `choose` wants to know."""
        worth = self._rows(self.shadow.detach()).double().square() * self._smooth()
        kept = self._rows(self.kept)
        worth = worth * torch.where(kept, STAYING, 1.0)
        return Choice(worth, kept, self.value_bits(), self.row_bits)

    def value_bits(self) -> float:
        """Sign and size of a weight kept: the entropy of the levels."""
        level = self._levels()[self.kept].abs().long()
        if not level.numel():
            return 1.0
        counts = torch.bincount(level).double()
        share = counts[counts > 0] / counts.sum()
        return 1.0 - float((share * share.log2()).sum())

    def keep(self, kept: Tensor) -> None:
        """Set the mask, (R, n)."""
        self.kept = self._stored(kept).contiguous()

    def bits(self) -> float:
        """What the layer costs by the model of `bits`."""
        return bits(self._rows(self.kept), self.value_bits(), self.row_bits)

    def alive(self) -> Tensor:
        """(R,) whether any weight of the row is kept."""
        return self._rows(self.kept).any(1)

    def fresh(self) -> Tensor:
        """The weights of rows that died so lately that they may come back, in the stored shape."""
        seen = self._rows(self.fisher).sum(1)
        alive = self.alive()
        usual = seen[alive].mean() if alive.any() else seen.mean()
        lately = ~alive & (seen > FADED * usual)
        return self._stored(lately[:, None].expand(self._rows(self.kept).shape))

    def step_like(self, fisher: Tensor) -> float:
        """The step at which other numbers would do as much harm as a weight that is kept.

        Args:
            fisher: information of each of them.
        """
        own, other = self.fisher[self.kept], fisher.mean()
        if not own.numel() or not other > 0:
            return 0.0
        return self.step * float((own.mean() / other).sqrt())

    def _rows(self, value: Tensor) -> Tensor:
        moved = value.movedim(self.layer.axis, 0)
        return moved.reshape(moved.shape[0], -1)

    def _stored(self, rows: Tensor) -> Tensor:
        """The other way: (R, n) in the stored weight's shape."""
        moved = self.shadow.movedim(self.layer.axis, 0).shape
        return rows.reshape(moved).movedim(0, self.layer.axis)
