"""A sequence of samples in a fixed order, read when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from packlight.errors import BadInput
from packlight.types import Array

Read = Callable[[Array], tuple[Array, ...]]
"""Indices (k,) -> one array per network input, each with k samples along its first axis."""


def runs(
    batch: Sequence[Array], inputs: Sequence[Any], size: int | None
) -> Iterator[tuple[tuple[Array, ...], int]]:
    """Samples as the inputs of one run after the other.

    Args:
        batch: one array per input, samples along the first axis.
        inputs: the network's TensorSpecs.
        size: samples that a run takes; None where it takes any number.
    Yields:
        What the network is called with, and how many samples that is. Where a run takes more
        samples than are left, the last run is filled up with repeats.
    """
    count = len(batch[0])
    if size is None and any(not spec.batched and spec.shape for spec in inputs):
        size = 1  # every sample brings a tensor of its own
    step = size or max(count, 1)
    for start in range(0, count, step):
        part = [value[start : start + step] for value in batch]
        held = len(part[0])
        if size is not None and held < size:
            part = [np.resize(value, (size, *value.shape[1:])) for value in part]
        called = tuple(
            value if spec.batched else value[0] for value, spec in zip(part, inputs, strict=True)
        )
        yield tuple(np.ascontiguousarray(value).reshape(value.shape) for value in called), held


@dataclass(frozen=True)
class Samples:
    """Samples of a source.

    Args:
        read: gives the network's inputs for some of the source's samples.
        indices: (n,) which of the source's samples these are, in order.
        all_labels: (of the whole source) or None.
        all_names: of the whole source, for messages.
        content: number of one of the source's samples -> its bytes as they lie there, unchanged.
        classes: label -> what the source calls that class, where it does.
    """

    read: Read = field(repr=False)
    indices: Array
    all_labels: Array | None = field(default=None, repr=False)
    all_names: Sequence[str] = field(default=(), repr=False)
    content: Callable[[int], bytes] | None = field(default=None, repr=False, kw_only=True)
    classes: Mapping[int, str] = field(default_factory=dict, repr=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> Array | None:
        """(n,) int64 class of every sample, or None."""
        return None if self.all_labels is None else self.all_labels[self.indices]

    @property
    def names(self) -> list[str]:
        """A name for every sample, for messages: its file, or its number."""
        if not self.all_names:
            return [f"sample {index}" for index in self.indices]
        return [self.all_names[index] for index in self.indices]

    def take(self, indices: Iterable[int]) -> Samples:
        """Some of these samples, in the order given."""
        chosen = np.fromiter(indices, dtype=np.int64)
        return replace(self, indices=self.indices[chosen])

    def first(self, count: int) -> Samples:
        """So many of these samples, or all where there are fewer."""
        return replace(self, indices=self.indices[:count])

    def fingerprints(self) -> Iterator[bytes]:
        """Of each sample in order; equal samples have equal ones."""
        if self.content is not None:
            for index in self.indices:
                yield hashlib.sha256(self.content(int(index))).digest()

    def batches(self, size: int) -> Iterator[tuple[Array, ...]]:
        """Up to `size` samples at a time: one array per network input."""
        if size < 1:
            raise BadInput(f"a batch of {size} samples is not possible; give 1 or more")
        for start in range(0, len(self), size):
            yield self.read(self.indices[start : start + size])

    def arrays(self) -> tuple[Array, ...]:
        """All samples at once."""
        return self.read(self.indices)


@dataclass(frozen=True)
class Dataset:
    """What a source holds.

    Args:
        train: None where the source is not split.
        test: the test part, or everything.
        name: of the source, for messages.
    """

    train: Samples | None
    test: Samples
    name: str = "the data"
