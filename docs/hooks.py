"""For the site of `make docs`: what pages and docstrings need to become HTML."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"(?<!\n)\n(?=(?:Args|Returns|Raises|Source):)")
_LINK = r"\[([^]\n]+)\]\((?:\.\./){%d}[^)\s]+\)"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Links to files that lie outside docs/ keep their words alone."""
    folders_above = page.file.src_uri.count("/")
    return re.sub(_LINK % (folders_above + 1), r"\1", markdown)


class Sections(griffe.Extension):
    """Docstrings get the empty line before each section that griffe looks for."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """What griffe calls with each function and class."""
        if obj.docstring is not None:
            obj.docstring.value = _SECTION.sub("\n\n", obj.docstring.value)
