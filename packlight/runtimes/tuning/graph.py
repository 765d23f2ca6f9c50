"""An ONNX graph whose nodes are replaced one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper, numpy_helper

from packlight.readers.onnx.file import opset_of, reads
from packlight.types import Array


class Graph:
    """The main graph of a model, with its constants by name.

    Args:
        model: changed in place.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.opset = opset_of(model)
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.inputs = {port.name for port in model.graph.input}

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return list(self.model.graph.node)

    def constant(self, name: str) -> Array | None:
        """The numbers of a value that no caller can change; None for any other."""
        if name in self._weights and name not in self.inputs:
            return numpy_helper.to_array(self._weights[name])
        return None

    def add(self, values: Array, stem: str) -> str:
        """A new constant; its name."""
        name = self._unused(f"{stem}_tuned")
        tensor = numpy_helper.from_array(values, name)
        self.model.graph.initializer.append(tensor)
        self._weights[name] = tensor
        return name

    def users(self, value: str) -> list[onnx.NodeProto]:
        """The nodes that read a value."""
        return [node for node in self.model.graph.node if value in node.input]

    def only_user(self, value: str) -> onnx.NodeProto | None:
        """The node that alone reads a value, which is no output of the graph."""
        users = self.users(value)
        if len(users) != 1 or list(users[0].input).count(value) != 1:
            return None
        if any(value == port.name for port in self.model.graph.output) or self._in_branches(value):
            return None
        return users[0]

    def maker(self, value: str) -> onnx.NodeProto | None:
        """The node that a value comes from."""
        return next((node for node in self.model.graph.node if value in node.output), None)

    def replace(self, old: onnx.NodeProto, new: Sequence[onnx.NodeProto]) -> None:
        """Put nodes where another was."""
        place = self.place(old)
        del self.model.graph.node[place]
        for offset, node in enumerate(new):
            self.model.graph.node.insert(place + offset, node)

    def insert_after(self, node: onnx.NodeProto, new: onnx.NodeProto) -> None:
        self.model.graph.node.insert(self.place(node) + 1, new)

    def remove(self, node: onnx.NodeProto) -> None:
        del self.model.graph.node[self.place(node)]

    def place(self, node: onnx.NodeProto) -> int:
        """Where a node is; it is known by its first output, which no other node has."""
        outputs = [one.output[0] for one in self.model.graph.node]
        return outputs.index(node.output[0])

    def data(self) -> bytes:
        """The file, without the constants that nothing reads any more."""
        graph = self.model.graph
        names = {name for node in graph.node for name in reads(node)}
        names |= {port.name for port in [*graph.output, *graph.input]}
        kept = [tensor for tensor in graph.initializer if tensor.name in names]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        made: bytes = self.model.SerializeToString(deterministic=True)
        return made

    def _unused(self, stem: str) -> str:
        name, count = stem, 1
        while name in self._weights:
            name, count = f"{stem}{count}", count + 1
        return name

    def _in_branches(self, value: str) -> bool:
        return any(
            value in reads(node) and value not in node.input for node in self.model.graph.node
        )


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    for one in node.attribute:
        if one.name == name:
            return helper.get_attribute_value(one)
    return default
