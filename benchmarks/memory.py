"""Planned memory against what runtimes take.

    python -m benchmarks.memory MODEL.tflite MODEL.onnx ...

LiteRT: the arena is read off the interpreter, as the span of addresses that its steps' tensors lie
at, with the default delegate off (a delegate keeps its tensors to itself). The plan is for the same
steps and tensors, as the interpreter lists them; scratch of its kernels is in the arena as well.

onnxruntime: the growth of resident memory in one run, in a process of its own with the memory arena
off: the high-water mark during the second run less what is resident before it, so weights and code
are counted out. It holds what the kernels need for themselves, too, and not the input.

LiteRT keeps the network's inputs until the run is over, so its plans here do too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.resident import restart_peak, status
from packlight.weighing.memory import memory_of
from packlight.weighing.program import Program, Step, Value

MIB = 1 << 20


def litert(path: Path) -> tuple[Program, int]:
    """The program of a .tflite as LiteRT runs it, and the bytes of its arena."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter: Any = Interpreter(
        str(path),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    inputs = [detail["index"] for detail in interpreter.get_input_details()]
    made = {index for operator in operators for index in operator["outputs"]} | set(inputs)
    values, spans = {}, []
    for index in sorted(made):
        detail = details[index]
        size = int(np.prod(detail["shape"])) * np.dtype(detail["dtype"]).itemsize
        values[str(index)] = Value(
            str(index), tuple(map(int, detail["shape"])), np.dtype(detail["dtype"]).name, size
        )
        start = interpreter.tensor(index)().__array_interface__["data"][0]
        spans.append((start, start + size))
    steps = [
        Step(
            f"{operator['op_name']} {number}",
            operator["op_name"],
            tuple(str(index) for index in operator["inputs"] if index in made),
            tuple(str(index) for index in operator["outputs"]),
        )
        for number, operator in enumerate(operators)
    ]
    kept = [*interpreter.get_output_details(), *interpreter.get_input_details()]
    outputs = tuple(str(detail["index"]) for detail in kept)
    program = Program(values, tuple(steps), tuple(map(str, inputs)), outputs)
    return program, max(end for _, end in spans) - min(start for start, _ in spans)


def onnxruntime_growth(path: Path) -> int:
    """Bytes by which a run makes a process grow at its peak."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--run", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def run_once(path: Path) -> int:
    """What `onnxruntime_growth` measures, in this process."""
    import onnxruntime

    from packlight.readers.shapes import examples_of

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    feeds = [value.numpy() for value in examples_of(path, {})]
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = dict(zip((item.name for item in session.get_inputs()), feeds, strict=True))
    session.run(None, feed)
    before = restart_peak()
    session.run(None, feed)
    return status("VmHWM") - before


def main(paths: list[str]) -> None:
    """Print one line per model."""
    print(f"{'':32} {'naive':>8} {'bound':>8} {'greedy':>8} {'planned':>8} {'measured':>9}  MiB")
    for path in map(Path, paths):
        if path.suffix == ".tflite":
            program, measured = litert(path)
            runtime = "LiteRT arena"
        else:
            import packlight
            from packlight.weighing.program import program_of

            program, measured = program_of(packlight.load(path)), onnxruntime_growth(path)
            runtime = "onnxruntime growth"
        memory = memory_of(program)
        sizes = (memory.naive, memory.lower_bound, memory.greedy.peak, memory.peak)
        figures = " ".join(f"{size / MIB:8.3f}" for size in sizes)
        print(f"{path.name:32} {figures} {measured / MIB:9.3f}  {runtime}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        print(run_once(Path(sys.argv[2])))
    else:
        main(sys.argv[1:])
