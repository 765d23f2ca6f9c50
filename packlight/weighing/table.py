"""The layer table, and the forms it is shown in: text, dict, CSV, HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, fields
from html import escape
from typing import TYPE_CHECKING, Any

from packlight.units import show_size

if TYPE_CHECKING:
    from rich.table import Table

TEXT_WIDTH = 100  # columns of text that `str(table)` may take


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

    @property
    def shape_text(self) -> str:
        """The shape as 224x224x64."""
        return "x".join("?" if size is None else str(size) for size in self.shape) or "scalar"


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
    """

    rows: tuple[LayerRow, ...]
    model: str = ""
    notes: tuple[str, ...] = ()

    @property
    def totals(self) -> Totals:
        """The sums over all rows."""
        sums = {
            field.name: sum(getattr(row, field.name) for row in self.rows)
            for field in fields(Totals)
            if field.name != "layers"
        }
        return Totals(layers=len(self.rows), **sums)

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "model": self.model,
            "layers": [asdict(row) | {"shape": list(row.shape)} for row in self.rows],
            "totals": asdict(self.totals),
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """One line per layer under a line of names; numbers without separators."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(field.name for field in fields(LayerRow))
        for row in self.rows:
            values = asdict(row) | {"shape": row.shape_text}
            lines.writerow(values.values())
        return text.getvalue()

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=TEXT_WIDTH, file=io.StringIO(), color_system=None)
        with console.capture() as captured:
            console.print(self)
        return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))

    def __rich__(self) -> Table:
        from rich.box import Box
        from rich.table import Table
        from rich.text import Text

        cells, gap = _fitted([_HEADER, *self._cells()])
        header, *body, totals = cells
        table = Table(
            box=Box("    \n    \n -- \n    \n    \n -- \n    \n    \n"),
            padding=(0, gap - 1, 0, 0),  # the box itself puts one space between columns
            pad_edge=False,
            show_edge=False,
            show_footer=True,
            caption=Text("\n".join(map(_printable, self.notes))) if self.notes else None,
            caption_justify="left",
        )
        for index, name in enumerate(header):
            number = index in _NUMBERS
            table.add_column(
                name,
                Text(totals[index]),
                justify="right" if number else "left",
                no_wrap=number,
                overflow="fold",
            )
        for line in body:
            table.add_row(*map(Text, line))
        return table

    def _repr_html_(self) -> str:
        def line(cells: tuple[str, ...], tag: str) -> str:
            return "<tr>" + "".join(
                f'<{tag} style="text-align:{"right" if index in _NUMBERS else "left"}">'
                f"{escape(cell)}</{tag}>"
                for index, cell in enumerate(cells)
            )

        *body, totals = self._cells()
        rows = "\n".join(line(cells, "td") for cells in body)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return (
            f"<table>\n<thead>{line(_HEADER, 'th')}</thead>\n<tbody>\n{rows}\n</tbody>\n"
            f"<tfoot>{line(totals, 'th')}</tfoot>\n</table>{notes}"
        )

    def _cells(self) -> Iterator[tuple[str, ...]]:
        """The rows as shown, then the totals."""
        for row in self.rows:
            yield (
                row.layer,
                row.type,
                row.shape_text,
                f"{row.elements:,}",
                row.parameters,
                *_amounts(row.parameter_count, row.macs, row.bytes),
            )
        layers, elements, _, *amounts = astuple(self.totals)
        yield ("total", f"{layers:,} rows", "", f"{elements:,}", "", *_amounts(*amounts))


_HEADER = ("layer", "type", "output", "data", "parameters", "number", "MACs", "size")
_LAYER, _TYPE, _PARAMETERS = 0, 1, 4  # columns that can be narrowed
_NUMBERS = (3, 5, 6, 7)  # columns that hold numbers, and are aligned right
_SHORTER = {"Normalization": "Norm", "Average": "Avg", "Adaptive": "Adapt", "Transpose": "T"}


def _amounts(parameters: int, macs: int, size: int) -> tuple[str, str, str]:
    return f"{parameters:,}", f"{macs:,}", show_size(size) if size else "0"


def _fitted(lines: list[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], int]:
    """Lines that take TEXT_WIDTH columns where they can, and the gap between their cells.

    First the gap gives way, then long words in the types; then names break after a dot, and
    parameters after a plus.
    """
    table = [[_printable(cell) for cell in line] for line in lines]
    if _width(table, 2) > TEXT_WIDTH and _width(table, 1) > TEXT_WIDTH:
        for line in table:
            for long, short in _SHORTER.items():
                line[_TYPE] = line[_TYPE].replace(long, short)
        for column, breaks, least in ((_LAYER, "./_", 14), (_PARAMETERS, "+", 12)):
            excess = _width(table, 1) - TEXT_WIDTH
            limit = max(least, max(len(line[column]) for line in table) - excess)
            for line in table if excess > 0 else []:
                line[column] = _broken(line[column], breaks, limit)
    gap = 2 if _width(table, 2) <= TEXT_WIDTH else 1
    return [tuple(line) for line in table], gap


def _width(table: list[list[str]], gap: int) -> int:
    widths = [
        max(len(part) for cell in column for part in cell.split("\n"))
        for column in zip(*table, strict=True)
    ]
    return sum(widths) + gap * (len(widths) - 1)


def _broken(text: str, breaks: str, limit: int) -> str:
    """The text in lines of at most `limit`, broken after one of `breaks` where there is one."""
    lines = []
    while len(text) > limit:
        at = max(text.rfind(char, 0, limit) for char in breaks) + 1 or limit
        lines.append(text[:at])
        text = text[at:]
    return "\n".join([*lines, text])


def _printable(text: str) -> str:
    """Names come from files: nothing in them may steer the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)
