"""One network, the files of every runtime asked for, each packed, and a record of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import packlight
from packlight.coding.files import pack
from packlight.errors import BadInput, PacklightError
from packlight.files import replace_file, sha256, size_of
from packlight.progress import Progress
from packlight.readers import load
from packlight.runtimes.targets import Target, targets_of

if TYPE_CHECKING:
    from packlight.network import Network

STEM = "model"
RECORD = "export.json"
PACKED = ".plt"
FITTED, REPORT = "model.onnx", "report.json"  # what `fit` leaves in its folder
_SETTINGS = {  # name -> the only target that has it, and its default
    "channels_last": ("litert", False),
    "values": ("litert", "fitted"),
    "bits": ("onnx", 8),
    "ios": ("coreml", None),
}
_FROM_REPORT = ("asked", "original", "accuracy", "command")


@dataclass(frozen=True)
class Exported:
    """One runtime's file.

    Args:
        target: the runtime.
        file: what it loads; a folder for Core ML.
        packed: the same, packed.
        size, packed_size: bytes of either.
        difference: largest difference between its answers and the network's on the network's
            example inputs, relative to the largest answer; None where it can not run here.
    """

    target: str
    file: Path
    packed: Path
    size: int
    packed_size: int
    difference: float | None


@dataclass(frozen=True)
class ExportResult:
    """Every file written.

    Args:
        files: in the order asked for.
        record: the path of export.json: where the network came from, and each file's settings,
            hashes and sizes.
    """

    files: tuple[Exported, ...]
    record: Path


@dataclass(frozen=True)
class _Source:
    """What is exported: a file (also a fit's), or something that only lives in memory."""

    path: Path | None
    fitted: dict[str, Any] | None
    folder: Path


def export(
    model: Any,
    to: str | Sequence[str] = "onnx",
    out: str | os.PathLike[str] | None = None,
    *,
    example_inputs: Sequence[Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    channels_last: bool = False,
    values: str = "fitted",
    bits: int = 8,
    ios: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Write a network as the files that runtimes load.

    Args:
        model: a folder that `fit` wrote, or whatever `load` takes.
        to: runtimes: a list, or one text like "onnx,litert".
        out: folder to write to; default: the fit's own, or the model's name with `-exported`.
        example_inputs, constants: as for `load`.
        channels_last: LiteRT only: inputs of four dimensions are N x H x W x C.
        values: LiteRT only: "fitted", "int8" (sums too) or "float" (dynamic range): see
            `packlight.runtimes.litert.write`.
        bits: ONNX only: the fewest that integers are stored in: 8, 4 or 2; see
            `packlight.runtimes.narrow`.
        ios: Core ML only: the newest system that may be required, for weights in fewer bytes; see
            `packlight.runtimes.coreml.write`.
        force: replace files that are there.
        progress: told of every stage.
    Raises:
        BadInput: not a network, files in the way, or a runtime that can not hold it; the files of
            the other runtimes are written all the same.
        MissingExtra: a runtime's package is not installed.
    """
    progress = progress or Progress()
    targets = targets_of(to)
    settings = _settings(targets, channels_last=channels_last, values=values, bits=bits, ios=ios)
    source = _source(model)
    folder = Path(out) if out is not None else source.folder
    kept = [target for target in targets if _is_own(source, folder, target)]
    for target in kept:
        if settings[target.name]:
            raise BadInput(f"{folder / STEM}{target.suffix} is what is exported; say -o elsewhere")
    _free(folder, [target for target in targets if target not in kept], force)
    with progress.stage("load"):
        network = load(source.path or model, example_inputs, constants=constants)
    files: list[Exported] = []
    problems: list[PacklightError] = []
    for target in targets:
        path = folder / f"{STEM}{target.suffix}"
        with progress.stage(f"export to {target.name}"):
            try:
                if target not in kept:
                    _write(target, network, source, path, settings[target.name])
                files.append(_finished(target, network, path, keep=target in kept))
            except PacklightError as problem:
                problems.append(problem)
    record = folder / RECORD
    if files:
        replace_file(record, _record(record, source, network, files, settings))
    if problems:
        written = f" ({', '.join(f.file.name for f in files)} written)" if files else ""
        if len(problems) == 1 and not files:
            raise problems[0]
        raise BadInput("; ".join(map(str, problems)) + written)
    return ExportResult(tuple(files), record)


def _settings(targets: Sequence[Target], **given: Any) -> dict[str, dict[str, Any]]:
    """What each target's `write` is told beside the network; defaults are not told."""
    settings: dict[str, dict[str, Any]] = {target.name: {} for target in targets}
    for name, value in given.items():
        owner, default = _SETTINGS[name]
        if value == default:
            continue
        if owner not in settings:
            option = name.replace("_", "-")
            raise BadInput(f"--{option} is a setting of {owner}; add it to the runtimes")
        settings[owner][name] = value
    return settings


def _source(model: Any) -> _Source:
    if not isinstance(model, (str, Path)):
        return _Source(None, None, Path(f"{STEM}-exported"))
    path = Path(model)
    if not path.is_dir():
        return _Source(path, None, path.with_name(f"{path.stem}-exported"))
    if not (path / FITTED).is_file():
        near = path / "nearest.onnx"
        raise BadInput(
            f"{path} is no folder that fit wrote: it holds no {FITTED}"
            + (f"; to export the nearest network, give {near}" if near.is_file() else "")
        )
    fitted = None
    if (path / REPORT).is_file():
        try:
            report = json.loads((path / REPORT).read_bytes())
            fitted = {key: report[key] for key in _FROM_REPORT}
        except (ValueError, KeyError, TypeError) as problem:
            raise BadInput(f"{path / REPORT} is damaged; fit again, or delete it") from problem
    return _Source(path / FITTED, fitted, path)


def _is_own(source: _Source, folder: Path, target: Target) -> bool:
    """Whether the file to write is the very one that is exported."""
    file = folder / f"{STEM}{target.suffix}"
    return source.path is not None and file.exists() and file.samefile(source.path)


def _free(folder: Path, targets: Sequence[Target], force: bool) -> None:
    """Make the folder; refuse files in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(f"{folder} can not be made ({problem.strerror}); say -o") from problem
    names = [f"{STEM}{target.suffix}" for target in targets]
    there = [name for name in names if (folder / name).exists()]
    if there and not force:
        raise BadInput(
            f"{folder} holds {', '.join(there)} already; replace with --force, or say -o elsewhere"
        )


def _write(
    target: Target, network: Network, source: _Source, path: Path, settings: dict[str, Any]
) -> None:
    if source.fitted is not None and source.path is not None and target.from_onnx is not None:
        target.from_onnx(source.path.read_bytes(), path, **settings)  # what was judged
    else:
        target.write(network, path, **settings)


def _finished(target: Target, network: Network, path: Path, *, keep: bool) -> Exported:
    """Run the file, pack it, and say how large it is."""
    difference = _difference(target, network, path)
    packed = Path(f"{path}{PACKED}")
    if not (keep and packed.exists()):
        pack(path, packed, level="max", force=True)
    return Exported(target.name, path, packed, size_of(path), packed.stat().st_size, difference)


def _difference(target: Target, network: Network, path: Path) -> float | None:
    import numpy as np
    import torch

    from packlight.fuse import difference

    if target.session is None:
        return None
    session = target.session(path, threads=1)
    with torch.no_grad():
        wanted = network(*network.example_inputs)
    examples = [value.numpy() for value in network.example_inputs]
    if any(network.dynamic_batch):
        count = len(examples[network.dynamic_batch.index(True)])
        samples = [
            value if varies else np.repeat(value[None], count, axis=0)
            for value, varies in zip(examples, network.dynamic_batch, strict=True)
        ]
        made = session.over([session.turned(samples)])
    else:
        made = session.whole(examples)
    return difference(wanted, tuple(torch.from_numpy(value) for value in made))


def _record(
    path: Path,
    source: _Source,
    network: Network,
    files: Sequence[Exported],
    settings: dict[str, dict[str, Any]],
) -> bytes:
    """The record, with what an earlier export of the same source wrote into the folder."""
    origin = {
        "file": None if source.path is None else source.path.name,
        "sha256": None if source.path is None else sha256(source.path),
    }
    earlier: dict[str, Any] = {}
    try:
        old = json.loads(path.read_bytes())
        if old["source"] == origin:
            earlier = {name: one for name, one in old["files"].items() if _is_there(path, one)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none, or of something else
    entries = {one.target: _entry(one, settings[one.target]) for one in files}
    record = {
        "packlight": packlight.__version__,
        "source": origin,
        "fit": source.fitted,
        "inputs": [str(spec) for spec in network.inputs],
        "outputs": list(network.output_names),
        "files": earlier | entries,
    }
    return json.dumps(record, indent=1, ensure_ascii=False).encode()


def _is_there(record: Path, entry: dict[str, Any]) -> bool:
    return (record.parent / entry["file"]).exists()


def _entry(one: Exported, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "file": one.file.name,
        "bytes": one.size,
        "sha256": None if one.file.is_dir() else sha256(one.file),
        "packed_file": one.packed.name,
        "packed_bytes": one.packed_size,
        "packed_sha256": sha256(one.packed),
        "difference": one.difference,
        "settings": settings,
    }
