"""What a host can do to a device: nothing but keep it where it is, and not for long."""

from __future__ import annotations

import gzip
import json
import shutil
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from packlight.delivery import Client, make, publish
from packlight.delivery import repository as repositories
from packlight.delivery.index import Index
from packlight.delivery.keys import read_key
from packlight.delivery.names import Version
from packlight.delivery.repository import open_repository
from packlight.delivery.web import REDIRECTS, Web
from packlight.errors import BadInput
from tests.delivery import hosts
from tests.delivery.conftest import HASTY
from tests.delivery.nets import SECRET, write_network


def installed(client: Client) -> list[str]:
    """Files of the network that lie on the device."""
    folder = client.store.folder / "versions"
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def kept(client: Client) -> int:
    """Bytes of downloads that a next try would go on from."""
    return sum(p.stat().st_size for p in client.store.private.glob("partial/*.part"))


def newer(repo: Path, tmp_path: Path, version: str = "1.3.0", changed: int = 9) -> None:
    file = write_network(tmp_path / f"more-{changed}" / "model.onnx", changed=changed)
    publish(file, repo, name="letters", version=version, secret=SECRET)


@pytest.fixture
def updated(client, published, repo, tmp_path):
    """The device has 1.2.0; the host has 1.3.0."""
    shutil.copytree(published / "phone", tmp_path / "phone", symlinks=True)
    shutil.copytree(published / "newer", repo, dirs_exist_ok=True)
    before = client.current()
    assert before.version == "1.2.0"
    yield client
    now = client.current()
    assert now == before
    assert now.content() is not None
    assert installed(client) == ["model.onnx"]


def test_nothing_unsigned_is_installed_the_first_time(client, host):
    host.trick(".plt", hosts.instead(b"evil"))
    with pytest.raises(BadInput, match=r"stopped after|not the file"):
        client.update()
    assert client.current() is None
    assert installed(client) == []


def test_another_file_of_the_same_length_is_refused(updated, host):
    host.trick(".plt", lambda handler, data: handler.body(bytes(len(data))))
    with pytest.raises(BadInput, match=r"is not the file that was signed; nothing of it was kept$"):
        updated.update()
    assert kept(updated) == 0


def test_a_file_that_is_longer_than_signed_is_refused(updated, host):
    host.trick(".plt", lambda handler, data: handler.body(data + b"evil"))
    with pytest.raises(BadInput, match=r"sends more than the .* bytes that were signed"):
        updated.update()
    assert kept(updated) == 0


def test_an_endless_file_is_left_soon(updated, host):
    host.trick(".plt", hosts.endless)
    with pytest.raises(BadInput, match="sends more than the"):
        updated.update()
    assert kept(updated) == 0
    assert host.sent(".plt") < 64 << 20


@pytest.mark.parametrize("file", ["timestamp.json", "snapshot.json", "targets.json", "stable.json"])
def test_endless_metadata_is_left_soon(updated, host, file):
    host.trick(file, hosts.endless)
    with pytest.raises(BadInput, match="sends more than was signed"):
        updated.update()


@pytest.mark.parametrize("file", ["timestamp.json", "snapshot.json", "targets.json", "stable.json"])
def test_metadata_of_which_a_byte_changed_is_refused(updated, host, file):
    def change(handler, data: bytes) -> None:
        at = data.index(b"1.1.0" if file == "stable.json" else b'"version":') + 3
        handler.body(data[:at] + b"9" + data[at + 1 :])

    host.trick(file, change)
    with pytest.raises(BadInput, match="is not signed as it must be"):
        updated.update()


@pytest.mark.parametrize("file", ["timestamp.json", "snapshot.json", "targets.json", "stable.json"])
def test_gzip_that_never_ends_is_left_soon(updated, host, file):
    """64 MB of zeros in 65 KB: no more is unpacked than what was signed, and 64 KiB."""
    bomb = gzip.compress(bytes(64 << 20), 9)
    host.trick(file, hosts.in_gzip(lambda _: bomb))
    tracemalloc.start()
    with pytest.raises(BadInput, match="sends more than was signed"):
        updated.update()
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_gzip_that_is_none_is_refused(updated, host):
    host.trick("timestamp.json", hosts.in_gzip(bytes))
    with pytest.raises(BadInput, match="what is served as gzip is none"):
        updated.update()


def test_gzip_that_is_cut_is_refused(updated, host):
    host.trick("timestamp.json", hosts.in_gzip(lambda data: gzip.compress(data)[:-60]))
    with pytest.raises(BadInput, match="is not signed as it must be"):
        updated.update()


