"""Networks rounded as `packlight.fit` rounds them, in a moment: plain rounding, no search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from packlight.coding.openers import executorch as opener
from packlight.fuse import fuse
from packlight.network import Network
from packlight.shrink import activations, weights
from packlight.shrink.grid_search import Solved
from packlight.shrink.layers import find_layers, value_of_name


def quantised(network: Network, samples: Tensor, stay_float: Sequence[str] = ()) -> Network:
    """A network with int8 weights, one scale per channel, and uint8 activations.

    Args:
        network: float; left as it is.
        samples: (n, ...), for the ranges of the activations.
        stay_float: names of nodes at which activations stay float.
    """
    fused = fuse(network).network
    layers = find_layers(fused)
    places = activations.find_places(fused, layers)
    grids = activations.observe(fused, places, [(samples,)])
    kept = [place for place in places if not set(stay_float) & set(place.nodes)]
    made, slots = weights.insert(activations.insert(fused, kept, grids), layers)
    for slot in slots:
        layer = slot.layer
        stored = value_of_name(fused, layer.weight).detach().numpy()
        rows = layer.rows(stored)
        step = np.abs(rows).max(axis=-1) / 127
        levels = layer.stored(np.rint(rows / step[..., None])).astype(np.int8)
        bias = None
        if layer.bias is not None:
            bias = value_of_name(fused, layer.bias).detach().numpy().astype(np.float64)
        solved = Solved(levels, layer.channels(step), bias, 0.0)
        weights.fill(made, slot.values(solved))
    return made


def integers(network: Network) -> dict[str, np.ndarray]:
    """The stored int8 weights of a quantised network, by name."""
    return {
        name: value.numpy()
        for name, value in network.module.named_buffers()
        if value.dtype == torch.int8
    }


def program_holds(data: bytes, levels: np.ndarray) -> bool:
    """Whether a .pte file has a tensor of these integers, channels last; a margin of the last
    axis may be all zero."""
    if levels.ndim == 4:
        levels = levels.transpose(0, 2, 3, 1)
    for tensor in opener.tensors(data):
        if getattr(tensor, "dtype", "") != "int8":
            continue
        stored = np.frombuffer(data, np.int8, tensor.size, tensor.offset).reshape(tensor.shape)
        if levels.ndim == 4 and stored.shape[0] == 1:  # depthwise: (1, height, width, channels)
            stored = stored.transpose(3, 1, 2, 0)
        count = levels.shape[-1]
        margin = stored[..., count:]
        if np.array_equal(stored[..., :count], levels) and not margin.any():
            return True
    return False
