"""The page in a real browser: drawn whole, light and dark, wide and narrow, on paper, by key."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from packlight.report.html import render
from tests.browser import Browser
from tests.report.example import example

# what stands out of its picture by more than a pixel, or has no size
BADLY_DRAWN = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const all = svg.getBoundingClientRect(), bad = [];
  if (all.width < 100 || all.height < 30) bad.push(svg.getAttribute('class') + ' has no size');
  for (const part of svg.querySelectorAll('text, rect, circle, polygon')) {
    const box = part.getBoundingClientRect();
    if (box.left < all.left - 1 || box.right > all.right + 1)
      bad.push(svg.getAttribute('class') + ': ' + (part.textContent || part.tagName));
  }
  return bad;
})"""


def picture(side: int) -> bytes:
    """A PNG of noise."""
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    report = example() | {
        "explain": [{"layer": "features.1.expand1x1", "damage": 0.2, "bytes": 900}],
        "peers": [
            {"name": "static int8", "packed_bytes": 1_137_208, "score": 0.93, "metric": "agreement"}
        ],
    }
    (folder / "report.html").write_text(render(report, [picture(32), picture(64)]))
    opened = Browser(folder / "profile")
    opened.show(1100)
    opened.open(folder / "report.html")
    yield opened
    opened.close()


def test_nothing_is_said_on_the_console_and_nothing_else_is_asked_for(browser: Browser) -> None:
    noise = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    assert [event for event in browser.events if event["method"] in noise] == []
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url.partition(":")[0] for url in asked if not url.startswith("data:")] == ["file"]


@pytest.mark.parametrize("width", [1100, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_every_picture_is_drawn_whole(browser: Browser, width: int, dark: bool) -> None:
    browser.show(width, dark=dark)
    assert browser.run("document.querySelectorAll('svg').length") == 4
    assert browser.run(BADLY_DRAWN) == []
    assert browser.run("[...document.images].map(i => i.complete && i.naturalWidth)") == [32, 64]
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_dark_is_dark_and_light_is_light(browser: Browser) -> None:
    def brightness() -> int:
        colour = browser.run("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(",")))

    browser.show(1100, dark=True)
    assert brightness() < 150
    browser.show(1100)
    assert brightness() > 700


def test_paper_shows_what_is_folded_away_and_no_links(browser: Browser) -> None:
    browser.show(700, media="print")  # as wide as A4 within its margins
    assert browser.run("document.documentElement.scrollWidth") <= 700
    heights = browser.run(
        "[...document.querySelectorAll('details table')].map(t => t.getBoundingClientRect().height)"
    )
    assert len(heights) == 2
    assert min(heights) > 20
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    printed = browser.pdf()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 20_000


def test_keys_reach_the_results_and_are_seen_to(browser: Browser) -> None:
    browser.show(1100)

    def press(key: str) -> None:
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            browser(
                *("Input.dispatchKeyEvent",),
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )

    press("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("document.activeElement.getBoundingClientRect().top") >= 0
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press("Enter")
    assert browser.run("document.activeElement.tagName") == "MAIN"
    press("Tab")
    assert browser.run("document.activeElement.className") == "scroll"


def test_a_click_marks_the_command(browser: Browser) -> None:
    browser.show(1100)
    browser.run("document.querySelector('.command').scrollIntoView()")
    place = browser.run(
        "(b => [b.left + 40, b.top + 30])(document.querySelector('.command')"
        ".getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        mouse = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        browser("Input.dispatchMouseEvent", type=kind, **mouse)
    assert browser.run("String(getSelection())").strip() == example()["command"]


def test_a_screen_reader_finds_landmarks_and_names(browser: Browser) -> None:
    nodes: list[dict[str, Any]] = browser("Accessibility.getFullAXTree")["nodes"]
    heard = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and "role" in node
    ]
    roles = [role for role, _ in heard]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(landmark) == 1
    images = [name for role, name in heard if role in ("image", "img")]
    assert len(images) == 6
    assert all(images)
    assert all(name for role, name in heard if role in ("table", "link", "heading", "region"))


def test_the_page_is_light(browser: Browser) -> None:
    assert browser.run("document.documentElement.outerHTML.length") < 400_000