def test_what_was_served_before_is_refused(client, repo, tmp_path):
    """A rollback: all of an older state, each file of it signed."""
    shutil.copytree(repo / "metadata", tmp_path / "older")
    newer(repo, tmp_path)
    client.update()
    shutil.rmtree(repo / "metadata")
    shutil.copytree(tmp_path / "older", repo / "metadata")
    with pytest.raises(BadInput, match="serves older signatures than it did before"):
        client.update()
    assert client.current().version == "1.3.0"


def test_a_host_that_holds_updates_back_is_found_out(updated, repo, monkeypatch):
    """A freeze: the timestamp is genuine, and has expired."""
    monkeypatch.setitem(repositories.LIFETIME, "timestamp", timedelta(seconds=-1))
    repositories.refresh(repo, secret=SECRET)
    with pytest.raises(BadInput, match="serves signatures that have expired"):
        updated.update()


def test_files_of_two_states_do_not_mix(updated, repo, host):
    old = min((repo / "metadata").glob("*.snapshot.json")).read_bytes()
    host.trick("snapshot.json", hosts.instead(old))
    with pytest.raises(BadInput, match="is not signed as it must be"):
        updated.update()


def test_somebody_elses_repository_is_refused(updated, host, tmp_path):
    make(tmp_path / "evil", secret=SECRET)
    newer(tmp_path / "evil", tmp_path, "9.0.0", changed=3)
    host.folder = tmp_path / "evil"
    for file in (tmp_path / "evil" / "metadata").glob("*.json"):
        assert file.stat().st_size  # it is whole, and signed by other keys
    with pytest.raises(BadInput, match="is not signed as it must be"):
        updated.update()


def test_a_stolen_timestamp_key_adds_no_targets(updated, repo, tmp_path):
    """The thief signs a whole new state with the one key that is online."""
    held = open_repository(repo)
    thief = read_key(held.keys, "timestamp", SECRET)
    index = held.index("letters", "stable")
    release = replace(index.releases[-1], version=Version("9.0.0"))
    with pytest.raises(BadInput, match="not as it was signed"):  # written, and seen by its owner
        held.commit(
            replace(index, releases=(*index.releases, release)),
            {role: [thief] for role in ("targets", "snapshot", "timestamp")},
        )
    with pytest.raises(BadInput, match="is not signed as it must be"):
        updated.update()


def test_a_trickle_is_left(updated, host):
    host.trick(".plt", hosts.trickle)
    note = updated.update().note
    assert "bytes per second, fewer than 2,000; letters stays at 1.2.0" in note


def test_a_trickle_of_metadata_is_left(updated, host):
    host.trick("timestamp.json", hosts.trickle)
    assert "bytes per second, fewer than 2,000" in updated.update().note


def test_an_answer_that_never_begins_is_left(updated, host):
    host.trick(".plt", hosts.trickle_head)
    assert updated.update().note.endswith("; letters stays at 1.2.0")


@pytest.mark.parametrize("file", ["timestamp.json", ".plt"])
def test_a_missing_file_is_one_sentence(updated, host, file):
    host.trick(file, hosts.status(404))
    with pytest.raises(BadInput, match=r"is not there \(HTTP 404\); check the address"):
        updated.update()


@pytest.mark.parametrize("file", ["timestamp.json", ".plt"])
def test_a_host_at_fault_leaves_things_as_they_are(updated, host, file):
    host.trick(file, hosts.status(500))
    assert updated.update().note.endswith("is not served now (HTTP 500); letters stays at 1.2.0")


@pytest.mark.parametrize("file", ["timestamp.json", ".plt"])
def test_redirects_in_a_circle_end(updated, host, file):
    host.trick(file, hosts.leads_to(f"/again/{file}"))
    with pytest.raises(BadInput, match=rf"leads on and on \({REDIRECTS} redirects\)"):
        updated.update()


def test_a_redirect_from_https_to_http_is_refused(monkeypatch):
    class Moved:
        def get_redirect_location(self) -> str:
            return "http://127.0.0.1:9/files"

        def close(self) -> None:
            pass

    monkeypatch.setattr(Web, "_asked", lambda *_: Moved())
    with pytest.raises(BadInput, match="leads from https to http"), Web().get("https://host/files"):
        pass


@pytest.mark.parametrize("by", [-1, 1])
def test_a_file_that_unpacks_to_another_length_is_refused(by, updated, repo):
    """Signed lengths bound what is unpacked, before memory is taken."""
    held = open_repository(repo)
    index = held.index("letters", "stable")
    last = index.releases[-1]
    size = last.variants[0].size + by
    wrong = replace(last, variants=(replace(last.variants[0], size=size),))
    held.commit(replace(index, releases=(*index.releases[:-1], wrong)), held.signers(SECRET))
    with pytest.raises(BadInput, match="unpacks to something else than was signed"):
        updated.update()


