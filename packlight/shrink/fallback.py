"""Which activations, and which layers' weights, int8 hurts too much, so that they stay float.

Every one is rounded at first. If the outputs then keep a signal-to-noise ratio of `ENOUGH_DB`
nothing more is asked. Otherwise they are rounded one at a time; the one that hurts most is given
back to float, and so on until the rest together is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from packlight.judge import sqnr_db
from packlight.network import Network
from packlight.shrink.activations import Grid, Place, insert
from packlight.shrink.layers import value_of_name
from packlight.types import Array

T = TypeVar("T")

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
    quality = _rounded(network, grids, samples, tick)
    return {place.name: ratio for place, ratio in _worst(places, quality)}


def alone(
    network: Network,
    places: Sequence[Place],
    grids: dict[str, Grid],
    samples: Sequence[tuple[Tensor, ...]],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Every place with the signal-to-noise ratio (dB) that it has alone, the worst first."""
    ranked = _ranked(places, _rounded(network, grids, samples, tick))
    return {place.name: ratio for place, ratio in ranked}


def harmful_layers(
    network: Network,
    rounded: Mapping[str, Tensor],
    samples: Sequence[tuple[Tensor, ...]],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The weights to leave in float, each with the signal-to-noise ratio (dB) it has alone.

    Args:
        network: float weights.
        rounded: name of a weight -> what integers make of it.
        samples: a few calibration batches.
        tick: called after every trial.
    """
    wanted = _outputs(network, samples)
    trial = network.copy()
    floats = {name: value_of_name(network, name).detach().clone() for name in rounded}

    def quality(kept: Sequence[str]) -> float:
        with torch.no_grad():
            for name, value in floats.items():
                value_of_name(trial, name).copy_(rounded[name] if name in kept else value)
        tick()
        return sqnr_db(wanted, _outputs(trial, samples))

    return dict(_worst(list(rounded), quality))


def _worst(every: Sequence[T], quality: Callable[[Sequence[T]], float]) -> list[tuple[T, float]]:
    """What has to go until the others together are harmless, each with its quality alone."""
    kept = list(every)
    if not kept or quality(kept) >= ENOUGH_DB:
        return []
    gone = []
    for one, ratio in _ranked(every, quality):
        kept.remove(one)
        gone.append((one, ratio))
        if not kept or quality(kept) >= ENOUGH_DB:
            break
    return gone


def _ranked(every: Sequence[T], quality: Callable[[Sequence[T]], float]) -> list[tuple[T, float]]:
    """Each with its quality alone, the worst first."""
    return sorted(((one, quality([one])) for one in every), key=lambda pair: pair[1])


def _rounded(
    network: Network,
    grids: dict[str, Grid],
    samples: Sequence[tuple[Tensor, ...]],
    tick: Callable[[], None],
) -> Callable[[Sequence[Place]], float]:
    """The signal-to-noise ratio of the outputs with some places rounded."""
    wanted = _outputs(network, samples)

    def quality(kept: Sequence[Place]) -> float:
        ratio = sqnr_db(wanted, _outputs(insert(network, kept, grids), samples))
        tick()
        return ratio

    return quality


def _outputs(network: Network, samples: Sequence[tuple[Tensor, ...]]) -> tuple[Array, ...]:
    with torch.no_grad():
        parts = [network(*sample) for sample in samples]
    return tuple(
        np.concatenate([np.atleast_1d(value.numpy()) for value in values])
        for values in zip(*parts, strict=True)
    )
