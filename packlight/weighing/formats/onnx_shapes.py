"""The shapes of an ONNX graph's values: one pass over its nodes that computes nothing but sizes.

ONNX's own inference tells each node's shapes; small integers (sizes, axes) are computed along with
them, so that a graph may reshape by what it computed. A branch is taken where its condition is
known, and its nodes join those around it; so do the steps of a loop, one after the other, where it
is known how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TypeProto, helper, numpy_helper, shape_inference

from packlight.errors import BadInput, UnsupportedOperator
from packlight.readers.onnx.file import MAX_STEPS, STANDARD, Array, first_line, opset_of
from packlight.weighing.formats import onnx_contrib
from packlight.weighing.formats.onnx_store import Store

Shape = tuple[int | None, ...] | None

_SMALL = 4096  # elements of a result that is computed
_MAPS = ("Scan", "SequenceMap")
_RANDOM = ("Bernoulli", "Multinomial", "Dropout")


class OpenBranch(Exception):
    """A branch is taken or not depending on an input."""


@dataclass
class Shapes:
    """One pass over a graph.

    Args:
        model: checked, without its weights' numbers.
        store: gets the constants that the nodes spell out.
        inputs: name -> (data type, shape).
        known: values of inputs that are taken as constants.
    """

    model: onnx.ModelProto
    store: Store
    inputs: Mapping[str, tuple[int, tuple[int, ...]]]
    known: Mapping[str, Array]
    nodes: list[NodeProto] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    data: dict[str, Array] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)  # what depends on no input's numbers
    taken: dict[str, str] = field(default_factory=dict)  # name of an If -> its branch
    unknown: list[NodeProto] = field(default_factory=list)  # operators that nobody here knows

    def __post_init__(self) -> None:
        self._opsets = {entry.domain: entry.version for entry in self.model.opset_import}
        self._opsets |= dict.fromkeys(STANDARD, opset_of(self.model))
        self._imports = [helper.make_opsetid("", self._opsets[""])]
        self._types: dict[str, TypeProto] = {}
        self._schemas: dict[str, Any] = {}
        self._said = {
            value.name: value.type
            for value in [*self.model.graph.value_info, *self.model.graph.output]
        }

    def run(self) -> Shapes:
        """Follow every node that an output depends on.

        Raises:
            OpenBranch: a condition is not known.
            UnsupportedOperator: a loop.
            BadInput: the graph contradicts itself.
        """
        for name, (kind, shape) in self.inputs.items():
            self._know(name, helper.make_tensor_type_proto(kind, shape))
        for name, array in self.known.items():
            self.data[name] = array
            self.constants.add(name)
        self._graph(self.model.graph)
        return self

    def _graph(self, graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            self.store.add(tensor.name, tensor)
            self._constant(tensor.name)
        for sparse in graph.sparse_initializer:
            self.store.add_sparse(sparse)
            self._constant(sparse.values.name)
        for node in _needed(graph):
            self._node(node)

    def _constant(self, name: str) -> None:
        self.constants.add(name)
        shape = self.store.shape(name)
        self._know(name, helper.make_tensor_type_proto(self.store.kind(name), shape))
        small = self.store.small(name)
        if small is not None:
            self.data[name] = small

    def _node(self, node: NodeProto) -> None:
        standard = node.domain in STANDARD
        if standard and node.op_type == "Constant" and len(node.output) == 1:
            self._spelt_out(node)
        elif standard and node.op_type == "If":
            self._branch(node)
        elif standard and node.op_type == "Loop":
            self._loop(node)
        elif standard and node.op_type in _MAPS:
            raise self._endless(node)
        else:
            self.nodes.append(node)
            if all(not name or name in self.constants for name in node.input):
                self.constants.update(filter(None, node.output))
            self._infer(node, standard)
            if standard:
                self._compute(node)

    def _spelt_out(self, node: NodeProto) -> None:
        name = node.output[0]
        (attribute,) = node.attribute if len(node.attribute) == 1 else (None,)
        value = helper.get_attribute_value(attribute) if attribute is not None else None
        if attribute is None or value is None:
            raise BadInput(f"node {node.name or name!r} (Constant) must have exactly one attribute")
        if attribute.name == "value":
            self.store.add(name, value, inline=True)
        elif attribute.name == "sparse_value":
            value.values.name = name
            self.store.add_sparse(value)
        elif attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
            kind = np.int64 if "int" in attribute.name else np.float32
            self.store.add_array(name, np.asarray(value, kind))
        else:
            raise UnsupportedOperator(
                "Constant", node.name or name, self._opsets[""], f"attribute {attribute.name}"
            )
        self._constant(name)

    def _branch(self, node: NodeProto) -> None:
        condition = self.data.get(node.input[0]) if node.input else None
        if condition is None or condition.size != 1:
            raise OpenBranch
        wanted = "then_branch" if condition.reshape(-1)[0] else "else_branch"
        self.taken[node.name or node.output[0]] = wanted
        (branch,) = [item.g for item in node.attribute if item.name == wanted]
        self._said |= {value.name: value.type for value in [*branch.value_info, *branch.output]}
        self._graph(branch)
        for inner, outer in zip(branch.output, node.output, strict=False):
            self._node(helper.make_node("Identity", [inner.name], [outer]))

    def _loop(self, node: NodeProto) -> None:
        """The nodes of every step, with names of their own."""
        (body,) = [item.g for item in node.attribute if item.name == "body"]
        for tensor in body.initializer:
            self.store.add(tensor.name, tensor)
            self._constant(tensor.name)
        label, nodes = node.name or node.output[0], _needed(body)
        limit, going, *carried = [*node.input, "", ""][: max(len(node.input), 2)]
        most = self._number(node, limit) if limit else MAX_STEPS + 1
        stacks: list[list[str]] = [[] for _ in body.output[1 + len(carried) :]]
        for step in range(most):
            if going and not self._number(node, going):
                break
            if step == MAX_STEPS:
                raise self._endless(node)
            count, true = f"{label}/{step}/step", f"{label}/{step}/going"
            for name, value in ((count, np.array(step)), (true, np.array(True))):
                self.store.add_array(name, value)
                self._constant(name)
            given = [count, true, *carried]
            renamed = dict(zip((value.name for value in body.input), given, strict=True))
            for inner in nodes:
                copy = NodeProto()
                copy.CopyFrom(inner)
                copy.name = f"{label}/{step}/{inner.name}" if inner.name else ""
                renamed |= {name: f"{label}/{step}/{name}" for name in inner.output if name}
                _rename(copy, renamed)
                self._node(copy)
            going, *left = (renamed.get(value.name, value.name) for value in body.output)
            carried = left[: len(carried)]
            for stack, name in zip(stacks, left[len(carried) :], strict=True):
                stack.append(name)
        for name, outer in zip(carried, node.output, strict=False):
            if outer:
                self._node(helper.make_node("Identity", [name], [outer]))
        for stack, outer in zip(stacks, node.output[len(carried) :], strict=False):
            if outer:
                self._stack(stack, outer)

    def _stack(self, names: list[str], outer: str) -> None:
        """Join what every step made along a new first axis."""
        axes = f"{outer}/axes"
        self.store.add_array(axes, np.zeros(1, np.int64))
        self._constant(axes)
        for name in names:
            own = f"{name}/stacked"
            attribute = {} if self._opsets[""] >= 13 else {"axes": [0]}
            read = [name] if attribute else [name, axes]
            self._node(helper.make_node("Unsqueeze", read, [own], **attribute))
        stacked = [f"{name}/stacked" for name in names]
        self._node(helper.make_node("Concat", stacked, [outer], axis=0))

    def _number(self, node: NodeProto, name: str) -> int:
        """A value that says how often a loop runs."""
        value = self.data.get(name)
        if value is None or value.size != 1:
            raise self._endless(node)
        return int(value.reshape(-1)[0])

    def _endless(self, node: NodeProto) -> UnsupportedOperator:
        return UnsupportedOperator(
            node.op_type,
            node.name,
            self._opsets[""],
            f"how often it runs depends on data, or is more than {MAX_STEPS} times, so its layers "
            "can not be listed",
        )

    def _infer(self, node: NodeProto, standard: bool) -> None:
        types: dict[str, TypeProto] = {}
        inputs = [name for name in node.input if name]
        if not standard:
            rule = (
                onnx_contrib.RULES.get(node.op_type)
                if node.domain in onnx_contrib.DOMAINS
                else None
            )
            if rule is None:
                self.unknown.append(node)
            else:
                shapes = [self.shapes.get(name) if name else None for name in node.input]
                kinds = [self.kinds.get(name, 0) if name else 0 for name in node.input]
                found = rule(node, shapes, kinds)
                if found is not None:
                    kind, shape = found
                    types[node.output[0]] = helper.make_tensor_type_proto(kind, shape)
        elif all(name in self._types for name in inputs):
            types = self._inferred(node, inputs)
        for name in filter(None, node.output):
            self._know(name, _merged(types.get(name), self._said.get(name)))

    def _inferred(self, node: NodeProto, inputs: list[str]) -> dict[str, TypeProto]:
        op = node.op_type
        label = f"node {node.name or next(filter(None, node.output))!r} ({op})"
        try:
            if op not in self._schemas:
                self._schemas[op] = onnx.defs.get_schema(op, self._opsets[""], "")
        except onnx.defs.SchemaError:
            self.unknown.append(node)
            return {}
        try:
            return shape_inference.infer_node_outputs(
                self._schemas[op],
                node,
                {name: self._types[name] for name in inputs},
                {
                    name: numpy_helper.from_array(self.data[name], name)
                    for name in inputs
                    if name in self.data
                },
                opset_imports=self._imports,
            )
        except Exception as problem:
            raise BadInput(
                f"{label} can not run: {first_line(problem)}; the file is damaged, or its inputs "
                "must be of other sizes (give --input-shape)"
            ) from None

    def _compute(self, node: NodeProto) -> None:
        """The small integers that the node makes, if it makes such."""
        name, op = next(filter(None, node.output)), node.op_type
        read = self.shapes.get(node.input[0]) if node.input else None
        if op == "Shape" and read is not None and None not in read:
            ends = {item.name: item.i for item in node.attribute}
            self.data[name] = np.array(read[ends.get("start", 0) : ends.get("end")], np.int64)
            self.constants.add(name)
            return
        made = [self.shapes.get(output) for output in node.output if output]
        if (
            not all(not item or item in self.data for item in node.input)
            or any(shape is None or None in shape for shape in made)
            or any(prod(size or 0 for size in shape) > _SMALL for shape in made if shape)
            or op in _RANDOM
            or op.startswith("Random")
            or any(item.HasField("g") for item in node.attribute)
        ):
            return
        from onnx.reference import ReferenceEvaluator

        read_by = {item: self.data[item] for item in node.input if item}
        around = [
            [onnx.ValueInfoProto(name=item) for item in dict.fromkeys(items) if item]
            for items in (node.input, node.output)
        ]
        alone = helper.make_model(
            helper.make_graph([node], "node", *around), opset_imports=self._imports
        )
        try:
            results = ReferenceEvaluator(alone).run(None, read_by)
        except Exception:
            return  # only sizes are lost, and their absence is noticed
        for output, result in zip(node.output, results, strict=False):
            array = np.asarray(result)
            if array.dtype != object and array.size <= _SMALL:
                self.data[output] = array
                self.constants.add(output)

    def _know(self, name: str, value: TypeProto | None) -> None:
        if value is None or not value.HasField("tensor_type"):
            self.shapes[name] = None
            return
        self._types[name] = value
        self.kinds[name] = value.tensor_type.elem_type
        self.shapes[name] = shape_of(value)


def shape_of(value: TypeProto) -> Shape:
    """Sizes as numbers, None where they are open; None where the axes are not said."""
    if not value.tensor_type.HasField("shape"):
        return None
    return tuple(
        int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value >= 0 else None
        for dim in value.tensor_type.shape.dim
    )


def _merged(found: TypeProto | None, said: TypeProto | None) -> TypeProto | None:
    """What was found out, or else what the file says, as far as that is a shape without names."""
    if found is not None and found.HasField("tensor_type"):
        sizes = shape_of(found)
        if said is None or (sizes is not None and None not in sizes):
            return found
        claimed = shape_of(said)
        if claimed is None or None in claimed or (sizes is not None and len(sizes) != len(claimed)):
            return found
        return helper.make_tensor_type_proto(found.tensor_type.elem_type, claimed)
    if (
        said is not None
        and said.HasField("tensor_type")
        and None not in (shape_of(said) or (None,))
    ):
        return said
    return None


def _needed(graph: onnx.GraphProto) -> list[NodeProto]:
    """The nodes that an output depends on, in the file's order."""
    wanted = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(name in wanted for name in node.output if name):
            kept.append(node)
            wanted |= _reads(node)
    return kept[::-1]


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Give the values that a node reads and makes other names, those in its graphs as well."""
    for field_ in (node.input, node.output):
        field_[:] = [names.get(name, name) for name in field_]
    for attribute in node.attribute:
        for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            for part in inner.node:
                _rename(part, names)
            for value in inner.output:
                value.name = names.get(value.name, value.name)


def _reads(node: NodeProto) -> set[str]:
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            names |= {value.name for value in inner.output}
            for part in inner.node:
                names |= _reads(part)
    return names
