"""Give the layers that read pruned channels new weights, so that they miss them least.

A layer's output W x is rebuilt from the inputs x_k that are left by least squares:

    W' = W H_:k H_kk^-1,  b' = b + W mu - W' mu_k

with H the moments of its inputs in the original network, and the bias taking what is lost on
average. No sample is run: H and mu are the curvature that chose the channels.

Source: He et al., arXiv:1707.06168 (channel pruning, reconstruction by least squares). Differs: in
closed form from moments, H blended with the gradients' moments.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from packlight.graph import set_value
from packlight.network import Network
from packlight.shrink.channels import Keep, find_groups, kept_places
from packlight.shrink.coupling import READ
from packlight.shrink.curvature import Curvature
from packlight.shrink.layers import Layer, find_layers, value_of_name, weight_array
from packlight.shrink.quantize import DAMPING
from packlight.types import Array


def repair(
    before: Network, after: Network, keep: Keep, curvatures: Mapping[str, Curvature]
) -> Network:
    """A copy of the pruned network whose readers make good what they can.

    Args:
        before: the network before channels were taken out.
        after: `remove(before, keep)`.
        keep: which channels stayed.
        curvatures: of the layers of `before`, by name.
    """
    groups = find_groups(before)
    places = kept_places(groups, keep)
    read = {
        (side.weight, side.axis)
        for group in groups
        for side in group.sides
        if side.role == READ and (side.weight, side.axis) in places
    }
    repaired = after.copy()
    narrow = {layer.weight: layer for layer in find_layers(repaired)}
    for layer in find_layers(before):
        axis = next((axis for weight, axis in read if weight == layer.weight), None)
        curvature = curvatures.get(layer.name)
        if axis is None or curvature is None or not curvature.moments:
            continue
        rows = layer.rows(weight_array(before, layer.weight))
        kept = columns_of(layer, axis, places[layer.weight, axis])
        rebuilt = reconstruct(rows, curvature, kept)
        stays = places.get((layer.weight, layer.axis))
        written = np.ones(rows.shape[:2], dtype=bool)
        if stays is not None:
            written = rows_of(layer, stays)
        chosen = np.stack([own[mask] for own, mask in zip(rebuilt, written, strict=True)])
        _store(repaired, layer.weight, narrow[layer.weight].stored(chosen))
        if layer.centred and layer.bias is not None:
            lost = np.einsum("grn,gn->gr", rows, curvature.mean)
            lost -= np.einsum("grn,gn->gr", rebuilt, curvature.mean[:, kept])
            bias = weight_array(before, layer.bias) + lost.reshape(-1)
            _store(repaired, layer.bias, bias[written.reshape(-1)])
    return repaired


def reconstruct(rows: Array, curvature: Curvature, kept: Array) -> Array:
    """The weights that come nearest to a layer's outputs with some of its inputs.

    Args:
        rows: (G, R, n).
        curvature: of its inputs; H may be in blocks, each is solved by itself.
        kept: (n,) bool, the columns that are left.
    Returns:
        (G, R, columns left) float64.
    """
    pieces, start = [], 0
    for block in curvature.moments:
        inside = slice(start, start + block.shape[1])
        start = inside.stop
        k = kept[inside]
        if not k.any():
            continue
        H = damped(block.astype(np.float64))
        target = rows[:, :, inside] @ H[:, :, k]
        pieces.append(np.linalg.solve(H[:, k][:, :, k], target.swapaxes(1, 2)).swapaxes(1, 2))
    return np.concatenate(pieces, axis=2)


def damped(moments: Array) -> Array:
    """Moments (..., n, n) with the ridge that makes them safe to invert."""
    n = moments.shape[-1]
    mean = np.trace(moments, axis1=-2, axis2=-1) / n
    ridge = np.where(mean > 0, DAMPING * mean, 1.0)
    damped: Array = moments + ridge[..., None, None] * np.eye(n)
    return damped


def columns_of(layer: Layer, axis: int, per_place: Array) -> Array:
    """One value for each place of a weight's input axis as one for each column, (n,)."""
    spread = layer.rows(_spread(layer, axis, per_place))
    columns: Array = spread[0, 0]
    return columns


def rows_of(layer: Layer, per_place: Array) -> Array:
    """One value for each place of a weight's output axis as one for each row, (G, R)."""
    rows: Array = layer.rows(_spread(layer, layer.axis, per_place))[:, :, 0]
    return rows


def _spread(layer: Layer, axis: int, per_place: Array) -> Array:
    shape = [-1 if other == axis else 1 for other in range(len(layer.shape))]
    return np.broadcast_to(per_place.reshape(shape), layer.shape)


def _store(network: Network, name: str, value: Array) -> None:
    old = value_of_name(network, name)
    new = torch.from_numpy(np.ascontiguousarray(value)).to(old.dtype)
    set_value(network.module, name, new, trainable=isinstance(old, torch.nn.Parameter))
