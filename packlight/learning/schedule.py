"""How the learning rate goes: up in a line, then down along half a cosine.

Sources: Goyal et al., arXiv:1706.02677 (warm-up); Loshchilov & Hutter, arXiv:1608.03983 (cosine).
"""

from __future__ import annotations

import math


def share_of_rate(step: int, steps: int, warmup: float) -> float:
    """The share of the highest rate that a step learns with.

    Args:
        step: 0..steps - 1.
        steps: of the training.
        warmup: share of the steps in which the rate rises; 0 begins with the highest.
    Returns:
        Above 0 at every step; 1 where the rise ends.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))
