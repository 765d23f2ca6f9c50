"""What convolutions and pools share: kernel, stride, dilation and padding, checked and resolved.

ONNX gives the padding of each side, or a rule (`auto_pad`) to work it out from the input's size;
torch takes one number per dimension for both sides. `Window` holds ONNX's full answer, and
`symmetric` is torch's where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from packlight.readers.onnx.graph import Node

MAX_EXTENT = 1 << 20  # of a kernel, stride or padding: beyond any image


@dataclass(frozen=True)
class Window:
    """The sliding window of a node on an input of a given size; one entry per dimension."""

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    begin: list[int]
    end: list[int]

    @property
    def symmetric(self) -> list[int] | None:
        """The padding of both sides, where they are the same."""
        return self.begin if self.begin == self.end else None

    def extent(self, axis: int) -> int:
        """How many elements the window covers, gaps included."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def positions(self, size: Any, axis: int, ceil: bool) -> Any:
        """How many windows fit; a last one that would start in the padding does not count."""
        padded = size + self.begin[axis] + self.end[axis]
        span, step = padded - self.extent(axis), self.stride[axis]
        if not ceil:
            return span // step + 1
        count = -(-span // step) + 1
        return count - 1 if (count - 1) * step >= size + self.begin[axis] else count


def window_of(node: Node, x: Tensor, kernel: list[int]) -> Window:
    """Resolve a node's attributes against its input.

    Raises:
        BadInput: attributes of the wrong length, or sizes that no window has.
    """
    rank = x.ndim - 2
    if rank < 1 or len(kernel) != rank:
        raise node.bad(f"a kernel of {len(kernel)} dimensions on an input of {x.ndim}")
    stride = node.get("strides") or [1] * rank
    dilation = node.get("dilations") or [1] * rank
    pads = node.get("pads") or [0] * (2 * rank)
    for name, values, length, least in (
        ("kernel_shape", kernel, rank, 1),
        ("strides", stride, rank, 1),
        ("dilations", dilation, rank, 1),
        ("pads", pads, 2 * rank, 0),
    ):
        if len(values) != length or not all(least <= value <= MAX_EXTENT for value in values):
            raise node.bad(f"{name} is {values}; {length} numbers from {least} on are needed")
    rule = node.get("auto_pad") or "NOTSET"
    begin, end = pads[:rank], pads[rank:]
    if rule in ("SAME_UPPER", "SAME_LOWER"):
        begin, end = [], []
        for axis in range(rank):
            size = int(x.shape[2 + axis])
            count = -(-size // stride[axis])
            extent = (kernel[axis] - 1) * dilation[axis] + 1
            total = max(0, (count - 1) * stride[axis] + extent - size)
            small = total // 2
            begin.append(small if rule == "SAME_UPPER" else total - small)
            end.append(total - begin[-1])
    elif rule == "VALID":
        begin, end = [0] * rank, [0] * rank
    elif rule != "NOTSET":
        raise node.bad(f"auto_pad is {rule!r}")
    return Window(kernel, stride, dilation, begin, end)


def pad_sides(x: Tensor, begin: list[int], end: list[int], value: float = 0.0) -> Tensor:
    """Pad the last dimensions; a negative number crops."""
    sides = [side for pair in zip(reversed(begin), reversed(end), strict=True) for side in pair]
    return F.pad(x, sides, value=value) if any(sides) else x
