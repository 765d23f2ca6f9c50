"""A device gets what it should have, in the fewest bytes, and goes back when that fails."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from packlight.delivery import Client, publish, rollout, withdraw
from packlight.delivery.choosing import chance
from packlight.delivery.repository import open_repository
from packlight.errors import BadInput
from packlight.files import sha256
from tests.commands import run
from tests.delivery import hosts
from tests.delivery.conftest import HASTY
from tests.delivery.nets import SECRET, write_network


@pytest.fixture
def phone(client, published, tmp_path) -> Client:
    """The device with 1.2.0."""
    shutil.copytree(published / "phone", tmp_path / "phone", symlinks=True)
    return client


@pytest.fixture
def newer(published, repo) -> Path:
    """The repository with 1.3.0."""
    shutil.copytree(published / "newer", repo, dirs_exist_ok=True)
    return repo


def original(published: Path, version: str) -> bytes:
    return (published / f"in-{version}" / "model.onnx").read_bytes()


def test_the_first_fetch_brings_the_newest_to_the_byte(client, published):
    done = client.update()
    assert done.before is None
    assert done.after.version == "1.2.0"
    assert done.after.path.read_bytes() == original(published, "1.2.0")
    assert [kind for kind, _ in done.files] == ["full"]
    assert client.current() == done.after


def test_what_is_new_comes_as_a_difference(phone, newer, published, host):
    done = phone.update()
    assert done.after.path.read_bytes() == original(published, "1.3.0")
    assert [kind for kind, _ in done.files] == ["delta"]
    assert host.sent(".plt") == done.files[0][1] < done.full / 4
    assert done.received == host.sent("")


def test_nothing_new_costs_a_timestamp(phone, newer, host):
    phone.update()
    host.requests.clear()
    done = phone.update()
    assert done.before == done.after
    assert [path for path, _, _ in host.requests] == ["/metadata/timestamp.json"]


def test_a_host_may_send_metadata_in_gzip(phone, newer, host):
    """Packed files are not asked for in it: there is nothing left to pack."""
    for file in ("timestamp.json", "snapshot.json", "targets.json", "stable.json"):
        host.trick(file, hosts.in_gzip())
    done = phone.update()
    assert done.after.version == "1.3.0"
    plain = sum(path.stat().st_size for path in fetched(newer))
    assert host.sent(".json") < 0.7 * plain
    assert done.received == host.sent("")


def fetched(repo: Path) -> list[Path]:
    """Metadata of the newest state."""
    newest = open_repository(repo)
    index = newest.index("letters", "stable").to_bytes()
    return [
        repo / "metadata" / "timestamp.json",
        repo / "metadata" / f"{newest.snapshot.signed.version}.snapshot.json",
        repo / "metadata" / f"{newest.targets.signed.version}.targets.json",
        repo / "targets" / "letters" / f"{sha256(index)}.stable.json",
    ]


def test_a_long_absence_takes_a_chain_of_differences(repo, host, tmp_path, published):
    """1.0.0 to 1.4.0: further than differences reach, and still no full file."""
    withdrawn = ["1.1.0", "1.2.0"]
    for version in withdrawn:
        withdraw(repo, name="letters", version=version, secret=SECRET)
    trust = repo / "metadata" / "1.root.json"
    client = Client(host.url, "letters", tmp_path / "phone", trust=trust)
    assert client.update().after.version == "1.0.0"
    for seed, version in enumerate(("1.3.0", "1.4.0", "1.5.0", "1.6.0")):
        file = write_network(tmp_path / version / "model.onnx", changed=20 + seed)
        publish(file, repo, name="letters", version=version, secret=SECRET)
    done = client.update()
    assert done.after.version == "1.6.0"
    assert [kind for kind, _ in done.files] == ["delta", "delta"]
    assert done.after.path.read_bytes() == (tmp_path / "1.6.0" / "model.onnx").read_bytes()


def test_a_damaged_file_on_the_device_is_no_base(phone, newer, published):
    phone.current().path.write_bytes(b"damaged")
    done = phone.update()
    assert [kind for kind, _ in done.files] == ["full"]
    assert done.after.path.read_bytes() == original(published, "1.3.0")


def test_a_damaged_file_is_fetched_again(phone):
    phone.current().path.unlink()
    done = phone.update()
    assert done.after.version == "1.2.0"
    assert done.after.content() is not None


def test_what_failed_is_left_and_never_taken_again(phone, newer):
    before = phone.current()
    phone.update()
    assert phone.mark_bad() == before == phone.current()
    assert phone.update().after == before


def test_without_anything_to_go_back_to_there_is_nothing(client, published):
    client.update()
    assert client.mark_bad() is None
    assert client.current() is None
    assert client.update().after.version == "1.1.0"


def test_two_versions_before_the_current_one_are_kept(phone, newer, tmp_path):
    for seed, version in enumerate(("2.0.0", "2.1.0", "2.2.0")):
        file = write_network(tmp_path / version / "model.onnx", changed=30 + seed)
        publish(file, newer, name="letters", version=version, secret=SECRET)
        phone.update()
    there = sorted(p.name.partition("-")[0] for p in (tmp_path / "phone" / "versions").iterdir())
    assert there == ["2.0.0", "2.1.0", "2.2.0"]


def test_a_withdrawn_version_is_left(phone, newer):
    phone.update()
    withdraw(newer, name="letters", version="1.3.0", secret=SECRET)
    done = phone.update()
    assert (done.before.version, done.after.version) == ("1.3.0", "1.2.0")
    assert done.files == ()  # it was still there


def test_offline_the_device_stays_as_it_is(phone, host, capsys):
    host.stop()
    done = phone.update()
    assert done.after.version == "1.2.0"
    assert "can not be reached (no connection); letters stays at 1.2.0" in done.note
    assert not run("fetch", host.url, "letters", "--into", phone.store.folder, "--quiet")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_offline_with_nothing_is_an_error(client, host):
    host.stop()
    with pytest.raises(BadInput, match="can not be reached"):
        client.update()


def test_downloads_go_on_where_they_stopped(client, host, published):
    host.ranges = True
    full = open_repository(published / "networks").index("letters", "stable").releases[-1]
    size = full.variants[0].full.size
    host.trick(".plt", hosts.cut(size // 2))
    done = client.update()
    assert done.after.content() == original(published, "1.2.0")
    assert host.sent(".plt") == size


def test_a_later_fetch_goes_on_where_an_earlier_one_stopped(client, host):
    host.ranges = True
    host.trick(".plt", hosts.cut(300))
    with pytest.raises(BadInput, match="the next try goes on from there"):
        client.update()
    arrived = host.sent(".plt")
    host.tricks.clear()
    host.requests.clear()
    done = client.update()
    assert host.sent(".plt") == done.full - arrived


def test_without_ranges_a_download_starts_again(client, host, published):
    host.trick(".plt", hosts.cut(300))
    with pytest.raises(BadInput, match="stopped after 300 of"):
        client.update()
    host.tricks.clear()
    assert client.update().after.content() == original(published, "1.2.0")


def test_a_host_with_another_file_now_sends_it_whole(client, host):
    """If-Range: what has arrived is not continued with bytes of another file."""
    host.ranges = True
    host.trick(".plt", hosts.cut(300))
    with pytest.raises(BadInput):
        client.update()
    for tag in client.store.private.glob("partial/*.tag"):
        tag.write_text('"another"')
    host.tricks.clear()
    host.requests.clear()
    done = client.update()
    assert host.sent(".plt") == done.full


def test_a_rollout_reaches_its_share_and_is_the_same_each_time():
    installs = [f"install-{i}" for i in range(4000)]
    first = [chance(one, "letters", "1.4.0") for one in installs]
    assert first == [chance(one, "letters", "1.4.0") for one in installs]
    assert 0.08 < sum(value < 0.1 for value in first) / len(first) < 0.12
    other = [chance(one, "letters", "1.5.0") for one in installs]
    both = sum(a < 0.5 and b < 0.5 for a, b in zip(first, other, strict=True)) / len(first)
    assert 0.2 < both < 0.3  # not always the same devices


def test_a_device_outside_the_rollout_waits_for_it(phone, newer):
    place = chance(phone.store.read().install, "letters", "1.3.0")
    rollout(newer, name="letters", version="1.3.0", share=place * 0.9, secret=SECRET)
    assert phone.update().after.version == "1.2.0"
    rollout(newer, name="letters", version="1.3.0", share=min(1, place * 1.1), secret=SECRET)
    assert phone.update().after.version == "1.3.0"
    rollout(newer, name="letters", version="1.3.0", share=0, secret=SECRET)
    assert phone.update().after.version == "1.3.0"  # who has it keeps it


def test_a_new_device_has_one_id_from_its_first_try(client, repo):
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        rollout(repo, name="letters", version=version, share=0, secret=SECRET)
    with pytest.raises(BadInput, match="has no version for this device"):
        client.update()
    first = client.store.read().install
    with pytest.raises(BadInput):
        client.update()
    assert client.store.read().install == first


def test_the_file_of_the_runtime_is_taken(repo, host, tmp_path):
    onnx = write_network(tmp_path / "v2" / "model.onnx", changed=3)
    lite = shutil.copy(onnx, tmp_path / "v2" / "model.tflite")
    files, systems = [onnx, lite], {"litert": "android-26"}
    publish(files, repo, name="two", version="1.0.0", min_os=systems, secret=SECRET)
    trust = repo / "metadata" / "1.root.json"

    def client(folder: str, **options) -> Client:
        return Client(host.url, "two", tmp_path / folder, trust=trust, **options)

    assert client("a").update().after.path.name == "model.onnx"  # without a system, only one fits
    with pytest.raises(BadInput, match="comes for litert, onnx; say which with --runtime"):
        client("b", os="android-34").update()
    new = client("c", os="android-34", runtime="litert").update().after
    assert (new.path.name, new.runtime) == ("model.tflite", "litert")
    for system in ("android-25", "ios-30", None):
        with pytest.raises(BadInput, match="has no version for this device"):
            client(f"d{system}", os=system, runtime="litert").update()


def test_a_folder_is_delivered_and_updated_as_one(repo, host, tmp_path):
    for seed, version in enumerate(("1.0.0", "1.1.0")):
        package = tmp_path / version / "model.mlpackage"
        write_network(package / "Data" / "weights.bin", changed=seed)
        (package / "Manifest.json").write_text("{}")
        publish(package, repo, name="apple", version=version, secret=SECRET)
        trust = repo / "metadata" / "1.root.json"
        done = Client(host.url, "apple", tmp_path / "phone", trust=trust).update()
        path = done.after.path
        assert (path / "Manifest.json").read_text() == "{}"
        weights = Path("Data", "weights.bin")
        assert (path / weights).read_bytes() == (package / weights).read_bytes()
    assert [kind for kind, _ in done.files] == ["delta"]


def test_an_update_waits_that_takes_more_than_is_allowed(phone, newer, host, tmp_path, capsys):
    phone.max_download = 400
    done = phone.update()
    assert done.after == done.before
    assert re.search(
        r"1\.3\.0 takes .* bytes, and 400 are allowed; it stays at 1\.2\.0$", done.note
    )
    assert host.sent(".plt") == 0
    phone.max_download = 2000
    assert phone.update().after.version == "1.3.0"  # the difference fits, the full file would not
    asked = ["fetch", host.url, "letters", "--into", tmp_path / "other", "--quiet"]
    assert run(*asked, "--trust", phone.trust, "--max-download", "2KB") == 3
    assert "nothing is there yet, so allow more" in capsys.readouterr().err


def test_a_folder_holds_one_network(phone, host):
    with pytest.raises(BadInput, match="holds letters; give digits its own folder"):
        Client(host.url, "digits", phone.store.folder, limits=HASTY).update()


def test_a_name_that_is_not_published_is_one_sentence(host, repo, tmp_path):
    trust = repo / "metadata" / "1.root.json"
    with pytest.raises(BadInput, match="has no digits in stable; check the name"):
        Client(host.url, "digits", tmp_path / "other", trust=trust).update()


def test_a_full_disk_is_one_sentence(phone, newer, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("packlight.delivery.downloads._keep", full)
    with pytest.raises(BadInput, match=r"No space left on device\); what is in use stays$"):
        phone.update()
    assert phone.current().content() is not None


def test_the_command_tells_what_came(host, repo, tmp_path, capsys):
    trust = repo / "metadata" / "1.root.json"
    asked = ["fetch", host.url, "letters", "--into", tmp_path / "phone", "--trust", trust]
    assert not run(*asked, "--json", "--quiet")
    told = json.loads(capsys.readouterr().out)
    assert told["after"]["version"] == "1.2.0"
    assert told["before"] is None
    assert told["files"][0]["bytes"] == told["full_bytes"] < told["received_bytes"]
    assert not run(*asked)
    assert "letters 1.2.0 is the newest" in capsys.readouterr().out
