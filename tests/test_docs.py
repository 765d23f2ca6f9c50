"""Pages lead where they say, and name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import packlight
from tests.conftest import HERE, SLOW

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]
LINK = re.compile(r"(?<!`)\[[^]\n]*\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ +(.+)$", text_of(page), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", one).strip().lower() for one in headings]
    return {"#" + re.sub(r"[^\w\- ]", "", one).replace(" ", "-") for one in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for file, heading in LINK.findall(text_of(page)):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name} links to {file}"
        assert target.is_relative_to(ROOT)
        if heading and target.suffix == ".md":
            assert heading in anchors(target), f"{page.name} links to {file}{heading}"


def test_links_are_looked_at():
    assert sum(len(LINK.findall(text_of(page))) for page in PAGES) > 30


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_named_exists(page):
    named = set(re.findall(r"\bmake ([a-z-]+)\b", (ROOT / page).read_text())) - {"and"}
    makefile = (ROOT / "Makefile").read_text()
    assert named
    assert not [one for one in named if not re.search(rf"^{one}:", makefile, re.MULTILINE)]


def test_the_version_is_the_same_everywhere():
    version = packlight.__version__
    major, minor, patch = map(int, version.split("."))
    header = (ROOT / "native" / "include" / "packlight.h").read_text()
    number = 10000 * major + 100 * minor + patch
    assert f"#define PLT_VERSION {number} /* {version} */" in header
    cmake = (ROOT / "native" / "CMakeLists.txt").read_text()
    assert f"project(packlight VERSION {version} " in cmake
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1] == version


def test_every_file_called_slow_exists():
    assert SLOW
    assert all((HERE / name).is_file() for name in SLOW)
