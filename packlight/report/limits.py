"""Limits against a network's sizes, as a table for the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from packlight.units import show_size
from packlight.weighing.limits import Judged, Verdict

WIDTH = 100
MARKS = {True: "✓ met", False: "✗ over by", None: "? not known"}
MEASURED = {"download": "packed", "installed": "file", "ram": "RAM"}


def limits_text(judged: Judged, name: str) -> str:
    """One line per limit, then how long the download takes; as wide as the table of layers."""
    console = Console(width=WIDTH, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(_limits_table(judged, name))
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))


def _limits_table(judged: Judged, name: str) -> RenderableType:
    table = Table("limit", title=Text(name), title_justify="left", box=None, pad_edge=False)
    for column in ("allows", "takes"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("as of", no_wrap=True)
    for verdict in judged.verdicts:
        limit = verdict.limit
        table.add_row(
            Text(f"{limit.name}{' (historic)' if limit.historic else ''}"),
            show_size(limit.at_most),
            f"{MEASURED[limit.measures]} {takes(verdict)}",
            outcome(verdict),
            Text(limit.as_of),
        )
    return Group(table, *[Text(line) for line in _below(judged)])


def takes(verdict: Verdict) -> str:
    """The size that was compared."""
    return "?" if verdict.size is None else show_size(verdict.size)


def outcome(verdict: Verdict) -> str:
    """✓ met, or by how much it is not."""
    mark = MARKS[verdict.met]
    return f"{mark} {show_size(-(verdict.spare or 0))}" if verdict.met is False else mark


def download_times(judged: Judged) -> str:
    """3G 5.6 s, 4G 0.8 s."""
    return ", ".join(
        f"{link.name} {link.seconds(judged.sizes.download):.2g} s" for link in judged.links
    )


def _below(judged: Judged) -> Iterator[str]:
    if judged.links:
        yield ""
        yield f"download  {download_times(judged)}"
    if any(not verdict.limit.own for verdict in judged.verdicts):
        yield "Stores' limits bound the whole app; sources: --json, or docs/weigh.md."
