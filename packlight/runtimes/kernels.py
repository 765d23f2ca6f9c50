"""How many kernels a runtime runs for a file, by what the runtime itself says.

onnxruntime: nodes of the graph, and events of its profiler in one run.
LiteRT: operators of the file; what runs is each delegate and each operator outside them.
ExecuTorch: XNNPACK's nodes in the program and calls of portable operators; what runs is each call
of a delegate and of an operator.
XNNPACK fuses once more inside a delegate and tells nobody: a delegate counts as one.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from packlight.types import Array


@dataclass(frozen=True)
class Kernels:
    """Of one file on one runtime.

    Args:
        nodes: operators that the file asks for.
        run: kernels that ran, or were handed over as a piece.
        delegated: operators inside delegates; None where the runtime has none.
        kinds: kernels that ran by operator; a delegate is "delegate".
    """

    nodes: int
    run: int
    delegated: int | None
    kinds: dict[str, int]


def count_kernels(path: Path, inputs: Sequence[Array]) -> Kernels:
    """Count, running the file once where that is needed.

    Args:
        path: an .onnx, .tflite or .pte file that runs here.
        inputs: of one run.
    """
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return _in_onnxruntime(path, inputs)
    return _in_litert(path) if suffix == ".tflite" else _in_executorch(path.read_bytes())


def _in_onnxruntime(path: Path, inputs: Sequence[Array]) -> Kernels:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        names = [one.name for one in session.get_inputs()]
        session.run(None, dict(zip(names, inputs, strict=True)))
        events = json.loads(Path(session.end_profiling()).read_bytes())
    kinds = Counter(
        str(event["args"]["op_name"])
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    )
    nodes = len(onnx.load(path, load_external_data=False).graph.node)
    return Kernels(nodes, kinds.total(), None, dict(kinds))


def _in_litert(path: Path) -> Kernels:
    from packlight.runtimes.litert import Session

    found = Session(path, threads=1).operators()
    operators = [one for one in found if one[0] != "DELEGATE"]
    delegates = [one for one in found if one[0] == "DELEGATE"]
    makers = {tensor: index for index, one in enumerate(operators) for tensor in one[2]}
    inside: set[int] = set()
    for _, given, made in delegates:
        wanted = list(made)
        while wanted:  # back to what the delegate is given
            index = makers.get(wanted.pop())
            if index is not None and index not in inside:
                inside.add(index)
                wanted += [tensor for tensor in operators[index][1] if tensor not in given]
    kinds = Counter(one[0] for index, one in enumerate(operators) if index not in inside)
    kinds["delegate"] = len(delegates)
    return Kernels(len(operators), kinds.total(), len(inside), dict(+kinds))


def _in_executorch(data: bytes) -> Kernels:
    from packlight.coding.openers.executorch import program_calls

    operators, delegates = program_calls(data)
    kinds = Counter(operators)
    kinds["delegate"] = len(delegates)
    inside = int(np.sum(delegates, dtype=np.int64))
    return Kernels(len(operators) + inside, kinds.total(), inside, dict(+kinds))
