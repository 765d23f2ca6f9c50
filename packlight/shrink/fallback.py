"""Which activations int8 hurts too much, so that they stay float.

Every place is rounded at first. If the outputs then keep a signal-to-noise ratio of `ENOUGH_DB`
nothing more is asked. Otherwise the places are rounded one at a time; the one that hurts most is
given back to float, and so on until the rest together is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from packlight.judge import sqnr_db
from packlight.network import Network
from packlight.shrink.activations import Grid, Place, insert
from packlight.types import Array

ENOUGH_DB = 20.0  # the noise that int8 activations add is then a hundredth of the signal's power


def harmful_places(
    network: Network,
    places: Sequence[Place],
    grids: dict[str, Grid],
    samples: Sequence[tuple[Tensor, ...]],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The places to leave in float, each with the signal-to-noise ratio (dB) it has alone.

    Args:
        network: float weights.
        places, grids: from `find_places` and `observe`.
        samples: a few calibration batches.
        tick: called after every trial.
    """
    wanted = _outputs(network, samples)

    def quality(kept: Sequence[Place]) -> float:
        ratio = sqnr_db(wanted, _outputs(insert(network, kept, grids), samples))
        tick()
        return ratio

    kept = list(places)
    if not kept or quality(kept) >= ENOUGH_DB:
        return {}
    alone = {place.name: quality([place]) for place in kept}
    harmful: dict[str, float] = {}
    for place in sorted(places, key=lambda place: alone[place.name]):
        kept.remove(place)
        harmful[place.name] = alone[place.name]
        if not kept or quality(kept) >= ENOUGH_DB:
            break
    return harmful


def _outputs(network: Network, samples: Sequence[tuple[Tensor, ...]]) -> tuple[Array, ...]:
    with torch.no_grad():
        parts = [network(*sample) for sample in samples]
    return tuple(
        np.concatenate([np.atleast_1d(value.numpy()) for value in values])
        for values in zip(*parts, strict=True)
    )
