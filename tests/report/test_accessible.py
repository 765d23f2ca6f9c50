"""What everyone can read: contrast of the colours, order of headings, names of all pictures."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from packlight.report.html import render
from packlight.report.style import STYLE
from tests.report.example import example
from tests.report.test_html import png

LEAST = 4.5  # WCAG 2.2, success criterion 1.4.3, level AA
THEMES = ("light", "dark", "print")
TEXTS = [  # colour of letters, what is behind them
    *((text, ground) for text in ("ink", "soft", "accent") for ground in ("paper", "wash")),
    ("paper", "accent"),  # names in the treemap
    ("ink", "tint"),
    ("ink", "before"),
]


def colours() -> dict[str, dict[str, str]]:
    """The variables of each theme, which stand in the style in this order."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    found = [dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6});", block)) for block in blocks]
    return dict(zip(THEMES, found, strict=True))


def luminance(colour: str) -> float:
    """WCAG's relative luminance of #rrggbb or #rgb."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_measured_as_the_guidelines_do() -> None:
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("text", "ground"), TEXTS)
def test_letters_stand_out(theme: str, text: str, ground: str) -> None:
    found = colours()[theme]
    assert contrast(found[text], found[ground]) >= LEAST


def test_letters_have_no_other_colours() -> None:
    used = re.findall(r"(?<![-\w])color: ([^;]+);", STYLE)
    assert set(used) <= {f"var(--{name})" for name in ("ink", "soft", "accent")}


class Outline(HTMLParser):
    """Levels of headings, and pictures without a name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.unnamed: list[str | None] = []
        self.ids: set[str | None] = set()
        self.labels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id"))
        self.labels += (given.get("aria-labelledby") or "").split()
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))
        named = given.get("alt") or given.get("aria-labelledby") or given.get("aria-label")
        if tag in ("img", "svg") and not named and given.get("aria-hidden") != "true":
            self.unnamed.append(self.get_starttag_text())


@pytest.mark.parametrize("pictures", [0, 2])
def test_headings_skip_no_level_and_pictures_have_names(pictures: int) -> None:
    found = Outline(render(example(), [png(8, 8)] * pictures))
    assert found.levels[0] == 1
    assert found.levels.count(1) == 1
    steps = zip(found.levels, found.levels[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps)
    assert found.unnamed == []
    assert set(found.labels) <= found.ids
    assert found.labels
