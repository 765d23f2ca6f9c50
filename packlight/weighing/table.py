"""The layer table: what is known about a network, and its plain forms. `shown` draws it."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group

    from packlight.weighing.bytes import FileBytes
    from packlight.weighing.memory import MemoryPlan
    from packlight.weighing.shown import View

FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class LayerRow:
    """What one layer makes, keeps and computes, for one sample.

    Args:
        layer: the owner of the layer's first parameter; without one, the operation's own name.
        type: Conv2D, Dense, ... as Keras calls them; the ATen name of what Keras has no word for.
        activation: the activations that run in the same breath, or "".
        shape: of the output without the batch, channels last where it is an image; None where
            the size is only known when the network runs.
        elements: of the output.
        data_bytes: of the output.
        parameters: written out, kernel first, then inputs x outputs, + what is added.
        parameter_count: weights and biases; those counted in an earlier row are not counted again.
        macs: multiplications with an addition, in convolutions and matrix products.
        bytes: of the parameters as they are stored, with the scales of quantised ones.
        bits_per_weight: stored for each weight of the layer's kernels, their scales, zero points
            and codebooks shared out; of all parameters where none has more than one axis; None
            without parameters.
        zeros: how many of the row's parameters are exactly zero, among those that can be looked at.
        read_bytes: of the values the layer reads, parameters left out; None where not known.
        tensors: names in the file of the parameters that `bytes` counts.
    """

    layer: str
    type: str
    activation: str
    shape: tuple[int | None, ...]
    elements: int
    data_bytes: int
    parameters: str
    parameter_count: int
    macs: int
    bytes: int
    bits_per_weight: float | None = None
    zeros: int = 0
    read_bytes: int | None = None
    tensors: tuple[str, ...] = ()

    @property
    def shape_text(self) -> str:
        """The shape as 224x224x64."""
        return "x".join("?" if size is None else str(size) for size in self.shape) or "scalar"

    @property
    def reuse(self) -> float | None:
        """MACs per parameter; None where either is missing."""
        return self.macs / self.parameter_count if self.macs and self.parameter_count else None

    @property
    def moved_bytes(self) -> int | None:
        """Parameters, inputs and output: what passes between memory and processor once each."""
        return None if self.read_bytes is None else self.read_bytes + self.data_bytes + self.bytes

    @property
    def intensity(self) -> float | None:
        """Arithmetic intensity, MACs per byte moved (Williams et al., CACM 52(4), 2009)."""
        return self.macs / self.moved_bytes if self.macs and self.moved_bytes else None


@dataclass(frozen=True)
class Totals:
    """The sums of a table's columns."""

    layers: int
    elements: int
    data_bytes: int
    parameter_count: int
    macs: int
    bytes: int


@dataclass(frozen=True)
class LayerTable:
    """One row per layer, in the order the network runs them.

    Args:
        rows: the layers.
        model: the file's name, or "".
        notes: sentences about what the figures do not show.
        batch: samples in one run; the rows' data and MACs are those of all of them.
        file: what the file holds, where the network came from one.
        memory: the plan of what a run takes, where the network's steps are known.
    """

    rows: tuple[LayerRow, ...]
    model: str = ""
    notes: tuple[str, ...] = ()
    batch: int = 1
    file: FileBytes | None = None
    memory: MemoryPlan | None = None

    @property
    def totals(self) -> Totals:
        """The sums over all rows."""
        sums = {
            field.name: sum(getattr(row, field.name) for row in self.rows)
            for field in fields(Totals)
            if field.name != "layers"
        }
        return Totals(layers=len(self.rows), **sums)

    @property
    def ram_bytes(self) -> int | None:
        """What a run takes, values and weights together; None where no plan is known.

        A file that holds only tensors has no values between layers, and so no plan.
        """
        peak = self.memory.peak if self.memory else 0
        return peak + self.totals.bytes if peak else None

    @property
    def float32_bytes(self) -> int:
        """What all parameters would take as float32."""
        return FLOAT32 * self.totals.parameter_count

    def for_batch(self, batch: int) -> LayerTable:
        """The figures of one run on several samples: weights stay, data and MACs grow."""
        rows = tuple(
            replace(
                row,
                elements=row.elements * batch,
                data_bytes=row.data_bytes * batch,
                macs=row.macs * batch,
                read_bytes=None if row.read_bytes is None else row.read_bytes * batch,
            )
            for row in self.rows
        )
        return replace(self, rows=rows, batch=self.batch * batch)

    def packed_bytes(self, row: LayerRow) -> int | None:
        """What a row's parameters are estimated to cost packed; None where that is not known."""
        if not row.bytes:
            return 0
        known = self._packed_by_name
        if not row.tensors or any(name not in known for name in row.tensors):
            return None
        return sum(known[name] for name in row.tensors)

    @cached_property
    def _packed_by_name(self) -> dict[str, int]:
        tensors = self.file.tensors if self.file else ()
        return {tensor.name: tensor.packed for tensor in tensors if tensor.name}

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold; docs/weigh.md describes every key."""
        from packlight.weighing.summary import summary

        layers = [
            asdict(row)
            | {
                "shape": list(row.shape),
                "tensors": list(row.tensors),
                "packed_bytes": self.packed_bytes(row),
                "reuse": row.reuse,
                "intensity": row.intensity,
            }
            for row in self.rows
        ]
        return {
            "model": self.model,
            "batch": self.batch,
            "layers": layers,
            "totals": asdict(self.totals),
            "summary": summary(self).to_dict(),
            "memory": self.memory.to_dict() if self.memory else None,
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """One line per layer under a line of names; numbers without separators."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow([*(field.name for field in fields(LayerRow)), "packed_bytes"])
        for row in self.rows:
            values = asdict(row) | {"shape": row.shape_text, "tensors": " ".join(row.tensors)}
            lines.writerow([*values.values(), self.packed_bytes(row)])
        return text.getvalue()

    def text(self, view: View = "layers", *, sort: str | None = None, fold: bool = True) -> str:
        """The table and its summary, at most 100 columns wide.

        Args:
            view: "layers", "bytes" or "arithmetic".
            sort: a column to sort by, largest first; as the network runs without it.
            fold: show blocks that repeat once, with how often.
        Raises:
            BadInput: a view or column that is not known.
        """
        from packlight.weighing.shown import text

        return text(self, view, sort, fold)

    def __str__(self) -> str:
        return self.text()

    def __rich__(self) -> Group:
        from packlight.weighing.shown import drawn

        return drawn(self)

    def _repr_html_(self) -> str:
        from packlight.weighing.shown import html

        return html(self)
