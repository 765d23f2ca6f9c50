"""From a graph to the rows of its layer table.

1. An input is a row. Every call is a row, but
2. not what only prepares constants: its parameters belong to the call that uses the result;
3. not what moves nothing: dropout, casts, steps on and off a quantisation grid, views that only
   add or drop an axis of one, picking one of several results;
4. nor an activation that is the only reader of a row's value: it joins that row. x * sigmoid(x) is
   such an activation too, however the file spells it.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, fx

from packlight.graph import IDENTITIES, aten, is_call, quantized, value_of
from packlight.network import Network
from packlight.weighing.formats.operations import GATED, Weight, bits_per_weight
from packlight.weighing.operators import (
    activation_name,
    is_quantize,
    is_spatial,
    macs_of,
    operator_name,
    type_of,
    written_out,
)
from packlight.weighing.sizes import Sizes, first_tensor, tensors
from packlight.weighing.table import LayerRow

_SILENT = (
    *IDENTITIES,
    aten.select,
    aten.squeeze,
    aten.unsqueeze,
    aten.to,
    aten._to_copy,
)
# these give back what they got when the shape stays the same
_SILENT_IF_SAME = (
    aten.adaptive_avg_pool1d,
    aten.adaptive_avg_pool2d,
    aten.adaptive_avg_pool3d,
    aten.constant_pad_nd,
    aten.expand,
    aten.flatten,
    aten.pad,
    aten.reshape,
    aten.slice,
    aten.view,
)
_REARRANGED = (aten.permute, aten.transpose, aten.view, aten.reshape, aten.unflatten, aten.matmul)
_IN_PARTS = ("split", "split_with_sizes", "chunk", "unbind")  # all of their results are data


def rows_of(network: Network) -> tuple[tuple[LayerRow, ...], list[str]]:
    """The rows, and sentences about what could not be known."""
    calls = [node for node in network.module.graph.nodes if node.op == "call_function"]
    if any("val" not in node.meta for node in calls):
        network = network.retraced()
    walk = _Walk(network)
    for node in network.module.graph.nodes:
        walk.visit(node)
    return tuple(walk.rows), _notes(walk.sizes.unknown)


class _Walk:
    """What is known so far about the nodes of one graph, visited in order."""

    def __init__(self, network: Network) -> None:
        self.module = network.module
        self.sizes = Sizes.of(network)
        self.rows: list[LayerRow] = []
        self._input_names = iter(network.input_names)
        self._constants: dict[fx.Node, list[fx.Node]] = {}  # the get_attr nodes behind each
        self._row_of: dict[fx.Node, int] = {}
        self._images: set[fx.Node] = set()
        self._first_use: dict[str, str] = {}  # parameter -> the layer that counted it

    def visit(self, node: fx.Node) -> None:
        """Add the node's row, or join it to an earlier one."""
        if node.op == "output" or self._is_constant(node):
            return
        if self._is_image(node):
            self._images.add(node)
        if node.op == "placeholder":
            self._add(node, self._row(node, next(self._input_names), "InputLayer"))
        elif node in self._row_of:  # joined ahead, as a part of x * sigmoid(x)
            pass
        elif self._is_silent(node):
            self._join(node, node.all_input_nodes[0])
        elif not self._joined_as_activation(node):
            self._add(node, self._layer_row(node))

    def _is_constant(self, node: fx.Node) -> bool:
        if node.op == "get_attr":
            self._constants[node] = [node]
        elif node.op == "call_function":
            sources = node.all_input_nodes
            if not tensors(node):  # a size, an assertion
                self._constants[node] = []
            elif all(source in self._constants for source in sources):
                self._constants[node] = [
                    weight for source in sources for weight in self._constants[source]
                ]
        return node in self._constants

    def _is_silent(self, node: fx.Node) -> bool:
        if is_call(node, *_SILENT) or is_quantize(node) or operator_name(node) == "getitem":
            return True
        if not is_call(node, *_SILENT_IF_SAME):
            return False
        before, after = first_tensor(node.all_input_nodes[0]), first_tensor(node)
        assert before is not None
        assert after is not None
        return self.sizes.shape(before) == self.sizes.shape(after)

    def _joined_as_activation(self, node: fx.Node) -> bool:
        name = activation_name(node)
        if name is None:
            return False
        source = node.all_input_nodes[0]
        gate = self._gate(node, source) if name in GATED else None
        if gate is not None:
            name = GATED[name]
        elif len(source.users) > 1:
            return False
        row = self._row_of.get(source)
        if row is None or self.rows[row].type == "InputLayer" or not self._only_reader(source):
            return False
        joined = " ".join(filter(None, (self.rows[row].activation, name)))
        self.rows[row] = replace(self.rows[row], activation=joined)
        self._join(node, source)
        if gate is not None:
            self._join(gate, source)
        return True

    def _gate(self, gate: fx.Node, source: fx.Node) -> fx.Node | None:
        """The product x * gate(x), if those two are all that read x."""
        for product in gate.users:
            if is_call(product, aten.mul) and set(product.all_input_nodes) == {gate, source}:
                return product if set(source.users) == {gate, product} else None
        return None

    def _only_reader(self, source: fx.Node) -> bool:
        """Whether nothing reads the row's value on the silent way down to `source`."""
        while self._is_silent(source):
            source = source.all_input_nodes[0]
            if len(source.users) > 1:
                return False
        return True

    def _join(self, node: fx.Node, source: fx.Node) -> None:
        if source in self._row_of:
            self._row_of[node] = self._row_of[source]

    def _add(self, node: fx.Node, row: LayerRow) -> None:
        self._row_of[node] = len(self.rows)
        self.rows.append(row)

    def _row(self, node: fx.Node, name: str, kind: str) -> LayerRow:
        """A row without parameters."""
        made = tensors(node) if operator_name(node) in _IN_PARTS else [first_tensor(node)]
        values = [value for value in made if value is not None]
        for value in values:
            self.sizes.note_unknown(node, value)
        shape = self.sizes.shown(values[0])
        if node in self._images and len(shape) > 1:
            shape = (*shape[1:], shape[0])
        elements = [self.sizes.count(value) for value in values]
        return LayerRow(
            layer=name,
            type=kind,
            activation="",
            shape=shape,
            elements=sum(elements),
            data_bytes=sum(
                count * value.element_size() for count, value in zip(elements, values, strict=True)
            ),
            parameters="",
            parameter_count=0,
            macs=macs_of(node, self.sizes),
            bytes=0,
            read_bytes=self._read_bytes(node),
        )

    def _read_bytes(self, node: fx.Node) -> int:
        """Of the values a call reads, each once."""
        values = [
            first_tensor(source) for source in node.all_input_nodes if source not in self._constants
        ]
        return sum(
            self.sizes.count(value) * value.element_size() for value in values if value is not None
        )

    def _layer_row(self, node: fx.Node) -> LayerRow:
        weights, grids = self._parameters(node)
        kind = type_of(node, self.sizes)
        if kind == "MatMul" and weights:
            kind = "Dense"
        row = self._row(node, _owner(weights[0]) if weights else node.name, kind)
        if not weights:
            return row
        values = [value_of(self.module, weight) for weight in weights]
        text = written_out(node, values)
        new = [weight for weight in weights if str(weight.target) not in self._first_use]
        if not new:
            text = f"as {self._first_use[str(weights[0].target)]}"
        count = sum(value_of(self.module, weight).numel() for weight in new)
        counted = [*new, *(item for item in grids if str(item.target) not in self._first_use)]
        stored = sum(_bytes(value_of(self.module, item)) for item in counted)
        tensors = tuple(str(item.target) for item in counted)
        for item in (*weights, *grids):
            self._first_use.setdefault(str(item.target), row.layer)
        return replace(
            row,
            parameters=text,
            parameter_count=count,
            bytes=stored,
            bits_per_weight=self._bits_per_weight(new),
            zeros=sum(_zeros(value_of(self.module, weight)) for weight in new),
            tensors=tensors,
        )

    def _bits_per_weight(self, weights: list[fx.Node]) -> float | None:
        """With the scales and zero points of those that have some."""
        listed = []
        for weight in weights:
            value = value_of(self.module, weight)
            parts = [item for user in weight.users for item in self._constants.get(user, [])]
            grids = [item for item in dict.fromkeys(parts) if self._describes_a_grid(item)]
            stored = [value_of(self.module, grid) for grid in grids]
            size = _bytes(value) + sum(_bytes(item) for item in stored if bool(item.any()))
            listed.append(Weight(weight.name, tuple(value.shape), size))
        return bits_per_weight(listed)

    def _parameters(self, node: fx.Node) -> tuple[list[fx.Node], list[fx.Node]]:
        """The weights a call reads, and the scales and zero points of those on a grid."""
        weights: list[fx.Node] = []
        grids: list[fx.Node] = []
        for source in node.all_input_nodes:
            for item in self._constants.get(source, []):
                into = grids if self._describes_a_grid(item) else weights
                if item not in into:
                    into.append(item)
        return weights, [item for item in grids if bool(value_of(self.module, item).any())]

    def _describes_a_grid(self, item: fx.Node) -> bool:
        return all(
            is_call(user, quantized.dequantize_per_channel, quantized.dequantize_per_tensor)
            and user.args[0] is not item
            for user in item.users
        )

    def _is_image(self, node: fx.Node) -> bool:
        """Whether the value has its channels ahead of its positions."""
        value = first_tensor(node)
        if value is None or value.ndim < 3:
            return False
        if (node.op != "placeholder" and is_spatial(node)) or any(
            is_spatial(user) and user.args and user.args[0] is node for user in node.users
        ):
            return True
        if value.ndim != 4 or is_call(node, *_REARRANGED):
            return False
        if node.op == "placeholder":
            return not all(is_call(user, *_REARRANGED) for user in node.users)
        return any(source in self._images for source in node.all_input_nodes)


def _owner(weight: fx.Node) -> str:
    """`conv1` of `conv1.weight`; the whole name of a parameter that nobody owns."""
    name = str(weight.target)
    return name.rpartition(".")[0] or name


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()


def _zeros(value: Tensor) -> int:
    return 0 if value.is_meta else value.numel() - int(value.count_nonzero())


def _notes(unknown: list[str]) -> list[str]:
    if not unknown:
        return []
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return [
        f"sizes in the output of {unknown[0]}{more} are only known when the network runs; "
        "each is counted as 1"
    ]
