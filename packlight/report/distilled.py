"""The figures of a distillation as one table for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from packlight.units import show_size


def table(report: dict[str, Any]) -> Table:
    """Teacher, student, and what `fit` made of it, side by side.

    Args:
        report: as in distill.json.
    """
    columns = [report["teacher"], report["student"]]
    if report["fitted"]:
        columns.append(report["fitted"])
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("", no_wrap=True)
    titles = [report["teacher"]["file"], report["asked"]["student"], "fitted"]
    for title in titles[: len(columns)]:
        drawn.add_column(title, justify="right", overflow="fold")
    for label, key in (
        ("network file", "bytes"),
        ("packed download", "packed_bytes"),
        ("memory of a run", "ram_bytes"),
    ):
        drawn.add_row(label, *(_size(column[key]) for column in columns))
    for label, key in (("parameters", "parameters"), ("MACs", "macs")):
        drawn.add_row(label, *(f"{column[key]:,}" for column in columns))
    if columns[0]["top1"]:
        drawn.add_row("top-1", *(f"{column['top1']['value']:.2%}" for column in columns))
        drawn.add_row("", *(_interval(column["top1"]) for column in columns))
    judged = [column["against_teacher"] for column in columns[1:]]
    if judged[0]["agreement"]:
        drawn.add_row(
            "teacher's answer", "", *(f"{one['agreement']['value']:.2%}" for one in judged)
        )
    else:
        drawn.add_row("signal to noise", "", *(f"{one['sqnr_db']:.1f} dB" for one in judged))
    drawn.add_row(
        "latency, 1 thread", *(f"{column['latency_ms']['median']:.3g} ms" for column in columns)
    )
    drawn.caption = f"n = {judged[0]['n']}: {judged[0]['judged_on']}; intervals of 95 %"
    drawn.caption_justify = "left"
    return drawn


def _size(count: int | None) -> str:
    return "" if count is None else show_size(count)


def _interval(share: dict[str, float]) -> str:
    return f"[{share['low']:.2%}, {share['high']:.2%}]"
