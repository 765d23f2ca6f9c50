"""The order in which training keeps pictures in memory.

Convolutions train faster with the channels of a pixel side by side. But the gradient of a strided
1x1 convolution of few channels then writes outside its memory: seen with torch 2.13 on one thread
of an AVX-512 processor, 4 channels, stride 2, as a crash or worse. Networks that have one train in
torch's usual order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from packlight.graph import argument, aten, is_call, is_weight, value_of

LEAST_CHANNELS = 16  # a vector of a processor; strided 1x1 kernels of fewer are not trusted


def fastest_order(module: nn.Module) -> torch.memory_format:
    """Channels last, or the usual order where that is not safe."""
    for weight_shape, stride in _convolutions(module):
        pointwise = all(size == 1 for size in weight_shape[2:])
        strided = any(one != 1 for one in stride)
        if pointwise and strided and weight_shape[1] < LEAST_CHANNELS:
            return torch.contiguous_format
    return torch.channels_last


def laid_out(values: Iterable[Tensor], order: torch.memory_format) -> tuple[Tensor, ...]:
    """Values whose pictures lie in an order; a graph keeps its first pictures' order to the end."""
    # `contiguous` would leave the strides of a picture of one channel, and with them the order
    return tuple(one.to(memory_format=order) if one.ndim == 4 else one for one in values)


def in_usual_order(value: Tensor) -> Tensor:
    """A copy with the strides of a fresh tensor.

    With one channel both orders are the same numbers, but not the same strides: torch.export takes
    the other strides for channels last, and writes a pooling as a gather.
    """
    return value.detach().clone(memory_format=torch.contiguous_format)


def put_in_usual_order(module: nn.Module) -> None:
    """Give every parameter and buffer of a module the strides of a fresh tensor."""
    for value in (*module.parameters(), *module.buffers()):
        value.data = in_usual_order(value)


def _convolutions(module: nn.Module) -> Iterator[tuple[tuple[int, ...], Any]]:
    """The shape of the kernel and the stride of each convolution, of layers and of graphs."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            yield tuple(part.weight.shape), part.stride
        if not isinstance(part, fx.GraphModule):
            continue
        for node in part.graph.nodes:
            if is_call(node, aten.conv2d, aten.convolution) and is_weight(node.args[1]):
                stride = argument(node, 3, "stride", (1, 1))
                pair = (stride, stride) if isinstance(stride, int) else stride
                yield tuple(value_of(part, node.args[1]).shape), pair