WAYS_OUT = ["../evil", "/evil", "a/../../evil", "..", "a\\b", "c:evil", "a..b", "con", "", "a\0b"]


@pytest.mark.parametrize("name", WAYS_OUT)
def test_no_name_or_version_leads_out_of_a_folder(name, repo, tmp_path):
    file = write_network(tmp_path / "in" / "model.onnx", changed=5)
    before = sorted(tmp_path.rglob("*"))
    for wrong in ({"name": name}, {"version": name}, {"channel": name}):
        asked = {"name": "letters", "version": "2.0.0"} | wrong
        with pytest.raises(BadInput, match=r"is no (name|version|channel)"):
            publish(file, repo, secret=SECRET, **asked)
    with pytest.raises(BadInput, match="is no name"):
        Client("http://127.0.0.1:9", name, tmp_path / "phone")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", WAYS_OUT)
def test_even_a_signed_index_leads_nowhere_else(name, updated, repo, tmp_path):
    """A publisher, or whoever has all of the keys, wants to write elsewhere on the device."""
    held = open_repository(repo)
    index = held.index("letters", "stable")
    last = index.releases[-1]
    bad = replace(last, variants=(replace(last.variants[0], file=name),))
    held.commit(Index("letters", "stable", (*index.releases[:-1], bad)), held.signers(SECRET))
    with pytest.raises(BadInput, match="is no plain file name"):
        updated.update()
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(version="../1.0.0"), "is no version"),
        (lambda v: v["variants"][0].update(sha256="../" + "0" * 61), "is no SHA-256"),
        (lambda v: v["variants"][0].update(bytes=-1), "a file of -1 bytes"),
        (lambda v: v["variants"][0].update(bytes=1 << 62), "are the most"),
        (lambda v: v["variants"][0]["full"].update(bytes=1.5), "a file of 1.5 bytes"),
        (lambda v: v["variants"][0].pop("full"), "is damaged"),
        (lambda v: v.update(rollout=7), "a rollout of 7"),
        (lambda v: v.update(variants=None), "is damaged"),
        (lambda v: v["variants"][0].update(min_ram=-1), "a need of -1 bytes of RAM"),
        (lambda v: v["variants"][0].update(min_ram=True), "a need of True bytes of RAM"),
        (lambda v: v["variants"][0].update(min_ram=1 << 60), "are possible"),
        (lambda v: v["variants"][0].update(min_ram=None), "a need of None bytes of RAM"),
        (lambda v: v["variants"][0].update(inputs="1x3"), "inputs of 1x3; they are lists"),
        (lambda v: v["variants"][0].update(inputs=[[1.5]]), "they are lists of sizes"),
        (lambda v: v["variants"][0].update(inputs=[[1 << 40]]), "they are lists of sizes"),
        (lambda v: v["variants"][0].update(inputs=[[1] * 99]), "they are lists of sizes"),
        (lambda v: v.update(record={"licence": "a licence\n"}), "is no licence"),
        (lambda v: v.update(parts={"../heads": []}), "is no tag"),
        (lambda v: v.update(parts={"heads": [{"file": "../evil"}]}), "is damaged"),
        (lambda v: v.update(parts={"h": [v["variants"][0] | {"file": "../a"}]}), "no plain file"),
        (lambda v: v.update(parts={"h": v["variants"]}), "two of the files are called model.onnx"),
        (lambda v: v.update(parts={"h": v["variants"] * 300}), "256 are the most"),
        (lambda v: v.update(parts=[1]), "is damaged"),
        (lambda v: v.update(parts={"heads": 7}), "is damaged"),
    ],
)
def test_an_index_is_looked_at_before_it_is_used(published, change, said):
    from packlight.delivery.index import parse

    index = open_repository(published / "networks").index("letters", "stable")
    value = json.loads(index.to_bytes())
    assert parse(json.dumps(value).encode(), "letters", "stable") == index
    change(value["versions"][0])
    with pytest.raises(BadInput, match=said):
        parse(json.dumps(value).encode(), "letters", "stable")


def test_a_clock_that_is_a_year_wrong_is_named(updated, monkeypatch):
    import tuf.ngclient._internal.trusted_metadata_set as theirs

    class Later(theirs.datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + timedelta(days=400)

    monkeypatch.setattr(theirs.datetime, "datetime", Later)
    with pytest.raises(BadInput, match="this device's clock is wrong"):
        updated.update()


def test_the_first_time_needs_a_root(host, tmp_path):
    with pytest.raises(BadInput, match="the first time needs the root"):
        Client(host.url, "letters", tmp_path / "phone", limits=HASTY).update()
