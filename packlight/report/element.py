"""HTML that is escaped by construction.

`element` builds one element. Its children are either `Html`, which only this module makes, or
anything else, which is escaped: a name from a hostile file can not become markup.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

_VOID = ("meta", "br", "img")


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def element(tag: str, /, *children: Any, **attributes: Any) -> Html:
    """An element with its children, lists of them flattened.

    Args:
        children: Html as it is, anything else as escaped text; None is left out.
        attributes: `class_` is written class, `stroke_width` stroke-width; None and False are left
            out, True is an attribute without a value.
    """
    start = "".join((tag, *(_attribute(name, value) for name, value in attributes.items())))
    if tag in _VOID:
        return Html(f"<{start}>")
    return Html(f"<{start}>{join(*children)}</{tag}>")


def join(*children: Any) -> Html:
    """Children one after the other, without an element around them."""
    parts = []
    for child in children:
        if isinstance(child, (list, tuple)):
            parts.append(join(*child))
        elif child is not None:
            parts.append(child if isinstance(child, Html) else text(child))
    return Html("".join(parts))


def text(value: Any) -> Html:
    """A value as text: markup escaped, and what can not be seen (control characters, switches of
    writing direction, halves of characters) replaced."""
    seen = "".join(char if char.isprintable() or char in "\n\t" else "�" for char in str(value))
    return Html(escape(seen))


def breakable(value: Any) -> Html:
    """A name as text that may go on in a new line after a dot, a slash or an underscore."""
    return Html(re.sub(r"([._/])(?=[^._/])", r"\1<wbr>", text(value)))


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{text(value)}"'
