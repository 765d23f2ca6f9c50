"""The small network while it learns: its body, dressed so that it takes and answers as its teacher.

    inputs -> permuted -> scaled -> body -> logits -> softmax, shape

While it learns the logits count; where it is used, the teacher's form. The scale brings inputs like
pixels of 0..255 to a size that fresh weights can deal with; `finish` multiplies it into the first
layer, so that nothing of it is left in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

from packlight.fuse import TOLERANCE, difference
from packlight.learning.teachers import Tap, pooled, tap_graph
from packlight.network import flat
from packlight.shrink.recover import logits_of


@dataclass(frozen=True)
class Dress:
    """What stands around a body.

    Args:
        permutation: of the input's axes, where its channels lie elsewhere; None for none.
        scale: of the input.
        classifier: whether the first output of the body becomes (n, classes) logits.
        probabilities: whether the body itself ends in probabilities.
        softmax: whether the answers are to be probabilities.
        shape: of the first output of one sample, for a network that classifies.
    """

    permutation: tuple[int, ...] | None = None
    scale: float = 1.0
    classifier: bool = True
    probabilities: bool = False
    softmax: bool = False
    shape: tuple[int, ...] = ()


class Pupil(nn.Module):
    """A body, dressed.

    Args:
        body: takes one tensor per input, returns one or several.
        dress: around it.
    """

    bridge: nn.Linear | None

    def __init__(self, body: nn.Module, dress: Dress) -> None:
        super().__init__()
        self.body, self.dress = body, dress
        self.bridge = None

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The answers in the teacher's form."""
        first, *others = self.learning(*inputs)
        dress = self.dress
        if dress.classifier:
            first = first.softmax(1) if dress.softmax else first
            if dress.shape != tuple(first.shape[1:]):
                first = first.reshape(-1, *dress.shape)
        return (first, *others)

    def learning(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The answers as they are learnt: logits of a network that classifies."""
        dress = self.dress
        if dress.permutation is not None:
            inputs = (inputs[0].permute(dress.permutation),)
        if dress.scale != 1:
            inputs = (inputs[0] * dress.scale,)
        first, *others = flat(self.body(*inputs))
        if dress.classifier:
            first = logits_of(first, dress.probabilities)
        return (first, *others)

    def match(self, example: Sequence[Tensor], width: int) -> bool:
        """Build a bridge: a linear map from what the last layer reads to `width` features.

        Args:
            example: inputs to run it on.
        Returns:
            Whether there is a last layer; without one there is no bridge.
        """
        self._tap = Tap()
        self._hook = None
        if isinstance(self.body, fx.GraphModule):
            if not tap_graph(self.body, self._tap):
                return False
        else:
            kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
            layers = [layer for layer in self.body.modules() if isinstance(layer, kinds)]
            if not layers:
                return False
            self._hook = layers[-1].register_forward_pre_hook(self._look)
        with torch.no_grad():
            self.eval().learning(*example)
        self.bridge = nn.Linear(pooled(self._tap.seen).shape[1], width)
        return True

    def _look(self, layer: nn.Module, read: tuple[Tensor, ...]) -> None:
        self._tap(read[0])

    def bridged(self) -> Tensor:
        """The features of the last run, mapped: (n, width)."""
        assert self.bridge is not None
        return self.bridge(pooled(self._tap.seen))

    def finish(self, example: Sequence[Tensor]) -> None:
        """Take away what only learning needed.

        Args:
            example: inputs that answers are compared on.
        """
        self.eval()
        if self.bridge is not None:
            self.bridge = None
            if self._hook is not None:
                self._hook.remove()
            else:
                self.body.tap = nn.Identity()
            del self._tap
        self._fold_scale(example)

    @torch.no_grad()
    def _fold_scale(self, example: Sequence[Tensor]) -> None:
        """Multiply the scale into the first layer, if that gives the same answers."""
        kinds = (nn.Linear, nn.Conv2d)
        first = next((layer for layer in self.body.modules() if isinstance(layer, kinds)), None)
        if self.dress.scale == 1 or first is None:
            return
        before, dress, weight = self(*example), self.dress, first.weight.clone()
        first.weight.mul_(dress.scale)
        self.dress = replace(dress, scale=1.0)
        if difference(before, self(*example)) > TOLERANCE:  # it does not read the input first
            first.weight.copy_(weight)
            self.dress = dress
