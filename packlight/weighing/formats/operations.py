"""What every format is read into: operations in the order they run, and the values between them.

The rules for rows are those of `packlight.weighing.walk`, which applies them to a torch graph:
what moves nothing joins the row above, and so does an activation that alone reads a row's value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from packlight.errors import BadInput
from packlight.weighing.integers import on_integers
from packlight.weighing.program import Program, Step, Value
from packlight.weighing.table import LayerRow

#: x * sigmoid(x) and x * hardsigmoid(x), which files often spell out
GATED = {"Sigmoid": "SiLU", "HardSigmoid": "HardSwish"}

#: dtype -> bits of an item
BITS = {
    **{"bool": 8, "int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4": 4},
    **{"int8": 8, "uint8": 8, "float8": 8, "int16": 16, "uint16": 16, "float16": 16},
    **{"bfloat16": 16, "int32": 32, "uint32": 32, "float32": 32, "int64": 64, "uint64": 64},
    **{"float64": 64, "complex64": 64, "complex128": 128},
}


@dataclass(frozen=True)
class Datum:
    """A value that moves while the network runs, for one sample.

    Args:
        shape: all axes; None where only a run can tell, or for the whole where not even the
            number of axes is known.
        dtype: a name in BITS.
        shown: the shape as a row shows it; None takes `shape` as it is.
    """

    shape: tuple[int | None, ...] | None
    dtype: str = "float32"
    shown: tuple[int | None, ...] | None = None

    @property
    def known(self) -> bool:
        """Whether every size is known."""
        return self.shape is not None and None not in self.shape

    @property
    def elements(self) -> int:
        """An unknown size is counted as 1."""
        return prod(1 if size is None else size for size in self.shape or ())

    @property
    def bytes(self) -> int:
        """What its numbers take."""
        return (self.elements * BITS.get(self.dtype, 8) + 7) // 8


@dataclass(frozen=True)
class Weight:
    """A parameter as the file stores it.

    Args:
        name: in the file; a weight that several operations read is counted once.
        shape: of the numbers that the operation works with.
        bytes: stored, with the scales, zero points or codebook that belong to it.
        zeros: how many of its numbers are exactly zero.
    """

    name: str
    shape: tuple[int, ...]
    bytes: int
    zeros: int = 0

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)


@dataclass(frozen=True)
class Operation:
    """One step of a network.

    Args:
        name: of the layer.
        type: in Keras' words where it has one.
        reads, writes: names of values.
        role: "layer" becomes a row, "activation" joins the row it alone reads, "silent" always
            joins: it moves nothing; "tensor" is a mere weight, and shown with its own shape.
        weights: in the order they are written out.
        parameters: the weights written out, as 3x3x64x64+64.
        macs: multiplications with an addition; None where nobody can tell.
        activation: what the operation itself does to its result.
        in_parts: all of its results are data, as of a split; otherwise only the first is.
        is_view: its result lies where its first input lies.
        overwrites: it may write its result over an input of the same size.
    """

    name: str
    type: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    role: str = "layer"
    weights: tuple[Weight, ...] = ()
    parameters: str = ""
    macs: int | None = 0
    activation: str = ""
    in_parts: bool = False
    is_view: bool = False
    overwrites: bool = False


@dataclass(frozen=True)
class Listing:
    """A network as a format tells it.

    Args:
        values: by name; inputs and what operations write.
        operations: in the order they run.
        inputs, outputs: names of values.
        notes: sentences about what could not be known.
        fixed_batch: samples of a run, where the file allows no other number.
    """

    values: Mapping[str, Datum]
    operations: Sequence[Operation]
    inputs: Sequence[str]
    outputs: Sequence[str]
    notes: Sequence[str] = field(default=())
    fixed_batch: int | None = None


def rows_of(listing: Listing) -> tuple[tuple[LayerRow, ...], tuple[str, ...]]:
    """The rows of the layer table, and sentences about what could not be known."""
    joiner = _Joiner(listing)
    for operation in listing.operations:
        joiner.visit(operation)
    return tuple(joiner.rows), (*listing.notes, *_notes(listing, joiner))


def program_of(listing: Listing) -> Program:
    """What memory planning needs to know; Q/DQ pairs run on integers, as runtimes run them."""
    values = {
        name: Value(name, datum.shape if datum.shape is not None else (None,), datum.dtype, size)
        for name, datum in listing.values.items()
        for size in [datum.bytes]
    }
    steps = []
    for operation in listing.operations:
        if operation.role == "tensor":
            continue
        reads = tuple(dict.fromkeys(name for name in operation.reads if name in values))
        sizes = {values[name].bytes for name in operation.writes if name in values}
        same = tuple(name for name in reads if {values[name].bytes} == sizes)
        is_view = operation.is_view and bool(same)
        steps.append(
            Step(
                name=operation.name,
                kind=operation.type,
                reads=reads,
                writes=tuple(name for name in operation.writes if name in values),
                view_of=same[0] if is_view else None,
                may_overwrite=same if operation.overwrites and not is_view else (),
            )
        )
    return on_integers(Program(values, tuple(steps), tuple(listing.inputs), tuple(listing.outputs)))


class _Joiner:
    """What is known so far about the rows, operations being visited in order."""

    def __init__(self, listing: Listing) -> None:
        self.values = listing.values
        self.rows: list[LayerRow] = []
        self.uncounted: list[str] = []  # layers whose arithmetic nobody can tell
        self._row_of: dict[str, int] = {}
        self._made_by: dict[str, Operation] = {}
        self._readers: dict[str, list[Operation | None]] = {}
        self._first_use: dict[str, str] = {}  # weight -> the layer that counted it
        self._joined: set[int] = set()
        for operation in listing.operations:
            for name in dict.fromkeys(operation.reads):
                self._readers.setdefault(name, []).append(operation)
            for name in operation.writes:
                if name in self._made_by or name in listing.inputs:
                    raise BadInput(f"the value {name!r} is made twice; the file is damaged")
                self._made_by[name] = operation
        for name in dict.fromkeys(listing.outputs):
            self._readers.setdefault(name, []).append(None)
        for name in listing.inputs:
            self._row_of[name] = len(self.rows)
            self.rows.append(self._row(Operation(name, "InputLayer", (), (name,))))

    def visit(self, operation: Operation) -> None:
        """Add the operation's row, or join it to an earlier one."""
        if id(operation) in self._joined:
            return
        if operation.role == "silent" and operation.reads:
            self._join(operation, operation.reads[0])
        elif not (operation.role == "activation" and self._joins_as_activation(operation)):
            for name in operation.writes:
                self._row_of[name] = len(self.rows)
            self.rows.append(self._row(operation))

    def _joins_as_activation(self, operation: Operation) -> bool:
        if not operation.reads:
            return False
        source, name = operation.reads[0], operation.type
        gate = self._gate(operation, source) if name in GATED else None
        if gate is not None:
            name = GATED[name]
        elif len(self._readers[source]) > 1:
            return False
        row = self._row_of.get(source)
        if row is None or self.rows[row].type == "InputLayer" or not self._only_reader(source):
            return False
        joined = " ".join(filter(None, (self.rows[row].activation, name)))
        self.rows[row] = replace(self.rows[row], activation=joined)
        self._join(operation, source)
        if gate is not None:
            self._join(gate, source)
            self._joined.add(id(gate))
        return True

    def _gate(self, gate: Operation, source: str) -> Operation | None:
        """The product x * gate(x), if those two are all that read x."""
        for product in self._readers.get(gate.writes[0], ()):
            if (
                product is not None
                and product.type == "Multiply"
                and {*product.reads} == {*gate.writes, source}
                and {id(reader) for reader in self._readers[source]} == {id(gate), id(product)}
            ):
                return product
        return None

    def _only_reader(self, source: str) -> bool:
        """Whether nothing else reads the row's value on the silent way down to `source`."""
        while (made_by := self._made_by.get(source)) and made_by.role == "silent":
            source = made_by.reads[0]
            if len(self._readers[source]) > 1:
                return False
        return True

    def _join(self, operation: Operation, source: str) -> None:
        for name in operation.writes:
            if source in self._row_of:
                self._row_of[name] = self._row_of[source]

    def _row(self, operation: Operation) -> LayerRow:
        written = [self.values[name] for name in operation.writes if name in self.values]
        data = written if operation.in_parts else written[:1]
        new = [weight for weight in operation.weights if weight.name not in self._first_use]
        text = operation.parameters
        if operation.weights and not new:
            text = f"as {self._first_use[operation.weights[0].name]}"
        for weight in operation.weights:
            self._first_use.setdefault(weight.name, operation.name)
        if operation.macs is None:
            self.uncounted.append(operation.name)
        shown = next((datum.shown or datum.shape for datum in data), ())
        if operation.role == "tensor":
            shown = operation.weights[0].shape
        return LayerRow(
            layer=operation.name,
            type=operation.type,
            activation=operation.activation,
            shape=(None,) if shown is None else shown,
            elements=sum(datum.elements for datum in data),
            data_bytes=sum(datum.bytes for datum in data),
            parameters=text,
            parameter_count=sum(weight.count for weight in new),
            macs=operation.macs or 0,
            bytes=sum(weight.bytes for weight in new),
            bits_per_weight=bits_per_weight(new),
            zeros=sum(weight.zeros for weight in new),
            read_bytes=sum(
                self.values[name].bytes
                for name in dict.fromkeys(operation.reads)
                if name in self.values
            ),
            tensors=tuple(weight.name for weight in new),
        )


def bits_per_weight(weights: Sequence[Weight]) -> float | None:
    """Bits stored for each number of the kernels, or of all weights where none is a kernel."""
    kernels = [weight for weight in weights if len(weight.shape) > 1] or weights
    count = sum(weight.count for weight in kernels)
    return 8 * sum(weight.bytes for weight in kernels) / count if count else None


def _notes(listing: Listing, joiner: _Joiner) -> list[str]:
    notes = []
    unknown = [
        operation.name
        for operation in listing.operations
        if operation.role == "layer"
        and any(
            not listing.values[name].known for name in operation.writes if name in joiner.values
        )
    ]
    if unknown:
        notes.append(
            f"sizes in the output of {_several(unknown)} are only known when the network runs; "
            "each is counted as 1"
        )
    if joiner.uncounted:
        notes.append(
            f"what {_several(joiner.uncounted)} computes is not known: its bytes are counted, its "
            "MACs and its memory are not"
        )
    return notes


def _several(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
