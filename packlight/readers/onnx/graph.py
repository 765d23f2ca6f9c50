"""ModelProto -> Graph: what will run, in plain Python.

Only nodes that an output depends on are kept, so an unknown operator or a broken weight in a
forgotten corner of a file does no harm. Attributes are checked against ONNX's own schemas, and
defaults are filled in from there; operators need no second opinion on either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import AttributeProto, TensorProto, helper

from packlight.errors import BadInput, UnsupportedOperator
from packlight.readers.onnx.file import STANDARD, Array, first_line, opset_of, reads, tensor_array

TORCH_TYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.BOOL: torch.bool,
}
NUMPY_TYPES = {kind: np.dtype(helper.tensor_dtype_to_np_dtype(kind)) for kind in TORCH_TYPES}
PACKED = (TensorProto.INT4, TensorProto.UINT4, 25, 26)  # the last two: UINT2, INT2


@dataclass(frozen=True)
class Port:
    """One input: sizes are numbers, names of open sizes, or None; shape None: rank unknown."""

    name: str
    dtype: torch.dtype
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Constant:
    """A tensor of the file.

    Args:
        array: its numbers.
        inline: it is the value of a Constant node rather than an initializer.
        packed: its integers have 4 or 2 bits in the file.
    """

    array: Array
    inline: bool
    packed: bool = False


@dataclass(frozen=True)
class Node:
    """One call of an operator; "" stands for an optional input or output left out."""

    op: str
    name: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute; lists come as lists, text as str, tensors as arrays, graphs as Graph."""
        return self.attributes.get(name, default)

    def has(self, position: int) -> bool:
        """Whether an output is asked for."""
        return len(self.outputs) > position and bool(self.outputs[position])

    def axis(self, rank: int, default: int = 0) -> int:
        """The attribute `axis`, counted from the front."""
        axis = self.attributes.get("axis", default)
        if not -rank <= axis < rank:
            raise self.bad(f"axis {axis} of an input with {rank} dimensions")
        return int(axis) % rank

    def graphs(self) -> Iterator[Graph]:
        """The graphs inside this node."""
        return (value for value in self.attributes.values() if isinstance(value, Graph))

    def unsupported(self, why: str) -> UnsupportedOperator:
        """The error for a use of this operator that can not be read."""
        return UnsupportedOperator(self.op, self.name, self.opset, why)

    def bad(self, what: str) -> BadInput:
        """The error for a node that contradicts itself."""
        return BadInput(f"node {self.name!r} ({self.op}): {what}; the file is damaged")


