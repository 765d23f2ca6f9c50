"""`reorder`: an ONNX file with its nodes in an order that needs less memory.

The nodes of the main graph are permuted and nothing else is changed; subgraphs stay as they are.
Sizes are measured: the network runs once, with every value as an output. The new file must answer
random inputs with the same bits as the old one before it is moved into place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from packlight.errors import BadInput
from packlight.files import replace_file
from packlight.progress import Progress
from packlight.readers.shapes import examples_of
from packlight.weighing.integers import on_integers
from packlight.weighing.memory.lifetimes import ALIGNMENT
from packlight.weighing.memory.order import best_order, peak_of
from packlight.weighing.program import Program, Step, Value

Array = np.ndarray[Any, Any]

_VIEWS = {"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
# fmt: off
_ELEMENTWISE = {
    "Abs", "Add", "BatchNormalization", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Erf", "Exp",
    "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish",
    "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin",
    "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Where",
}
# fmt: on


@dataclass(frozen=True)
class Reordering:
    """What a new order of nodes brings.

    Args:
        out: the file written; None where the order given is as good.
        before, after: the most bytes alive at once.
        proved: no order needs less.
    """

    out: Path | None
    before: int
    after: int
    proved: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; bytes."""
        return vars(self) | {"out": None if self.out is None else str(self.out)}


def reorder(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    constants: Mapping[str, Any] | None = None,
    seconds: float = 30.0,
    force: bool = False,
    progress: Progress | None = None,
) -> Reordering:
    """Write an ONNX file with its nodes in the order with the lowest peak of live memory.

    Args:
        model: a single file; weights in further files are refused.
        out: default: MODEL.reordered.onnx beside the model.
        input_shapes: by input name, where the file leaves sizes open; default: 1 for each.
        constants: by input name, what to measure with where chance would not do, as in `{"sr":
            16000}`; default: noise, zero for whole numbers, and for one that chooses a branch what
            takes the first.
        seconds: how long to search at most.
        force: replace what is there.
        progress: told of every stage.
    Raises:
        BadInput: the file can not be read or run, or the new one would answer differently.
    """
    path = Path(model)
    target = Path(out) if out else path.with_name(f"{path.stem}.reordered.onnx")
    if target.exists() and not force:
        raise BadInput(f"{target} exists already; --force replaces it")
    proto = _read(path)
    examples = dict(
        zip(
            (value.name for value in _inputs(proto)),
            (value.numpy() for value in examples_of(path, input_shapes or {})),
            strict=True,
        )
    )
    for name, value in (constants or {}).items():
        if name not in examples:
            raise BadInput(f"{path.name} has no input {name!r}; it has {', '.join(examples)}")
        examples[name] = np.full_like(examples[name], value)
    progress = progress or Progress()
    with progress.stage("measuring values"):
        program = program_of_proto(proto, examples)
    with progress.stage("searching orders"):
        order = best_order(program, seconds=seconds)
    before = peak_of(program, ALIGNMENT)
    if order.peak >= before:
        return Reordering(None, before, before, order.proved)
    nodes = list(proto.graph.node)
    other = onnx.ModelProto()
    other.CopyFrom(proto)
    del other.graph.node[:]
    other.graph.node.extend(nodes[index] for index in order.steps)
    data = other.SerializeToString()
    with progress.stage("comparing answers"):
        _compare(proto.SerializeToString(), data, examples, path.name)
    return Reordering(replace_file(target, data), before, order.peak, order.proved)


