"""What the sessions of all runtimes have in common."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from packlight.data.samples import runs
from packlight.specs import TensorSpec
from packlight.types import Array


class Runnable(ABC):
    """A file, ready to run.

    Attributes:
        inputs: what it takes.
        input_names, output_names: as in the file, where it names them.
        batch: samples of a run; None where it may vary.
    """

    inputs: tuple[TensorSpec, ...]
    input_names: list[str]
    output_names: list[str]
    batch: int | None

    @abstractmethod
    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """One array per input in, one per output out."""

    def turned(self, samples: Sequence[Array]) -> list[Array]:
        """Samples with their channels last, if this is a file for images as cameras give them.

        Args:
            samples: one array per input, channels where the network has them.
        """
        images = [spec.batched and len(spec.sample_shape) == 3 for spec in self.inputs]
        last = any(
            image and None not in spec.sample_shape and value.shape[1:] != spec.sample_shape
            for value, spec, image in zip(samples, self.inputs, images, strict=True)
        )
        if not last:
            return list(samples)
        return [
            value.transpose(0, 2, 3, 1) if image else value
            for value, image in zip(samples, images, strict=True)
        ]

    def whole(self, examples: Sequence[Array]) -> tuple[Array, ...]:
        """Run the inputs of a network once, as they are: also those that count no samples.

        Args:
            examples: one array per input, of a network whose batch this file has.
        """
        batched = [spec.batched for spec in self.inputs]
        samples = self.turned(
            [value if many else value[None] for value, many in zip(examples, batched, strict=True)]
        )
        pairs = zip(samples, batched, strict=True)
        return self(*(value if many else np.asarray(value[0]) for value, many in pairs))

    def over(self, batches: Iterable[Sequence[Array]]) -> tuple[Array, ...]:
        """Run samples (one array per input, samples first) and join the outputs likewise.

        An output that does not count samples along its first axis gets such an axis.
        """
        pieces: list[tuple[Array, ...]] = []
        for batch in batches:
            for called, count in runs(batch, self.inputs, self.batch):
                size = self.batch or count
                pieces.append(
                    tuple(
                        value[:count]
                        if value.ndim and len(value) == size
                        else np.repeat(value[None], count, axis=0)
                        for value in self(*called)
                    )
                )
        return tuple(np.concatenate(values) for values in zip(*pieces, strict=True))


@contextmanager
def listening() -> Iterator[Callable[[], list[str]]]:
    """Keep from the terminal what a runtime writes to standard error behind Python's back.

    Yields:
        A function that gives its lines so far.
    """
    with tempfile.TemporaryFile() as kept:
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)

        def said() -> list[str]:
            kept.seek(0)
            return kept.read().decode(errors="replace").splitlines()

        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)
