"""Run ONNX files in onnxruntime, the judge of everything packlight writes as ONNX."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from packlight.errors import BadInput
from packlight.runtimes.latency import Latency
from packlight.runtimes.session import Runnable
from packlight.specs import TensorSpec, batched_inputs
from packlight.types import Array

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}

LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
LEVEL = "graph_optimization_level"

RESOLUTION = 1e-5  # seconds that a thread's clock must tell apart: on Windows it does not

VERSION = f"onnxruntime {onnxruntime.__version__}"


class Session(Runnable):
    """One ONNX file, ready to run.

    Args:
        model: a path (external data is found beside it) or the bytes of a file.
        inputs: what the samples hold for each input; default: what the file declares.
        threads: threads a single operator may use; 0 takes every core.
        settings: "graph_optimization_level" (one of LEVELS) and any of onnxruntime's config
            entries, such as "session.disable_prepacking".
    Raises:
        BadInput: a setting is unknown, or onnxruntime refuses the file; its reason is kept.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        inputs: Sequence[TensorSpec] | None = None,
        threads: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        options = _options(settings or {})
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
        self.input_names = [value.name for value in self._session.get_inputs()]
        self.output_names = [value.name for value in self._session.get_outputs()]
        self.inputs = tuple(inputs) if inputs is not None else self._declared()
        first = next((spec.shape[0] for spec in self.inputs if spec.batched), 1)
        self.batch = first

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """One array per input in, one per output out."""
        return tuple(self._session.run(None, dict(zip(self.input_names, inputs, strict=True))))

    def _declared(self) -> tuple[TensorSpec, ...]:
        declared = self._session.get_inputs()
        shapes = [
            tuple(size if isinstance(size, int) else None for size in value.shape)
            for value in declared
        ]
        return tuple(
            TensorSpec(value.name, shape, DTYPES.get(value.type, "float32"), batched)
            for value, shape, batched in zip(declared, shapes, batched_inputs(shapes), strict=True)
        )


def _options(settings: Mapping[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    for name, value in settings.items():
        if name == LEVEL and value in LEVELS:
            options.graph_optimization_level = LEVELS[value]
        elif "." in name and isinstance(value, str):
            options.add_session_config_entry(name, value)
        else:
            raise BadInput(
                f"{name} = {value!r} is no setting of onnxruntime; give {LEVEL} (one of "
                f"{', '.join(LEVELS)}) or config entries with a dot in their name"
            )
    return options


def latencies(
    models: Sequence[str | os.PathLike[str] | bytes],
    inputs: Sequence[Array],
    *,
    threads: int = 1,
    seconds: float = 2.0,
) -> list[Latency]:
    """Time several networks on the same inputs, taking turns so that noise hits all alike.

    On one thread, that thread's own clock is read: what other programs take of a busy machine would
    be added to every run, and make networks look more alike than they are.

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
    fine = time.get_clock_info("thread_time").resolution <= RESOLUTION
    clock = time.thread_time if threads == 1 and fine else time.perf_counter
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(times[0]) < 10:
        for session, record in zip(sessions, times, strict=True):
            start = clock()
            session(*inputs)
            record.append((clock() - start) * 1000)
    return [Latency.of(record) for record in times]
