"""What a tuning holds for: this processor, and this version of a runtime."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_TELLING = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")
_PACKAGES = {"onnx": "onnxruntime", "litert": "ai-edge-litert", "executorch": "executorch"}


@cache
def processor() -> str:
    """The processor's name and the instructions that decide which kernels run."""
    return _from_cpuinfo() or _from_sysctl() or platform.processor() or platform.machine()


def runtime_version(runtime: str) -> str:
    """Like "onnxruntime 1.20.0"."""
    package = _PACKAGES[runtime]
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} (unknown version)"


def installed(runtime: str) -> bool:
    """Whether a runtime's package is there."""
    return not runtime_version(runtime).endswith("(unknown version)")


def _from_cpuinfo() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    told: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    name = told.get("model name") or told.get("CPU part", "")
    if not name:
        return ""
    family = [told[key] for key in ("cpu family", "model") if key in told]
    flags = (told.get("flags") or told.get("Features") or "").split()
    parts = [name, f"family {' model '.join(family)}" if family else ""]
    return ", ".join(filter(None, [*parts, *(flag for flag in _TELLING if flag in flags)]))


def _from_sysctl() -> str:
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout.strip()
    return ""
