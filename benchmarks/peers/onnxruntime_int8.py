"""onnxruntime's own quantisation: static with each calibration it has, and dynamic.

Static is `quant_pre_process` and `quantize_static` (QDQ, per channel, uint8 activations). Int4 is
the same with weights of four bits. With weights of seven bits, sums do not overflow on x86
processors without VNNI.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from child import Job, run
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.shape_inference import quant_pre_process


class _Reader(quantization.CalibrationDataReader):
    """Calibration samples, one at a time, as onnxruntime wants them."""

    def __init__(self, job: Job) -> None:
        self._samples = job.samples()

    def get_next(self) -> dict[str, Any] | None:
        return next(self._samples, None)


def _static(
    job: Job,
    out: Path,
    *,
    method: CalibrationMethod,
    weight_type: QuantType = QuantType.QInt8,
    reduce_range: bool = False,
) -> None:
    prepared = job.path("prepared.onnx")
    quant_pre_process(str(job.model), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(out),
        _Reader(job),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=weight_type,
        calibrate_method=method,
        reduce_range=reduce_range,
    )


def _dynamic(job: Job, out: Path) -> None:
    quantization.quantize_dynamic(str(job.model), str(out), per_channel=True)


if __name__ == "__main__":
    minmax = CalibrationMethod.MinMax
    run(
        {
            "static, MinMax": partial(_static, method=minmax),
            "static, Percentile": partial(_static, method=CalibrationMethod.Percentile),
            "static, MinMax, 7 bits": partial(_static, method=minmax, reduce_range=True),
            "static, Entropy": partial(_static, method=CalibrationMethod.Entropy),
            "static, int4 weights": partial(_static, method=minmax, weight_type=QuantType.QInt4),
            "dynamic": _dynamic,
        }
    )
