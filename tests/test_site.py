"""`make docs`: every page becomes one that can be read from the disk, without the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import packlight

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    find_spec("mkdocstrings") is None or find_spec("material") is None,
    reason="MkDocs is not installed: packlight[docs]",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Built as `make docs` does, any warning an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there_and_in_the_navigation(site):
    start = (site / "index.html").read_text()
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        name = page.relative_to(docs).with_suffix(".html").as_posix()
        assert (site / name).is_file()
        assert page.stem == "index" or f'href="{name}"' in start


def test_links_within_the_site_stay_and_those_out_of_it_go(site):
    page = (site / "how-to" / "too-big.html").read_text()
    assert 'href="../weigh.html#limits"' in page
    assert "the README" in page
    assert "README.md" not in page


def test_nothing_is_fetched(site):
    fetched = r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="?((?:https?:)?//[^" >]+)'
    for page in site.rglob("*.html"):
        assert not re.findall(fetched, page.read_text()), page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", sheet.read_text()), sheet.name


def test_the_public_names_are_explained(site):
    page = (site / "api.html").read_text()
    for name in set(packlight.__all__) - {"__version__", "zoo"}:
        assert f'<h3 id="packlight.{name}"' in page, name
    assert page.count("Raises:") >= 10
