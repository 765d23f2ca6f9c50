"""The top of the report: the result in a sentence, then original against compressed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from packlight.report import charts
from packlight.report.blocks import Report, Section, figure, file_name, get, pair, section, table
from packlight.report.budgets import wishes
from packlight.report.element import Html, element, join
from packlight.report.words import NONE, count, finite, percent, points, ratio, short, size, span


def header(report: Report) -> Html:
    """The network, how small it became, and whether that is what was asked."""
    before = get(report, "original", "bytes")
    after = get(report, "compressed", "packed_bytes")
    asked = wishes(report)
    return element(
        "header",
        element("p", file_name(report, "original") or "a network", class_="kicker"),
        element(
            "h1",
            element("span", size(before), class_="from"),
            " ",
            element("span", "→", class_="arrow"),
            " ",
            element("span", size(after), class_="to"),
        ),
        element("p", f"Asked for: {'; '.join(asked)}.", class_="lede") if asked else None,
        _verdict(report),
        element("p", " ".join(_details(report))),
    )


def _details(report: Report) -> Iterable[str]:
    original, compressed = get(report, "original"), get(report, "compressed")
    before, after = get(original, "bytes"), get(compressed, "packed_bytes")
    if finite(before) and finite(after):
        alike = _factor(get(original, "packed_bytes"), after, "smaller", "larger")
        installed = _factor(before, get(compressed, "bytes"), "smaller", "larger")
        yield (
            f"The download is {_factor(before, after, 'smaller', 'larger')} than the file "
            f"({alike} than the file packed alike), and {installed} once installed."
        )
    accuracy = get(report, "accuracy") or {}
    drop, agreement = get(accuracy, "drop", "top1"), get(accuracy, "agreement")
    n = count(accuracy.get("n"))
    if drop:
        yield (
            f"On {n} samples, top-1 accuracy changed by {_change(drop)} points "
            f"(95% interval {_change_span(drop)})."
        )
    if agreement:
        samples = "of them" if drop else f"of {n} samples"
        yield f"The answer stayed the same for {percent(agreement.get('value'))} {samples}."
    scores = accuracy.get("eval_fn")
    if scores:
        yield (
            f"Your eval_fn gives {short(scores.get('compressed'))} "
            f"instead of {short(scores.get('original'))}."
        )
    relative = get(report, "latency_ms", "ratio")
    if finite(relative):
        yield f"It answers {_factor(1, relative, 'faster', 'slower')}."


def _verdict(report: Report) -> Html | None:
    met = report.get("met")
    if met is None:
        return None
    if met:
        deciding = _BUDGETS.get(str(report.get("binding")))
        because = f" The bound on the {deciding} decided how far to go." if deciding else ""
        return element("p", element("strong", "✓ Every budget is met."), because, class_="verdict")
    why = report.get("why")
    because = f": {why}" if why else ""
    return element(
        "p",
        element("strong", f"✗ Not every budget is met{because}."),
        " This is the nearest network.",
        class_="verdict unmet",
    )


def outcome(report: Report) -> Section:
    """Original against compressed, in figures, and the accuracy as a picture."""
    original, compressed = get(report, "original"), get(report, "compressed")
    lines: list[tuple[Any, ...]] = [
        _sizes_line("Download, packed", pair(original, compressed, "packed_bytes")),
        _sizes_line("Installed", pair(original, compressed, "bytes")),
    ]
    update = get(report, "update", "bytes")
    if update is not None:
        whole = get(compressed, "packed_bytes")
        smaller = _factor(whole, update, "smaller than that download", "larger than that download")
        lines.insert(1, ("Update, packed", NONE, size(update), smaller))
    accuracy = get(report, "accuracy") or {}
    first, second = accuracy.get("original"), accuracy.get("compressed")
    for key, name in _ACCURACIES.items():
        drop = get(accuracy, "drop", key)
        if get(first, key) is not None and get(second, key) is not None:
            change: Any = NONE
            if drop:
                change = join(_change(drop), " ", _together(f"({_change_span(drop)})"))
            lines.append((name, percent(get(first, key)), percent(get(second, key)), change))
    scores = accuracy.get("eval_fn")
    if scores:
        a, b = finite(scores.get("original")), finite(scores.get("compressed"))
        change = NONE if a is None or b is None else short(b - a)
        lines.append(("Your eval_fn", short(a), short(b), change))
    agreement = accuracy.get("agreement")
    if agreement:
        ends = [percent(agreement.get(end)) for end in ("low", "high")]
        interval = _together(f"({' to '.join(ends)})")
        lines.append(("Same answer", NONE, percent(agreement.get("value")), interval))
    if finite(accuracy.get("sqnr_db")) is not None:
        lines.append(
            ("Signal to noise of the outputs", NONE, f"{short(accuracy['sqnr_db'])} dB", NONE)
        )
    latency = get(report, "latency_ms") or {}
    for key, name in (("median", "Latency, median"), ("p95", "Latency, 95th percentile")):
        both = pair(latency.get("original"), latency.get("compressed"), key)
        if all(finite(value) is not None for value in both):
            first_ms, second_ms = (f"{short(value)} ms" for value in both)
            lines.append((name, first_ms, second_ms, _factor(*both, "faster", "slower")))
    listed = table(
        " ".join(_how_measured(accuracy, latency)),
        [("", False), ("original", True), ("compressed", True), ("change", True)],
        lines,
        class_="large",
    )
    return section("outcome", "What came out", None, listed, _intervals(report))


def _together(words: str) -> Html:
    """What stays in one line."""
    return element("span", words, class_="together")


def _how_measured(accuracy: Report, latency: Report) -> Iterable[str]:
    if accuracy.get("judged_on"):
        yield f"Accuracy is that of {accuracy['judged_on']}."
    if accuracy.get("drop"):
        yield "Changes of accuracy are in percentage points, with their 95% interval."
    elif accuracy.get("agreement"):
        yield "In brackets: the 95% interval."
    looks = accuracy.get("looks")
    if looks and looks > 1:
        times = "twice" if looks == 2 else f"{looks} times"
        yield f"These samples were looked at {times} before this network was kept."
    if latency:
        threads = latency.get("threads")
        words = [
            f"{threads} thread{'' if threads == 1 else 's'}" if threads else None,
            f"batch {latency['batch']}" if latency.get("batch") else None,
            latency.get("runtime"),
            get(latency, "machine"),
        ]
        yield f"Latency: {', '.join(str(word) for word in words if word)}."


def _intervals(report: Report) -> Html | None:
    rows = []
    for key, name in _ACCURACIES.items():
        drop = get(report, "accuracy", "drop", key) or {}
        bounds = [finite(drop.get(part)) for part in ("value", "high", "low")]
        if all(bound is not None for bound in bounds):
            rows.append(charts.Change(name, *(-(bound or 0.0) for bound in bounds)))
    if not rows:
        return None
    allowed = finite(get(report, "asked", "max_drop"))
    picture = charts.intervals(rows, allowed=allowed)
    n = count(get(report, "accuracy", "n"))
    return figure(f"Change of accuracy on {n} samples, with 95% intervals.", picture)


def _sizes_line(name: str, both: tuple[Any, Any]) -> tuple[str, ...]:
    return (name, size(both[0]), size(both[1]), _factor(*both, "smaller", "larger"))


def _factor(before: Any, after: Any, less: str, more: str) -> str:
    a, b = finite(before), finite(after)
    if not a or not b:
        return NONE
    word = less if b <= a else more
    larger, smaller = max(a, b), min(a, b)
    if larger < 1.05 * smaller:  # as a factor it would be 1.0
        return f"{larger / smaller - 1:.1%} {word}"
    return f"{ratio(larger, smaller)} {word}"


def _change(drop: Report) -> str:
    value = finite(drop.get("value"))
    return NONE if value is None else points(-value)


def _change_span(drop: Report) -> str:
    low, high = finite(drop.get("low")), finite(drop.get("high"))
    return NONE if low is None or high is None else span(-high, -low)


_ACCURACIES = {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy"}
_BUDGETS = {
    "target_size": "download",
    "target_installed_size": "installed size",
    "max_drop": "accuracy lost",
    "speedup": "speed",
    "max_ram": "RAM",
}
