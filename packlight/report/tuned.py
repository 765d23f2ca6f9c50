"""What tune found, as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from packlight.report.benched import number

if TYPE_CHECKING:
    from packlight.tuning import TuneResult

MOST = 12  # rows of what was tried


def table(result: TuneResult) -> Table:
    """The default and what was written; what was tried; the notes below."""
    record = result.record
    shown = Table(box=None, pad_edge=False, header_style="bold", caption=_caption(result))
    shown.caption_justify = "left"
    shown.add_column("", overflow="fold")
    shown.add_column("x the time", justify="right", overflow="fold")
    default = record["default"]
    about = f"default: {default['runtime']}, {_threads(default['threads'])}"
    if default["milliseconds"] is not None:
        about += f", {number(default['milliseconds'])} ms"
    shown.add_row(Text(about), "1")
    word = "best" if result.verdict == "faster" else "not used"
    if result.ratio is not None:
        shown.add_row(Text(f"{word}: {record['best']}"), _ratio(record["ratio"]))
    order = sorted(record["tried"], key=lambda one: (one["ratio"] or {"value": 1e9})["value"])
    for one in order[:MOST]:
        shown.add_row(Text(f"  tried: {one['what']}", style="dim"), _ratio(one["ratio"]))
    if len(order) > MOST:
        shown.add_row(Text(f"  and {len(order) - MOST} more", style="dim"), "")
    return shown


def _caption(result: TuneResult) -> Text:
    lines = [f"{result.file}, {result.folder / 'tuned.json'}"]
    if result.verdict == "faster" and result.ratio is not None:
        ratio = result.ratio
        lines.append(
            f"{1 / ratio.value:.2f}x as fast as the default "
            f"[{1 / ratio.high:.2f}, {1 / ratio.low:.2f}]; answers differ by "
            f"{result.record['difference']:.1e} of the largest "
            f"(the default's by {result.record['default']['difference']:.1e})"
        )
    if result.same is not None:
        same = result.same
        lines.append(
            f"the default against itself: {same.value:.3f} [{same.low:.3f}, {same.high:.3f}]"
        )
    return Text("\n".join([*lines, *(f"- {note}" for note in result.notes)]))


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _ratio(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return "failed"
    return f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
