"""Sizes of a graph's values for one sample.

Where the batch may vary, every size is an expression in it, and one sample is that expression at a
batch of one: right for sizes like 2 x batch, and for values that have no batch at all. Where the
batch is fixed to some B, the axis that counts samples is recognised by its size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from packlight.network import Network


@dataclass
class Sizes:
    """Answers for one network.

    Args:
        symbol: the batch, where it may vary.
        batch: where it is fixed; 1 where a run takes one sample, or has no batch.
        unknown: names of nodes with a size that only a run can tell.
    """

    symbol: Any = None
    batch: int = 1
    unknown: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, network: Network) -> Sizes:
        """Find what counts the samples of this network."""
        for node, varies in zip(network.placeholders(), network.dynamic_batch, strict=True):
            size = node.meta["val"].shape[0] if varies else 1
            if isinstance(size, torch.SymInt):
                return cls(symbol=size.node.expr)
        ends = [first_tensor(node) for node in [*network.placeholders(), *network.results()]]
        leading = {
            int(value.shape[0])
            for value in ends
            if value is not None and value.ndim > 0 and value.numel() > 1
        }
        # a leading size that every input and output shares counts samples
        return cls(batch=leading.pop() if len(leading) == 1 else 1)

    def shape(self, value: Tensor) -> tuple[int | None, ...]:
        """All axes, the batch being 1; None where only a run can tell."""
        sizes = [self._size(size) for size in value.shape]
        if self.batch > 1:
            for axis in [*_equal(sizes, self.batch), *_multiples(sizes, self.batch)][:1]:
                sizes[axis] = (sizes[axis] or 1) // self.batch
        return tuple(sizes)

    def shown(self, value: Tensor) -> tuple[int | None, ...]:
        """The axes of one sample: all but the one that counts samples."""
        sizes = self.shape(value)
        axis = self._batch_axis(value)
        return sizes if axis is None else (*sizes[:axis], *sizes[axis + 1 :])

    def count(self, value: Tensor) -> int:
        """Elements, an unknown size taken as 1."""
        return prod(1 if size is None else size for size in self.shape(value))

    def axis(self, value: Tensor, axis: int) -> int:
        """One size, an unknown one taken as 1."""
        size = self.shape(value)[axis]
        return 1 if size is None else size

    def note_unknown(self, node: fx.Node, value: Tensor) -> None:
        """Remember a node with a size that only a run can tell."""
        if None in self.shape(value):
            self.unknown.append(node.name)

    def _size(self, size: Any) -> int | None:
        if not isinstance(size, torch.SymInt):
            return int(size)
        expression = size.node.expr
        if self.symbol is not None:
            expression = expression.subs(self.symbol, 1)
        return int(expression) if expression.is_number else None

    def _batch_axis(self, value: Tensor) -> int | None:
        if self.symbol is None:
            sizes = [int(s) if not isinstance(s, torch.SymInt) else None for s in value.shape]
            axes = _equal(sizes, self.batch)
        else:
            axes = [
                axis
                for axis, size in enumerate(value.shape)
                if isinstance(size, torch.SymInt) and size.node.expr == self.symbol
            ]
        # a batch of one leads; an axis of one elsewhere is just narrow
        if self.symbol is None and self.batch == 1 and (axes[:1] != [0] or value.ndim < 2):
            return None
        return axes[0] if axes else None


def first_tensor(node: fx.Node) -> Tensor | None:
    """The value of a node, or the first where it has several; None if that is no tensor."""
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)):
        value = value[0] if value else None
    return value if isinstance(value, Tensor) else None


def tensors(node: fx.Node) -> Iterable[Tensor]:
    """Every tensor that a node makes."""
    value = node.meta.get("val")
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [item for item in values if isinstance(item, Tensor)]


def _equal(sizes: list[int | None], batch: int) -> list[int]:
    return [axis for axis, size in enumerate(sizes) if size == batch]


def _multiples(sizes: list[int | None], batch: int) -> list[int]:
    return [axis for axis, size in enumerate(sizes) if size is not None and size % batch == 0]
