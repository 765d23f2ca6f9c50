"""ONNX files -> operations, from what the file says and without its weights.

Shapes are inferred twice where the batch may vary, for one sample and for two: an axis that grows
from 1 to 2 counts samples.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import onnx
from onnx import NodeProto

from packlight.errors import BadInput
from packlight.readers.onnx.file import STANDARD, first_line, read_proto
from packlight.readers.onnx.widened import dequantised
from packlight.weighing.formats import onnx_rules as rules
from packlight.weighing.formats.onnx_contrib import attribute
from packlight.weighing.formats.onnx_inputs import Inputs, value_for
from packlight.weighing.formats.onnx_shapes import OpenBranch, Shape, Shapes
from packlight.weighing.formats.onnx_store import Store, dtype_of
from packlight.weighing.formats.onnx_weights import Weights
from packlight.weighing.formats.operations import Datum, Listing, Operation

#: values of an input that are tried to find the branch it chooses
_TRIED = 16
_WHOLE = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


def read_listing(
    path: Path,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> Listing | None:
    """List a file's operations; None where a branch depends on an input that nobody gave.

    Args:
        input_shapes: input name -> whole shape; "" stands for the first input.
        constants: values for inputs that steer the graph.
    Raises:
        BadInput: no ONNX file, damaged, sizes other than the batch are open, a loop.
    """
    model = dequantised(read_proto(path, whole=False))
    try:
        inputs = Inputs.of(model.graph, path.name, dict(input_shapes or {}), dict(constants or {}))
        try:
            passes, notes = _passes(model, path, inputs)
        except OpenBranch:
            passes, notes = _steered(model, path, inputs)
        return _Reader(passes, inputs, notes, model).listing()
    except OpenBranch:
        return None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as problem:
        if isinstance(problem, BadInput):
            raise
        raise BadInput(
            f"{path.name} contradicts itself ({first_line(problem)}); the file is damaged"
        ) from problem


def _passes(
    model: onnx.ModelProto, path: Path, inputs: Inputs
) -> tuple[tuple[Shapes, Shapes | None], list[str]]:
    """Shapes for one sample, and for two where that many can be run."""
    store = Store(path)
    one = Shapes(model, store, inputs.sized(1), inputs.known).run()
    if not inputs.varies:
        return (one, None), []
    try:
        return (one, Shapes(model, store, inputs.sized(2), inputs.known).run()), []
    except BadInput as problem:
        return (one, None), [f"the batch is fixed to 1: {problem}"]


def _steered(
    model: onnx.ModelProto, path: Path, inputs: Inputs
) -> tuple[tuple[Shapes, Shapes | None], list[str]]:
    """Shapes where an input that chooses a branch is what makes the condition true, if one does.

    Raises:
        OpenBranch: none does.
    """
    tried = {
        number
        for tensor in [
            *model.graph.initializer,
            *(item.t for node in model.graph.node for item in node.attribute if item.HasField("t")),
        ]
        if tensor.data_type in _WHOLE and math.prod(tensor.dims) == 1
        for number in onnx.numpy_helper.to_array(tensor).reshape(-1).tolist()
    }
    for name, (kind, shape) in inputs.sized(1).items():
        if kind not in (*_WHOLE, onnx.TensorProto.BOOL) or math.prod(shape) != 1:
            continue
        for value in [True] if kind == onnx.TensorProto.BOOL else sorted(tried)[:_TRIED]:
            steered = inputs.taking(name, value_for(name, value, kind, [*shape]))
            with contextlib.suppress(OpenBranch, BadInput):
                passes, notes = _passes(model, path, steered)
                taken = next(iter(passes[0].taken.items()), ("", ""))
                if taken[1] == "then_branch":
                    inputs.known = steered.known
                    chosen = f"input {name} is taken as {value}: the other branch of {taken[0]} is"
                    return passes, [f"{chosen} dropped (on the command line: --set)", *notes]
    raise OpenBranch


class _Reader:
    """From shapes to operations."""

    def __init__(
        self,
        passes: tuple[Shapes, Shapes | None],
        inputs: Inputs,
        notes: list[str],
        model: onnx.ModelProto,
    ) -> None:
        self.one, self.two = passes
        self.inputs = inputs
        self.notes = notes
        self.outputs = list(dict.fromkeys(value.name for value in model.graph.output))
        self.store = self.one.store
        self.batch = self._fixed_batch()
        self.weights = Weights(
            self.one.nodes,
            self.store,
            {
                name: tuple(size or 0 for size in shape)
                for name, shape in self.one.shapes.items()
                if shape is not None and name in self.one.constants
            },
        )
        self.values: dict[str, Datum] = {}
        self.operations: list[Operation] = []
        self._unknown = {id(node) for node in self.one.unknown}

    def listing(self) -> Listing:
        """Every operation that depends on an input."""
        moving = [
            node
            for node in self.one.nodes
            if any(name and name not in self.one.constants for name in node.output)
        ]
        images = _images(moving, self.inputs.names, self.one)
        for name in self.inputs.names:
            self.values[name] = self._datum(name, name in images)
        for node in moving:
            for name in filter(None, node.output):
                self.values[name] = self._datum(name, name in images)
            if node.op_type in rules.RECURRENT and node.output[0] in self.values:
                self.values[node.output[0]] = _directions_joined(self.values[node.output[0]])
            self._operation(node, images)
        for name, value in self.inputs.known.items():
            if value.size == 1 and not any(f"input {name} is taken" in note for note in self.notes):
                self.notes.insert(0, f"input {name} is taken as {value.reshape(-1)[0]}")
        outputs = [name for name in self.outputs if name in self.values]
        notes = [*self.notes, *self._custom(), *self.store.notes()]
        fixed = self.batch if self.two is None else None
        return Listing(self.values, self.operations, self.inputs.names, outputs, notes, fixed)

    def _custom(self) -> list[str]:
        kinds = dict.fromkeys(
            node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
            for node in self.one.unknown
        )
        return [f"not standard operators: {', '.join(kinds)}"] if kinds else []

    def _operation(self, node: NodeProto, images: set[str]) -> None:
        op = node.op_type
        reads = [self._size(name) for name in node.input]
        writes = tuple(filter(None, node.output))
        written = [self._size(name) for name in writes]
        moving = tuple(name for name in node.input if name in self.values)
        weights = self.weights.of(node, self.one.constants) if op not in rules.SILENT else []
        role = self._role(node, moving, reads, written)
        name = weights[0].name if weights else ""
        owner = name.rpartition(".")[0] or name
        if owner.startswith("onnx::"):
            owner = ""
        label = owner or node.name or writes[0]
        if op in ("Conv", "MaxPool", "AveragePool") and role == "layer":
            moving = self._padded(node, label, moving, images)
        kind = rules.activation_of(node, self._bounds(node)) if not weights else None
        if kind is None:
            data = [self.values[item] for item in (*moving[:1], *writes[:1])]
            shown = (data[0].shown, data[-1].shown)
            kind = rules.type_of(node, reads, shown, weights, self._axes(node))
        fused = rules.ACTIVATIONS.get(_text(node, "activation"), "")
        self.operations.append(
            Operation(
                name=label,
                type=kind,
                reads=moving,
                writes=writes,
                role=role,
                weights=tuple(weights),
                parameters=rules.written_out(node, reads, weights),
                macs=None if id(node) in self._unknown else rules.macs_of(node, reads, written),
                activation=fused,
                in_parts=op in ("Split", "SplitToSequence"),
                is_view=op in rules.VIEWS,
                overwrites=op in rules.OVERWRITES,
            )
        )

    def _role(
        self, node: NodeProto, moving: tuple[str, ...], reads: list[Shape], written: list[Shape]
    ) -> str:
        op = node.op_type
        if not moving or id(node) in self._unknown:
            return "layer"
        if op in rules.SILENT or (op in rules.SILENT_IF_SAME and reads[0] == written[0]):
            return "silent"
        if op == "Gather" and node.input[0] in self.values:
            index = self.one.data.get(node.input[1])
            if index is not None and index.ndim == 0:
                return "silent"  # picking one of several
        return "activation" if op in rules.ACTIVATIONS and len(moving) == 1 else "layer"

    def _padded(
        self, node: NodeProto, label: str, moving: tuple[str, ...], images: set[str]
    ) -> tuple[str, ...]:
        """Padding that differs by side is a step of its own, as runtimes without it need it."""
        source, shape = node.input[0], self.one.shapes.get(node.input[0])
        before, after = self._pads(node, shape)
        if before == after or shape is None or source not in self.values:
            return moving
        sides = [0, 0, *(a + b for a, b in zip(before, after, strict=True))]
        grown = tuple(
            None if size is None else size + more for size, more in zip(shape, sides, strict=True)
        )
        name = f"{label}.padding"
        while name in self.values:
            name += "_"
        self.values[name] = self._shown(
            grown, source, dtype_of(self.one.kinds[source]), source in images
        )
        self.operations.append(Operation(name, "Padding", (source,), (name,)))
        return tuple(name if item == source else item for item in moving)

    def _pads(self, node: NodeProto, shape: Shape) -> tuple[list[int], list[int]]:
        """Padding ahead of and behind each axis of positions."""
        pads = attribute(node, "pads")
        auto = _text(node, "auto_pad")
        axes = len(shape or ()) - 2
        if not auto.startswith("SAME") or shape is None:
            whole = list(pads or [0] * 2 * axes)
            return whole[: len(whole) // 2], whole[len(whole) // 2 :]
        kernel = attribute(node, "kernel_shape") or (self._size(node.input[1]) or ())[2:]
        before, after = [], []
        for axis in range(axes):
            step = (attribute(node, "strides") or [1] * axes)[axis]
            dilation = (attribute(node, "dilations") or [1] * axes)[axis]
            size = shape[axis + 2] or 1
            extent = dilation * ((kernel[axis] or 1) - 1) + 1
            total = max((-(-size // step) - 1) * step + extent - size, 0)
            less, more = total // 2, total - total // 2
            before.append(less if auto == "SAME_UPPER" else more)
            after.append(more if auto == "SAME_UPPER" else less)
        return before, after

    def _bounds(self, node: NodeProto) -> tuple[Any, Any]:
        """The bounds of a Clip; None for one that is not there."""
        bounds: list[Any] = []
        for position, name in ((1, "min"), (2, "max")):
            value = attribute(node, name)
            if len(node.input) > position and node.input[position]:
                array = self.one.data.get(node.input[position])
                value = array.item() if array is not None and array.size == 1 else "unknown"
            bounds.append(value)
        low, high = bounds
        return low, None if high is not None and high != "unknown" and high > 1e30 else high

    def _axes(self, node: NodeProto) -> Sequence[int] | None:
        if not node.op_type.startswith("Reduce"):
            return None
        if len(node.input) > 1 and node.input[1]:
            array = self.one.data.get(node.input[1])
            return None if array is None else [int(axis) for axis in array.reshape(-1)]
        rank = len(self._size(node.input[0]) or ())
        return attribute(node, "axes") or [*range(rank)]

    def _datum(self, name: str, image: bool) -> Datum:
        shape = self.one.shapes.get(name)
        return self._shown(shape, name, dtype_of(self.one.kinds.get(name, 0)), image)

    def _shown(self, shape: Shape, like: str, dtype: str, image: bool) -> Datum:
        """A value for one sample; its batch axis is that of the value `like`."""
        if shape is None:
            return Datum(None, dtype)
        sizes, axis = list(shape), self._batch_axis(like)
        if self.batch > 1:
            for found in [
                *(i for i, size in enumerate(sizes) if size == self.batch),
                *(i for i, size in enumerate(sizes) if size is not None and not size % self.batch),
            ][:1]:
                sizes[found] = (sizes[found] or 1) // self.batch
        shown = [size for i, size in enumerate(sizes) if i != axis]
        if image and len(shown) > 1:
            shown = [*shown[1:], shown[0]]
        return Datum(tuple(sizes), dtype, tuple(shown))

    def _size(self, name: str) -> Shape:
        """The shape for one sample."""
        if name in self.values:
            return self.values[name].shape
        return self.one.shapes.get(name)

    def _batch_axis(self, name: str) -> int | None:
        shape = self.one.shapes.get(name) or ()
        if self.two is not None:
            double = self.two.shapes.get(name) or ()
            pairs = zip(shape, double, strict=False)
            return next((axis for axis, pair in enumerate(pairs) if pair == (1, 2)), None)
        axes = [axis for axis, size in enumerate(shape) if size == self.batch]
        if self.batch == 1 and (axes[:1] != [0] or len(shape) < 2):
            return None
        return axes[0] if axes else None

    def _fixed_batch(self) -> int:
        """Samples of a run, where the file fixes them: what all inputs and outputs begin with."""
        if self.two is not None:
            return 1
        ends = [self.one.shapes.get(name) for name in chain(self.inputs.names, self.outputs)]
        leading = {shape[0] for shape in ends if shape and any(size != 1 for size in shape)}
        only = leading.pop() if len(leading) == 1 else 1
        return only or 1


def _images(nodes: Sequence[NodeProto], inputs: Sequence[str], shapes: Shapes) -> set[str]:
    """The values that have their channels ahead of their positions."""
    readers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    found: set[str] = set()

    def read_as_image(name: str) -> bool:
        return any(
            node.op_type in rules.SPATIAL and node.input[0] == name
            for node in readers.get(name, ())
        )

    for name in inputs:
        rank = len(shapes.shapes.get(name) or ())
        turned = readers.get(name) and all(
            node.op_type in rules.REARRANGED for node in readers[name]
        )
        if rank > 2 and (read_as_image(name) or (rank == 4 and not turned)):
            found.add(name)
    for node in nodes:
        for name in filter(None, node.output):
            rank = len(shapes.shapes.get(name) or ())
            if rank < 3:
                continue
            kept = rank == 4 and node.op_type not in rules.REARRANGED and found & {*node.input}
            if node.op_type in rules.SPATIAL or read_as_image(name) or kept:
                found.add(name)
    return found


def _directions_joined(datum: Datum) -> Datum:
    """(steps, directions, hidden) shown as (steps, directions x hidden), as Keras has it."""
    if datum.shown is None or len(datum.shown) != 3:
        return datum
    steps, directions, hidden = datum.shown
    return replace(datum, shown=(steps, (directions or 1) * hidden if hidden else None))


def _text(node: NodeProto, name: str) -> str:
    value = attribute(node, name, b"")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
