"""LiteRT's own quantiser, ai-edge-quantizer: int8 weights and values, and int8 weights alone.

Takes `model.tflite` from the job's folder, as packlight writes it from floats. Inputs and outputs
stay floats, as the others' do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe
from child import Job, run


def _quantised(job: Job, out: Path, *, chosen: Callable[[], Any]) -> None:
    tool = quantizer.Quantizer(str(job.folder / "model.tflite"), chosen())
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        as_it_is = algorithm_manager.AlgorithmName.NO_QUANTIZE
        tool.update_quantization_recipe(".*", end, algorithm_key=as_it_is)
    ranges = None
    if tool.need_calibration:
        ranges = tool.calibrate({"serving_default": list(job.samples())}, num_threads=1)
    tool.quantize(ranges).export_model(str(out), overwrite=True)


if __name__ == "__main__":
    run(
        {
            "static": partial(_quantised, chosen=recipe.static_wi8_ai8),
            "dynamic": partial(_quantised, chosen=recipe.dynamic_wi8_afp32),
        },
        suffix=".tflite",
    )
