"""What convolutions and pools do with borders.

torch pads by numbers; TFLite's kernels pad not at all (VALID), or so that the output has
ceil(size / stride) elements, the odd one at the end (SAME). Where SAME places the windows exactly
where torch does, it is taken; otherwise a padding is written out, no larger than windows reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packlight.runtimes.tflite.schema import schema


@dataclass(frozen=True)
class Windows:
    """Windows over height and width.

    Args:
        padding: the schema's number, SAME or VALID.
        before, after: elements to write out around the input first; all zero with SAME.
    """

    padding: int
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def written_out(self) -> bool:
        """Whether the input has to be padded by an operator of its own."""
        return any((*self.before, *self.after))

    def size(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Height and width once the padding is written out."""
        return tuple(map(sum, zip(sizes, self.before, self.after, strict=True)))


def place(
    sizes: Sequence[int],
    outputs: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
) -> Windows:
    """How to have windows start `before` elements ahead of the input.

    Args:
        sizes, outputs: height and width of the input, unpadded, and of the output.
        kernel, stride, dilation, before: per dimension.
    """
    same = True
    after = []
    for size, output, taps, step, spread, begin in zip(
        sizes, outputs, kernel, stride, dilation, before, strict=True
    ):
        reach = (output - 1) * step + (taps - 1) * spread + 1  # from the first window to the last
        total = max(reach - size, 0)
        same = same and output == -(-size // step) and begin == total // 2
        after.append(max(reach - size - begin, 0))
    if same:
        return Windows(schema.Padding.SAME, (0, 0), (0, 0))
    return Windows(schema.Padding.VALID, (before[0], before[1]), (after[0], after[1]))
