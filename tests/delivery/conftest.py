"""A repository with three versions of a small network, a host that serves it, a device."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from packlight.delivery import Client, keys, make, publish
from packlight.delivery.web import Limits
from tests.delivery.hosts import Host
from tests.delivery.nets import SECRET, write_network

NEEDED = ("tuf", "securesystemslib", "cryptography", "filelock", "urllib3")
HASTY = Limits(wait=1.0, rate=2000.0, grace=0.4)


@pytest.fixture(scope="session", autouse=True)
def quick_keys():
    """Passphrases are stretched for less long; no test looks at how long."""
    for package in NEEDED:
        pytest.importorskip(package, reason="the extra `delivery` is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_N", 1 << 4)
        yield


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """1.0.0, 1.1.0 and 1.2.0 of `letters`, each a little other than the one before.

    `newer` holds 1.3.0 as well; `phone` is a device with 1.2.0.
    """
    folder = tmp_path_factory.mktemp("published")
    make(folder / "networks", secret=SECRET)
    for seed, version in enumerate(("1.0.0", "1.1.0", "1.2.0")):
        file = write_network(folder / f"in-{version}" / "model.onnx", changed=seed)
        publish(file, folder / "networks", name="letters", version=version, secret=SECRET)
    with Host(folder / "networks") as host:
        trust = folder / "networks" / "metadata" / "1.root.json"
        Client(host.url, "letters", folder / "phone", trust=trust).update()
    shutil.copytree(folder / "networks", folder / "newer")
    file = write_network(folder / "in-1.3.0" / "model.onnx", changed=9)
    keys_folder = folder / "networks-keys"
    publish(
        file, folder / "newer", name="letters", version="1.3.0", keys=keys_folder, secret=SECRET
    )
    return folder


@pytest.fixture
def repo(published, tmp_path) -> Path:
    """A copy of it."""
    shutil.copytree(published / "networks", tmp_path / "networks")
    shutil.copytree(published / "networks-keys", tmp_path / "networks-keys")
    return tmp_path / "networks"


@pytest.fixture
def host(repo):
    """Serves the copy on loopback."""
    with Host(repo) as host:
        yield host


@pytest.fixture
def client(host, repo, tmp_path) -> Client:
    """A device with nothing on it, in little time for slow hosts."""
    trust = repo / "metadata" / "1.root.json"
    return Client(host.url, "letters", tmp_path / "phone", trust=trust, limits=HASTY)
