"""How many threads the steps of a training are worth.

Where a step is little work, its threads wait for each other longer than they compute; beside other
work on the machine, far longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORTH = 2e8  # multiply-adds of a step, forward, that keep a thread busy


@contextmanager
def threads_for(macs: float) -> Iterator[None]:
    """Let torch compute with no more threads than steps of so many multiply-adds are worth."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(min(before, macs / WORTH))))
    try:
        yield
    finally:
        torch.set_num_threads(before)
