"""The client in Java of examples/android does what the test vectors say, as ours in Python does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from packlight.delivery import Client
from packlight.files import sha256
from tests.delivery.test_page import free_port, waited_for
from tests.native.compiling import DECODER, INCLUDE, NATIVE, ROOT, run, tool

CLIENT = ROOT / "examples" / "android" / "org" / "packlight"
HERE = Path(__file__).parent
VECTORS = HERE / "vectors"
TOLD = json.loads((VECTORS / "vectors.json").read_text())
#: What the Java client says for each reason that a vector gives.
SAYS = {
    "signature": "is not signed as it must be|signed twice by one key",
    "form": "no JSON|newer format|do not rise|was expected, not 1.5",
    "hash": "is not what was signed|something else than was signed",
    "length": "larger than maxOutput|was expected, not 3221225472|is longer than was signed",
    "rollback": "is older than it was before|skips a version",
    "expired": "has expired",
    "name": "tells of another network|is no file|is no version|has no letters/stable.json",
    "cut": r"^later: .* stopped after \d+ of \d+ bytes",
}


class Devices:
    """A Java machine that takes steps; see Vectors.java."""

    def __init__(self, classes: Path) -> None:
        machine = [tool("java"), "-Xcheck:jni", f"-Djava.library.path={classes}", "-cp", classes]
        self.process = subprocess.Popen(
            [*machine, "Vectors", VECTORS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, *words: str | Path) -> None:
        assert self.process.stdin is not None
        print(*words, sep="\t", file=self.process.stdin, flush=True)

    def step(self, over: str | None = None) -> dict[str, str]:
        """What a device holds after an update."""
        assert self.process.stdout is not None
        self.tell("step", over or "")
        line = self.process.stdout.readline().removesuffix("\n").split("\t")
        return dict(zip(("version", "sha256", "files", "received", "said"), line, strict=True))


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    javac = tool("javac")
    home = Path(javac).resolve().parents[1] / "include"
    if not (home / "jni.h").exists():
        pytest.skip(f"needs jni.h, which is not in {home}")
    folder = tmp_path_factory.mktemp("java")
    run(tool("cc"), "-O1", "-shared", "-fPIC", f"-I{home}", f"-I{home / 'linux'}", f"-I{INCLUDE}",
        NATIVE / "jni" / "packlight_jni.c", *DECODER,
        "-o", folder / "libpacklight_jni.so")  # fmt: skip
    # Java 11's library, of which Android's from 8.0 (API 26) on has all that the client uses
    run(javac, "--release", "11", "-Xlint:all", "-Werror", "-d", folder, *CLIENT.glob("*.java"),
        NATIVE / "jni" / "Packlight.java", HERE / "java" / "Vectors.java")  # fmt: skip
    made = Devices(folder)
    yield made
    made.process.stdin.close()
    made.process.wait(20)


@pytest.mark.parametrize("case", TOLD["cases"], ids=[case["name"] for case in TOLD["cases"]])
def test_a_vector_does_to_a_device_what_it_says(case, devices, tmp_path):
    devices.tell("case", tmp_path / "phone", case.get("os", ""))
    for step in case["steps"]:
        done = devices.step(step["over"])
        version = step.get("accept", step.get("stays"))
        assert done["version"] == (version or ""), done
        assert done["sha256"] == (TOLD["versions"][version]["sha256"] if version else "")
        if "refuse" in step:
            assert re.search(SAYS[step["refuse"]], done["said"]), done["said"]
        else:
            assert done["said"] == ""
        if "files" in step:
            assert done["files"] == ",".join(step["files"])


def test_downloads_go_on_where_they_stopped(devices, tmp_path):
    devices.tell("case", tmp_path / "whole", "")
    whole = int(devices.step()["received"])
    devices.tell("case", tmp_path / "phone", "")
    devices.tell("cut", "500")  # three connections for the file, each brings no more
    done = devices.step()
    devices.tell("cut", str(1 << 30))
    assert done["version"] == "1.1.0"
    assert int(done["received"]) == whole


def test_a_host_may_send_metadata_in_gzip(devices, tmp_path):
    received = {}
    for gzip in ("on", "off"):
        devices.tell("gzip", gzip)
        devices.tell("case", tmp_path / gzip, "")
        done = devices.step()
        assert done["version"] == "1.1.0"
        received[gzip] = int(done["received"])
    assert received["on"] < received["off"] - 700


def test_what_failed_is_left_and_never_taken_again(devices, tmp_path):
    devices.tell("case", tmp_path / "phone", "")
    devices.step("first")
    assert devices.step()["version"] == "1.1.0"
    devices.tell("bad")
    done = devices.step()
    assert (done["version"], done["files"]) == ("1.0.0", "")


def test_a_plain_host_without_ranges_serves_it(devices, tmp_path):
    """`python -m http.server`, and what was installed is what our own client goes on with."""
    port = free_port()
    folder = tmp_path / "networks"
    shutil.copytree(VECTORS / "repository", folder)
    shutil.copytree(VECTORS / "over" / "first", folder, dirs_exist_ok=True)
    host = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    server = subprocess.Popen([*host, "--directory", folder], stderr=subprocess.DEVNULL)
    try:
        waited_for(port)
        url = f"http://127.0.0.1:{port}"
        devices.tell("case", tmp_path / "phone", "", url)
        assert devices.step()["version"] == "1.0.0"
        shutil.copytree(VECTORS / "repository", folder, dirs_exist_ok=True)
        trust = VECTORS / TOLD["trust"]
        done = Client(url, "letters", tmp_path / "phone", runtime="onnx", trust=trust).update()
        assert [kind for kind, _ in done.files] == ["delta"]
        raw = done.after.content()
        assert raw is not None
        assert sha256(raw) == TOLD["versions"]["1.1.0"]["sha256"]
        assert devices.step()["sha256"] == sha256(raw)
    finally:
        server.terminate()
        server.wait()
