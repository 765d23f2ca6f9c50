"""A layer table for the terminal and for a notebook: columns, what fits, what folds."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import compress, takewhile
from typing import Literal, get_args

from rich.box import Box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from packlight.errors import BadInput
from packlight.units import show_size
from packlight.weighing.folding import Folded, fold
from packlight.weighing.summary import RIDGE, summary
from packlight.weighing.table import FLOAT32, LayerRow, LayerTable

View = Literal["layers", "bytes", "arithmetic"]
VIEWS: tuple[View, ...] = get_args(View)
WIDTH = 100  # columns of text that a table may take
SHORTEST_BAR, LONGEST_BAR = 8, 16
_SHORTER = {"Normalization": "Norm", "Average": "Avg", "Adaptive": "Adapt", "Transpose": "T"}


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: its header.
        cell: what a row shows.
        total: what the last line shows.
        number: aligned right.
        optional: left out where the table would get too wide.
    """

    name: str
    cell: Callable[[Folded], str]
    total: str = ""
    number: bool = False
    optional: bool = False


def text(table: LayerTable, view: View, sort: str | None, folds: bool) -> str:
    """The table and its summary as lines of at most WIDTH columns."""
    console = Console(width=WIDTH, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(drawn(table, view, sort, folds))
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))


def drawn(
    table: LayerTable, view: View = "layers", sort: str | None = None, folds: bool = True
) -> Group:
    """The table and its summary for rich.

    Raises:
        BadInput: a view or a column that is not known.
    """
    if view not in VIEWS:
        raise BadInput(f"view {view!r} is not known; choose one of {', '.join(VIEWS)}")
    rows = arranged(table, sort, folds)
    if view == "bytes":
        rows = [folded for folded in rows if folded.row.bytes]
    prefix = _prefix(table)
    columns, cells, gap = _fitted(_columns(table, view, rows, prefix), rows)
    grid = Table(
        box=Box("    \n    \n -- \n    \n    \n -- \n    \n    \n"),
        padding=(0, gap - 1, 0, 0),  # the box itself puts one space between columns
        pad_edge=False,
        show_edge=False,
        show_footer=True,
    )
    header, *body, totals = cells
    for column, name, total in zip(columns, header, totals, strict=True):
        grid.add_column(
            name,
            Text(total),
            justify="right" if column.number else "left",
            no_wrap=column.number,
            overflow="fold",
        )
    for line in body:
        grid.add_row(*map(Text, line))
    words = [Text(printable(line)) for line in _words_below(table, rows, prefix)]
    return Group(grid, *([Text(""), *words] if words else []))


def html(table: LayerTable) -> str:
    """Every row and the summary, for a notebook."""
    rows = arranged(table, None, folds=False)
    columns = [column for column in _columns(table, "layers", rows) if not column.optional]

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ["right" if column.number else "left" for column in columns]
        return "<tr>" + "".join(
            f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )

    body = "\n".join(line([column.cell(row) for column in columns], "td") for row in rows)
    words = "".join(f"<p>{escape(printable(text))}</p>" for text in _words_below(table, rows))
    return (
        f"<table>\n<thead>{line([column.name for column in columns], 'th')}</thead>\n"
        f"<tbody>\n{body}\n</tbody>\n"
        f"<tfoot>{line([column.total for column in columns], 'th')}</tfoot>\n</table>{words}"
    )


def arranged(table: LayerTable, sort: str | None, folds: bool) -> list[Folded]:
    """The rows to show, folded and sorted.

    Raises:
        BadInput: a column that can not be sorted by.
    """
    rows = fold(table.rows) if folds else [Folded((row,)) for row in table.rows]
    if sort is None:
        return rows
    keys: dict[str, Callable[[LayerRow], float | None]] = {
        "bytes": lambda row: row.bytes,
        "packed": table.packed_bytes,
        "parameters": lambda row: row.parameter_count,
        "macs": lambda row: row.macs,
        "data": lambda row: row.data_bytes,
        "reuse": lambda row: row.reuse,
        "intensity": lambda row: row.intensity,
    }
    if sort not in keys:
        raise BadInput(f"there is no column {sort!r} to sort by; choose one of {', '.join(keys)}")
    key = keys[sort]
    return sorted(rows, key=lambda folded: -(key(folded.row) or 0))


