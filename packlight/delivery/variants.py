"""The packed files that a fit left behind, or that are named one by one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packlight.coding import container
from packlight.coding.archive import read_paths
from packlight.coding.container import Member
from packlight.coding.openers.tensor import Tensor
from packlight.coding.packing import compress, decompress
from packlight.coding.spans import find_spans
from packlight.delivery.index import LARGEST
from packlight.delivery.inputs import Shape, read_inputs
from packlight.delivery.names import checked_file
from packlight.errors import BadInput
from packlight.files import sha256
from packlight.progress import Progress
from packlight.runtimes.targets import SUFFIXES

PACKED = ".plt"
STEM, REPORT = "model", "report.json"  # of what `fit` and `export` write
RUNTIMES = SUFFIXES | {".mlpackage": "coreml"}


@dataclass(frozen=True)
class Found:
    """A network's file for one runtime, packed.

    Args:
        file: its name on devices.
        runtime: as `export --to` calls it.
        raw: the file; of a folder, its files one after the other.
        members: the files of a folder; None for a file.
        packed: the .plt.
    """

    file: str
    runtime: str
    raw: bytes
    members: tuple[Member, ...] | None
    packed: bytes

    @property
    def precision(self) -> str | None:
        """The type that most bytes of its tensors are stored in."""
        return precision(self.raw, self.members)

    @property
    def inputs(self) -> tuple[Shape, ...] | None:
        """The shapes of its inputs; None where it does not tell them."""
        return read_inputs(self.runtime, self.raw, self.members)


def find(paths: Sequence[Path], progress: Progress) -> tuple[list[Found], dict[str, Any] | None]:
    """Every variant of a folder that `fit` wrote, or of files, and the record of the fit.

    Raises:
        BadInput: a path is not there, is for no runtime, or is not what its .plt unpacks to.
    """
    files: list[Path] = []
    record = None
    for path in paths:
        if path.is_dir() and path.suffix not in RUNTIMES:
            files += _inside(path)
            record = _record(path / REPORT) or record
        else:
            files.append(path)
    found = [_read(path) for path in progress.each("read and pack", files, len(files))]
    return found, record


def precision(raw: bytes, members: Sequence[Member] | None) -> str | None:
    """The type that most bytes of a file's tensors are stored in; None where none are found."""
    held: Counter[str] = Counter()
    for span in find_spans(raw, members):
        if isinstance(span.found, Tensor):
            held[span.found.dtype] += span.size
    return held.most_common(1)[0][0] if held else None


def _inside(folder: Path) -> list[Path]:
    """The files that `fit` and `export` write, packed ones where they are beside."""
    files = [folder / f"{STEM}{suffix}" for suffix in RUNTIMES]
    beside = [Path(f"{file}{PACKED}") for file in files]
    found = [
        packed if packed.is_file() else file
        for file, packed in zip(files, beside, strict=True)
        if packed.is_file() or file.exists()
    ]
    if not found:
        raise BadInput(
            f"{folder} is no folder that fit wrote: it holds no {STEM}.onnx; give files instead"
        )
    return found


def _read(path: Path) -> Found:
    plain = path.with_suffix("") if path.suffix == PACKED else path
    if plain.suffix not in RUNTIMES:
        raise BadInput(
            f"{path} is for no runtime; files end in {', '.join(RUNTIMES)}, or one of these "
            f"with {PACKED}"
        )
    name = checked_file(plain.name)
    if path.suffix != PACKED:
        raw, listed = read_paths([path])
        members = None if listed is None else tuple(listed)
        packed = compress(raw, "max", members=members)
    else:
        packed = read_paths([path])[0]
        header = container.read(packed)
        if header.base_sha256 is not None:
            raise BadInput(f"{path} is only a difference; give the whole file, packed or not")
        raw, members = decompress(packed, max_output=LARGEST), header.members
        if plain.exists() and sha256(read_paths([plain])[0]) != sha256(raw):
            raise BadInput(f"{path} is not what {plain.name} beside it is; pack or export it again")
    if max(len(raw), len(packed)) > LARGEST:
        raise BadInput(f"{path} has {len(raw):,} bytes; {LARGEST:,} are the most for one file")
    return Found(name, RUNTIMES[plain.suffix], raw, members, packed)


def _record(path: Path) -> dict[str, Any] | None:
    """Of a fit's report, what those who download may want to know; nothing of this machine."""
    if not path.is_file():
        return None
    try:
        report = json.loads(path.read_bytes())
        accuracy = report["accuracy"]
        kept = ("metric", "n", "original", "compressed", "drop", "agreement")
        return {
            "packlight": report["packlight"],
            "source_sha256": report["original"]["sha256"],
            "source_bytes": report["original"]["bytes"],
            "accuracy": {key: _short(accuracy[key]) for key in kept},
        }
    except (ValueError, KeyError, TypeError) as problem:
        raise BadInput(f"{path} is damaged; fit again, or delete it") from problem


def _short(value: Any) -> Any:
    """With four digits for each fraction: every device fetches them."""
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
