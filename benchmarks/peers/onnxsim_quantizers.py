"""onnxsim's codebooks and quantisers that take networks of this kind.

Its codebooks (k-means, NF4, SqueezeLLM, GPTVQ) are for matrices and leave convolutions float. Its
grids of int8 and int4 take both. What it writes counts without the
tensors that nothing reads any more: it leaves them in the file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnxsim
from child import Job, run, used


def _plain(job: Job, out: Path, *, how: Callable[..., onnx.ModelProto], **options: Any) -> None:
    onnx.save(used(how(onnx.load(job.model), **options)), out)


def _calibrated(job: Job, out: Path, *, how: Callable[..., onnx.ModelProto]) -> None:
    samples = list(job.samples())
    onnx.save(used(how(onnx.load(job.model), calibration_data=samples)), out)


def _gptq(job: Job, out: Path) -> None:
    model = onnx.load(job.model)
    rounded = onnxsim.quantize_weight_only_int4(model)
    made = onnxsim.apply_gptq(model, rounded, calibration_data=list(job.samples()))
    onnx.save(used(made), out)


if __name__ == "__main__":
    run(
        {
            "k-means, 4 bits": partial(_plain, how=onnxsim.quantize_weight_only_kmeans),
            "NF4": partial(_plain, how=onnxsim.quantize_weight_only_nf4),
            "SqueezeLLM, 4 bits": partial(_calibrated, how=onnxsim.quantize_weight_only_squeezellm),
            "GPTVQ": partial(_calibrated, how=onnxsim.quantize_weight_only_gptvq),
            "int4 weights": partial(_plain, how=onnxsim.quantize_weight_only_int4),
            "int4 weights, GPTQ": _gptq,
            "int8 weights": partial(_plain, how=onnxsim.quantize_weight_only),
            "static int8": partial(_calibrated, how=onnxsim.quantize_static),
        }
    )
