"""Roundings that change nothing, left out: of values that are on that very grid already.

`fit` rounds what it moves as well, since integer kernels want integers on both sides of a reshape.
Where the values between are floats, each such rounding is two operators, and it keeps a converter
from seeing what it rewrites: a reshape to six dimensions, a permutation, a reshape.

It is exact. The number of a level is (level - zero) x scale; multiplied with the scale's reciprocal
that is within 255 x 2^-22 of level - zero, which rounds to it.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from packlight.graph import aten, is_call, quantized

#: calls that give numbers of their input in other places, or some of them
_MOVING = (
    aten.contiguous,
    aten.expand,
    aten.flatten,
    aten.max_pool1d,
    aten.max_pool2d,
    aten.permute,
    aten.reshape,
    aten.slice,
    aten.squeeze,
    aten.t,
    aten.transpose,
    aten.unflatten,
    aten.unsqueeze,
    aten.view,
)


def round_once(module: fx.GraphModule) -> None:
    """Let values that were only moved since they were rounded stay as they are."""
    for node in module.graph.nodes:
        if not is_call(node, quantized.dequantize_per_tensor):
            continue
        rounded, *grid = node.args
        if is_call(rounded, quantized.quantize_per_tensor) and list(rounded.args[1:]) == grid:
            source: Any = rounded.args[0]
            if _is_on(source, grid):
                node.replace_all_uses_with(source)
    module.graph.eliminate_dead_code()
    module.recompile()


def _is_on(value: fx.Node, grid: list[Any]) -> bool:
    while is_call(value, *_MOVING):
        (value,) = value.all_input_nodes[:1]
    if is_call(value, aten.cat):
        return all(_is_on(part, grid) for part in value.args[0])
    return is_call(value, quantized.dequantize_per_tensor) and list(value.args[1:]) == grid
