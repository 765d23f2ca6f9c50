"""What the network costs a user: seconds of download, limits of stores, memory while it runs."""

from __future__ import annotations

from packlight.report.blocks import Report, Section, figure, more, section, table
from packlight.report.element import Html, element
from packlight.report.limits import MEASURED
from packlight.report.timeline import timeline
from packlight.report.words import NONE, finite, fixed, short, size
from packlight.weighing.memory import Live, Timeline

_MARKS = {True: "✓ met", False: "✗ exceeded", None: NONE}


def delivery(report: Report) -> Section | None:
    """How long the download takes, and what stores allow."""
    found = report.get("delivery")
    if not found:
        return None
    lines = [
        (
            f"{short(row.get('megabits_per_second'))} Mbit/s",
            _seconds(row.get("original_seconds")),
            _seconds(row.get("compressed_seconds")),
        )
        for row in found.get("downloads") or []
    ]
    listed = table(
        "Seconds of download: the original's file as it is, the network packed. Connecting is "
        "left out.",
        [("connection", False), ("original", True), ("compressed", True)],
        lines,
    )
    limits = found.get("limits") or []
    return section("delivery", "Delivery", _verdict(limits), listed, *_limits(limits))


def memory(report: Report) -> Section | None:
    """What is alive at each step."""
    found = report.get("memory") or {}
    steps, live = found.get("steps") or [], found.get("live") or []
    if not live or len(steps) != len(live) or any(finite(value) is None for value in live):
        return None
    at_peak = tuple(
        Live(str(item.get("name")), int(finite(item.get("bytes")) or 0))
        for item in found.get("at_peak") or []
    )
    line = Timeline(tuple(map(str, steps)), tuple(map(int, live)), at_peak)
    words = (
        f"The compressed network needs {size(found.get('ram_bytes'))} of RAM for one sample, as "
        f"planned without running it: {size(found.get('peak_bytes'))} for the values between "
        f"layers, {size(found.get('weights_bytes'))} for the weights. A runtime's own memory "
        "comes on top."
    )
    caption = "Bytes of values alive while each step runs."
    return section("memory", "Memory while it runs", words, figure(caption, timeline(line)))


def _verdict(limits: list[Report]) -> str | None:
    known = [limit for limit in limits if limit.get("met") is not None]
    over = [limit for limit in known if not limit["met"]]
    if not known:
        return None
    whole = "Stores bound whole apps, of which a network is a part."
    if not over:
        return f"Below all {len(known)} limits of stores and systems that packlight knows. {whole}"
    names = "; ".join(str(limit.get("name")) for limit in over)
    return f"Above {len(over)} of {len(known)} limits of stores and systems: {names}. {whole}"


def _limits(limits: list[Report]) -> list[Html]:
    if not limits:
        return []
    lines = [
        (
            limit.get("name"),
            size(limit.get("at_most")),
            MEASURED.get(str(limit.get("measures")), NONE),
            size(limit.get("original")),
            size(limit.get("compressed")),
            element("span", _MARKS.get(limit.get("met"), NONE), class_="together"),
            element("span", ", as of ".join(_source(limit)) or NONE, class_="source"),
        )
        for limit in limits
    ]
    header = [
        ("limit", False),
        ("allows", True),
        ("of", False),
        ("original", True),
        ("compressed", True),
        ("", False),
        ("source", False),
    ]
    caption = "What stores and systems allow a whole app."
    return [more("The limits one by one", table(caption, header, lines, class_="wide"))]


def _source(limit: Report) -> list[str]:
    return [str(limit[key]) for key in ("source", "as_of") if limit.get(key)]


def _seconds(value: object) -> str:
    number = finite(value)
    if number is None:
        return NONE
    if 0 < number < 0.01:
        return "under 0.01 s"
    return f"{fixed(number, 2 if number < 10 else 0)} s"
