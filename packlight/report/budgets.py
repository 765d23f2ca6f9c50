"""What was asked for and what came of it, one budget after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packlight.report.blocks import Report, Section, get, section, table
from packlight.report.words import NONE, finite, percent, points, ratio, short, size


@dataclass(frozen=True)
class _Budget:
    """A bound and the figure that it bounds.

    Args:
        wish: in words, for a sentence.
        name, asked, got: as the table shows them.
        held: whether the figure keeps the bound; None where it is not known.
    """

    key: str
    wish: str
    name: str
    asked: str
    got: str
    held: bool | None


def wishes(report: Report) -> list[str]:
    """What was asked for and what came of it, in words."""
    return [f"{budget.wish} (got {budget.got})" for budget in _budgets(report)]


def budgets(report: Report) -> Section | None:
    """The bounds as a table."""
    found = list(_budgets(report))
    if not found:
        return None
    lines = [(budget.name, budget.asked, budget.got, _mark(report, budget)) for budget in found]
    header = [("budget", False), ("asked", True), ("got", True), ("", False)]
    listed = table("Each budget, and the figure it bounds.", header, lines, class_="large")
    return section("asked", "Asked and got", None, listed)


def _mark(report: Report, budget: _Budget) -> str:
    """A word on the budget; where all are met, none is told to be missed by a later timing."""
    held = True if report.get("met") else budget.held
    if held is None:
        return NONE
    word = "✓ met" if held else "✗ not met"
    return f"{word}, and decided" if report.get("binding") == budget.key else word


def _budgets(report: Report) -> Iterator[_Budget]:
    asked = report.get("asked") or {}
    bounds = (
        ("target_size", "a download of", "Download, packed", ("compressed", "packed_bytes")),
        ("target_installed_size", "an installed file of", "Installed", ("compressed", "bytes")),
        ("max_ram", "RAM of", "RAM while it runs", ("memory", "ram_bytes")),
    )
    for key, words, name, path in bounds:
        bound, found = finite(asked.get(key)), finite(get(report, *path))
        if bound is not None:
            most = f"at most {size(bound)}"
            held = None if found is None else found <= bound
            yield _Budget(key, f"{words} {most}", name, most, size(found), held)
    bound = finite(asked.get("max_drop"))
    if bound is not None:
        yield _drop(report, bound)
    bound = finite(asked.get("speedup"))
    if bound is not None:
        relative = finite(get(report, "latency_ms", "ratio"))
        least = f"at least {short(bound)}×"
        held = None if not relative else 1 / relative >= bound
        wish = f"answers {least} as fast"
        yield _Budget("speedup", wish, "Speed", least, ratio(1, relative), held)


def _drop(report: Report, bound: float) -> _Budget:
    """The bound on accuracy, which is of labels, answers or the user's own score."""
    accuracy = report.get("accuracy") or {}
    most = f"at most {points(bound, signed=False)} points"
    scores = accuracy.get("eval_fn")
    if scores:
        first, second = finite(scores.get("original")), finite(scores.get("compressed"))
        lost = None if first is None or second is None else first - second
        held = None if lost is None else lost <= bound
        wish = f"at most {short(bound)} less by eval_fn"
        return _Budget("max_drop", wish, "Loss of eval_fn", short(bound), short(lost), held)
    drop = finite(get(accuracy, "drop", "top1", "value"))
    if drop is not None or not accuracy.get("agreement"):
        wish = f"{most} of accuracy lost"
        held = None if drop is None else drop <= bound
        lost_points = NONE if drop is None else f"{points(drop, signed=False)} points"
        return _Budget("max_drop", wish, "Accuracy lost", most, lost_points, held)
    agreement = finite(get(accuracy, "agreement", "value"))
    differ = None if agreement is None else 1 - agreement
    most = f"at most {percent(bound)}"
    held = None if differ is None else differ <= bound + 1e-12
    wish = f"{most} of answers changed"
    return _Budget("max_drop", wish, "Answers that changed", most, percent(differ), held)
