"""Other tools that make networks smaller, each in an environment of its own.

Their requirements contradict each other and ours, so each gets a virtual environment on its first
use, and runs in a child process. A peer that can not be installed, fails or hangs becomes a row
that says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from packlight.files import sha256

SCRIPTS = Path(__file__).parent
POINTS = "points.json"  # what a script leaves; see child.py
LOG = "log.txt"


@dataclass(frozen=True)
class Peer:
    """A tool, as it is installed.

    Args:
        name: for people, and of its folder.
        script: beside this file.
        requires: what pip installs; the first is the tool itself.
    """

    name: str
    script: str
    requires: tuple[str, ...]

    @property
    def version(self) -> str:
        """The version installed: it is pinned."""
        return self.requires[0].partition("==")[2]


PEERS = (
    Peer("onnxruntime", "onnxruntime_int8.py", ("onnxruntime==1.32.0", "onnx==1.23.2")),
    Peer("NNCodec", "nncodec_qp.py", ("nncodec==2.1.3", "torch==2.13.0", "onnx==1.23.2")),
    Peer(
        "coremltools",
        "coremltools_palettes.py",
        ("coremltools==9.0", "onnx==1.23.2", "scikit-learn==1.9.1"),
    ),
    Peer("onnxsim", "onnxsim_quantizers.py", ("onnxsim==0.8.1", "onnxruntime==1.32.0")),
    Peer("NNCF", "nncf_int8.py", ("nncf==3.4.0", "onnxruntime==1.32.0", "onnx==1.23.2")),
)
LITERT = Peer("ai-edge-quantizer", "litert_int8.py", ("ai-edge-quantizer==0.10.0", "onnx==1.23.2"))
NNCODEC = PEERS[1]
ZIPNN = Peer("zipnn", "coders.py", ("zipnn==0.5.4", "torch==2.13.0"))
BLOSC2 = Peer("blosc2", "coders.py", ("blosc2==4.14.1",))
COUNTERS = (
    Peer("onnx-tool", "counters.py", ("onnx-tool==1.0.1",)),
    Peer("torchinfo", "counters.py", ("torchinfo==1.8.0",)),
    Peer("fvcore", "counters.py", ("fvcore==0.1.5.post20221221",)),
)


@dataclass(frozen=True)
class Made:
    """What a peer made with one of its settings.

    Args:
        setting: its name.
        model: a network that onnxruntime runs, to be judged; None where it failed.
        counted: what a user would download, before any general compressor.
        failed: why there is none.
    """

    setting: str
    model: Path | None = None
    counted: tuple[Path, ...] = ()
    failed: str = ""


def make(peer: Peer, cache: Path, job: Path, out: Path, timeout: float) -> list[Made]:
    """Run a peer on a job (see `child`), installing it first where it is not.

    What it made from the very same job before is taken as it is.

    Args:
        peer: the tool.
        cache: where environments are kept.
        job: the folder with the network and the samples.
        out: the folder for what is made.
        timeout: seconds for all its settings.
    Returns:
        A row per setting; what went wrong as a whole is a row too, under the setting "".
    """
    stamp, wanted = out / "stamp", _fingerprint(peer, job)
    if stamp.exists() and stamp.read_text() == wanted:
        return read(out)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    try:
        python = environment(peer, cache)
        command = [str(python), str(SCRIPTS / peer.script), str(job), str(out)]
        ended = _run(command, out / LOG, timeout)
    except NotInstalled as problem:
        ended = str(problem)
    made = read(out)
    if ended:
        return [*made, Made("", failed=ended)]
    stamp.write_text(wanted)
    return made


def read(folder: Path) -> list[Made]:
    """What a script has left in its folder."""
    path = folder / POINTS
    if not path.exists():
        return []
    return [
        Made(row["setting"], failed=row["failed"])
        if "failed" in row
        else Made(
            row["setting"],
            folder / row["model"],
            tuple(folder / name for name in row["counted"]),
        )
        for row in json.loads(path.read_text())
    ]


class NotInstalled(Exception):
    """A peer that is not there."""


def _fingerprint(peer: Peer, job: Path) -> str:
    """Of everything that decides what a peer makes."""
    files = [SCRIPTS / "child.py", SCRIPTS / peer.script, *sorted(job.iterdir())]
    return "\n".join([*peer.requires, *(sha256(path) for path in files)])


def environment(peer: Peer, cache: Path) -> Path:
    """The Python of a peer's environment, made where it is missing or of other requirements.

    Raises:
        NotInstalled: pip could not.
    """
    folder = cache.resolve() / peer.name
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(peer.requires)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    folder.mkdir(parents=True, exist_ok=True)
    log = cache / f"{peer.name}.log"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], [*pip, *peer.requires]):
        if ended := _run(command, log, timeout=1200):
            raise NotInstalled(f"could not be installed: {ended}")
    stamp.write_text(wanted)
    return python


def _run(command: list[str], log: Path, timeout: float) -> str:
    """Run a program to its end, its output into a file; returns what went wrong, or nothing."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        with log.open("w") as output:
            code = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                env=quiet,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired:
        return f"was stopped after {timeout:.0f} seconds"
    if not code:
        return ""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"exit code {code}: {lines[-1].strip()[:200] if lines else 'no output'}"
