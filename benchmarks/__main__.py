"""Every benchmark, one after the other.

    python -m benchmarks            # short: under 15 minutes on two idle cores, into build/
    python -m benchmarks --full     # everything, written into docs/

Needs ../shared with its models and data. Peers are installed on their first use, which the 15
minutes leave out. The short run packs fewer files and compares fewer points and peers, so its
figures stay in build/; its bytes are compared with the records that docs/results keeps. The exit
code is the first that is not 0: 3 where ours became larger.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.subjects import SHARED

MODELS, DATA = SHARED / "models", SHARED / "data"
FEW_PEERS = ("--peers", "onnxruntime", "NNCodec")
SMALL = (
    *(str(MODELS / "resnet8_cifar10_bn.onnx"), "--data", str(DATA / "cifar10.zip")),
    *("--scale", "1"),
)
TIMED = (*SMALL, "--target-size", "40KB", "--seconds", "5")
#: module and its arguments
SHORT: tuple[tuple[str, ...], ...] = (
    ("lossless", "--short"),
    ("weigh",),
    ("lossy", *SMALL, "--short", *FEW_PEERS),
    ("runtimes", *TIMED),
)
FULL: tuple[tuple[str, ...], ...] = (
    ("lossless", "--docs", "docs"),
    ("weigh", "--docs", "docs"),
    ("lossy", "--docs", "docs"),
    ("runtimes", "--docs", "docs"),
)


def main() -> None:
    """Run them, each in a process of its own; one that fails does not stop the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path("build/peers"))
    options = parser.parse_args()
    if not SHARED.exists():
        parser.error(f"{SHARED.name} is not beside the project")
    codes = []
    for module, *arguments in FULL if options.full else SHORT:
        print(f"\n== {' '.join([module, *arguments])}", flush=True)
        start = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        command += ["--cache", str(options.cache)]
        codes.append(subprocess.run(command, check=False).returncode)
        print(f"== exit code {codes[-1]}, {time.monotonic() - start:.0f} seconds", flush=True)
    sys.exit(next((code for code in codes if code), 0))


if __name__ == "__main__":
    main()