@dataclass(frozen=True)
class Graph:
    """Nodes in the order they run.

    Args:
        nodes: without Constant nodes, and without any that no output needs.
        constants: initializers and values of Constant nodes, by name.
        inputs: without initializers.
        outputs: names of values; a name may stand twice.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, Constant]
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]


def build_graph(model: onnx.ModelProto, where: str) -> Graph:
    """Take a checked model apart.

    Raises:
        BadInput: an attribute, a name or a type that ONNX does not allow.
        UnsupportedOperator: an operator that is not of the standard set.
    """
    return _Builder(opset_of(model), where).graph(model.graph, outer=None)


class _Builder:
    def __init__(self, opset: int, where: str) -> None:
        self.opset = opset
        self.where = where

    def graph(self, proto: onnx.GraphProto, outer: set[str] | None) -> Graph:
        protos = _needed(proto)
        wanted = {name for node in protos for name in reads(node)}
        outputs = tuple(value.name for value in proto.output)
        wanted.update(outputs)
        constants: dict[str, Constant] = {}
        for tensor in proto.initializer:
            if tensor.name in constants:
                raise BadInput(f"{self.where} has two initializers named {tensor.name!r}")
            if tensor.name in wanted:
                array = tensor_array(tensor, tensor.name)
                packed = tensor.data_type in PACKED
                constants[tensor.name] = Constant(array, inline=False, packed=packed)
        initialised = {tensor.name for tensor in proto.initializer}
        # the inputs of inner graphs need no types; no node that has such can be read anyway
        inputs = tuple(
            self.port(value) if outer is None else Port(value.name, torch.float32, None)
            for value in proto.input
            if value.name not in initialised
        )
        names = [port.name for port in inputs]
        if len({*names}) < len(names) or "" in names or "" in outputs:
            raise BadInput(f"{self.where} has inputs or outputs without a name of their own")
        known = {*(outer or ()), *initialised, *names}
        nodes = []
        for index, item in enumerate(protos):
            if item.op_type == "Constant" and item.domain in STANDARD and len(item.output) == 1:
                packed = item.attribute[0].t.data_type in PACKED if item.attribute else False
                array = self.constant(item, index)
                constants[item.output[0]] = Constant(array, inline=True, packed=packed)
            else:
                for name in item.input:
                    if name and name not in known:
                        raise BadInput(
                            f"node {_label(item, index)!r} of {self.where} reads {name!r}, which "
                            "nothing before it makes; the file is damaged"
                        )
                node = self.node(item, index, known)
                if node.op == "QuantizeLinear" and len(node.inputs) > 2:
                    zero = constants.get(node.inputs[2])
                    if zero is not None and zero.packed:
                        raise node.unsupported("4-bit and 2-bit results")
                nodes.append(node)
            known.update(item.output)
        for name in outputs:
            if name not in known:
                raise BadInput(f"nothing in {self.where} makes the output {name!r}")
        return Graph(tuple(nodes), constants, inputs, outputs)

    def port(self, value: onnx.ValueInfoProto) -> Port:
        kind = value.type.tensor_type.elem_type
        if not value.type.HasField("tensor_type") or kind not in TORCH_TYPES:
            what = value.type.WhichOneof("value") or "nothing"
            if what == "tensor_type":
                known = kind in TensorProto.DataType.values()
                what = TensorProto.DataType.Name(kind) if known else f"type {kind}"
            raise BadInput(
                f"input {value.name!r} of {self.where} is of type {what.removesuffix('_type')}; "
                "inputs must be tensors of numbers or booleans"
            )
        if not value.type.tensor_type.HasField("shape"):
            return Port(value.name, TORCH_TYPES[kind], None)
        shape: list[int | str | None] = []
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value >= 0:
                shape.append(int(dim.dim_value))
            else:
                shape.append(dim.dim_param or None)
        return Port(value.name, TORCH_TYPES[kind], tuple(shape))

    def node(self, proto: onnx.NodeProto, index: int, outer: set[str]) -> Node:
        name = _label(proto, index)
        if proto.domain not in STANDARD:
            raise UnsupportedOperator(
                f"{proto.domain}.{proto.op_type}", name, self.opset, "not a standard operator"
            )
        try:
            schema = onnx.defs.get_schema(proto.op_type, self.opset, "")
        except onnx.defs.SchemaError:
            raise UnsupportedOperator(
                proto.op_type, name, self.opset, "this opset has no such operator"
            ) from None
        where = f"node {name!r} ({proto.op_type}, opset {self.opset})"
        few, many = len(proto.input) < schema.min_input, len(proto.input) > schema.max_input
        if few or many or not schema.min_output <= len(proto.output) <= schema.max_output:
            raise BadInput(
                f"{where} has {len(proto.input)} inputs and {len(proto.output)} outputs, which "
                "the operator does not allow; the file is damaged"
            )
        attributes: dict[str, Any] = {}
        for attribute in proto.attribute:
            expected = schema.attributes.get(attribute.name)
            if attribute.name in attributes:
                raise BadInput(f"{where} has two attributes {attribute.name!r}")
            if expected is None:
                raise BadInput(f"{where} has an attribute {attribute.name!r} unknown to ONNX")
            if int(expected.type.value) != attribute.type:
                raise BadInput(f"{where}: attribute {attribute.name!r} is of the wrong type")
            attributes[attribute.name] = self.attribute(attribute, where, outer)
        for key, expected in schema.attributes.items():
            if key in attributes:
                continue
            if expected.required:
                raise BadInput(f"{where} lacks the attribute {key!r}; the file is damaged")
            if expected.default_value.type:
                attributes[key] = self.attribute(expected.default_value, where, outer)
        return Node(
            proto.op_type, name, self.opset, tuple(proto.input), tuple(proto.output), attributes
        )

    def attribute(self, proto: onnx.AttributeProto, where: str, outer: set[str]) -> Any:
        kind = proto.type
        if kind == AttributeProto.STRING:
            return proto.s.decode("utf-8", "replace")
        if kind == AttributeProto.STRINGS:
            return [text.decode("utf-8", "replace") for text in proto.strings]
        if kind == AttributeProto.TENSOR:
            return tensor_array(proto.t, f"{where}.{proto.name}")
        if kind == AttributeProto.GRAPH:
            return self.graph(proto.g, outer)
        if kind == AttributeProto.INT:
            return int(proto.i)
        if kind == AttributeProto.FLOAT:
            return float(proto.f)
        if kind == AttributeProto.INTS:
            return [int(value) for value in proto.ints]
        if kind == AttributeProto.FLOATS:
            return [float(value) for value in proto.floats]
        raise BadInput(f"{where}: attribute {proto.name!r} is of a kind that can not be read")

    def constant(self, proto: onnx.NodeProto, index: int) -> Array:
        name = _label(proto, index)
        if len(proto.attribute) != 1:
            raise BadInput(f"node {name!r} (Constant) must have exactly one attribute")
        attribute = proto.attribute[0]
        try:
            if attribute.name == "value" and attribute.HasField("t"):
                return tensor_array(attribute.t, proto.output[0])
            if attribute.name in ("value_float", "value_floats"):
                many = attribute.name.endswith("s")
                return np.array([*attribute.floats] if many else attribute.f, np.float32)
            if attribute.name in ("value_int", "value_ints"):
                many = attribute.name.endswith("s")
                return np.array([*attribute.ints] if many else attribute.i, np.int64)
        except (ValueError, OverflowError) as problem:
            raise BadInput(f"node {name!r} (Constant): {first_line(problem)}") from None
        raise UnsupportedOperator("Constant", name, self.opset, f"attribute {attribute.name}")


def _label(proto: onnx.NodeProto, index: int) -> str:
    return proto.name or f"{proto.op_type}_{index}"


def _needed(proto: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that an output depends on, in the file's order."""
    wanted = {value.name for value in proto.output}
    kept = []
    for node in reversed(proto.node):
        if any(name in wanted for name in node.output if name):
            kept.append(node)
            wanted.update(reads(node))
    return kept[::-1]
