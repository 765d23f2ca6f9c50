"""What a distillation measured: every figure from the files as written, in onnxruntime."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packlight.checking import CheckResult, check
from packlight.data import Dataset, Samples
from packlight.files import replace_file, sha256
from packlight.judge import proportion
from packlight.network import Network
from packlight.plain import to_json
from packlight.progress import Progress
from packlight.runtimes import onnx as onnx_file
from packlight.weighing import weigh


class Figures:
    """Figures of a teacher and of what became of it.

    Args:
        original: the teacher as it was read.
        judge: samples that nothing learnt from.
        name: of the data.
    """

    def __init__(self, original: Network, judge: Samples, name: str) -> None:
        self.original, self.judge, self.name = original, judge, name
        self._checked: CheckResult | None = None

    def of(self, model: Path, progress: Progress) -> dict[str, Any]:
        """A file beside the teacher: sizes, accuracy, time."""
        with progress.stage(f"judge {model.name}"), self._file() as teacher:
            checked = check(teacher, model, Dataset(None, self.judge, self.name), calibrate=0)
        self._checked = checked
        found = checked.to_dict()
        accuracy = found["accuracy"]
        own = accuracy.pop("compressed")
        accuracy.pop("original")
        return {
            **self._weighed(model),
            "file": model.name,
            "bytes": checked.sizes[1],
            "packed_bytes": checked.packed_sizes[1],
            "top1": _share(own, accuracy["n"]),
            "against_teacher": accuracy,
            "latency_ms": found["latency_ms"]["compressed"],
        }

    def teacher(self, name: str) -> dict[str, Any]:
        """The teacher itself, as it was beside the last file."""
        assert self._checked is not None
        with self._file() as teacher:
            weighed = self._weighed(teacher)
        found = self._checked.to_dict()
        accuracy = found["accuracy"]
        return {
            **weighed,
            "file": name,
            "bytes": self._checked.sizes[0],
            "packed_bytes": self._checked.packed_sizes[0],
            "top1": _share(accuracy["original"], accuracy["n"]),
            "latency_ms": found["latency_ms"]["original"],
        }

    @contextmanager
    def _file(self) -> Iterator[Path]:
        """The teacher as an ONNX file."""
        source = onnx_file.source_of(self.original)
        if isinstance(source, str):
            yield Path(source)
            return
        with tempfile.TemporaryDirectory() as folder:
            yield replace_file(Path(folder) / "teacher.onnx", source)

    def _weighed(self, model: Path) -> dict[str, Any]:
        table = weigh(model)
        return {
            "sha256": sha256(model),
            "parameters": table.totals.parameter_count,
            "macs": table.totals.macs,
            "ram_bytes": table.ram_bytes,
        }


def write(report: dict[str, Any], path: Path) -> None:
    """The report as a JSON file."""
    replace_file(path, to_json(report))


def _share(tops: dict[str, float] | None, n: int) -> dict[str, float] | None:
    """The share answered right, with its interval; None without labels."""
    if not tops:
        return None
    return {**proportion(round(tops["top1"] * n), n).to_dict(), "n": n}
