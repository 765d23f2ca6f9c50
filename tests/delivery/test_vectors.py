"""Our own client takes what the test vectors say must be taken, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from packlight.delivery import Client
from packlight.errors import BadInput
from packlight.files import sha256
from tests.delivery.conftest import HASTY
from tests.delivery.hosts import Host

VECTORS = Path(__file__).parent / "vectors"
TOLD = json.loads((VECTORS / "vectors.json").read_text())
#: What our client says for each reason that a vector gives.
SAYS = {
    "signature": "is not signed as it must be",
    "form": "is not signed as it must be|has format 2|do not rise|a file of 1.5 bytes",
    "hash": "is not signed as it must be|is not the file that was signed|something else than was",
    "length": "something else than was signed|are the most|sends more than the",
    "rollback": "serves older signatures|is not signed as it must be",
    "expired": "have expired",
    "name": "tells of digits|is no plain file name|is no version|has no letters in stable",
    "cut": r"stopped after .* bytes; the next try goes on",
}


def served(over: str | None, folder: Path) -> Path:
    """The repository with other files laid over it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(VECTORS / "repository", folder)
    if over:
        shutil.copytree(VECTORS / "over" / over, folder, dirs_exist_ok=True)
    return folder


@pytest.mark.parametrize("case", TOLD["cases"], ids=[case["name"] for case in TOLD["cases"]])
def test_a_vector_does_to_a_device_what_it_says(case: dict[str, Any], tmp_path):
    trust = VECTORS / TOLD["trust"]
    with Host(tmp_path / "served") as host:
        client = Client(
            host.url,
            TOLD["name"],
            tmp_path / "phone",
            runtime=TOLD["runtime"],
            os=case.get("os"),
            trust=trust,
            limits=HASTY,
        )
        for step in case["steps"]:
            served(step["over"], host.folder)
            if "accept" in step:
                done = client.update()
                assert done.after.version == step["accept"]
                raw = done.after.content()
                assert raw is not None
                expected = TOLD["versions"][step["accept"]]
                assert (len(raw), sha256(raw)) == (expected["bytes"], expected["sha256"])
                if "files" in step:
                    assert [kind for kind, _ in done.files] == step["files"]
                continue
            try:
                said = client.update().note or ""
            except BadInput as problem:
                said = str(problem)
            assert re.search(SAYS[step["refuse"]], said), said
            now = client.current()
            assert (now and now.version) == step["stays"]
            assert now is None or now.content() is not None


def test_every_tree_is_used_and_every_state_is_small():
    """What lies there is what vectors.json names, and is fit for being copied elsewhere."""
    named = {step["over"] for case in TOLD["cases"] for step in case["steps"]} - {None}
    assert named == {path.name for path in (VECTORS / "over").iterdir()}
    files = [path for path in VECTORS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 80_000
