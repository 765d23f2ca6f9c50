"""After a theft another key is believed, by publishers and by devices, and the old one no more."""

from __future__ import annotations

import shutil

import pytest

from packlight.delivery import publish
from packlight.delivery.keys import ROLES, read_key
from packlight.delivery.repository import open_repository
from packlight.delivery.rotation import rotate
from packlight.errors import BadInput
from tests.commands import run
from tests.delivery.nets import SECRET, write_network


@pytest.mark.parametrize("role", ROLES)
def test_devices_follow_to_a_new_key(role, repo, client, tmp_path):
    before = open_repository(repo)
    old = read_key(before.keys, role, SECRET)
    client.update()
    after = rotate(repo, role, secret=SECRET)
    new = read_key(after.keys, role, SECRET)
    assert after.root.signed.roles[role].keyids == [new.public_key.keyid]
    assert new.public_key.keyid != old.public_key.keyid
    assert not list(after.keys.glob("*.next"))
    file = write_network(tmp_path / "in" / "model.onnx", changed=8)
    publish(file, repo, name="letters", version="2.0.0", secret=SECRET)
    assert client.update().after.version == "2.0.0"


def test_devices_can_follow_at_every_step(repo, client, monkeypatch):
    """A device asks after each file that is written."""
    from packlight.delivery import repository

    written = repository._write
    asked = []

    def write_and_ask(path, data):
        written(path, data)
        asked.append(client.update().after.version)

    monkeypatch.setattr(repository, "_write", write_and_ask)
    rotate(repo, "timestamp", secret=SECRET)
    assert asked == ["1.2.0"] * 5  # root, targets, snapshot, timestamp, root


def test_a_thief_who_ran_ahead_is_overtaken(repo, client, tmp_path):
    """Fast-forward: a stolen key signs a version far ahead."""
    from tuf.api.metadata import Metadata

    good = tmp_path / "good"
    shutil.copytree(repo, good)
    path = repo / "metadata" / "timestamp.json"
    thief = read_key(repo.with_name("networks-keys"), "timestamp", SECRET)
    stolen = Metadata.from_bytes(path.read_bytes())
    stolen.signed.version = 2**31
    stolen.sign(thief)
    path.write_bytes(stolen.to_bytes())
    client.update()
    shutil.copy(good / "metadata" / "timestamp.json", path)
    with pytest.raises(BadInput, match="serves older signatures"):
        client.update()
    rotate(repo, "timestamp", secret=SECRET)
    done = client.update()
    assert done.note is None
    assert done.after.version == "1.2.0"


def test_the_command_needs_a_role(repo, monkeypatch, capsys):
    monkeypatch.setenv("PACKLIGHT_PASSPHRASE", SECRET)
    assert run("repo", "rotate-key", repo, "owner", "--quiet") == 2
    assert "there are root, targets, snapshot, timestamp" in capsys.readouterr().err
    assert not run("repo", "rotate-key", repo, "snapshot", "--quiet")
    assert "the old snapshot key is believed no more" in capsys.readouterr().out
