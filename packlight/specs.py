"""What networks and files take: names, shapes and types of inputs, without any runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Args:
        name: as in the file.
        shape: None where the size may vary.
        dtype: of its numbers, by its name: "float32".
        batched: its first dimension counts samples; otherwise every sample brings a whole tensor,
            as a recurrent network's state.
        value: what a scalar input holds when nothing else is said.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    batched: bool = True
    value: int | float | None = None

    @property
    def sample_shape(self) -> tuple[int | None, ...]:
        """The shape of one sample's part."""
        return self.shape[1:] if self.batched else self.shape

    def __str__(self) -> str:
        sizes = "x".join("N" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{sizes or 'scalar'}] {self.dtype}"


def batched_inputs(shapes: Sequence[tuple[int | None, ...]]) -> list[bool]:
    """Which inputs' first dimension counts samples.

    Where any may vary, those that may; otherwise those as long as the first input's.
    """
    if any(shape and shape[0] is None for shape in shapes):
        return [bool(shape) and shape[0] is None for shape in shapes]
    first = next((shape[0] for shape in shapes if shape), None)
    return [bool(shape) and shape[0] == first for shape in shapes]
