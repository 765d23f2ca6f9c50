"""What the pages and their sections are built of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from packlight.report.element import Html, breakable, element, join
from packlight.report.style import STYLE

Report = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Args:
        name: its anchor.
        title: its heading.
        body: all of it, the heading included.
    """

    name: str
    title: str
    body: Html


def page(title: str, header: Html, sections: Iterable[Section | None], footer: Html) -> str:
    """A whole page: one file without scripts, and nothing in it comes from elsewhere."""
    parts = [part for part in sections if part is not None]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; style-src 'unsafe-inline'; img-src data:",
        ),
        element("title", title),
        element("style", Html(STYLE)),
    )
    body = element(
        "body",
        element("a", "Skip to the results", href="#results", class_="skip"),
        header,
        _contents(parts),
        element("main", [part.body for part in parts], id="results", tabindex="-1"),
        footer,
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _contents(parts: Sequence[Section]) -> Html | None:
    """Links to every part, where there are more than a few."""
    if len(parts) < 2:
        return None
    links = [element("li", element("a", part.title, href=f"#{part.name}")) for part in parts]
    return element("nav", element("ul", links), aria_label="On this page")


def section(name: str, title: str, words: str | None, *parts: Html | None) -> Section:
    """A part of the page under a heading; `name` is its anchor."""
    heading = element("h2", title, id=name)
    lead = element("p", words) if words else None
    body = element("section", heading, lead, *parts, aria_labelledby=name)
    return Section(name, title, body)


def table(
    caption: str,
    header: Sequence[tuple[str, bool]],
    lines: Iterable[Sequence[Any]],
    *,
    class_: str | None = None,
    chosen: Sequence[bool] = (),
) -> Html:
    """A table whose first column names its rows.

    Args:
        header: name of each column, and whether it holds numbers.
        chosen: the rows to mark, if any.
    """

    def cell(index: int, value: Any) -> Html:
        kind = "n" if header[index][1] else None
        if index == 0:
            return element("th", breakable(value), scope="row", class_=kind)
        return element("td", value, class_=kind)

    head = [
        element("th", name, scope="col", class_="n" if number else None) if name else element("td")
        for name, number in header
    ]
    body = [
        element(
            "tr",
            [cell(index, value) for index, value in enumerate(line)],
            class_="chosen" if position < len(chosen) and chosen[position] else None,
        )
        for position, line in enumerate(lines)
    ]
    drawn = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", head)),
        element("tbody", body),
        class_=class_,
    )
    return _scroll(caption, drawn)


def definitions(lines: Iterable[tuple[str, Any]]) -> Html:
    """Names and what they stand for."""
    return element("dl", [join(element("dt", name), element("dd", value)) for name, value in lines])


def figure(caption: str, picture: Html, key: Html | None = None) -> Html:
    """A picture under its caption, and what its colours mean."""
    return element("figure", element("figcaption", caption, key), _scroll(caption, picture))


def _scroll(name: str, wide: Html) -> Html:
    """What may be wider than the screen, to be scrolled by hand or by key."""
    return element("div", wide, class_="scroll", role="group", aria_label=name, tabindex="0")


def more(words: str, part: Html) -> Html:
    """A part that folds away behind a line of words."""
    return element("details", element("summary", words), part)


def get(report: Any, *path: str) -> Any:
    """A value deep in the report, or None where the path ends early."""
    for key in path:
        if not isinstance(report, dict):
            return None
        report = report.get(key)
    return report


def pair(first: Any, second: Any, key: str) -> tuple[Any, Any]:
    """The same value of both networks."""
    return get(first, key), get(second, key)


def file_name(report: Report, side: str) -> str:
    """A network's file, or nothing."""
    return str(get(report, side, "file") or "")
