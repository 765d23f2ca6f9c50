"""Network -> .pte for ExecuTorch through XNNPACK, and .pte files run in its Python runtime.

    network -> xnnpack.rewritten -> executorch's own lowering, in another process -> file

A phone's ExecuTorch needs the XNNPACK backend and, for what `Lowered.outside` names, the portable
operators. Programs take one sample at a time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from packlight.errors import BadInput, MissingExtra
from packlight.files import replace_file
from packlight.network import Network, quiet_torch
from packlight.runtimes import xnnpack
from packlight.runtimes.apart import apart, first_line
from packlight.runtimes.session import Runnable, listening
from packlight.runtimes.xnnpack_constants import constants_inside
from packlight.runtimes.xnnpack_graph import small_graphs
from packlight.specs import TensorSpec, batched_inputs
from packlight.types import Array

SUFFIX = ".pte"
METHOD = "forward"

#: patterns that XNNPACK would compute in fixed point, off by one level now and then: as floats
#: between the same roundings they are what the graph says
_INEXACT = ("AddConfig", "MulConfig", "MeanDimConfig")
#: patterns that are lowered wherever they stand
_SURE = (
    "AddmmConfig",
    "CatConfig",
    "ChooseQParamsAffineConfig",
    "ClampConfig",
    "ConvolutionConfig",
    "DeQuantizeAffineConfig",
    "DeQuantizedPerTensorConfig",
    "HardtanhConfig",
    "LinearConfig",
    "MMConfig",
    "QuantizeAffineConfig",
    "QuantizedPerTensorConfig",
    "ReLUConfig",
)
_ALIGNMENT = 16  # bytes: what XNNPACK reads its constants at
_CHATTER = ("[cpuinfo_utils.cpp:", "[threadpool.cpp:")  # what the runtime says unasked
_DTYPES = {  # of the runtime's scalar types
    0: "uint8",
    1: "int8",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
}


@dataclass(frozen=True)
class Lowered:
    """A program.

    Args:
        data: the .pte file.
        outside: operators that XNNPACK does not take, once per call; portable ones run instead.
        delegates: how many pieces XNNPACK runs; 1 where it takes everything.
    """

    data: bytes
    outside: tuple[str, ...]
    delegates: int


def write(network: Network, path: str | os.PathLike[str]) -> Path:
    """Write a Network as a .pte file, in place of what was there only once it is complete."""
    return replace_file(Path(path), lower(network).data)


def lower(network: Network) -> Lowered:
    """Make the program of a Network, float or quantised, and see that the runtime loads it.

    Raises:
        MissingExtra: executorch or torchao is not installed.
        BadInput: executorch can not convert the graph or has no kernel for it; names what.
    """
    _need()
    return apart("the network can not be written for ExecuTorch", _lower, network)


def _need() -> None:
    for package in ("executorch", "torchao"):
        if find_spec(package) is None:
            raise MissingExtra(package, "executorch")


def _lower(network: Network) -> Lowered:
    with quiet_torch():
        try:
            return _lowered(network, _configs())
        except Exception as problem:
            if isinstance(problem, BadInput) and "operator " in str(problem):
                raise  # a portable one stopped
            # executorch 1.5 confuses layouts where a layer whose input is rounded is followed by
            # activations that XNNPACK has in part: portable operators compute them then
            sure = [config for config in _configs() if config.__name__ in _SURE]
            try:
                return _lowered(network, sure)
            except Exception:
                raise problem from None


def _lowered(network: Network, configs: Sequence[type[Any]]) -> Lowered:
    with constants_inside() as placed:
        calls, data = _converted(network, configs)
    if placed.repeated:
        calls, named = _converted(network, configs)
        data = min(data, named, key=len)
    delegates = sum("executorch_call_delegate" in call for call in calls)
    outside = tuple(call for call in calls if "executorch_call_delegate" not in call)
    _see_that_it_runs(data)
    return Lowered(data, outside, delegates)


def _converted(network: Network, configs: Sequence[type[Any]]) -> tuple[list[str], bytes]:
    """What the lowered graph calls, and the file."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import (
        EdgeCompileConfig,
        ExecutorchBackendConfig,
        to_edge_transform_and_lower,
    )

    program = xnnpack.rewritten(network).exported()
    with _patterns_that_may_occur(program.graph), small_graphs():
        edge = to_edge_transform_and_lower(
            program,
            partitioner=[XnnpackPartitioner(configs=configs)],
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
    calls = [
        str(node.target)
        for node in edge.exported_program().graph.nodes
        if node.op == "call_function" and "getitem" not in str(node.target)
    ]
    settings = ExecutorchBackendConfig(segment_alignment=_ALIGNMENT)
    with _no_python_types():
        return calls, bytes(edge.to_executorch(settings).buffer)


@contextmanager
def _no_python_types() -> Iterator[None]:
    """Leave out of the file which tuples and dictionaries of Python's the graph took and gave.

    No runtime reads these texts; arguments are told by their number.
    """
    from executorch.exir._serialize import _program as upstream

    write = upstream._program_to_flatbuffer

    def written(program: Any, **settings: Any) -> Any:
        for plan in program.execution_plan:
            told = plan.container_meta_type
            told.encoded_inp_str = told.encoded_out_str = ""
        return write(program, **settings)

    upstream._program_to_flatbuffer = written
    try:
        yield
    finally:
        upstream._program_to_flatbuffer = write


@contextmanager
def _patterns_that_may_occur(graph: torch.fx.Graph) -> Iterator[None]:
    """Spare XNNPACK the search for attention and bilinear resizing where neither can be there.

    It traces each pattern in several forms before it looks, which takes longer than the rest of
    the conversion of a small network.
    """
    from executorch.backends.xnnpack.partition.graphs import bilinear_2d, sdpa

    called = " ".join(str(node.target) for node in graph.nodes if node.op == "call_function")
    searches = (
        (bilinear_2d, "get_graphs_dict", dict, ("upsample", "index")),
        (sdpa, "get_graphs", list, ("matmul", "bmm", "einsum", "scaled_dot_product")),
    )
    spared = [
        (module, name, getattr(module, name), nothing)
        for module, name, nothing, signs in searches
        if hasattr(module, name) and not any(sign in called for sign in signs)
    ]
    try:
        for module, name, _, nothing in spared:
            setattr(module, name, nothing)
        yield
    finally:
        for module, name, search, _ in spared:
            setattr(module, name, search)


def _see_that_it_runs(data: bytes) -> None:
    """Some kernels say only when they are called what they do not take."""
    try:
        program = _Program(data, "the written network")
        program([np.zeros(spec.shape, spec.dtype) for spec in program.inputs()])
    except BadInput as problem:
        missing = re.search(r"kernel '([^']+)' not found", str(problem))
        if missing is None:
            raise
        raise BadInput(
            f"the network can not be written for ExecuTorch: operator {missing[1]} has a kernel "
            "neither in XNNPACK nor among ExecuTorch's portable operators; use others"
        ) from None


def _configs() -> list[type[Any]]:
    """What XNNPACK is asked to take: everything, the inexact patterns in floats only."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType

    floats = {"supported_precision_types": lambda self: [ConfigPrecisionType.FP32]}
    return [
        type(config.__name__, (config,), floats) if config.__name__ in _INEXACT else config
        for config in ALL_PARTITIONER_CONFIGS
    ]


class Session(Runnable):
    """One .pte file, ready to run in ExecuTorch's Python runtime.

    The runtime has one pool of threads for the whole process. A session that wants another number
    of them than the one that ran last changes the pool, which takes a moment.

    Args:
        model: a path or the bytes of a file.
        inputs: what the samples hold for each input; default: what the file declares.
        threads: threads of the pool; 0 takes every core.
        settings: there are none.
    Raises:
        MissingExtra: executorch is not installed.
        BadInput: the runtime refuses the file; its reason is kept.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        inputs: Sequence[TensorSpec] | None = None,
        threads: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if settings:
            raise BadInput(f"ExecuTorch has no settings but threads; {', '.join(settings)} given")
        if find_spec("executorch") is None:
            raise MissingExtra("executorch", "executorch")
        if isinstance(model, bytes):
            data, name = model, "the written network"
        else:
            data, name = _read(Path(model)), Path(model).name
        self._program = _Program(data, name, threads or os.cpu_count() or 1)
        declared = self._program.inputs()
        self.inputs = tuple(inputs) if inputs is not None else declared
        self.input_names = [spec.name for spec in self.inputs]
        self.output_names = self._program.output_names()
        self.batch = next((spec.shape[0] for spec in declared if spec.batched and spec.shape), 1)

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """One array per input in, one per output out.

        Raises:
            BadInput: an array has another shape or type than the program takes.
        """
        return self._program(inputs)


class _Program:
    """A program in the runtime, loaded again whenever the pool of threads was changed."""

    _pool = 0  # threads of the process's pool; 0 until a program sets it

    def __init__(self, data: bytes, name: str, threads: int = 1) -> None:
        self._data, self._name, self._threads = data, name, threads
        self._loaded: Any = None
        self._load()
        self._takes = [(spec.shape, spec.dtype) for spec in self.inputs()]

    def _load(self) -> None:
        with listening() as said:
            from packlight.runtimes.bare_executorch import Runtime, portable_lib

            self._loaded = None
            if _Program._pool != self._threads:
                portable_lib._unsafe_reset_threadpool(self._threads)
                _Program._pool = self._threads
            try:
                with _on_standard_error():
                    loaded = Runtime.get().load_program(self._data)
                    if METHOD not in loaded.method_names:
                        raise BadInput(f"{self._name} has no method {METHOD!r}")
                    self._loaded = loaded.load_method(METHOD)
            except (RuntimeError, ValueError) as problem:
                reason = _complaint(said()) or first_line(problem)
                raise BadInput(f"ExecuTorch can not run {self._name}: {reason}") from problem

    def __call__(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        if _Program._pool != self._threads:
            self._load()
        tensors = [torch.from_numpy(np.asarray(value, order="C")) for value in inputs]
        given = [(value.shape, value.dtype.name) for value in inputs]
        if given != self._takes:
            raise BadInput(f"{self._name} takes {_told(self._takes)}, not {_told(given)}")
        try:
            made = self._loaded.execute(tensors)
        except RuntimeError as problem:
            reason = self._complaint_about(tensors) or first_line(problem)
            raise BadInput(f"ExecuTorch can not run {self._name}: {reason}") from problem
        return tuple(value.numpy() for value in made)

    def _complaint_about(self, tensors: Sequence[torch.Tensor]) -> str:
        """What the runtime says of inputs that it failed on: only then is it listened to."""
        with listening() as said:
            with suppress(RuntimeError), _on_standard_error():
                self._loaded.execute(tensors)
            return _complaint(said())

    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the method takes; a .pte names no inputs, so they are numbered."""
        about = self._loaded.metadata
        declared = [about.input_tensor_meta(index) for index in range(about.num_inputs())]
        shapes: list[tuple[int | None, ...]] = [tuple(one.sizes()) for one in declared]
        return tuple(
            TensorSpec(f"input_{index}", shape, _DTYPES.get(one.dtype(), "float32"), batched)
            for index, (one, shape, batched) in enumerate(
                zip(declared, shapes, batched_inputs(shapes), strict=True)
            )
        )

    def output_names(self) -> list[str]:
        """The outputs, numbered likewise."""
        return [f"output_{index}" for index in range(self._loaded.metadata.num_outputs())]


@contextmanager
def _on_standard_error() -> Iterator[None]:
    """Where the runtime complains: to Python's stream, which in a notebook is another file."""
    with os.fdopen(os.dup(2), "w", buffering=1) as stream, redirect_stderr(stream):
        yield


def _told(takes: Sequence[tuple[tuple[int | None, ...], str]]) -> str:
    return ", ".join(str(TensorSpec("", shape, dtype)).strip() for shape, dtype in takes)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise BadInput(f"{path} can not be read ({problem.strerror})") from problem


def _complaint(lines: Sequence[str]) -> str:
    """What the runtime said first, apart from its chatter; its exceptions hold numbers only."""
    said = [line for line in lines if "] " in line and not line.startswith(_CHATTER)]
    if not said:
        return ""
    failed = re.search(r"in operator ([\w:.]+\w)", "\n".join(said))
    return (f"operator {failed[1]}: " if failed else "") + said[0].partition("] ")[2]
