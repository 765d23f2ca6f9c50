"""What a student learns from a teacher: its answers, labels where there are any, its features.

A network that classifies learns the teacher's softened answers. With labels, both count: but the
teacher only on samples that it answers right, so that one which is worse than what labels alone
give does not hold its student down; on all others the label alone counts. Other networks learn
the teacher's outputs, by squared error.

Sources: Hinton et al., arXiv:1503.02531, sec. 2 (softened answers, their gradients scaled by the
temperature's square); Romero et al., arXiv:1412.6550, eq. 3 (features through a learnt map).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from packlight.learning.distributed import Batch
from packlight.learning.pupils import Pupil
from packlight.learning.shelves import Shelf
from packlight.learning.teachers import Teacher
from packlight.shrink.recover import squared_loss

BALANCE = 0.5  # weight of the teacher's answers where there are labels as well
FEATURES = 0.5  # weight of the features' squared error, in units of their power


@dataclass(frozen=True)
class Lesson:
    """A loss that `packlight.learning.training.train` can make small.

    Args:
        teacher: whose answers are learnt.
        shelf: where the samples of a batch come from; turns them into inputs.
        temperature: of the softened answers.
        balance: weight of the teacher's answers, 0..1, where it is right; 1 without labels.
        labels: whether the last tensor of a batch holds labels.
    """

    teacher: Teacher
    shelf: Shelf
    temperature: float
    balance: float = BALANCE
    labels: bool = False

    def __call__(self, module: nn.Module, batch: Batch) -> Tensor:
        """The mean loss of a batch: tensors from the shelf, then perhaps labels."""
        pupil = module
        assert isinstance(pupil, Pupil)
        taken, labels = (batch[:-1], batch[-1]) if self.labels else (batch, None)
        inputs = self.shelf.numbers(taken)
        outputs = pupil.learning(*inputs)
        if labels is not None and self.balance == 0 and pupil.bridge is None:
            return F.cross_entropy(outputs[0].flatten(1), labels)
        wanted, features = self.teacher(inputs)
        if self.teacher.task.classifier:
            loss = self._classified(outputs[0].flatten(1), wanted[0], labels)
        else:
            loss = squared_loss(outputs, wanted)
        if pupil.bridge is None:
            return loss
        assert features is not None
        return loss + FEATURES * squared_loss((pupil.bridged(),), (features,))

    def _classified(self, logits: Tensor, wanted: Tensor, labels: Tensor | None) -> Tensor:
        """Of logits (n, classes), against the teacher's and perhaps labels (n,)."""
        hot = self.temperature
        softened, right = F.log_softmax(logits / hot, 1), F.log_softmax(wanted / hot, 1)
        taught = F.kl_div(softened, right, reduction="none", log_target=True).sum(1) * hot**2
        if labels is None:
            return taught.mean()
        told = F.cross_entropy(logits, labels, reduction="none")
        weight = self.balance * (wanted.argmax(1) == labels)
        return torch.lerp(told, taught, weight).mean()