def program_of_proto(proto: onnx.ModelProto, examples: Mapping[str, Array]) -> Program:
    """The program of an ONNX graph: one step per node, sizes as measured on the examples.

    Args:
        examples: one array per input that is no initializer.
    """
    graph = proto.graph
    measured = _measured(proto, examples)
    constants = {value.name for value in graph.initializer}
    constants |= {value.values.name for value in graph.sparse_initializer}
    values: dict[str, Value] = {}
    for port in _inputs(proto):
        values[port.name] = measured[port.name]
    steps = []
    for node in graph.node:
        names = list(dict.fromkeys(name for name in _reads(node) if name))
        late = [x for x in names if x in measured and x not in values and x not in constants]
        if late:
            raise BadInput(
                f"node {node.name!r} reads {late[0]!r} before it is written; ONNX asks for nodes "
                "in an order in which they can run"
            )
        reads = tuple(name for name in names if name in values)
        made = tuple(name for name in node.output if name in measured)
        if not reads and all(name in constants for name in names):
            constants.update(made)  # computed once, when the network is loaded
            made = ()
        values.update((name, measured[name]) for name in made)
        view = (
            reads[0]
            if node.op_type in _VIEWS
            and len(made) == 1
            and list(reads[:1]) == list(node.input[:1])
            and values[reads[0]].bytes == values[made[0]].bytes
            else None
        )
        overwrites = node.op_type in _ELEMENTWISE and len(made) == 1
        steps.append(
            Step(
                name=node.name or (node.output[0] if node.output else node.op_type),
                kind=node.op_type,
                reads=reads,
                writes=made,
                view_of=view,
                may_overwrite=tuple(
                    name for name in reads if values[name].bytes == values[made[0]].bytes
                )
                if overwrites
                else (),
            )
        )
    outputs = tuple(port.name for port in graph.output if port.name in values)
    inputs = tuple(port.name for port in _inputs(proto))
    return on_integers(Program(values, tuple(steps), inputs, outputs))


def _read(path: Path) -> onnx.ModelProto:
    from packlight.readers.onnx.file import read_proto

    read_proto(path)  # tells what is wrong with a file that is no model
    proto = onnx.ModelProto()
    proto.ParseFromString(path.read_bytes())
    if any(value.data_location == onnx.TensorProto.EXTERNAL for value in proto.graph.initializer):
        raise BadInput(
            f"{path.name} keeps weights in further files, which reorder does not move; save it "
            "as a single file first"
        )
    return proto


def _inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that no initializer fills."""
    filled = {value.name for value in proto.graph.initializer}
    return [port for port in proto.graph.input if port.name not in filled]


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The inputs of a node, and what its subgraphs take from around them."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (port.name for port in graph.output)


def _measured(proto: onnx.ModelProto, examples: Mapping[str, Array]) -> dict[str, Value]:
    """Shape, type and bytes of every value of the main graph, from one run."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    present = {port.name for port in copy.graph.output}
    names = [name for node in copy.graph.node for name in node.output if name]
    copy.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in present
    )
    results = _run(copy.SerializeToString(), examples, names, optimised=False)
    return {
        name: Value(
            name, tuple(np.shape(result)) if isinstance(result, np.ndarray) else (), *_held(result)
        )
        for name, result in [*examples.items(), *zip(names, results, strict=True)]
    }


def _held(result: Any) -> tuple[str, int]:
    """Type and bytes of a value; a sequence holds what its tensors hold."""
    if isinstance(result, np.ndarray):
        return str(result.dtype), prod(result.shape) * result.dtype.itemsize
    if isinstance(result, (list, tuple)):
        return "object", sum(_held(item)[1] for item in result)
    return "object", 0


def _run(
    data: bytes, examples: Mapping[str, Array], names: list[str] | None, *, optimised: bool
) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # sums are added up in the same order every time
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return session.run(names, dict(examples))
    except Exception as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:300]
        raise BadInput(
            f"the network can not be run to measure its values: {reason}; --input-shape gives "
            "sizes that the file leaves open, --set the value of an input that chooses a branch"
        ) from problem


def _compare(old: bytes, new: bytes, examples: Mapping[str, Array], name: str) -> None:
    before = _run(old, examples, None, optimised=True)
    after = _run(new, examples, None, optimised=True)
    for first, second in zip(before, after, strict=True):
        if not _same(first, second):
            raise BadInput(f"{name} answers differently in the new order, so nothing was written")


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and first.tobytes() == second.tobytes()
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)
