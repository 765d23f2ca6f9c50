"""What stands below the table: the totals in words, and only what there is to say."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from packlight.units import show_size

if TYPE_CHECKING:
    from packlight.weighing.bytes import FileTensor
    from packlight.weighing.table import LayerTable

#: MACs per byte below which a layer waits for memory: four phone cores with 128-bit vectors do some
#: 80 billion float32 MACs a second, their memory gives 20 GB
RIDGE = 4.0
LARGEST = 3  # tensors named
NAMED = 3  # of the others
LONGEST = 44  # letters of a name
WIDTH = 100
INDENT = 12


@dataclass(frozen=True)
class Summary:
    """A network in a few figures; None where one is not known.

    Args:
        float32_bytes: all parameters as float32.
        stored_bytes: all parameters as stored.
        file_bytes: the whole file.
        packed_bytes: what `packlight pack` makes of the file.
        packed_is_exact: whether it was packed; otherwise it is estimated from a sample.
        macs, flops: of one run; two FLOPs to a MAC.
        reuse: MACs per parameter.
        peak_bytes: what the values of one run take at most, planned without running it.
        peak_layer: the layer that runs then.
        bound_bytes: what no plan can go below in this order; equal to the peak where it is proved.
        greedy_bytes: what TFLite's plan takes.
        reordered_bytes: the same in the best order of layers found, if that is lower.
        ram_bytes: the peak and all parameters as stored.
        memory_bound: layers with fewer than RIDGE MACs per byte moved.
        largest: the largest tensors of the file.
        copies: tensors whose bytes stand earlier in the file too.
        dead: tensors that nothing reads, or with channels that are all zero.
        dead_bytes: of those tensors and channels.
    """

    float32_bytes: int
    stored_bytes: int
    file_bytes: int | None
    packed_bytes: int | None
    packed_is_exact: bool
    macs: int
    flops: int
    reuse: float | None
    peak_bytes: int | None
    peak_layer: str | None
    bound_bytes: int | None
    greedy_bytes: int | None
    reordered_bytes: int | None
    ram_bytes: int | None
    memory_bound: tuple[str, ...]
    largest: tuple[FileTensor, ...]
    copies: tuple[FileTensor, ...]
    dead: tuple[FileTensor, ...]
    dead_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        values = asdict(self)
        for key in ("largest", "copies", "dead"):
            values[key] = [item | {"shape": list(item["shape"])} for item in values[key]]
        return values | {"memory_bound": list(self.memory_bound)}

    def lines(self) -> list[str]:
        """In words, at most WIDTH columns wide."""
        indent = " " * INDENT
        return [
            line
            for name, words in self._words()
            for line in textwrap.wrap(
                words,
                WIDTH,
                initial_indent=name.ljust(INDENT),
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
        ]

    def _words(self) -> Iterator[tuple[str, str]]:
        if self.float32_bytes:
            yield "bytes", ", ".join(self._bytes())
        if self.macs:
            yield "arithmetic", ", ".join(self._arithmetic())
        if self.peak_bytes:
            yield "memory", ", ".join(self._memory())
        if self.file_bytes and len(self.largest) > 1:
            yield "largest", ", ".join(_tensor(item, self.file_bytes) for item in self.largest)
        if self.copies:
            size = show_size(sum(item.bytes for item in self.copies))
            pairs = [f"{_name(item)} is {_original(item)}" for item in self.copies]
            yield "copies", f"{size} stand in the file twice: {_some(pairs)}"
        if self.dead:
            parts = [
                f"nothing reads {_name(item)}"
                if item.unused
                else f"{_counted(item.zero_channels, 'zero channel')} in {_name(item)}"
                for item in self.dead
            ]
            yield "dead", f"{show_size(self.dead_bytes)} do nothing: {_some(parts)}"

    def _bytes(self) -> Iterator[str]:
        yield f"{show_size(self.float32_bytes)} as float32"
        if self.file_bytes is None:
            yield f"{show_size(self.stored_bytes)} as stored"
        else:
            yield f"{show_size(self.file_bytes)} in this file"
        if self.packed_bytes is not None and self.file_bytes:
            about = "" if self.packed_is_exact else "about "
            ratio = self.file_bytes / max(self.packed_bytes, 1)
            smaller = f" ({ratio:.3g}x smaller)" if ratio > 1.005 else ""
            yield f"{about}{show_size(self.packed_bytes)} packed{smaller}"

    def _arithmetic(self) -> Iterator[str]:
        yield f"{_many(self.macs)} MACs ({_many(self.flops)} FLOPs)"
        if self.reuse is not None:
            yield f"{self.reuse:,.3g} per weight"
        if self.memory_bound:
            yield f"{_counted(len(self.memory_bound), 'layer')} bound by memory"

    def _memory(self) -> Iterator[str]:
        assert self.peak_bytes is not None
        where = _short(self.peak_layer or "")
        yield f"{show_size(self.peak_bytes)} of values at the peak ({where})"
        yield gap_words(self.peak_bytes, self.bound_bytes or 0)
        if self.greedy_bytes is not None and self.greedy_bytes > self.peak_bytes:
            yield f"{show_size(self.greedy_bytes)} as TFLite plans"
        if self.ram_bytes is not None:
            yield f"{show_size(self.ram_bytes)} with the weights"
        if self.reordered_bytes is not None:
            yield f"{show_size(self.reordered_bytes)} of values in another order of layers"


def summary(table: LayerTable) -> Summary:
    """The figures below a table."""
    totals, file, memory = table.totals, table.file, table.memory
    steps = memory.timeline.steps if memory else ()
    tensors = file.tensors if file else ()
    bound = [row.layer for row in table.rows if row.intensity is not None and row.intensity < RIDGE]
    return Summary(
        float32_bytes=table.float32_bytes,
        stored_bytes=totals.bytes,
        file_bytes=file.bytes if file else None,
        packed_bytes=file.packed if file else None,
        packed_is_exact=file.packed_is_exact if file else False,
        macs=totals.macs,
        flops=2 * totals.macs,
        reuse=totals.macs / totals.parameter_count if totals.parameter_count else None,
        peak_bytes=memory.peak or None if memory else None,
        peak_layer=steps[memory.timeline.peak_step] if memory and steps else None,
        bound_bytes=memory.lower_bound or None if memory else None,
        greedy_bytes=memory.greedy.peak or None if memory else None,
        reordered_bytes=memory.reordered.plan.peak if memory and memory.reordered else None,
        ram_bytes=table.ram_bytes,
        memory_bound=tuple(bound),
        largest=tuple(sorted(tensors, key=lambda tensor: -tensor.bytes)[:LARGEST]),
        copies=file.copies if file else (),
        dead=file.dead if file else (),
        dead_bytes=file.dead_bytes if file else 0,
    )


def gap_words(peak: int, bound: int) -> str:
    """How good a plan of memory is known to be."""
    if peak <= bound:
        return "the least in this order"
    return f"at most {peak / max(bound, 1) - 1:.1%} above the least in this order"


def _short(name: str) -> str:
    """A name with its middle left out where it is long: both ends tell tensors apart."""
    if len(name) <= LONGEST:
        return name
    head = LONGEST // 2
    return f"{name[:head]}…{name[head + 1 - LONGEST :]}"


def _tensor(tensor: FileTensor, total: int) -> str:
    return f"{_name(tensor)} {show_size(tensor.bytes)} ({tensor.bytes / total:.0%})"


def _name(tensor: FileTensor) -> str:
    return _short(tensor.name) or f"a {'x'.join(map(str, tensor.shape))} constant"


def _original(tensor: FileTensor) -> str:
    return _short(tensor.copy_of or "") or "another"


def _some(words: Sequence[str]) -> str:
    more = len(words) - NAMED
    return ", ".join(words[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _many(count: int) -> str:
    """12.5 million."""
    for size, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if count >= size:
            return f"{count / size:,.3g} {word}"
    return f"{count:,}"
