"""Network -> ONNX file, with nothing in it that the phone does not need.

torch.onnx writes the graph; what it leaves behind for debugging (stack traces, provenance of
every node, shapes of every value) is stripped, because in a small network it outweighs the
weights. `refilled` puts other integers into an exported graph without exporting it again, so a
search over sizes exports once.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx_ir.passes.common import NameFixPass
from onnxscript import ir, optimizer
from torch._ops import OpOverload

from packlight.errors import BadInput
from packlight.files import replace_file
from packlight.graph import is_weight
from packlight.network import Network, quiet_torch
from packlight.readers.onnx.file import drop_unread
from packlight.readers.onnx.widened import widen
from packlight.runtimes.narrow import narrowed
from packlight.runtimes.onnx_rewrites import pad_in_convolutions, pool_means

SUFFIX = ".onnx"
OPSET = 18
_POOL = torch.ops.aten.adaptive_avg_pool2d.default
_NORM = torch.ops.aten.batch_norm.default
_NORM_AS_TRAINED = torch.ops.aten._native_batch_norm_legit_no_training.default
#: ONNX has them, and torch can only take them apart
_WHOLE = {torch.ops.aten.flatten.using_ints, torch.ops.aten.reshape.default}
NORM, _UNKNOWN = "BatchNormalization", "packlight.kept"
IR_VERSION = 10  # the oldest that opset 18 and every runtime of the last two years share


def write(network: Network, path: str | os.PathLike[str], *, bits: int = 8) -> Path:
    """Write a Network as one ONNX file, in place of what was there only once it is complete.

    Args:
        bits: the fewest that integers are stored in: see `packlight.runtimes.narrow`.
    """
    return from_onnx(to_bytes(network), path, bits=bits)


def from_onnx(data: bytes, path: str | os.PathLike[str], *, bits: int = 8) -> Path:
    """Write a file that is ONNX already: to the byte, unless it shall take fewer bits."""
    return replace_file(Path(path), narrowed(data, bits))


def source_of(network: Network) -> str | bytes:
    """What a network is judged by: the user's own ONNX file, or the network written as one."""
    if network.source is not None and network.source.suffix == SUFFIX:
        return str(network.source)
    return to_bytes(network)


def bytes_of(source: str | bytes) -> bytes:
    """The ONNX file that `source_of` gave."""
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def to_bytes(network: Network) -> bytes:
    """The ONNX file of a Network, as `write` writes it."""
    data: bytes = to_proto(network).SerializeToString(deterministic=True)
    return data


def to_trainable_bytes(network: Network) -> bytes:
    """An ONNX file to train from: batch norms are nodes, and every parameter is one of its own.

    First weights are no ordinary ones: many are all zero or all one, so the optimizer of the
    export would leave them out, or let several layers share them. It is shown other ones.
    """
    values = {
        name: value.detach().numpy()
        for name, value in network.module.state_dict().items()
        if value.is_floating_point()
    }
    shown = network.copy()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in shown.module.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5, generator=generator)
    model = to_proto(shown, keep_norms=True)
    lost = values.keys() - {tensor.name for tensor in model.graph.initializer}
    if lost:
        raise BadInput(f"{min(lost)} has no place in an ONNX file; train the module instead")
    data: bytes = refilled(model, values).SerializeToString(deterministic=True)
    return data


