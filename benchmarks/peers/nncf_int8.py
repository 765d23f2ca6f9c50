"""NNCF's post-training quantisation of ONNX files, with its fast and its exact bias correction."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import nncf
import onnx
from child import Job, run


def _quantized(job: Job, out: Path, *, fast: bool) -> None:
    samples = list(job.samples())
    made = nncf.quantize(
        onnx.load(job.model),
        nncf.Dataset(samples),
        subset_size=len(samples),
        fast_bias_correction=fast,
    )
    onnx.save(made, out)


if __name__ == "__main__":
    run(
        {
            "int8": partial(_quantized, fast=True),
            "int8, exact bias correction": partial(_quantized, fast=False),
        }
    )
