"""Several processes that train one network: what they tell each other.

A process that torchrun starts finds WORLD_SIZE in its environment and joins the others over gloo.
Every process draws the same batch and learns from its own slice of it; gradients are added, each
weighted by its slice's share, so that a step is that of one process with the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from packlight.errors import BadInput

PATIENCE = timedelta(days=1)  # with a leader that fits or judges; torchrun ends those left over

Batch = tuple[Tensor, ...]
"""Tensors that count samples along their first axis."""


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Args:
        rank: this one's number.
        size: how many.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def slice_of(self, batch: Batch) -> tuple[Batch, float]:
        """This process's part of a batch, and its share of the samples.

        Raises:
            BadInput: fewer samples than processes.
        """
        count = len(batch[0])
        if count < self.size:
            raise BadInput(
                f"a batch of {count} can not be shared by {self.size} processes; start fewer"
            )
        first, last = (count * rank // self.size for rank in (self.rank, self.rank + 1))
        return tuple(value[first:last] for value in batch), (last - first) / count

    def add(self, values: Sequence[Tensor]) -> None:
        """Replace every tensor by the sum of all processes'; all in one message."""
        if self.size == 1:
            return
        message = torch.cat([value.reshape(-1) for value in values])
        dist.all_reduce(message)
        parts = message.split([value.numel() for value in values])
        for value, part in zip(values, parts, strict=True):
            value.copy_(part.view(value.shape))

    def from_leader(self, value: Any) -> Any:
        """What the leading process has; the others' own is not looked at."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]


def leads() -> bool:
    """Whether this process is the only one, or the one that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined() -> Iterator[World]:
    """Meet the other processes, if torchrun started several; nested calls meet the same."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    first = not dist.is_initialized()
    if first:
        dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        if first:
            dist.destroy_process_group()