def printable(text: str) -> str:
    """Names come from files: nothing in them may steer the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _columns(
    table: LayerTable, view: View, rows: Sequence[Folded], prefix: str = ""
) -> list[Column]:
    totals = table.totals
    names = [Column("layer", lambda f: f.row.layer.removeprefix(prefix), "total")]
    if any(folded.times > 1 for folded in rows):
        names.append(Column("", lambda f: f"x {f.times}" if f.times > 1 else "", number=True))
    names.append(Column("type", lambda f: f.row.type, f"{totals.layers:,} rows"))
    output = Column("output", lambda f: f.row.shape_text)
    number = Column(
        "number", lambda f: f"{f.row.parameter_count:,}", f"{totals.parameter_count:,}", True
    )
    macs = Column("MACs", lambda f: f"{f.row.macs:,}", f"{totals.macs:,}", True)
    if view == "bytes":
        return [
            *names,
            number,
            Column("float32", _size_of(_float32), _size(table.float32_bytes), True),
            Column("stored", _size_of(lambda row: row.bytes), _size(totals.bytes), True),
            Column("packed", _size_of(table.packed_bytes), _packed_total(table), True),
            Column("bits/weight", lambda f: _packed_bits(table, f.row), number=True),
            Column("zeros", _zeros, number=True),
            *_shares(rows, lambda row: row.bytes),
        ]
    if view == "arithmetic":
        moved = [row.moved_bytes for row in table.rows]
        known = None not in moved
        return [
            *names,
            output,
            macs,
            Column("per weight", lambda f: _ratio(f.row.reuse), number=True),
            Column(
                "moved",
                _size_of(lambda row: row.moved_bytes),
                _size(sum(filter(None, moved)) if known else None),
                True,
            ),
            Column("per byte", lambda f: _ratio(f.row.intensity), number=True),
            Column("", _bound),
            *_shares(rows, lambda row: row.macs),
        ]
    return [
        *names,
        output,
        Column("data", lambda f: f"{f.row.elements:,}", f"{totals.elements:,}", True),
        Column("parameters", lambda f: f.row.parameters),
        number,
        macs,
        Column("size", _size_of(lambda row: row.bytes), _size(totals.bytes), True),
        *_shares(rows, lambda row: row.bytes),
    ]


def _shares(rows: Sequence[Folded], amount: Callable[[LayerRow], int]) -> list[Column]:
    """The share of the total, and that of the largest, which becomes the length of a bar."""
    amounts = [amount(folded.row) for folded in rows]
    total, largest = sum(amounts), max(amounts, default=0)
    if not total:
        return []

    def share(folded: Folded) -> str:
        value = amount(folded.row) / total
        return f"{value:.1%}" if value else ""

    return [
        Column("share", share, number=True, optional=True),
        Column("", lambda f: str(amount(f.row) / largest), optional=True),
    ]


def _bar(share: float, length: int) -> str:
    """In eighths of a character; nothing only for nothing."""
    eighths = max(round(share * 8 * length), 1 if share else 0)
    return "█" * (eighths // 8) + "▏▎▍▌▋▊▉"[eighths % 8 - 1 : eighths % 8] * (eighths % 8 > 0)


def _float32(row: LayerRow) -> int:
    return FLOAT32 * row.parameter_count


def _size_of(amount: Callable[[LayerRow], int | None]) -> Callable[[Folded], str]:
    return lambda folded: _size(amount(folded.row))


def _size(amount: int | None) -> str:
    return "?" if amount is None else show_size(amount) if amount else "0"


def _packed_total(table: LayerTable) -> str:
    """Of all tensors in the file, also those that no row names."""
    return _size(sum(tensor.packed for tensor in table.file.tensors) if table.file else None)


def _packed_bits(table: LayerTable, row: LayerRow) -> str:
    packed = table.packed_bytes(row)
    return f"{8 * packed / row.parameter_count:.2f}" if packed and row.parameter_count else ""


def _zeros(folded: Folded) -> str:
    row = folded.row
    return f"{row.zeros / row.parameter_count:.0%}" if row.zeros and row.parameter_count else ""


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _bound(folded: Folded) -> str:
    intensity = folded.row.intensity
    return "memory" if intensity is not None and intensity < RIDGE else ""


def _prefix(table: LayerTable) -> str:
    """What all names but the inputs' begin with, up to a slash or a dot: the name of the model."""
    names = [row.layer for row in table.rows if row.type != "InputLayer"]
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    common = first[: len(list(alike))]
    prefix = common[: max(common.rfind("/"), common.rfind(".")) + 1]
    return "" if prefix in names else prefix


def _words_below(table: LayerTable, rows: Sequence[Folded], prefix: str = "") -> list[str]:
    lines = summary(table).lines()
    if prefix:
        lines.append(f"Names begin with {prefix}")
    if any(folded.times > 1 for folded in rows):
        lines.append("x 2: two rows that repeat, their figures added up")
    return [*lines, *table.notes]


def _fitted(
    columns: list[Column], rows: Sequence[Folded]
) -> tuple[list[Column], list[list[str]], int]:
    """Columns, and cells that take WIDTH columns where they can, and the gap between them.

    Columns without an entry are left out. First the gap gives way, then the bar, then the share,
    then long words in the types; then names break after a dot, and parameters after a plus.
    """
    body = [[printable(column.cell(folded)) for column in columns] for folded in rows]
    filled = [
        bool(column.total) or any(line[index] for line in body) or not body
        for index, column in enumerate(columns)
    ]
    columns = list(compress(columns, filled))
    cells = [
        [column.name for column in columns],
        *(list(compress(line, filled)) for line in body),
        [column.total for column in columns],
    ]
    needed = [not column.optional for column in columns]
    room = WIDTH - _width([list(compress(line, needed)) for line in cells], 1)
    if any(column.optional for column in columns):
        share = 1 + max(len(line[-2]) for line in cells)
        bar = min(room - share - 1, LONGEST_BAR)
        if room < share:
            columns, cells = columns[:-2], [line[:-2] for line in cells]
        elif bar < SHORTEST_BAR:
            columns, cells = columns[:-1], [line[:-1] for line in cells]
        else:
            for line in cells[1:-1]:
                line[-1] = _bar(float(line[-1]), bar)
    if _width(cells, 1) > WIDTH:
        _narrow(columns, cells)
    return columns, cells, 2 if _width(cells, 2) <= WIDTH else 1


def _narrow(columns: list[Column], cells: list[list[str]]) -> None:
    at = {column.name: index for index, column in enumerate(columns)}
    for line in cells[1:-1]:
        for long, short in _SHORTER.items():
            line[at["type"]] = line[at["type"]].replace(long, short)
    for name, breaks, least in (("layer", "./_", 14), ("parameters", "+", 12)):
        excess = _width(cells, 1) - WIDTH
        if name not in at or excess <= 0:
            continue
        column = at[name]
        limit = max(least, max(len(line[column]) for line in cells) - excess)
        for line in cells:
            line[column] = _broken(line[column], breaks, limit)


def _width(cells: list[list[str]], gap: int) -> int:
    widths = [
        max(len(part) for cell in column for part in cell.split("\n"))
        for column in zip(*cells, strict=True)
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