def to_proto(network: Network, *, keep_norms: bool = False) -> onnx.ModelProto:
    """Export a Network: same input and output names, same varying batch, opset 18.

    Args:
        keep_norms: batch norms stay nodes, where they would become part of the layers before them.
    Raises:
        BadInput: the graph holds an operator that ONNX can not express; names it.
    """
    with quiet_torch(), _functions_read_once():
        try:
            exported = torch.onnx.export(
                _taken_apart_where_needed(network.exported()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(network.input_names),
                output_names=list(network.output_names),
                optimize=False,
                verbose=False,
            )
            assert exported is not None
            NameFixPass()(exported.model)  # torch calls values as it likes, weights or not
            norms = [node for node in exported.model.graph if keep_norms and node.op_type == NORM]
            for node in norms:
                node.domain = _UNKNOWN  # to the optimizer, which leaves it alone
            optimizer.optimize_ir(exported.model, should_fold=_should_fold)
            for node in norms:
                node.domain = ""
        except Exception as problem:
            reason = str(problem.__cause__ or problem).strip().splitlines()[0][:300]
            raise BadInput(f"the network can not be written as ONNX: {reason}") from problem
    model: onnx.ModelProto = exported.model_proto
    pad_in_convolutions(model.graph)
    pool_means(model.graph)
    _strip(model, network)
    return model


@contextmanager
def _functions_read_once() -> Iterator[None]:
    """Spare torch the source of a thousand ONNX functions, which it reads anew for each file.

    It takes a second: as long as all the rest that a small network needs.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:  # another torch
        yield
        return
    read = ONNXRegistry.__dict__["from_torchlib"]
    ONNXRegistry.from_torchlib = staticmethod(partial(_once, ONNXRegistry.from_torchlib))
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = read


@cache
def _once(read: Callable[..., Any], *args: Any, **named: Any) -> Any:
    return read(*args, **named)


def _taken_apart_where_needed(
    program: torch.export.ExportedProgram,
) -> torch.export.ExportedProgram:
    """Spare torch the tracing of a graph in which nothing is to be taken apart: half of the export.

    It asks the program to take apart what ONNX has no operator for. Means over an image and batch
    norms, most often the only such operators, are written as what ONNX has first.
    """
    for node in program.graph.find_nodes(op="call_function", target=_POOL):
        if list(node.args[1]) == [1, 1]:
            node.target, node.args = torch.ops.aten.mean.dim, (node.args[0], [-1, -2], True)
    for node in program.graph.find_nodes(op="call_function", target=_NORM):
        *tensors, training, momentum, epsilon, _ = node.args
        if training or None in tensors:
            continue
        nothing = node.meta["val"].new_empty(0)
        with program.graph.inserting_before(node):
            norm = program.graph.call_function(_NORM_AS_TRAINED, (*tensors, momentum, epsilon))
        norm.meta = node.meta | {"val": (node.meta["val"], nothing, nothing)}
        node.target, node.args = operator.getitem, (norm, 0)
    calls = {node.target for node in program.graph.nodes if node.op == "call_function"}
    take_apart, whole = program.run_decompositions, _can_be_whole()

    def run_decompositions(table: Mapping[Any, Any]) -> torch.export.ExportedProgram:
        composed = {
            call
            for call in calls
            if isinstance(call, OpOverload)
            and (call._schema.is_mutable or (call._can_decompose() and call not in whole))
        }
        return take_apart(table) if composed or calls & table.keys() else program

    program.run_decompositions = run_decompositions
    return program


@cache
def _can_be_whole() -> frozenset[Any]:
    """The composed operators that torch leaves as they are where a converter knows them."""
    return frozenset(torch.export.default_decompositions().keys()) | _WHOLE


def _should_fold(node: ir.Node) -> bool | None:
    """Codebook indices stay bytes: computed ahead, a shared weight would be floats again."""
    indices = node.op_type == "Cast" and node.inputs[0] is not None
    return False if indices and node.inputs[0].dtype == ir.DataType.UINT8 else None


def refilled(
    template: onnx.ModelProto, values: Mapping[str, np.ndarray[Any, Any]]
) -> onnx.ModelProto:
    """The template with other numbers in its initialisers.

    Args:
        template: left as it is.
        values: initialiser name -> array of the same dtype; a scale may change between one number
            per channel and one for all.
    """
    model = onnx.ModelProto()
    model.CopyFrom(template)
    for tensor in model.graph.initializer:
        if tensor.name in values:
            value = values[tensor.name]
            if value.ndim == 1 < len(tensor.dims):  # scales by channel, as `widen` shapes them
                value = value.reshape(tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return model


def _strip(model: onnx.ModelProto, network: Network) -> None:
    graph = model.graph
    _give_constants(graph, network)
    _name_quantized_constants(graph)
    widen(graph)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "packlight", "", ""
    graph.name, graph.doc_string = "network", ""
    for holder in (model, graph):
        del holder.metadata_props[:]
    del graph.value_info[:]
    for item in [*graph.input, *graph.output, *graph.initializer]:
        item.doc_string = ""
        del item.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
        node.name = ""
        del node.metadata_props[:]
        _drop_defaults(node)
    _copy_no_zeros(graph)
    _strip_functions(model)
    _shorten_values(graph, network)
    for value, batched in zip(graph.input, network.dynamic_batch, strict=True):
        if batched:
            old = value.type.tensor_type.shape.dim[0].dim_param
            _rename_dim(graph, old, "batch")
    for key, text in network.metadata.items():
        model.metadata_props.add(key=key, value=text)


def _drop_defaults(node: onnx.NodeProto) -> None:
    """Leave out attributes that only repeat what the operator does anyway."""
    try:
        schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
    except onnx.defs.SchemaError:
        return
    told = [
        attribute
        for attribute in node.attribute
        if attribute.name not in schema.attributes
        or not _same_value(attribute, schema.attributes[attribute.name].default_value)
    ]
    del node.attribute[:]
    node.attribute.extend(told)


def _same_value(attribute: onnx.AttributeProto, default: onnx.AttributeProto) -> bool:
    if default.type != attribute.type:
        return False
    value: Any = onnx.helper.get_attribute_value(attribute)
    return bool(value == onnx.helper.get_attribute_value(default))


def _give_constants(graph: onnx.GraphProto, network: Network) -> None:
    """An output that is a stored tensor needs a node that makes it; the tensor keeps its name."""
    (given,) = network.module.graph.find_nodes(op="output")
    held = {tensor.name: tensor for tensor in graph.initializer}
    for value, source in zip(graph.output, given.args[0], strict=True):
        tensor = held.pop(value.name, None)
        if tensor is None:
            continue
        tensor.name = str(source.target) if is_weight(source) else f"{value.name}_held"
        for node in graph.node:
            node.input[:] = [tensor.name if name == value.name else name for name in node.input]
        graph.node.append(onnx.helper.make_node("Identity", [tensor.name], [value.name]))


def _copy_no_zeros(graph: onnx.GraphProto) -> None:
    """A shape without zeros needs no word on what its zeros mean."""
    shapes = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        shape = shapes.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is not None and numpy_helper.to_array(shape).all():
            del node.attribute[:]


def _strip_functions(model: onnx.ModelProto) -> None:
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


def _name_quantized_constants(graph: onnx.GraphProto) -> None:
    """Give every dequantised weight a scale and a zero point of its own under the weight's name.

    The exporter folds them into anonymous constants and shares equal ones; a template needs to
    find each again. The zero points are all zero and can be left out, except where a Gemm or
    MatMul reads the weight: onnxruntime takes its integer kernel only if they are spelt out.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    products = {node.input[1] for node in graph.node if node.op_type in ("Gemm", "MatMul")}
    added: list[onnx.TensorProto] = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            continue
        weight, *numbers = node.input
        if node.output[0] not in products:
            node.input.pop()
        for position, (old, suffix) in enumerate(
            zip(numbers, ("scale", "zero_point"), strict=True)
        ):
            if position + 1 < len(node.input):
                tensor = onnx.TensorProto()
                tensor.CopyFrom(constants[old])
                tensor.name = f"{weight.removesuffix('_quantized')}_{suffix}"
                node.input[position + 1] = tensor.name
                added.append(tensor)
    graph.initializer.extend(added)
    drop_unread(graph)


def _shorten_values(graph: onnx.GraphProto, network: Network) -> None:
    """Number what only the exporter named; inputs, outputs and parameters keep the user's names."""
    ends = [*graph.input, *graph.output]
    # the exporter renames inputs that are outputs as well, and outputs that come twice
    names = [*network.input_names, *network.output_names]
    short = {"": "", **{value.name: name for value, name in zip(ends, names, strict=True)}}
    fixed = {tensor.name for tensor in graph.initializer} & {*network.module.state_dict()}
    fixed.update(names)
    taken = iter(f"v{number}" for number in range(10**9))

    def rename(name: str) -> str:
        if name in fixed and name not in short:
            return name
        if name not in short:
            short[name] = next(new for new in taken if new not in fixed)
        return short[name]

    def walk(body: onnx.GraphProto) -> None:
        for node in body.node:
            node.input[:] = [rename(name) for name in node.input]
            node.output[:] = [rename(name) for name in node.output]
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    fixed.update(value.name for value in attribute.g.input)
                    fixed.update(tensor.name for tensor in attribute.g.initializer)
                    walk(attribute.g)
                    for value in attribute.g.output:
                        value.name = rename(value.name)

    walk(graph)
    for held in [*graph.initializer, *ends]:
        held.name = rename(held.name)


def _rename_dim(graph: onnx.GraphProto, old: str, new: str) -> None:
    for value in [*graph.input, *graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == old:
                dim.dim_param = new
