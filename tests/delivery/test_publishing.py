"""What publishers may do, and what is left when something stands in their way."""

from __future__ import annotations

import json
import shutil
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from packlight.delivery import keys, make, publish, withdraw
from packlight.delivery import repository as repositories
from packlight.delivery.names import Version
from packlight.delivery.repository import open_repository, refresh
from packlight.errors import BadInput
from tests.commands import run
from tests.delivery.nets import SECRET, write_network


@pytest.fixture
def file(tmp_path) -> Path:
    return write_network(tmp_path / "in" / "model.onnx", changed=7)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_versions_are_ordered_as_semver_says():
    """The examples of section 11."""
    before = ["alpha", "alpha.1", "alpha.beta", "beta", "beta.2", "beta.11", "rc.1"]
    after = ["1.0.0", "2.0.0", "2.1.0", "2.1.1", "2.1.10"]
    texts = [*(f"1.0.0-{one}" for one in before), *after]
    versions = [Version(text) for text in texts]
    assert sorted(set(versions)) == versions
    assert all(a < b for a, b in pairwise(versions))


@pytest.mark.parametrize("text", ["1.0", "01.0.0", "1.0.0+build", "1.0.0-01", "v1.0.0", "1.0.0 "])
def test_what_is_no_version_is_refused(text):
    with pytest.raises(BadInput, match="is no version"):
        Version(text)


@pytest.mark.parametrize("version", ["1.2.0", "1.1.9", "1.2.0-rc.1"])
def test_versions_must_rise(version, repo, file):
    before = content(repo / "metadata")
    with pytest.raises(BadInput, match=r"letters has 1\.2\.0 in stable already"):
        publish(file, repo, name="letters", version=version, secret=SECRET)
    assert content(repo / "metadata") == before


def test_channels_are_apart(repo, file):
    publish(file, repo, name="letters", version="1.0.1", channel="beta", secret=SECRET)
    held = open_repository(repo)
    assert held.channels() == [("letters", "beta"), ("letters", "stable")]
    assert len(held.index("letters", "stable").releases) == 3


def test_differences_are_kept_for_three_versions_where_they_pay(repo, file, tmp_path):
    published = publish(file, repo, name="letters", version="1.3.0", secret=SECRET)
    (variant,) = published.index.releases[-1].variants
    assert [str(version) for version, _ in published.deltas(variant)] == ["1.0.0", "1.1.0", "1.2.0"]
    assert all(delta.size < 0.75 * variant.full.size for delta in variant.deltas)
    other = write_network(tmp_path / "other" / "model.onnx", seed=1)
    published = publish(other, repo, name="letters", version="1.4.0", secret=SECRET)
    assert published.index.releases[-1].variants[0].deltas == ()


def test_every_file_of_an_index_is_there_under_its_hash(repo, file):
    publish(file, repo, name="letters", version="1.3.0", secret=SECRET)
    assert whole(repo) == ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]


def whole(repo: Path) -> list[str]:
    """The versions of `letters`; fails if a file that is named is not there."""
    held = open_repository(repo)
    index = held.index("letters", "stable")
    for release in index.releases:
        for variant in release.variants:
            for packed in (variant.full, *variant.deltas):
                data = held.file(packed.sha256).read_bytes()
                assert len(data) == packed.size
                assert keys_of(data) == packed.sha256
    return [str(release.version) for release in index.releases]


