"""Network -> .ort: onnxruntime's own format, which its small builds for phones load.

The graph is stored as onnxruntime would run it, with integer kernels in it, but without what it
does for one processor only: the file runs on others. It wants an onnxruntime at least as new as the
one that wrote it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnxruntime
from onnx import load_from_string

from packlight.errors import BadInput
from packlight.files import replace_file
from packlight.network import Network
from packlight.readers.onnx.widened import dequantised
from packlight.runtimes import onnx

SUFFIX = ".ort"
# the next level lays weights out for the processor that it runs on
_LEVEL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED


def write(network: Network, path: str | os.PathLike[str]) -> Path:
    """Write a Network as an .ort file, in place of what was there only once it is complete."""
    return from_onnx(onnx.to_bytes(network), path)


def from_onnx(data: bytes, path: str | os.PathLike[str]) -> Path:
    """Write an ONNX file as an .ort file.

    Raises:
        BadInput: onnxruntime refuses the file; its reason is kept.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = _LEVEL
    options.add_session_config_entry("session.save_model_format", "ORT")
    with tempfile.TemporaryDirectory(prefix="ort-") as work:
        made = Path(work) / f"network{SUFFIX}"
        options.optimized_model_filepath = os.fspath(made)
        try:
            # what onnxruntime computes ahead it stores: weights that it makes floats of, as floats
            stored = dequantised(load_from_string(data)).SerializeToString(deterministic=True)
            onnxruntime.InferenceSession(stored, options, providers=["CPUExecutionProvider"])
        except Exception as problem:
            reason = str(problem).strip().splitlines()[0][:300]
            raise BadInput(f"the network can not be written as .ort: {reason}") from problem
        return replace_file(Path(path), made.read_bytes())
