"""Channels that compute nothing, taken out of the graph.

Once weights are zero, whole channels may be: nothing writes them (their rows are zero, and so are
their biases), or nothing reads them. The network without them gives the same answers, with fewer
weights, biases, scales, MACs and bytes of RAM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from packlight.fuse import TOLERANCE, difference
from packlight.network import Network
from packlight.shrink.channels import Group, find_groups, kept_places, remove
from packlight.shrink.coupling import CARRIED, READ, WRITTEN
from packlight.shrink.layers import value_of_name
from packlight.types import Array

Places = Mapping[tuple[str, int], Array]
"""(weight, axis) -> which of the places along that axis are left; all others are as they were."""


@dataclass(frozen=True)
class Swept:
    """A network without its dead channels.

    Args:
        network: the network.
        places: what is left of the weights that became narrower.
    """

    network: Network
    places: Places = field(default_factory=dict)


def sweep(network: Network, samples: Sequence[tuple[Tensor, ...]], *, unread: bool = True) -> Swept:
    """Take out every channel that is dead, and those that die with them.

    Args:
        network: fused; left as it is.
        samples: batches on which the answers are compared. Where they change (something makes a
            number of a channel of zeros), only channels that nothing reads are taken out.
        unread: also take out channels that nothing reads.
    """
    swept = _without(network, unwritten=True, unread=unread)
    if not _alike(network, swept.network, samples):
        swept = _without(network, unwritten=False, unread=unread)
    return swept


def composed(places: Places, then: Places) -> Places:
    """What is left after both."""
    both = {key: places[key][left] if key in places else left for key, left in then.items()}
    return {**places, **both}


def _without(network: Network, *, unwritten: bool, unread: bool) -> Swept:
    places: Places = {}
    while True:
        keep = {}
        groups = find_groups(network)
        for group in groups:
            dead = np.zeros(group.size, dtype=np.bool_)
            if unread:
                dead |= _unread(network, group)
            if unwritten:
                dead |= _unwritten(network, group)
            dead[:1] &= not dead.all()  # one stays, as an empty tensor is no channel
            if group.pinned is None and dead.any():
                keep[group.name] = ~dead
        if not keep:
            return Swept(network, places)
        stays = kept_places(groups, keep)
        places = composed(places, {key: np.flatnonzero(one) for key, one in stays.items()})
        network = remove(network, keep)


def _unread(network: Network, group: Group) -> Array:
    """(channels,) whether every layer that reads the channel has zeros for it."""
    if not any(side.role == READ for side in group.sides):
        return np.zeros(group.size, dtype=np.bool_)
    return ~_nonzero(network, group, (READ,))


def _unwritten(network: Network, group: Group) -> Array:
    """(channels,) whether everything that makes the channel, or adds to it, is zero."""
    return ~_nonzero(network, group, (WRITTEN, CARRIED))


def _nonzero(network: Network, group: Group, roles: tuple[str, ...]) -> Array:
    found = np.zeros(group.size, dtype=np.bool_)
    for side in group.sides:
        if side.role not in roles:
            continue
        value = value_of_name(network, side.weight).detach()
        others = [axis for axis in range(value.ndim) if axis != side.axis]
        filled = (value != 0).any(dim=others) if others else value != 0
        held = side.channel >= 0
        np.logical_or.at(found, side.channel[held], filled.numpy()[held])
    return found


def _alike(network: Network, other: Network, samples: Sequence[tuple[Tensor, ...]]) -> bool:
    with torch.no_grad():
        return all(difference(network(*sample), other(*sample)) <= TOLERANCE for sample in samples)
