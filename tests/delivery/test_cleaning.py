"""Old versions go, and what only they needed; readers of an older state lose nothing."""

from __future__ import annotations

import json
import os
import time

import pytest

from packlight.delivery import publish
from packlight.delivery.cleaning import QUIET, clean
from packlight.delivery.repository import open_repository
from tests.commands import run
from tests.delivery.nets import SECRET, write_network


@pytest.fixture
def settled(repo):
    """Nothing was published for a while."""

    def wait() -> None:
        for path in (repo / "metadata").iterdir():
            os.utime(path, times=(time.time() - QUIET - 60,) * 2)

    return wait


def stored(repo) -> set[str]:
    return {path.stem for path in (repo / "files").iterdir()}


def test_files_go_in_a_run_after_the_one_that_drops_versions(repo, settled, client):
    before = stored(repo)
    settled()
    first = clean(repo, keep=1, secret=SECRET)
    assert first.versions == 2
    assert stored(repo) == before  # a reader may still believe the state before
    again = clean(repo, keep=1, secret=SECRET)
    assert (again.versions, again.files) == (0, 0)
    settled()
    last = clean(repo, keep=1, secret=SECRET)
    index = open_repository(repo).index("letters", "stable")
    (variant,) = index.releases[0].variants
    assert stored(repo) == {one.sha256 for one in (variant.full, *variant.deltas)} < before
    assert last.bytes > 0
    assert client.update().after.version == "1.2.0"


def test_parts_of_versions_that_stay_are_kept(repo, settled, client, tmp_path):
    file = write_network(tmp_path / "in" / "model.onnx", changed=5)
    head = write_network(tmp_path / "in" / "head.onnx", changed=6)
    publish(file, repo, name="letters", version="1.3.0", tags={"heads": head}, secret=SECRET)
    for _ in range(2):
        settled()
        clean(repo, keep=1, secret=SECRET)
    settled()
    assert clean(repo, keep=1, secret=SECRET).files == 0
    (part,) = client.update(tags="heads").after.parts["heads"]
    assert part.content() == head.read_bytes()


def test_the_command_keeps_the_highest_version(repo, settled, monkeypatch, capsys):
    monkeypatch.setenv("PACKLIGHT_PASSPHRASE", SECRET)
    settled()
    assert not run("repo", "gc", repo, "--keep", "1", "--json", "--quiet")
    assert json.loads(capsys.readouterr().out)["versions"] == 2
    releases = open_repository(repo).index("letters", "stable").releases
    assert [str(one.version) for one in releases] == ["1.2.0"]


def test_without_anything_old_nothing_changes(repo):
    before = open_repository(repo).timestamp.signed.version
    done = clean(repo, secret=SECRET)
    assert (done.versions, done.files, done.bytes) == (0, 0, 0)
    assert open_repository(repo).timestamp.signed.version == before
