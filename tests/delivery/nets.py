"""Small networks as files, made without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SECRET = "a passphrase of the tests"


def write_network(path: Path, *, changed: int = 0, seed: int = 0, width: int = 48) -> Path:
    """Two layers; the last one depends on `changed`, the first on `seed` alone."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(width, width)).astype(np.float32)
    last = rng.normal(size=(width, 4)).astype(np.float32)
    last += 0.01 * np.random.default_rng(changed).normal(size=last.shape).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["h"]),
            helper.make_node("MatMul", ["h", "last"], ["y"]),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(last, "last")],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, path)
    return path
