"""`check --layers`: which layer of a file is the first that a runtime computes otherwise.

Every layer is judged by itself: torch computes it in float32 from the values that the runtime
itself made before it, and the two results are compared. A layer that departs says so, the layers
behind it do not for having been given other numbers, and a second fault behind the first is seen
as well. A sum of int8 products in float32 does not overflow, which is why torch is the judge and
no runtime's integer kernel is.

What a runtime made between its layers can only be seen at its outputs. How a file is given more of
them without changing what it computes is the runtime's matter: see `onnx`, `tflite`, `executorch`.
Values that a runtime never holds, because the ReLU or the rounding behind them is part of the same
kernel, are not looked at: a layer here ends behind both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from packlight.errors import PacklightError
from packlight.layerwise.measure import Layer, RuntimeLayers
from packlight.types import Array

if TYPE_CHECKING:
    from packlight.layerwise.watched import Watched

__all__ = ["SAMPLES", "Layer", "RuntimeLayers", "compare_layers"]

SAMPLES = 16  # that run through every layer
_WATCHERS = {
    "onnx": "packlight.layerwise.onnx",
    "litert": "packlight.layerwise.tflite",
    "executorch": "packlight.layerwise.executorch",
}


def compare_layers(
    path: Path, runtime: str, reference: Path, samples: Sequence[Array], answers: Sequence[Array]
) -> RuntimeLayers:
    """Compare what a file's layers give with what they should give.

    Args:
        path: the file.
        runtime: that runs it: onnx, litert or executorch.
        reference: the ONNX file that says what the layers are.
        samples: one array per input, (n, ...).
        answers: what the file itself answers to them, one array per output.
    Returns:
        RuntimeLayers: with a `problem` instead of layers where they can not be seen.
    """
    if runtime not in _WATCHERS:
        why = f"{path.name} has no layers to cut it at; see those of {reference.name}"
        return RuntimeLayers(path.name, runtime, reference.name, len(samples[0]), problem=why)
    compare: Callable[[Watched], RuntimeLayers] = import_module(_WATCHERS[runtime]).compare
    from packlight.layerwise.watched import Watched

    try:
        with tempfile.TemporaryDirectory() as work:
            inputs = [Path(work) / f"input_{index}.npy" for index in range(len(samples))]
            for file, values in zip(inputs, samples, strict=True):
                np.save(file, values)
            return compare(
                Watched(path, runtime, reference, tuple(samples), tuple(answers), Path(work))
            )
    except PacklightError as problem:
        text = str(problem).removeprefix(": ")
        return RuntimeLayers(path.name, runtime, reference.name, len(samples[0]), problem=text)
