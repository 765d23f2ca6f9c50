"""Parts that devices take when they ask for their tag: always of the version that is in use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from packlight.delivery import Client, publish, withdraw
from packlight.delivery.repository import open_repository
from packlight.delivery.store import Store
from packlight.errors import BadInput, BudgetNotMet
from tests.commands import run
from tests.delivery import hosts
from tests.delivery.conftest import HASTY
from tests.delivery.nets import SECRET, write_network


def add(repo: Path, version: str, tags: dict[str, list[str]], changed: int) -> None:
    """A version of `tagged`, its network and its parts each a little other than before."""
    folder = repo.parent / f"in-{version}"
    base = write_network(folder / "model.onnx", changed=changed)
    parts = {
        tag: [write_network(folder / file, seed=1 + len(file), changed=changed) for file in files]
        for tag, files in tags.items()
    }
    publish(base, repo, name="tagged", version=version, tags=parts, secret=SECRET)


HEADS = {"heads": ["head-a.onnx", "head-bb.onnx"]}
BOTH = HEADS | {"voice": ["voice-one.onnx"]}


@pytest.fixture(scope="module")
def made(published, tmp_path_factory) -> Path:
    """`tagged` 1.0.0 with heads and a voice."""
    folder = tmp_path_factory.mktemp("tagged")
    shutil.copytree(published / "networks", folder / "networks")
    shutil.copytree(published / "networks-keys", folder / "networks-keys")
    add(folder / "networks", "1.0.0", BOTH, 40)
    return folder


@pytest.fixture
def repo(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "networks"


@pytest.fixture
def client(repo, host, tmp_path) -> Client:
    trust = repo / "metadata" / "1.root.json"
    return Client(host.url, "tagged", tmp_path / "phone", trust=trust, limits=HASTY)


def right(client: Client, repo: Path, tags: dict[str, list[str]]) -> None:
    """What is in use is one version, each file of it as it was published."""
    now = client.current()
    folder = repo.parent / f"in-{now.version}"
    assert {tag: [one.path.name for one in files] for tag, files in now.parts.items()} == tags
    for one in now.files:
        assert one.version == now.version
        assert one.path.read_bytes() == (folder / one.path.name).read_bytes()


def places(client: Client) -> list[str]:
    return sorted(path.name for path in (client.store.folder / "versions").rglob("*.*onnx"))


def test_a_network_comes_without_its_parts(client, repo, host):
    done = client.update()
    right(client, repo, {})
    assert len(done.files) == 1
    assert "parts" not in json.loads(client.store.pointer.read_bytes())["current"]


def test_a_part_comes_later_and_the_network_stays(client, repo, host):
    before = client.update().after
    host.requests.clear()
    done = client.update(tags=["heads"])
    right(client, repo, HEADS)
    assert [kind for kind, _ in done.files] == ["full", "full"]
    assert host.sent(".plt") == done.full == sum(count for _, count in done.files)
    assert done.after.path == before.path
    assert client.store.read().previous == ()  # the same version, with more of it
    host.requests.clear()
    assert client.update(tags="heads").after == done.after
    assert client.update().after == done.after
    assert host.sent(".plt") == 0


def test_an_update_brings_the_parts_along_as_differences(client, repo, host):
    client.update(tags=["heads"])
    add(repo, "1.1.0", BOTH, 41)
    host.requests.clear()
    done = client.update()
    right(client, repo, HEADS)
    assert done.after.version == "1.1.0"
    assert [kind for kind, _ in done.files] == ["delta"] * 3
    assert host.sent(".plt") < done.full / 4


def test_until_a_part_is_there_nothing_switches(client, repo, host):
    client.update(tags=["heads"])
    add(repo, "1.1.0", BOTH, 42)
    last = open_repository(repo).index("tagged", "stable").releases[-1]
    delta = last.parts["heads"][-1].deltas[0]
    host.trick(f"{delta.sha256}.plt", hosts.instead(bytes(delta.size)))
    with pytest.raises(BadInput, match="is not the file that was signed"):
        client.update()
    right(client, repo, HEADS)
    assert client.current().version == "1.0.0"
    host.tricks.clear()
    client.update()
    right(client, repo, HEADS)
    assert client.current().version == "1.1.0"


def test_what_fails_goes_back_as_one(client, repo):
    client.update()
    add(repo, "1.1.0", BOTH, 43)
    client.update(tags=["voice"])
    back = client.mark_bad()
    assert back.version == "1.0.0"
    assert back.parts == {"voice": ()}  # never had here, still wanted
    right(client, repo, {"voice": []})
    assert client.update().after.version == "1.0.0"
    right(client, repo, {"voice": ["voice-one.onnx"]})
    add(repo, "1.2.0", BOTH, 44)
    client.update()
    client.mark_bad()
    right(client, repo, {"voice": ["voice-one.onnx"]})


def test_a_damaged_part_is_fetched_again(client, repo):
    part = client.update(tags=["voice"]).after.parts["voice"][0]
    part.path.write_bytes(b"damaged")
    done = client.update()
    right(client, repo, {"voice": ["voice-one.onnx"]})
    assert done.files == (("full", done.full),)


def test_a_part_that_a_version_lacks_comes_back_with_the_next(client, repo):
    client.update(tags=["heads", "voice"])
    add(repo, "1.1.0", HEADS, 45)
    client.update()
    right(client, repo, HEADS | {"voice": []})
    with pytest.raises(BadInput, match=r"1\.1\.0 has no voice for this device; tags: heads$"):
        client.update(tags=["voice"])
    add(repo, "1.2.0", BOTH, 46)
    client.update()
    right(client, repo, BOTH)


def test_parts_count_in_the_budget(client, repo, host):
    with pytest.raises(BudgetNotMet, match="are allowed on a metered connection; nothing is there"):
        client.update(metered=True)
    client.update()
    host.requests.clear()
    done = client.update(tags=["heads"], metered=True)
    assert done.after == done.before
    assert "and 0 are allowed on a metered connection; it stays at 1.0.0" in done.note
    assert host.sent(".plt") == 0
    client.metered_budget = done.full
    assert client.update(tags=["heads"], metered=True).note is None
    right(client, repo, HEADS)


def test_a_part_of_the_version_in_use_comes_where_the_newest_is_over_the_budget(client, repo):
    client.update()
    folder = repo.parent / "in-1.1.0"
    large = write_network(folder / "model.onnx", seed=9, width=200)
    voice = write_network(folder / "voice-one.onnx", seed=8)
    publish(large, repo, name="tagged", version="1.1.0", tags={"voice": voice}, secret=SECRET)
    client.max_download = 20_000
    done = client.update(tags=["voice"])
    assert done.note.endswith("it stays at 1.0.0")
    right(client, repo, {"voice": ["voice-one.onnx"]})
    client.max_download = None
    assert client.update().after.version == "1.1.0"
    right(client, repo, {"voice": ["voice-one.onnx"]})


def test_a_withdrawn_version_is_left_with_its_parts(client, repo):
    client.update(tags=["heads"])
    add(repo, "1.1.0", BOTH, 47)
    client.update()
    withdraw(repo, name="tagged", version="1.1.0", secret=SECRET)
    done = client.update()
    assert done.files == ()  # still there
    right(client, repo, HEADS)


def test_parts_of_equal_content_lie_side_by_side(client, repo, tmp_path):
    base = write_network(tmp_path / "in-2.0.0" / "model.onnx", changed=48)
    same = [shutil.copy(base, base.with_name(name)) for name in ("a.onnx", "b.onnx")]
    publish(base, repo, name="tagged", version="2.0.0", tags={"heads": same}, secret=SECRET)
    done = client.update(tags=["heads"])
    assert len(done.files) == 1
    right(client, repo, {"heads": ["a.onnx", "b.onnx"]})
    assert len(places(client)) == 3


def test_parts_are_of_the_networks_runtime(client, repo, tmp_path):
    folder = tmp_path / "in-2.0.0"
    files = [write_network(folder / "model.onnx", changed=49)]
    files.append(shutil.copy(files[0], folder / "model.tflite"))
    heads = [shutil.copy(files[0], folder / name) for name in ("h.onnx", "h.tflite", "big.tflite")]
    publish(
        files,
        repo,
        name="tagged",
        version="2.0.0",
        tags={"h": heads},
        min_os={"model.tflite": "android-26"},
        min_ram={"big.tflite": 10**10},
        secret=SECRET,
    )
    assert client.update(tags=["h"]).after.runtime == "onnx"  # the only one without a system
    right(client, repo, {"h": ["h.onnx"]})
    other = Client(
        client.url,
        "tagged",
        tmp_path / "lite",
        runtime="litert",
        os="android-30",
        ram=10**9,
        trust=client.trust,
    )
    assert [one.path.name for one in other.update(tags=["h"]).after.parts["h"]] == ["h.tflite"]


def test_leftovers_of_a_killed_process_go(client, repo):
    now = client.update(tags=["voice"]).after
    (now.path.parent / ".model.onnx.x").write_bytes(b"half")
    (now.path.parents[1] / "1.0.0-000000000000").mkdir()
    add(repo, "1.1.0", BOTH, 50)
    client.update()
    left = [path.name for path in now.path.parent.iterdir()]
    assert left == ["model.onnx"]
    assert len(list((client.store.folder / "versions").iterdir())) == 4


def test_a_pointer_leads_nowhere_else(client, repo):
    client.update(tags=["voice"])
    value = json.loads(client.store.pointer.read_bytes())
    part = value["current"]["parts"]["voice"][0]
    assert Path(part["path"]).parts[0] == "versions"
    for wrong in ({"path": "x/.."}, {"sha256": "../" + "0" * 61}, {"path": 7}):
        value["current"]["parts"]["voice"] = [part | wrong]
        client.store.pointer.write_text(json.dumps(value))
        with pytest.raises(BadInput, match="is damaged; remove it"):
            Store(client.store.folder, "tagged").read()
    value["current"]["parts"] = ["voice"]
    client.store.pointer.write_text(json.dumps(value))
    with pytest.raises(BadInput, match="is damaged; remove it"):
        client.current()


def test_the_commands_tell_of_parts(repo, host, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PACKLIGHT_PASSPHRASE", SECRET)
    base = write_network(tmp_path / "in" / "model.onnx", changed=51)
    head = write_network(tmp_path / "in" / "head.onnx", changed=52)
    net = ("--name", "tagged", "--version", "2.0.0", "--tag", f"heads={head}")
    assert not run("publish", base, "--repo", repo, *net, "--json", "--quiet")
    told = json.loads(capsys.readouterr().out)
    assert [one["file"] for one in told["parts"]["heads"]] == ["head.onnx"]
    assert not run("repo", "status", repo, "--quiet")
    assert "; heads: head.onnx " in capsys.readouterr().out
    asked = ["fetch", host.url, "tagged", "--into", tmp_path / "phone", "--quiet"]
    asked += ["--trust", repo / "metadata" / "1.root.json", "--tag", "heads"]
    assert run(*asked, "--metered", "--metered-budget", "1KB") == 3
    assert "allowed on a metered connection" in capsys.readouterr().err
    assert not run(*asked)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("tagged 2.0.0: ")
    assert second.startswith(f"  heads: {tmp_path / 'phone' / 'versions'}")
    assert not run(*asked, "--json")
    told = json.loads(capsys.readouterr().out)
    (part,) = told["after"]["parts"]["heads"]
    assert Path(part["path"]).read_bytes() == head.read_bytes()
    assert run(*asked, "--tag", "voice") == 2
    assert "has no voice for this device; tags: heads" in capsys.readouterr().err
