"""Take channels out of a network for real: smaller weights, fewer MACs, any runtime runs it.

`find_groups` says which channels there are and which of them can only go together; `remove` takes
some out. The network that is left computes what the original computes once every layer that reads
these channels reads zeros instead.

Run `fuse` first: a weight that is still computed from another has no columns to take out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx

from packlight.errors import BadInput, PacklightError
from packlight.fuse import TOLERANCE, difference
from packlight.graph import argument, aten, set_value
from packlight.network import Network
from packlight.shrink.coupling import READ, WRITTEN, Carried, Coupling
from packlight.shrink.layers import value_of_name
from packlight.types import Array
from packlight.weighing.operators import operator_name

Keep = Mapping[str, Array]
"""Group name -> (channels,) bool, which of its channels stay; a group left out stays whole."""


@dataclass(frozen=True)
class Side:
    """One axis of a weight that narrows with a group.

    Args:
        weight: the parameter's or buffer's name.
        axis: of the stored tensor.
        role: "written" where the axis makes channels, "read" where a layer sums over them,
            "carried" where it holds a number, or a kernel, for each.
        layer: that uses it.
        channel: (size of the axis,) which of the group's channels; -1 for those of other groups.
    """

    weight: str
    axis: int
    role: str
    layer: str
    channel: Array


@dataclass(frozen=True)
class Group:
    """Channels made in the same places; each can go by itself, but only from everywhere at once.

    Args:
        name: of the layer that makes them first; with a number where it makes several groups.
        size: how many channels.
        sides: the axes of weights that hold them.
        pinned: why they can not be taken out; None where they can.
        ids: (channels,) their ids in the `Coupling`.
    """

    name: str
    size: int
    sides: tuple[Side, ...]
    pinned: str | None
    ids: Array = field(repr=False)

    @property
    def written_by(self) -> tuple[str, ...]:
        """The layers that make these channels."""
        return tuple(side.layer for side in self.sides if side.role == WRITTEN)

    @property
    def read_by(self) -> tuple[str, ...]:
        """The layers that sum over these channels."""
        return tuple(side.layer for side in self.sides if side.role == READ)


def find_groups(network: Network) -> list[Group]:
    """The channels of a network by what they hang together with, in the order they are made."""
    coupling = Coupling(network)
    sides = [(side, coupling.roots(side.ids)) for side in coupling.sides.values()]
    makers: dict[int, list[int]] = {}  # id -> the sides that make it
    for number, (side, roots) in enumerate(sides):
        if side.role == WRITTEN:
            for root in dict.fromkeys(roots.tolist()):
                makers.setdefault(root, []).append(number)
    members: dict[tuple[Any, ...], list[int]] = {}
    for root, numbers in makers.items():
        (why,) = coupling.pinned(np.array([root]))
        members.setdefault((*numbers, why), []).append(root)
    groups: list[Group] = []
    taken: dict[str, int] = {}
    for (first, *_, why), ids in members.items():
        layer = sides[first][0].layer
        taken[layer] = taken.get(layer, 0) + 1
        name = layer if taken[layer] == 1 else f"{layer} ({taken[layer]})"
        place = {root: channel for channel, root in enumerate(ids)}
        touched = []
        for side, roots in sides:
            channel = np.array([place.get(root, -1) for root in roots.tolist()])
            if (channel >= 0).any():
                touched.append(Side(side.weight, side.axis, side.role, side.layer, channel))
        groups.append(Group(name, len(ids), tuple(touched), why, np.array(ids)))
    return groups


def kept_places(groups: Sequence[Group], keep: Keep) -> dict[tuple[str, int], Array]:
    """(weight, axis) -> bool along that axis, for every weight that narrows."""
    places: dict[tuple[str, int], Array] = {}
    for group in groups:
        if group.name not in keep or keep[group.name].all():
            continue
        for side in group.sides:
            stays = np.where(side.channel >= 0, keep[group.name][side.channel], True)
            key = (side.weight, side.axis)
            places[key] = places.get(key, True) & stays
    return places


def remove(network: Network, keep: Keep) -> Network:
    """The network without the channels that do not stay.

    Args:
        network: left as it is; fused.
        keep: which channels stay, of the groups of `find_groups(network)`.
    Returns:
        Narrower weights under the same names, and a graph with the sizes that follow.
    Raises:
        BadInput: a group that does not exist or is pinned, a choice of another length, or one
            that leaves a group empty.
        PacklightError: the example inputs show that a rule of the coupling is wrong.
    """
    groups = find_groups(network)
    _check(groups, keep)
    copy = network.copy()
    coupling = Coupling(copy)
    gone = np.concatenate(
        [group.ids[~keep[group.name]] for group in groups if group.name in keep]
        or [np.zeros(0, dtype=np.int64)]
    )
    narrowing = _Narrowing(coupling, gone)
    for node in list(copy.module.graph.nodes):
        if node.op == "call_function":
            narrowing.rewrite(node)
    for (name, axis), stays in kept_places(groups, keep).items():
        old = value_of_name(copy, name)
        places = torch.from_numpy(np.flatnonzero(stays))
        trainable = isinstance(old, torch.nn.Parameter)
        set_value(copy.module, name, old.detach().index_select(axis, places), trainable=trainable)
    narrow = copy.refreshed()
    with torch.no_grad():
        wanted = _unread(network, groups, keep)(*network.example_inputs)
        error = difference(wanted, narrow(*network.example_inputs))
    if not error <= TOLERANCE:
        raise PacklightError(
            f"taking channels out changed the outputs by {error:.1e} of their largest value; "
            "please report the model"
        )
    return narrow


def _unread(network: Network, groups: Sequence[Group], keep: Keep) -> Network:
    """The whole network, each layer reading zeros instead of channels that do not stay."""
    copy = network.copy()
    read = {
        (side.weight, side.axis) for group in groups for side in group.sides if side.role == READ
    }
    with torch.no_grad():
        for (name, axis), stays in kept_places(groups, keep).items():
            if (name, axis) in read:
                weight = value_of_name(copy, name)
                shape = [-1 if other == axis else 1 for other in range(weight.ndim)]
                weight.mul_(torch.from_numpy(stays).reshape(shape))
    return copy


def _check(groups: Sequence[Group], keep: Keep) -> None:
    known = {group.name: group for group in groups}
    for name, stays in keep.items():
        if name not in known:
            raise BadInput(f"there is no group {name!r}; find_groups names {', '.join(known)}")
        group = known[name]
        if stays.dtype != np.bool_ or stays.shape != (group.size,):
            raise BadInput(
                f"group {name} has {group.size} channels and the choice of those that stay is "
                f"{stays.dtype} {stays.shape}; give one bool for each"
            )
        if not stays.any():
            raise BadInput(f"nothing is left of group {name}; keep one channel or more")
        if group.pinned is not None and not stays.all():
            raise BadInput(f"the channels of {name} have to stay: {group.pinned}")


class _Narrowing:
    """Rewrites the sizes that calls spell out.

    Args:
        coupling: of the network before.
        gone: ids of the channels that are taken out.
    """

    def __init__(self, coupling: Coupling, gone: Array) -> None:
        self._coupling, self._gone = coupling, gone

    def _stays(self, ids: Array) -> Array:
        return ~np.isin(self._coupling.roots(ids), self._gone)

    def rewrite(self, node: fx.Node) -> None:
        """Change one call's sizes, if it has any."""
        name = operator_name(node)
        if name in ("view", "reshape", "_unsafe_view", "expand"):
            self._sizes(node, 1, 0)
        elif name == "unflatten":
            self._sizes(node, 2, int(node.args[1]) % len(self._coupling.shape(node.args[0])))
        elif name == "slice":
            self._slice(node)
        elif name in ("chunk", "split", "split_with_sizes"):
            self._parts(node)
        elif name.startswith("conv"):
            self._groups(node)

    def _sizes(self, node: fx.Node, position: int, first: int) -> None:
        """Sizes written out from the axis `first` on."""
        value = self._coupling.carried(node)
        if value is None:
            return
        sizes = list(node.args[position])
        place = value.axis - first
        if 0 <= place < len(sizes) and sizes[place] != -1:
            sizes[place] = int(self._stays(value.ids).sum())
            node.update_arg(position, sizes)

    def _slice(self, node: fx.Node) -> None:
        value = self._coupling.carried(node.args[0])
        axis = int(argument(node, 1, "dim", 0)) % len(self._coupling.shape(node))
        if value is None or value.axis != axis:
            return
        stays = self._stays(value.ids)
        start, stop, _ = slice(argument(node, 2, "start"), argument(node, 3, "end")).indices(
            len(stays)
        )
        ends = (int(stays[:start].sum()), int(stays[:stop].sum()))
        node.args, node.kwargs = (node.args[0], axis, *ends), {}

    def _parts(self, node: fx.Node) -> None:
        values: Any = self._coupling.values[node]
        if not isinstance(values, list) or not isinstance(values[0], Carried):
            return
        axis = int(argument(node, 2, "dim", 0)) % len(self._coupling.shapes[node][0])
        if axis != values[0].axis:
            return
        sizes = [int(self._stays(value.ids).sum()) for value in values]
        node.target = aten.split_with_sizes.default
        node.args, node.kwargs = (node.args[0], sizes, axis), {}

    def _groups(self, node: fx.Node) -> None:
        """A depthwise convolution has a group for every channel it reads."""
        position = 8 if operator_name(node) == "convolution" else 6
        value = self._coupling.carried(node.args[0])
        groups = int(argument(node, position, "groups", 1))
        weight: Any = node.args[1]
        if groups == 1 or value is None or self._coupling.shape(weight)[1] != 1:
            return
        count = int(self._stays(value.ids).sum())
        if len(node.args) > position:
            node.update_arg(position, count)
        else:
            node.update_kwarg("groups", count)