def keys_of(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def test_the_record_of_a_fit_goes_with_it_and_nothing_of_the_machine(repo, file):
    accuracy = {
        "metric": "top1",
        "n": 500,
        "original": {"top1": 0.9},
        "compressed": {"top1": 0.89},
        "drop": {"top1": {"value": 0.01, "low": 0.0, "high": 0.0212345}},
        "agreement": None,
        "judged_on": "/home/me/data.npz",
    }
    original = {"sha256": "0" * 64, "bytes": 9, "file": "/home/me/model.onnx"}
    report = {"packlight": "0.1.0", "original": original, "accuracy": accuracy, "command": "me"}
    (file.parent / "report.json").write_text(json.dumps(report))
    publish(file.parent, repo, name="letters", version="1.3.0", secret=SECRET)
    record = open_repository(repo).index("letters", "stable").releases[-1].record
    assert record["accuracy"]["drop"]["top1"] == {"value": 0.01, "low": 0.0, "high": 0.02123}
    assert record["source_sha256"] == "0" * 64
    assert "/home/me" not in json.dumps(record)


def test_the_packed_file_beside_is_taken_if_it_is_of_the_same_network(repo, file, published):
    other = published / "networks" / "files"
    delta, *_ = sorted(other.iterdir(), key=lambda path: path.stat().st_size)
    full = max(other.iterdir(), key=lambda path: path.stat().st_size)
    beside = file.with_name("model.onnx.plt")
    shutil.copy(full, beside)
    with pytest.raises(BadInput, match=r"is not what model\.onnx beside it is"):
        publish(file.parent, repo, name="letters", version="1.3.0", secret=SECRET)
    shutil.copy(delta, beside)
    with pytest.raises(BadInput, match="is only a difference"):
        publish(beside, repo, name="letters", version="1.3.0", secret=SECRET)


def test_keys_are_encrypted_apart_and_for_their_owner(repo):
    folder = repo.with_name("networks-keys")
    for role in keys.ROLES:
        path = folder / f"{role}.key"
        assert path.stat().st_mode & 0o77 == 0
        assert b"PRIVATE KEY" not in path.read_bytes()
        assert keys.read_key(folder, role, SECRET).public_key.keytype == "ed25519"
        with pytest.raises(BadInput, match="the passphrase does not open"):
            keys.read_key(folder, role, "another")
    assert not list(repo.rglob("*.key"))


@pytest.mark.parametrize("inside", [".", "keys", "../networks/keys"])
def test_keys_are_never_put_where_they_are_served(inside, tmp_path):
    with pytest.raises(BadInput, match="which is served; say --keys elsewhere"):
        make(tmp_path / "networks", keys=tmp_path / "networks" / inside, secret=SECRET)
    assert not (tmp_path / "networks").exists()


def test_what_somebody_changed_is_never_signed(repo, file):
    """The host was broken into; its owner publishes the next version."""
    index = next((repo / "targets" / "letters").glob("*.json"))
    for path in (index, repo / "metadata" / "timestamp.json", *(repo / "files").iterdir()):
        data = path.read_bytes()
        path.write_bytes(data[:-9] + b"x" + data[-8:])
    with pytest.raises(BadInput, match="is not as it was signed"):
        publish(file, repo, name="letters", version="1.3.0", secret=SECRET)


def test_a_changed_file_is_no_base_of_a_difference(repo, file):
    for path in (repo / "files").iterdir():
        path.write_bytes(b"evil")
    with pytest.raises(BadInput, match="is missing or damaged; restore it"):
        publish(file, repo, name="letters", version="1.3.0", secret=SECRET)


def test_two_publishers_at_once_both_succeed(repo, tmp_path):
    """Each takes the turn after the other; no version is lost."""
    problems: list[Exception] = []

    def work(name: str, changed: int) -> None:
        file = write_network(tmp_path / name / "model.onnx", changed=changed)
        try:
            for number in range(3):
                publish(file, repo, name=name, version=f"1.{number}.0", secret=SECRET)
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(f"net{i}", i)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    held = open_repository(repo)
    for name in ("net0", "net1", "net2"):
        assert len(held.index(name, "stable").releases) == 3


def test_refresh_signs_for_longer_with_two_keys_alone(repo, tmp_path, monkeypatch):
    online = tmp_path / "online"
    online.mkdir()
    for name in ("root.json", "snapshot.key", "timestamp.key"):
        shutil.copy(repo.with_name("networks-keys") / name, online)
    before = open_repository(repo)
    monkeypatch.setitem(repositories.LIFETIME, "timestamp", timedelta(days=2))
    after = refresh(repo, keys=online, secret=SECRET)
    assert after.expiries()["timestamp"] > before.expiries()["timestamp"]
    assert after.timestamp.signed.version == before.timestamp.signed.version + 1
    assert after.targets.signed.version == before.targets.signed.version


def test_refresh_renews_root_and_targets_when_half_of_their_time_is_over(repo, client):
    before = client.update().after
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(repositories.LIFETIME, "targets", timedelta(days=300))
        patch.setitem(repositories.LIFETIME, "root", timedelta(days=1000))
        held = refresh(repo, secret=SECRET)
    assert held.expiries()["root"] > datetime.now(UTC) + timedelta(days=900)
    assert held.expiries()["targets"] > datetime.now(UTC) + timedelta(days=200)
    assert client.update().after == before  # devices follow to the new root
    assert (client.store.private / "metadata" / "root_history" / "2.root.json").is_file()


def test_a_version_is_withdrawn_once(repo):
    withdraw(repo, name="letters", version="1.1.0", secret=SECRET)
    with pytest.raises(BadInput, match="is withdrawn already"):
        withdraw(repo, name="letters", version="1.1.0", secret=SECRET)
    with pytest.raises(BadInput, match=r"there is 1\.0\.0, 1\.1\.0, 1\.2\.0"):
        withdraw(repo, name="letters", version="7.0.0", secret=SECRET)


def test_the_commands_tell_the_same(tmp_path, file, monkeypatch, capsys):
    monkeypatch.setenv("PACKLIGHT_PASSPHRASE", SECRET)
    repo = tmp_path / "networks"

    def said(*words: object) -> dict:
        assert not run(*words, "--json", "--quiet")
        return json.loads(capsys.readouterr().out)

    assert said("repo", "init", repo)["root"] == str(repo / "metadata" / "1.root.json")
    net = ("--name", "letters", "--version")
    told = said("publish", file, "--repo", repo, *net, "1.0.0", "--rollout", "10%")
    assert told["rollout"] == 0.1
    assert told["variants"][0]["precision"] == "float32"
    assert said("repo", "rollout", repo, "100%", *net, "1.0.0")["rollout"] == 1
    said("repo", "refresh", repo)
    said("repo", "withdraw", repo, *net, "1.0.0")
    (network,) = said("repo", "status", repo)["networks"]
    (version,) = network["versions"]
    assert (version["version"], version["withdrawn"]) == ("1.0.0", True)
    assert not run("repo", "status", repo, "--quiet")
    assert "  1.0.0  withdrawn  " in capsys.readouterr().out


def test_without_a_passphrase_nothing_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PACKLIGHT_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin", None)
    assert run("repo", "init", tmp_path / "networks", "--quiet") == 2
    assert "set PACKLIGHT_PASSPHRASE" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_command_to_install_it_is_told(tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "tuf", None)
    assert run("repo", "init", tmp_path / "networks", "--quiet") == 2
    assert capsys.readouterr().err.endswith("pip install 'packlight[delivery]'\n")
