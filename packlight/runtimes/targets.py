"""The runtimes that files can be written for.

A target is one module: `SUFFIX`, `write(network, path)` and, where its files run here, `Session`.
It is imported when it is asked for, so that what it needs can be missing for those who do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packlight.errors import BadInput, MissingExtra
from packlight.files import refuse_packed

_MODULES = {
    "onnx": "packlight.runtimes.onnx",
    "ort": "packlight.runtimes.ort",
    "litert": "packlight.runtimes.litert",
    "executorch": "packlight.runtimes.executorch",
    "coreml": "packlight.runtimes.coreml",
}
_RUNS = {  # where it is not the module that writes
    "onnx": "packlight.runtimes.onnxruntime",
    "ort": "packlight.runtimes.onnxruntime",
}
_NEEDS = {  # target -> what it imports -> what pip calls that
    "litert": {"ai_edge_litert": "ai-edge-litert", "flatbuffers": "flatbuffers"},
    "executorch": {"executorch": "executorch", "torchao": "torchao"},
    "coreml": {"coremltools": "coremltools"},
}
NAMES = tuple(_MODULES)
SUFFIXES = {  # of files that run here
    ".onnx": "onnx",
    ".ort": "ort",
    ".tflite": "litert",
    ".pte": "executorch",
}


@dataclass(frozen=True)
class Target:
    """One runtime.

    Args:
        name: as in `--to`.
        suffix: of its files, with the dot.
        write: (network, path) -> path; takes settings of the target's own by name.
        from_onnx: (data, path) -> path: the same from an ONNX file, with the same settings; None
            where files are made from networks only.
        session: runs its files: `session(path, threads=1).over(batches)`; None where nothing here
            can.
    """

    name: str
    suffix: str
    write: Callable[..., Path]
    from_onnx: Callable[..., Path] | None
    session: Any


def target_of(name: str) -> Target:
    """The target of a name.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in _MODULES:
        raise BadInput(f"{name!r} is no runtime to export to; there are {', '.join(NAMES)}")
    writes = _module(name, _MODULES[name])
    runs = _module(name, _RUNS[name]) if name in _RUNS else writes
    from_onnx = getattr(writes, "from_onnx", None)
    return Target(name, writes.SUFFIX, writes.write, from_onnx, getattr(runs, "Session", None))


def targets_of(names: str | Sequence[str]) -> list[Target]:
    """The targets of a list like "onnx,litert", each once, in the order given.

    Raises:
        BadInput: there is none of a name.
        MissingExtra: a package is not installed: told before any work is done.
    """
    listed = names.split(",") if isinstance(names, str) else list(names)
    distinct = dict.fromkeys(name.strip().lower() for name in listed if name.strip())
    if not distinct:
        raise BadInput(f"say what to export to: {', '.join(NAMES)}")
    targets = [target_of(name) for name in distinct]
    for name in distinct:
        for module, package in _NEEDS.get(name, {}).items():
            if find_spec(module) is None:
                raise MissingExtra(package, name)
    return targets


def runner_of(path: Path) -> tuple[str, str]:
    """The runtime of a file, and the module whose Session runs it, which is not imported.

    Raises:
        BadInput: nothing here runs files of that suffix.
    """
    name = SUFFIXES.get(path.suffix.lower())
    if name is None:
        refuse_packed(path)
        raise BadInput(f"{path.name} can not be run here; give {', '.join(SUFFIXES)} files")
    return name, _RUNS.get(name, _MODULES[name])


def _module(name: str, path: str) -> Any:
    try:
        return import_module(path)
    except ModuleNotFoundError as problem:
        if problem.name != path:
            raise
        raise BadInput(f"this version of packlight can not write files for {name}") from problem
