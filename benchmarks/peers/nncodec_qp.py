"""NNCodec, the software of the NNC standard (ISO/IEC 15938-17): DeepCABAC on a trellis.

All float tensors are coded, one-dimensional ones finely as by default; what counts is the bitstream
and the graph without them, and what NNCodec decodes is put back into the network. Its qp sets one
bin for all tensors, which suits a network as it was given. Folded batch norms spread the scales of
tensors: there the bins follow each tensor's own spread (`qp_per_tensor`). `opt_qp` is NNCodec's own
choice for each tensor.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from child import Job, put_back, run, weights, without

# NNCodec imports torchvision, which asks for kernels that its CPU wheel may lack. None is called.
for _name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _name):
        torch.library.define(
            f"torchvision::{_name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor"
        )

QPS = range(-44, -13, 3)  # four steps double the bins
FINE = -75  # NNCodec's default for what is no weight
TYPICAL = 0.05  # the spread of weights for which a tensor keeps the qp asked for


def _as_given(job: Job, out: Path, *, qp: int, opt_qp: bool) -> list[Path]:
    return _coded(job, onnx.load(job.original), out, {"qp": qp, "opt_qp": opt_qp})


def _by_spread(job: Job, out: Path, *, qp: int) -> list[Path]:
    model = onnx.load(job.model)
    own = dict.fromkeys(_vectors(model), FINE) | {
        name: qp + round(4 * np.log2((value.std() + 1e-12) / TYPICAL))
        for name, value in weights(model).items()
    }
    return _coded(job, model, out, {"qp": qp, "qp_per_tensor": own})


def _coded(job: Job, model: onnx.ModelProto, out: Path, args: dict[str, Any]) -> list[Path]:
    from nncodec.nn import decode, encode

    tensors = weights(model) | _vectors(model)
    args |= {"verbose": False, "results": str(job.out)}
    stream = encode({name: value.copy() for name, value in tensors.items()}, args=args)
    decoded = {name: np.asarray(value) for name, value in decode(stream).items()}
    if missing := sorted(set(tensors) - set(decoded)):
        raise ValueError(f"{missing[0]} was not decoded")
    onnx.save(put_back(model, decoded), out)
    parts = [out.with_suffix(".nnc"), out.with_suffix(".graph")]
    parts[0].write_bytes(bytes(stream))
    parts[1].write_bytes(without(model, tensors).SerializeToString())
    return parts


def _vectors(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """Biases and the parameters of batch norms."""
    return {
        value.name: onnx.numpy_helper.to_array(value)
        for value in model.graph.initializer
        if value.data_type == onnx.TensorProto.FLOAT and len(value.dims) == 1
    }


if __name__ == "__main__":
    run(
        {f"qp {qp}": partial(_as_given, qp=qp, opt_qp=False) for qp in QPS}
        | {f"qp {qp}, opt_qp": partial(_as_given, qp=qp, opt_qp=True) for qp in QPS}
        | {f"qp {qp}, by spread": partial(_by_spread, qp=qp) for qp in QPS}
    )
