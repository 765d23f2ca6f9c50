"""Training samples where every step can reach them: in memory, as bytes where they are pictures.

Decoded once and kept as the bytes that their files hold, 50,000 pictures of 32x32 take 154 MB
instead of 614 MB as floats. They become the network's numbers batch by batch, just as
`packlight.data` makes them. What is too large for memory is read as it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from packlight import data as samples_of
from packlight.data.inputs import layout_of, numpy_dtype
from packlight.errors import BadInput
from packlight.progress import Progress
from packlight.types import Array

BYTES = 2_000_000_000  # of samples held at once
READ = 256  # samples read at once
COMPARED = 16  # samples whose numbers are made in both ways
ARRAYS = (str, tuple, dict, np.ndarray)  # sources that can be opened twice, beside paths


class Shelf(Protocol):
    """Samples by number; what it hands out may be bytes, which `numbers` turns into inputs."""

    def __len__(self) -> int:
        """How many there are."""

    def take(self, chosen: Tensor) -> tuple[Tensor, ...]:
        """Some samples: one tensor per input of the network, samples first."""

    def numbers(self, taken: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The network's inputs."""


@dataclass(frozen=True)
class Scaling:
    """How bytes become a network's numbers: (byte * scale - mean) / std, as `Preprocess` says.

    Args:
        scale: factor.
        mean, std: one tensor each that meets (n, ...) pictures along their channels, or None.
    """

    scale: float
    mean: Tensor | None
    std: Tensor | None

    @classmethod
    def of(cls, how: samples_of.Preprocess, last: bool) -> Scaling:
        """What a preprocessing does to numbers; `last` for pictures whose channels come last."""

        def along(values: tuple[float, ...]) -> Tensor | None:
            shape = (-1,) if last else (-1, 1, 1)
            return torch.tensor(values, dtype=torch.float32).reshape(shape) if values else None

        scale = float(np.float32(1 / 255 if how.scale is None else how.scale))
        return cls(scale, along(how.mean), along(how.std))

    def __call__(self, pixels: Tensor) -> Tensor:
        values = pixels.float() * self.scale
        if self.mean is not None:
            values = values - self.mean
        return values if self.std is None else values / self.std


@dataclass(frozen=True)
class Held:
    """Samples in memory.

    Args:
        values: one tensor per input.
        scaling: of bytes; None for numbers that are taken as they are.
    """

    values: tuple[Tensor, ...]
    scaling: Scaling | None

    def __len__(self) -> int:
        return len(self.values[0])

    def take(self, chosen: Tensor) -> tuple[Tensor, ...]:
        """Some samples."""
        return tuple(value[chosen] for value in self.values)

    def numbers(self, taken: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The network's inputs."""
        return taken if self.scaling is None else tuple(map(self.scaling, taken))


@dataclass(frozen=True)
class Read:
    """Samples read when they are needed, as the network's numbers."""

    samples: samples_of.Samples

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, chosen: Tensor) -> tuple[Tensor, ...]:
        """Some samples."""
        return tuple(map(torch.from_numpy, self.samples.take(chosen.tolist()).arrays()))

    def numbers(self, taken: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The network's inputs."""
        return taken


def open_pixels(
    source: Any,
    dataset: samples_of.Dataset,
    inputs: Sequence[Any],
    how: samples_of.Preprocess,
) -> tuple[samples_of.Dataset, Scaling] | None:
    """The same data as bytes, if they are pictures whose bytes make the same numbers.

    Args:
        source: what `dataset` was opened from.
        dataset: with the network's numbers.
        inputs: of the network.
        how: as the data set was opened.
    Returns:
        The data set with the same samples in the same order, and what makes numbers of them.
    """
    layout = layout_of(inputs[0]) if len(inputs) == 1 else None
    twice = isinstance(source, ARRAYS) or hasattr(source, "__fspath__")
    if layout is None or not twice or numpy_dtype(inputs[0]) != np.float32:
        return None
    try:
        plain = replace(how, scale=None, mean=(), std=())
        pixels = samples_of.open_data(source, [replace(inputs[0], dtype="uint8")], plain)
    except BadInput:
        return None
    scaling = Scaling.of(how, layout.last)
    few = range(min(len(dataset.test), COMPARED))
    (numbers,) = dataset.test.take(few).arrays()
    try:
        (bytes_,) = pixels.test.take(few).arrays()
    except BadInput:
        return None
    same = bytes_.dtype == np.uint8 and np.array_equal(
        scaling(torch.from_numpy(bytes_)).numpy(), numbers
    )
    return (pixels, scaling) if same else None


def shelve(
    samples: samples_of.Samples,
    pixels: tuple[samples_of.Samples, Scaling] | None,
    progress: Progress,
    most: int = BYTES,
) -> Shelf:
    """Put samples into memory, as bytes where there are such; or leave them where they are.

    Args:
        samples: of the network's numbers.
        pixels: the same samples as bytes, or None.
        progress: told of every batch.
        most: bytes that may be taken.
    """
    source, scaling = pixels or (samples, None)
    one = sum(value.nbytes for value in source.take([0]).arrays())
    if one * len(source) > most:
        return Read(samples)
    batches = list(progress.each("read samples", source.batches(READ), -(-len(source) // READ)))
    return Held(tuple(map(_joined, zip(*batches, strict=True))), scaling)


def _joined(parts: Sequence[Array]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))
