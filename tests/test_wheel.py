"""What `make wheel` builds, as a user without a compiler installs it.

The bare environment borrows the packages that packlight depends on from this one, and no packlight.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import packlight

ROOT = Path(__file__).parents[1]
SOURCES = ("packlight", "native", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")

pytestmark = pytest.mark.slow


def recipe() -> list[str]:
    """The commands of `make wheel`, for this Python."""
    makefile = (ROOT / "Makefile").read_text()
    lines = re.search(r"^wheel:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1].splitlines()
    return [line.strip().replace("$(BIN)/python", sys.executable) for line in lines]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the sources without anything built before."""
    work = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info", "build")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        more = {"ignore": unwanted} if (ROOT / name).is_dir() else {}
        copy(ROOT / name, work / name, **more)
    for line in recipe():
        subprocess.run(line, shell=True, cwd=work, check=True, capture_output=True)
    (made,) = (work / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def packlight_command(wheel, tmp_path_factory) -> Path:
    """The command in an environment that has the wheel and can not compile."""
    bare = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    python = bare / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet",
         "--disable-pip-version-check", "--no-index", "--no-deps", wheel],
        check=True, env=os.environ | {"CC": "false", "CXX": "false"},
    )  # fmt: skip
    (packages,) = bare.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return bare / "bin" / "packlight"


def run(command: Path, *arguments: str | Path) -> str:
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [command, *arguments], capture_output=True, text=True, env=environment, cwd=command.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "packlight",
        f"packlight-{packlight.__version__}.dist-info",
    }
    for name in (
        "packlight/coding/_native.abi3.so",
        "packlight/shrink/_choose.abi3.so",
        "packlight/weighing/limits.toml",
    ):
        assert name in names
    assert not [name for name in names if name.endswith((".c", ".h")) or "test" in name]
    assert "-cp311-abi3-" in wheel.name


def test_the_wheel_packs_and_unpacks_without_a_compiler(packlight_command, tmp_path):
    python = packlight_command.with_name("python")
    home = run(python, "-c", "import packlight; print(packlight.__file__)")
    assert Path(home).is_relative_to(packlight_command.parents[1])
    version = run(packlight_command, "--version")
    assert version.strip() == f"packlight, version {packlight.__version__}"
    original = tmp_path / "page.md"
    shutil.copy(ROOT / "docs" / "format.md", original)
    assert "smaller" in run(packlight_command, "pack", original, "--quiet")
    again = tmp_path / "again.md"
    run(packlight_command, "unpack", f"{original}.plt", "-o", again)
    assert again.read_bytes() == original.read_bytes()
