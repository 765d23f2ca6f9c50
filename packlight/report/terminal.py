"""The figures of a fit or a check as one table for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from packlight.units import show_size


def comparison(report: dict[str, Any]) -> Table:
    """Original and compressed side by side.

    Args:
        report: as in report.json; accuracy and latency may be partly absent.
    """
    before, after = report["original"], report["compressed"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for name in (before["file"], after["file"]):
        table.add_column(name, justify="right", overflow="fold")  # a name may be long
    table.add_column("change", justify="right", no_wrap=True)
    for label, key in (("network file", "bytes"), ("packed download", "packed_bytes")):
        table.add_row(
            label,
            show_size(before[key]),
            show_size(after[key]),
            f"{before[key] / max(after[key], 1):.2f}x smaller",
        )
    update = report.get("update")
    if update:
        share = update["bytes"] / max(after["packed_bytes"], 1)
        table.add_row("update, packed", "", show_size(update["bytes"]), f"{share:.1%} of that")
    accuracy = report["accuracy"]
    for name, label in (("top1", "top-1"), ("top5", "top-5")):
        drop = (accuracy.get("drop") or {}).get(name)
        if drop:
            table.add_row(
                label,
                f"{accuracy['original'][name]:.2%}",
                f"{accuracy['compressed'][name]:.2%}",
                f"{_points(drop['value'])} pt [{_points(drop['high'])}, {_points(drop['low'])}]",
            )
    scores = accuracy.get("eval_fn")
    if scores:
        change = scores["compressed"] - scores["original"]
        table.add_row(
            "eval_fn", f"{scores['original']:.4g}", f"{scores['compressed']:.4g}", f"{change:+.4g}"
        )
    agreement = accuracy.get("agreement")
    if agreement:
        table.add_row(
            "same answer",
            "",
            f"{agreement['value']:.2%}",
            f"[{agreement['low']:.2%}, {agreement['high']:.2%}]",
        )
    table.add_row("signal to noise", "", f"{accuracy['sqnr_db']:.1f} dB", "")
    latency = report.get("latency_ms")
    if latency:
        table.add_row(
            "latency, 1 thread",
            f"{latency['original']['median']:.3g} ms",
            f"{latency['compressed']['median']:.3g} ms",
            f"{1 / latency['ratio']:.2f}x faster"
            if latency["ratio"] < 1
            else f"{latency['ratio']:.2f}x slower",
        )
    table.caption = f"n = {accuracy['n']}: {accuracy['judged_on']}"
    table.caption_justify = "left"
    return table


WORST = 10  # layers shown


def blames(report: dict[str, Any]) -> Table:
    """The layers that do the most damage, and what mending each would cost."""
    rows = report["explain"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer mended alone")
    for name in ("outputs nearer by", "download"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows[:WORST]:
        table.add_row(row["layer"], f"{row['damage']:.3g}", f"{row['bytes']:+,} B")
    if len(rows) > WORST:
        table.caption, table.caption_justify = f"and {len(rows) - WORST} more", "left"
    return table


def _points(drop: float) -> str:
    """A drop as the change it is, in percentage points; no change has no sign of its own."""
    return f"{round(-drop * 100, 2) + 0.0:+.2f}"
