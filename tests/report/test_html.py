"""The page: complete, well-formed, self-contained, and safe to open whatever the names are."""

from __future__ import annotations

import copy
import io
from collections import Counter
from html.parser import HTMLParser
from math import inf, nan
from typing import Any

import pytest
from PIL import Image

from packlight.data.thumbnails import MOST_BYTES
from packlight.report.html import render
from tests.report.example import example

VOID = {"meta", "br", "wbr", "img"}
HOSTILE = """<script>alert(1)</script>"'&amp;<img src=x onerror=alert(1)>\x1b[31m\u202e\ud800\x00"""


class Page(HTMLParser):
    """A page's elements; fails on what is not well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of {tag} is doubled"
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def values(self, attribute: str) -> list[str]:
        return [value or "" for _, name, value in self.attributes if name == attribute]


def without_labels() -> dict[str, Any]:
    report = example()
    report["accuracy"] = {
        "n": 64,
        "agreement": {"value": 0.95, "low": 0.9, "high": 0.98},
        "sqnr_db": 21.0,
        "drop": None,
        "original": None,
        "compressed": None,
    }
    report["latency_ms"] = None
    return report


def emptied() -> dict[str, Any]:
    return dict.fromkeys(example())


@pytest.mark.parametrize(
    "report",
    [example(), example(1, 1), example(3000, 300), without_labels(), emptied(), {}],
    ids=["typical", "one layer", "large", "no labels", "all null", "empty"],
)
def test_the_page_is_well_formed_and_stands_alone(report: dict[str, Any]) -> None:
    text = render(report)
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert len(text.encode()) + 4 / 3 * MOST_BYTES < 400_000  # with all its pictures
    assert (
        page.tags["h1"]
        == page.tags["main"]
        == page.tags["title"] - page.tags["svg"] * 0 - (page.tags["title"] - 1)
    )
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for names in page.values("aria-labelledby"):
        assert set(names.split()) <= set(ids)
    assert all(target.startswith("#") for target in page.values("href") + page.values("src"))
    for word in ("http://", "https://", "//", "url(", "@import"):
        assert word not in text
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    assert "None" not in page.text
    assert "nan" not in page.text.split()


def test_pictures_and_tables_can_be_heard() -> None:
    page = Page(render(example()))
    assert page.tags["svg"] == 4
    assert page.values("role").count("img") == 4
    assert page.tags["desc"] == 4
    assert page.tags["caption"] == page.tags["table"]
    scopes = Counter(page.values("scope"))
    assert set(scopes) == {"row", "col"}
    assert page.tags["th"] == sum(scopes.values())


def test_the_headline_says_what_came_out() -> None:
    text = Page(render(example())).text
    assert "4.95 MB → 598 KB" in text
    assert "8.3× smaller than the file (7.6× smaller than the file packed alike)" in text
    assert "3.8× smaller once installed" in text
    assert "On 200 samples, top-1 accuracy changed by −0.7 points" in text
    assert "(95% interval −3.0 to +1.0)" in text
    assert "The answer stayed the same for 91.0% of them." in text
    assert "It answers 2.0× faster." in text
    assert "Every budget is met. The bound on the download decided" in text
    assert "Asked for: a download of at most 600 KB (got 598 KB); at most 1.0 points" in text
    assert "lost (got 0.7 points)." in text


def test_growth_is_not_called_smaller() -> None:
    report = example()
    report["compressed"] |= {"packed_bytes": 10_000_000, "bytes": 9_909_562}
    report["latency_ms"]["ratio"] = 1.5
    text = Page(render(report)).text
    assert "2.0× larger than the file" in text
    assert "2.0× larger once installed" in text
    assert "1.5× slower" in text


def test_a_small_change_is_told_in_percent() -> None:
    report = example()
    report["compressed"] |= {"packed_bytes": 5_004_329, "bytes": 4_900_000}
    text = Page(render(report)).text
    assert "1.0% larger than the file" in text
    assert "1.1% smaller once installed" in text


def test_a_missed_budget_is_plain_to_see() -> None:
    report = example() | {"met": False, "why": "the packed download is 598 KB, above 500 KB"}
    text = Page(render(report)).text
    assert "✗ Not every budget is met: the packed download is 598 KB, above 500 KB." in text
    assert "Every budget is met." not in text


def test_without_labels_the_figure_is_agreement() -> None:
    page = Page(render(without_labels()))
    assert "The answer stayed the same for 95.0% of 64 samples." in page.text
    assert "op-1 accuracy" not in page.text
    assert "Latency" not in page.text
    assert page.tags["svg"] == 3


def test_a_function_of_the_users_own_is_reported() -> None:
    report = without_labels()
    report["accuracy"]["eval_fn"] = {"original": 0.7312, "compressed": 0.7251}
    assert "Your eval_fn gives 0.725 instead of 0.731." in Page(render(report)).text


@pytest.mark.parametrize("layers", [20, 200])
def test_every_layer_is_named(layers: int) -> None:
    report = example(layers)
    page = Page(render(report))
    assert all(layer["name"] in page.text for layer in report["layers"])
    assert page.tags["details"] == (3 if layers == 200 else 2)
    if layers == 200:
        assert "The other 176 layers" in page.text


def test_of_thousands_of_layers_the_first_are_shown_and_the_rest_is_pointed_to() -> None:
    page = Page(render(example(3000)))
    assert "200 of the other 2,976 layers; report.json holds all" in page.text


def test_every_visited_network_is_a_point_and_a_line() -> None:
    page = Page(render(example(points=40)))
    assert page.values("class").count("visited") == 39
    assert (
        page.values("class").count("chosen") == 1 + 1 + 2 + 1
    )  # point, line, two intervals, peak of memory
    assert "All 40 networks" in page.text


def test_hostile_names_stay_text() -> None:
    def poisoned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poisoned(item) for key, item in value.items()} | (
                {HOSTILE: HOSTILE} if "seed" in value or "python" in value else {}
            )
        if isinstance(value, list):
            return [poisoned(item) for item in value]
        return HOSTILE if isinstance(value, str) else value

    text = render(poisoned(example()) | {"met": False})
    page = Page(text)
    assert "<script>alert(1)</script>" in page.text
    assert {tag for tag in page.tags if tag in ("script", "img")} == set()
    assert not [name for name in page.attributes if name[1].startswith("on")]
    assert "\x1b" not in text
    assert "\u202e" not in text
    text.encode()


@pytest.mark.parametrize("odd", [None, nan, inf, -inf])
def test_numbers_that_are_none_are_dashes(odd: float | None) -> None:
    def hollow(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: hollow(item) for key, item in value.items()}
        if isinstance(value, list):
            return [hollow(item) for item in value]
        numbers = (int, float) if odd is None else float
        return odd if isinstance(value, numbers) and not isinstance(value, bool) else value

    page = Page(render(hollow(copy.deepcopy(example()))))
    assert "features.3.squeeze" in page.text
    assert not {"nan", "inf", "-inf", "−inf"} & set(page.text.split())


def test_the_same_report_gives_the_same_page() -> None:
    assert render(example()) == render(example())


def test_what_was_left_as_it_is_by_default_is_not_said():
    report = example()
    preprocess = {"crop": 227, "scale": 0.0, "mean": [], "std": (), "bgr": False, "resize": None}
    report["asked"]["preprocess"] = preprocess
    assert "crop: 227, scale: 0" in Page(render(report)).texts
    report["asked"]["preprocess"] = {"mean": [], "bgr": False}
    assert "Preprocessing" not in Page(render(report)).texts


def test_each_budget_stands_beside_what_came_of_it() -> None:
    report = example()
    report["asked"] |= {"max_ram": 2_000_000, "speedup": 3, "target_installed_size": 1_200_000}
    report |= {"met": False, "why": "the installed file is too large", "binding": "max_ram"}
    texts = Page(render(report)).texts
    start = texts.index("Each budget, and the figure it bounds.")
    told = [text for text in texts[start:] if text.strip()]
    rows = [told[at : at + 4] for at in range(4, 4 + 5 * 4, 4)]
    assert rows == [
        ["Download, packed", "at most 600 KB", "598 KB", "✓ met"],
        ["Installed", "at most 1.2 MB", "1.3 MB", "✗ not met"],
        ["RAM while it runs", "at most 2 MB", "2.86 MB", "✗ not met, and decided"],
        ["Accuracy lost", "at most 1.0 points", "0.7 points", "✓ met"],
        ["Speed", "at least 3×", "2.0×", "✗ not met"],
    ]


def test_without_labels_a_drop_bounds_the_answers_that_change() -> None:
    report = without_labels()
    text = Page(render(report)).text
    assert "at most 1.0% of answers changed (got 5.0%)" in text
    report["accuracy"]["eval_fn"] = {"original": 0.7312, "compressed": 0.7251}
    assert "at most 0.01 less by eval_fn (got 0.0061)" in Page(render(report)).text


def test_answers_that_changed_are_told_by_class() -> None:
    text = Page(render(example())).text
    assert "Of 200 samples, 18 changed their answer." in text
    assert "Right before, and wrong now: 6." in text
    assert "Wrong both times: 8." in text
    assert "catdog1062" in text  # a row of the table
    assert "dogclass 7802" in text
    unlabelled = example()
    unlabelled["flips"] |= {"lost": None, "won": None}
    assert "right before" not in Page(render(unlabelled)).text.lower()
    unchanged = example() | {"flips": {"count": 0, "pairs": [], "samples": [], "classes": {}}}
    assert "All 200 samples are answered as by the original." in Page(render(unchanged)).text


def test_pictures_of_samples_are_inside_the_page_and_described() -> None:
    report = example()
    pages = [Page(render(report, [png(7, 5)] * count)) for count in (0, 1, 2)]
    assert [page.tags["img"] for page in pages] == [0, 1, 2]
    assert [page.tags["h3"] for page in pages] == [0, 1, 1]
    assert all(src.startswith("data:image/png;base64,") for src in pages[2].values("src"))
    assert pages[2].values("alt") == [
        "test/cat/12.jpg: answered cat before, dog now, in truth cat",
        "sample 40: answered dog before, class 7 now, in truth class 9",
    ]
    assert ("img", "width", "7") in pages[1].attributes
    assert ("img", "height", "5") in pages[1].attributes


def test_downloads_and_limits_are_told() -> None:
    text = Page(render(example())).text
    assert "1 Mbit/s40 s4.78 s" in text
    assert "50 Mbit/s0.79 s0.10 s" in text
    assert "Above 1 of 2 limits of stores and systems: a store's limit of ram." in text
    within = example()
    for limit in within["delivery"]["limits"]:
        limit["met"] = True
    assert "Below all 2 limits" in Page(render(within)).text


def test_peers_are_drawn_where_the_report_has_them() -> None:
    peer = {"name": "static int8", "packed_bytes": 1_137_208, "score": 0.93, "metric": "agreement"}
    other = peer | {"name": "another measure", "metric": "sqnr_db"}
    page = Page(render(example() | {"peers": [peer, other]}))
    assert page.values("class").count("visited") == 13 + 1
    assert "static int8: 1.14 MB at 93.0%." in page.text
    assert "another measure" not in page.text


def png(width: int, height: int) -> bytes:
    """A black PNG."""
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "PNG")
    return file.getvalue()
