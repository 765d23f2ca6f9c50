"""What openers say about a tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

#: type name -> bytes of an item
ITEM_SIZES = {
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
}


@dataclass(frozen=True)
class Tensor:
    """Items of one type at `offset`, in the order of `shape`, last axis first to change.

    `channels_last` says that a kernel's input channels are its last axis (TFLite), not its second
    (ONNX, PyTorch). `file` names the file beside this one that holds the items, if another does.
    """

    offset: int
    dtype: str
    shape: tuple[int, ...]
    name: str = ""
    channels_last: bool = False
    big_endian: bool = False
    file: str | None = None

    @property
    def width(self) -> int:
        """Bytes of an item."""
        return ITEM_SIZES[self.dtype]

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return prod(self.shape) * self.width

    def moved(self, by: int) -> Tensor:
        """The same, `by` bytes further on."""
        return replace(self, offset=self.offset + by)


@dataclass(frozen=True)
class Rows:
    """Rows of int8 of which the largest are meant, or the `lowest`.

    Rows of `items` lie one after the other, or are `interleaved`: the row is what changes first.
    """

    offset: int
    items: int
    interleaved: bool
    lowest: bool


@dataclass(frozen=True)
class Derived:
    """fp32 numbers at `offset` that should be those at `source`, each times `factor` (fp32).

    Better than the factor is what the rows of weights at `source`'s scales reach, if it is known.
    """

    offset: int
    size: int
    source: int
    factor: bytes
    name: str = ""
    rows: Rows | None = None

    def moved(self, by: int) -> Derived:
        """The same, `by` bytes further on."""
        rows = replace(self.rows, offset=self.rows.offset + by) if self.rows else None
        return replace(self, offset=self.offset + by, source=self.source + by, rows=rows)
