"""coremltools: weights shared by k-means in 1 to 8 bits, or on linear int8 grids per channel.

One palette serves a tensor; where batch norms are folded its channels are scaled first ("scaled").
Core ML programs run on Apple's systems only. So the weights become the constants of a program, that
program is compressed and saved as coremltools does it, and opened again; the values that it then
holds go back into the ONNX file, which runs here. What counts is the package's `weight.bin` and the
graph without these weights: the package's own description of the graph is left out, to coremltools'
advantage.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import onnx
from child import Job, put_back, run, weights, without
from coremltools.converters.mil import Builder
from coremltools.optimize import coreml as optimize

BITS = (1, 2, 3, 4, 6, 8)  # those that Core ML has
FEWEST = 256  # weights in a tensor worth compressing; smaller ones stay in the graph


def _palettized(job: Job, out: Path, *, bits: int, scaled: bool) -> list[Path]:
    config = optimize.OpPalettizerConfig(
        mode="kmeans", nbits=bits, weight_threshold=0, enable_per_channel_scale=scaled
    )
    model = onnx.load(job.model if scaled else job.original)
    return _compressed(model, out, optimize.palettize_weights, config)


def _linear(job: Job, out: Path) -> list[Path]:
    config = optimize.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", weight_threshold=0
    )
    return _compressed(onnx.load(job.model), out, optimize.linear_quantize_weights, config)


def _compressed(model: onnx.ModelProto, out: Path, compress: Any, config: Any) -> list[Path]:
    tensors = {name: value for name, value in weights(model).items() if value.size >= FEWEST}
    settings = optimize.OptimizationConfig(global_config=config)
    package = out.with_suffix(".mlpackage")
    compress(_program(list(tensors.values())), settings).save(str(package))
    onnx.save(put_back(model, dict(zip(tensors, _read(package), strict=True))), out)
    graph, held = out.with_suffix(".graph"), out.with_suffix(".weights")
    graph.write_bytes(without(model, tensors).SerializeToString())
    (blob,) = package.rglob("weight.bin")
    held.write_bytes(blob.read_bytes())
    return [held, graph]


def _program(values: list[np.ndarray[Any, Any]]) -> Any:
    """The tensors as constants, each multiplied by the one input so that it stays."""
    target = ct.target.iOS18

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1,))], opset_version=target)
    def program(x: Any) -> tuple[Any, ...]:
        return tuple(
            Builder.mul(x=Builder.const(val=value, name=f"kernel{index:04}_"), y=x)
            for index, value in enumerate(values)
        )

    return ct.convert(
        program,
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=target,
    )


def _read(package: Path) -> list[np.ndarray[Any, Any]]:
    """The tensors of a saved program, as it would compute with them, in their order."""
    saved = ct.models.MLModel(str(package), skip_model_load=True)
    plain = optimize.decompress_weights(saved)
    found = optimize.get_weights_metadata(plain, weight_threshold=0)
    return [found[name].val for name in sorted(found) if name.startswith("kernel")]


if __name__ == "__main__":
    palettes = {
        f"k-means, {bits} bits{', scaled' if scaled else ''}": partial(
            _palettized, bits=bits, scaled=scaled
        )
        for scaled in (False, True)
        for bits in BITS
    }
    run({**palettes, "linear, int8": _linear})
