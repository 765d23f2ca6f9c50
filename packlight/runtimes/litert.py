"""LiteRT: a Network as a .tflite file, and such files run.

Files hold one sample per run unless the network's batch is fixed to more. Weights that are int8 in
the graph are the same int8 numbers in the file; values between them stay int8 wherever TFLite has
an integer kernel. What a file can express is in `packlight.runtimes.tflite`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from packlight.errors import BadInput, MissingExtra
from packlight.files import replace_file
from packlight.runtimes.session import Runnable, listening
from packlight.runtimes.tflite import Values
from packlight.specs import TensorSpec, batched_inputs
from packlight.types import Array

if TYPE_CHECKING:
    from packlight.network import Network

SUFFIX = ".tflite"


def write(
    network: Network,
    path: str | os.PathLike[str],
    *,
    channels_last: bool = False,
    values: Values = "fitted",
) -> Path:
    """Write a Network as a .tflite file, in place of what was there only once it is complete.

    Args:
        network: float, or with quantised weights and activations.
        path: what to write.
        channels_last: whether inputs of four dimensions are N x H x W x C in the file, as camera
            images are, rather than as in the network.
        values: how values between layers are held. "fitted": int8 where the graph says so, with
            the graph's answers; "int8": sums are int8 too, for accelerators that know nothing
            else, and round a little otherwise; "float": only weights are int8, and LiteRT rounds
            values as it finds them (dynamic range).
    Raises:
        BadInput: `values` is none of these, or the graph holds an operator that can not be
            written; names it.
        MissingExtra: LiteRT is not installed.
    """
    return replace_file(Path(path), to_bytes(network, channels_last=channels_last, values=values))


def to_bytes(network: Network, *, channels_last: bool = False, values: Values = "fitted") -> bytes:
    """The .tflite file of a Network, as `write` writes it."""
    from packlight.fuse import fuse
    from packlight.runtimes.lowering import with_one_sample
    from packlight.runtimes.tflite.writing import lowered

    if values not in get_args(Values):
        raise BadInput(f"values {values!r} are none of {', '.join(get_args(Values))}")
    return lowered(fuse(with_one_sample(network)).network, values, channels_last)


class Session(Runnable):
    """One .tflite file, ready to run with XNNPACK.

    Args:
        model: a path or the bytes of a file.
        inputs: what the samples hold for each input; default: what the file declares.
        threads: threads a single operator may use; 0 takes every core.
        settings: {"xnnpack": False} runs LiteRT's own kernels.
    Raises:
        BadInput: a setting is unknown, or LiteRT refuses the file; its reason is kept.
        MissingExtra: LiteRT is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        inputs: Sequence[TensorSpec] | None = None,
        threads: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        own_kernels = _own_kernels(settings or {})
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as problem:
            raise MissingExtra("ai-edge-litert", "litert") from problem
        what = "the written network" if isinstance(model, bytes) else Path(model).name
        try:
            data = model if isinstance(model, bytes) else Path(model).read_bytes()
            with listening():
                self._interpreter = Interpreter(
                    model_content=data,
                    num_threads=threads or os.cpu_count() or 1,
                    experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                    if own_kernels
                    else OpResolverType.AUTO,
                )
                self._interpreter.allocate_tensors()
        except (OSError, RuntimeError, ValueError) as problem:
            reason = (str(problem).strip() or type(problem).__name__).splitlines()[0][:300]
            raise BadInput(f"LiteRT can not run {what}: {reason}") from problem
        self._ins = self._interpreter.get_input_details()
        self._outs = self._interpreter.get_output_details()
        self.input_names = [str(value["name"]) for value in self._ins]
        self.output_names = [str(value["name"]) for value in self._outs]
        self.inputs = tuple(inputs) if inputs is not None else self._declared()
        self.batch = next((spec.shape[0] for spec in self._declared() if spec.batched), 1)

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """One array per input in, one per output out."""
        for value, given in zip(self._ins, inputs, strict=True):
            self._interpreter.set_tensor(value["index"], np.asarray(given, value["dtype"]))
        self._interpreter.invoke()
        return tuple(self._interpreter.get_tensor(value["index"]) for value in self._outs)

    def operators(self) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
        """The file's operators, then the delegates that run some of them instead.

        Returns:
            Of each: its name ("DELEGATE"), the tensors that it reads, and those that it fills.
        """
        return [
            (str(one["op_name"]), tuple(map(int, one["inputs"])), tuple(map(int, one["outputs"])))
            for one in self._interpreter._get_ops_details()
        ]

    def _declared(self) -> tuple[TensorSpec, ...]:
        shapes = [tuple(int(size) for size in value["shape"]) for value in self._ins]
        return tuple(
            TensorSpec(name, shape, np.dtype(value["dtype"]).name, batched)
            for name, shape, value, batched in zip(
                self.input_names, shapes, self._ins, batched_inputs(shapes), strict=True
            )
        )


def _own_kernels(settings: Mapping[str, Any]) -> bool:
    for name, value in settings.items():
        if name != "xnnpack" or not isinstance(value, bool):
            raise BadInput(
                f"{name} = {value!r} is no setting of LiteRT; there is xnnpack, true or false"
            )
    return not settings.get("xnnpack", True)
