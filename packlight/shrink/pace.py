"""How fast a file is beside the original, on the runtimes that the network is for.

In onnxruntime the two take turns in this process. For another runtime both are written as `export`
writes them, the original in floats, and `bench` times them, each in a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from packlight import readers
from packlight.benching import Timed, bench
from packlight.network import Network
from packlight.runtimes.latency import Latency
from packlight.runtimes.onnxruntime import VERSION, latencies
from packlight.runtimes.targets import targets_of
from packlight.types import Array

TRIAL, WHOLE = 1.0, 2.0  # seconds of timing: of what is tried, of what is written
_HERE = "onnx", "ort"  # that onnxruntime runs


@dataclass(frozen=True)
class Beside:
    """Two files on one runtime.

    Args:
        runtime: by its name.
        original, compressed: milliseconds of a run.
        ratio: times as long as the original takes.
    """

    runtime: str
    original: Latency
    compressed: Latency
    ratio: float


class Pace:
    """The original's pace, and that of other files beside it.

    Args:
        network: the original, as it is written for other runtimes.
        original: its file, a path or bytes.
        runtimes: as `export` takes them. Those that nothing here can run do not count; where all
            are such, onnxruntime tells.
        folder: where files may lie while they are timed.
    Raises:
        BadInput, MissingExtra: there is no such runtime, or it is not installed.
    """

    def __init__(
        self, network: Network, original: str | bytes, runtimes: str | Sequence[str], folder: Path
    ) -> None:
        targets = [target for target in targets_of(runtimes) if target.session is not None]
        self._network, self._original, self._folder = network, original, folder
        self._others = [target for target in targets if target.name not in _HERE]
        self._here = len(self._others) < len(targets) or not targets

    @property
    def runtimes(self) -> str:
        """Those that count, for a sentence."""
        here = ["onnxruntime"] if self._here else []
        return ", ".join([*here, *(target.name for target in self._others)])

    def beside(self, file: bytes, sample: Sequence[Array]) -> Beside:
        """The original and an ONNX file, where least is gained.

        Args:
            file: whose network is timed.
            sample: what onnxruntime is called with; the others get noise.
        """
        return self._timed(file, sample, WHOLE)

    def speedup(self, file: bytes, sample: Sequence[Array]) -> float:
        """How many times as fast as the original a file is, where least is gained."""
        return 1 / self._timed(file, sample, TRIAL).ratio

    def _timed(self, file: bytes, sample: Sequence[Array], seconds: float) -> Beside:
        found = self._elsewhere(file, seconds) if self._others else []
        if self._here:
            before, after = latencies([self._original, file], sample, seconds=seconds)
            found.append(Beside(VERSION, before, after, after.median / before.median))
        return max(found, key=lambda one: one.ratio)

    def _elsewhere(self, file: bytes, seconds: float) -> list[Beside]:
        found = []
        with TemporaryDirectory(prefix="timed-", dir=self._folder) as place:
            onnx = Path(place) / "model.onnx"
            onnx.write_bytes(file)
            network = readers.load(onnx)
            for target in self._others:
                written = target.write(network, Path(place) / f"compressed{target.suffix}")
                result = bench([self._floats[target.name], written], seconds=seconds)
                result.require()
                ratio = result.files[1].ratio
                assert ratio is not None  # both have times
                before, after = map(_latency, result.files)
                found.append(Beside(target.name, before, after, ratio.value))
        return found

    @cached_property
    def _floats(self) -> dict[str, Path]:
        """The original as each runtime loads it."""
        return {
            target.name: target.write(self._network, self._folder / f"original{target.suffix}")
            for target in self._others
        }


def _latency(timed: Timed) -> Latency:
    assert timed.median_ms is not None
    assert timed.p95_ms is not None
    return Latency(timed.median_ms.value, timed.p95_ms)
