"""Run ONNX files in onnxruntime, the judge of everything packlight writes as ONNX."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from packlight.errors import BadInput
from packlight.types import Array

VERSION = f"onnxruntime {onnxruntime.__version__}"


class Session:
    """One ONNX file, ready to run.

    Args:
        model: a path (external data is found beside it) or the bytes of a file.
        threads: threads a single operator may use; 0 takes every core.
    Raises:
        BadInput: onnxruntime refuses the file; its reason is kept.
    """

    def __init__(self, model: str | os.PathLike[str] | bytes, *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        source = model if isinstance(model, bytes) else os.fspath(model)
        try:
            self._session = onnxruntime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as problem:
            what = "the written network" if isinstance(model, bytes) else Path(source).name  # type: ignore[arg-type]
            reason = str(problem).strip().splitlines()[0][:300]
            raise BadInput(f"onnxruntime can not run {what}: {reason}") from problem
        self.inputs = self._session.get_inputs()
        self.input_names = [value.name for value in self.inputs]
        self.output_names = [value.name for value in self._session.get_outputs()]
        sizes = [value.shape[0] for value in self.inputs if value.shape]
        self.batch = next((size for size in sizes if isinstance(size, int)), None)

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """One array per input in, one per output out."""
        return tuple(self._session.run(None, dict(zip(self.input_names, inputs, strict=True))))

    def over(self, batches: Iterable[Sequence[Array]]) -> tuple[Array, ...]:
        """Run every batch and join the outputs along the samples.

        A network whose batch is fixed takes a batch piece by piece; the last piece is filled up
        by repeating a sample, and what comes out for the repeats is dropped.
        """
        pieces: list[tuple[Array, ...]] = []
        for batch in batches:
            if self.batch is None:
                pieces.append(self(*batch))
                continue
            for start in range(0, len(batch[0]), self.batch):
                part = [value[start : start + self.batch] for value in batch]
                count = len(part[0])
                padded = [np.resize(value, (self.batch, *value.shape[1:])) for value in part]
                pieces.append(tuple(value[:count] for value in self(*padded)))
        return tuple(np.concatenate(values) for values in zip(*pieces, strict=True))


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run, over many runs."""

    median: float
    p95: float


def latencies(
    models: Sequence[str | os.PathLike[str] | bytes],
    inputs: Sequence[Array],
    *,
    threads: int = 1,
    seconds: float = 4.0,
) -> list[Latency]:
    """Time several networks on the same inputs, taking turns so that noise hits all alike.

    Args:
        models: paths or bytes.
        inputs: one array per input, the batch to time.
        threads: threads per operator.
        seconds: how long to measure, all networks together.
    """
    sessions = [Session(model, threads=threads) for model in models]
    for session in sessions:
        for _ in range(3):
            session(*inputs)
    times: list[list[float]] = [[] for _ in sessions]
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(times[0]) < 10:
        for session, record in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session(*inputs)
            record.append((time.perf_counter() - start) * 1000)
    return [Latency(float(np.median(record)), float(np.percentile(record, 95))) for record in times]
