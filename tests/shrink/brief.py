"""Retraining, cut short: all of its parts, each less often."""

from __future__ import annotations

import pytest

from packlight.shrink import recover, teaching


def briefly(patch: pytest.MonkeyPatch) -> None:
    """Retraining takes a third of its fewest steps, and a bisection is two of them."""
    patch.setattr(teaching, "FEWEST_STEPS", 70)
    patch.setattr(teaching, "RUNS", 2)
    patch.setattr(recover, "CHOICES", 25)
    for often in ("MEASURED", "NARROWED"):
        patch.setattr(recover, often, (0.3, 0.6, 0.85))
