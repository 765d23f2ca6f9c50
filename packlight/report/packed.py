"""Tables about packed files, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from packlight.coding.comparison import Row
from packlight.coding.contents import Contents
from packlight.units import show_size

MOST_PARTS = 40


def contents_table(contents: Contents, name: str) -> RenderableType:
    """A container's parts, largest first, and its totals."""
    header = contents.header
    table = Table("", "shape", "type", "coded as", title=name, title_justify="left")
    for column in ("bytes", "packed", "ratio"):
        table.add_column(column, justify="right")
    largest = sorted(contents.parts, key=lambda part: -(part.packed or part.size))
    for part in largest[:MOST_PARTS]:
        table.add_row(
            part.name or Text("between tensors", style="dim"),
            "x".join(map(str, part.shape)) if part.shape else "",
            part.dtype,
            part.how,
            f"{part.size:,}",
            "" if part.packed is None else f"{part.packed:,}",
            f"{part.size / part.packed:.2f}" if part.packed else "",
        )
    lines: list[RenderableType] = [table]
    if len(largest) > MOST_PARTS:
        lines.append(f"and {len(largest) - MOST_PARTS} smaller parts (all of them: --json)")
    if header.members is not None:
        files = [member for member in header.members if not member.is_folder]
        lines.append(f"archive of {len(files)} files")
    ratio = header.size / header.packed_size
    lines.append(
        f"{show_size(header.size)} in {show_size(header.packed_size)}, {ratio:.2f}x smaller, "
        f"{len(header.chunks)} chunks, SHA-256 {header.sha256.hex()[:16]}..."
    )
    return Group(*lines)


def codecs_table(rows: Sequence[Row], name: str) -> RenderableType:
    """Codecs side by side; the smallest stands out."""
    table = Table("codec", title=name, title_justify="left")
    for column in ("bytes", "ratio", "MB/s in", "MB/s out"):
        table.add_column(column, justify="right")
    smallest = min(row.packed for row in rows if row.packed is not None)
    for row in rows:
        if row.packed is None:
            table.add_row(row.codec, "not installed", style="dim")
            continue
        table.add_row(
            row.codec,
            f"{row.packed:,}",
            *(f"{value:.3g}" for value in (row.ratio, row.mb_in, row.mb_out)),
            style="bold" if row.packed == smallest else "",
        )
    if any(row.packed is None for row in rows):
        table.caption = "a codec that is not installed: pip install 'packlight[lzfse]'"
    return table
