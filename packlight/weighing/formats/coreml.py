"""Core ML models -> operations: the MIL program of an .mlpackage or .mlmodel, and older networks.

Field numbers are those of coremltools' mlmodel/format/MIL.proto. Weights lie in weight.bin or in
the program; compressed ones come through `constexpr_` operations, whose parts (indices and
codebooks, integers and scales, masks and what is not zero) are what the file stores.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

from packlight.coding.openers import coreml_network
from packlight.coding.openers.protobuf import fields, parts, text
from packlight.errors import BadInput
from packlight.weighing.formats.coreml_stored import Span, Stored, Type
from packlight.weighing.formats.operations import Datum, Listing, Operation, Weight

_PROGRAM, _NETWORKS = 502, (500, 403, 303)
_FUNCTIONS, _FUNCTION_INPUTS, _FUNCTION_BLOCKS, _MAP_VALUE = 2, 1, 3, 2
_BLOCK_OUTPUTS, _BLOCK_OPERATIONS = 2, 3
_TYPE, _INPUTS, _OUTPUTS, _BLOCKS, _ATTRIBUTES = 1, 2, 3, 4, 5
_ARGUMENT_BINDINGS, _BINDING_NAME, _BINDING_VALUE = 1, 1, 2
_DEPTH = 32

_NAMES = {
    **{"linear": "Dense", "matmul": "MatMul", "gather": "Embedding", "lstm": "LSTM", "gru": "GRU"},
    **{"rnn": "SimpleRNN", "batch_norm": "BatchNormalization", "layer_norm": "LayerNormalization"},
    **{"instance_norm": "InstanceNormalization", "softmax": "Softmax", "prelu": "PReLU"},
    **{"add": "Add", "sub": "Subtract", "mul": "Multiply", "real_div": "Divide", "pad": "Padding"},
    **{"maximum": "Maximum", "minimum": "Minimum", "concat": "Concatenate", "stack": "Stack"},
    **{"split": "Split", "transpose": "Permute", "reduce_mean": "Mean", "reduce_max": "Max"},
    **{"upsample_nearest_neighbor": "UpSampling2D", "upsample_bilinear": "UpSampling2D"},
    **{"resize_bilinear": "UpSampling2D", "resize_nearest_neighbor": "UpSampling2D"},
    **{"pixel_shuffle": "DepthToSpace", "scaled_dot_product_attention": "Attention"},
    **{"slice_by_index": "Slice", "slice_by_size": "Slice", "einsum": "Einsum"},
}
_ACTIVATIONS = {
    **{"relu": "ReLU", "relu6": "ReLU6", "leaky_relu": "LeakyReLU", "elu": "ELU", "gelu": "GELU"},
    **{"silu": "SiLU", "sigmoid": "Sigmoid", "tanh": "Tanh", "softplus": "Softplus"},
    **{"softsign": "Softsign", "sigmoid_hard": "HardSigmoid", "clip": "Clip"},
    **{"clamped_relu": "Clip", "thresholded_relu": "Threshold"},
}
_SILENT = ("identity", "cast", "squeeze", "expand_dims", "quantize", "dequantize")
_VIEWS = ("identity", "reshape", "squeeze", "expand_dims")
_OVERWRITES = (*_ACTIVATIONS, "add", "sub", "mul", "real_div", "maximum", "minimum", "batch_norm")
#: operation -> its inputs that are weights, in the order they are written out
_WEIGHTS = {
    **{"conv": ("weight", "bias"), "conv_transpose": ("weight", "bias")},
    **{"linear": ("weight", "bias"), "matmul": ("y", "x"), "gather": ("x",), "prelu": ("alpha",)},
    **{"batch_norm": ("gamma", "beta", "mean", "variance"), "layer_norm": ("gamma", "beta")},
    **{"instance_norm": ("gamma", "beta")},
    "lstm": ("weight_ih", "weight_hh", "bias", "weight_ih_back", "weight_hh_back", "bias_back"),
    **{"gru": ("weight_ih", "weight_hh", "bias"), "rnn": ("weight_ih", "weight_hh", "bias")},
}
_ELEMENTWISE = ("add", "sub", "mul", "real_div", "maximum", "minimum", "pow")
_OWNED = re.compile(r"(.+?)_(?:weight|gamma|alpha)(?:_|$)")
_ODD = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError),
    *(ValueError, struct.error),
)


def read_listing(path: Path) -> Listing:
    """List the operations of an `.mlpackage` or `.mlmodel`.

    Raises:
        BadInput: it is none, is damaged, or holds another kind of model than a neural network.
    """
    model, folder = path, path.parent
    if path.is_dir():
        folder = path / "Data" / "com.apple.CoreML"
        model = folder / "model.mlmodel"
        if not model.is_file():
            found = sorted(path.glob("Data/*/*.mlmodel"))
            if not found:
                raise BadInput(f"{path.name} holds no .mlmodel, so it is no Core ML package")
            model, folder = found[0], found[0].parent
    data = model.read_bytes()
    try:
        for kind, at, to in fields(data, 0, len(data)):
            if kind == _PROGRAM:
                return _Program(data, folder).listing((at, to))
            if kind in _NETWORKS:
                return _older(data, at, to)
    except _ODD as problem:
        if isinstance(problem, BadInput):
            raise
        raise BadInput(f"{path.name} is cut off or damaged ({problem})") from problem
    raise BadInput(f"{path.name} holds no neural network, or is cut off or damaged")


def _older(data: bytes, start: int, end: int) -> Listing:
    """A network of specification 4 or older tells its weights, and no shapes of what it makes."""
    operations = []
    for tensor in coreml_network.tensors(data, start, end):
        weight = Weight(tensor.name, tensor.shape, tensor.size)
        kernel = (*tensor.shape[2:], *tensor.shape[1::-1])
        operations.append(
            Operation(
                name=tensor.name,
                type="Conv2D" if len(tensor.shape) == 4 else "Dense",
                reads=(),
                writes=(),
                role="tensor",
                weights=(weight,),
                parameters="x".join(map(str, kernel)),
            )
        )
    note = (
        "a Core ML network of this age does not tell the shapes of what its layers make: only the "
        "weights of convolutions and inner products are listed"
    )
    return Listing({}, operations, (), (), [note])


class _Program:
    """The first function of a MIL program."""

    def __init__(self, data: bytes, folder: Path) -> None:
        self.data = data
        self.values: dict[str, Datum] = {}
        self.types: dict[str, Type] = {}
        self.stored = Stored(data, folder)
        self.constants = self.stored.constants
        self.operations: list[Operation] = []
        self.notes = self.stored.notes

    def listing(self, program: Span) -> Listing:
        """Every operation that depends on an input."""
        functions = list(parts(self.data, *program, _FUNCTIONS, _MAP_VALUE))
        if not functions:
            raise ValueError("the program has no function")
        if len(functions) > 1:
            self.notes[
                f"the file holds {len(functions)} functions; the rows are those of the first"
            ] = None
        inputs = []
        for at, to in parts(self.data, *functions[0], _FUNCTION_INPUTS):
            name = text(self.data, at, to, 1)
            self._value(name, self.stored.type_of(at, to, 2))
            inputs.append(name)
        outputs: list[str] = []
        for block in parts(self.data, *functions[0], _FUNCTION_BLOCKS, _MAP_VALUE):
            for at, to in parts(self.data, *block, _BLOCK_OPERATIONS):
                self._operation(at, to, 0)
            outputs += [
                self.data[a:b].decode("utf-8", "replace")
                for a, b in parts(self.data, *block, _BLOCK_OUTPUTS)
            ]
        self._show_images(inputs)
        ends = [name for name in outputs if name in self.values]
        return Listing(self.values, self.operations, inputs, ends, list(self.notes))

    def _operation(self, start: int, end: int, depth: int) -> None:
        if depth > _DEPTH:
            raise ValueError("blocks are nested too deep")
        kind = text(self.data, start, end, _TYPE)
        outs = list(parts(self.data, start, end, _OUTPUTS))
        writes = [text(self.data, at, to, 1) for at, to in outs]
        types = [self.stored.type_of(at, to, 2) for at, to in outs]
        bound = dict(self._bound(start, end))
        if kind == "const" and writes:
            for name, value in self._attributes(start, end):
                if name == "val":
                    self.constants[writes[0]] = self.stored.constant(writes[0], value)
            return
        if kind.startswith("constexpr_") and writes:
            self.constants[writes[0]] = self.stored.compressed(
                kind, writes[0], types[0], bound, dict(self._attributes(start, end))
            )
            return
        for name, made in zip(writes, types, strict=True):
            self._value(name, made)
        reads = [name for names in bound.values() for name in names if name in self.values]
        weights = self._weights(kind, bound)
        nested = list(parts(self.data, start, end, _BLOCKS))
        for block in nested:
            for at, to in parts(self.data, *block, _BLOCK_OPERATIONS):
                self._operation(at, to, depth + 1)
        self.operations.append(
            Operation(
                name=_label(weights, writes) or kind,
                type=self._kind(kind, bound, types, weights),
                reads=tuple(reads),
                writes=tuple(writes),
                role=self._role(kind, reads, writes, weights),
                weights=tuple(weights),
                parameters=self._written_out(kind, bound, weights),
                macs=None
                if nested or kind.startswith("custom")
                else self._macs(kind, bound, types),
                in_parts=kind == "split",
                is_view=kind in _VIEWS,
                overwrites=kind in _OVERWRITES,
            )
        )

    def _role(self, kind: str, reads: list[str], writes: list[str], weights: list[Weight]) -> str:
        if not reads or not writes or weights:
            return "layer"
        same = self.types[reads[0]].shape == self.types[writes[0]].shape
        if kind in _SILENT or (kind in ("reshape", "slice_by_index", "pad") and same):
            return "silent"
        return "activation" if kind in _ACTIVATIONS and len({*reads}) == 1 else "layer"

    def _kind(
        self, kind: str, bound: dict[str, list[str]], types: list[Type], weights: list[Weight]
    ) -> str:
        read = self._shape_of(bound, "x")
        axes = len(read) - 2
        if kind in ("conv", "conv_transpose"):
            depthwise = kind == "conv" and self._groups(bound) > 1 and self._kernel(bound)[1] == 1
            turned = "Transpose" if kind == "conv_transpose" else ""
            return f"{'Depthwise' if depthwise else ''}Conv{axes}D{turned}"
        if kind in ("max_pool", "avg_pool"):
            return f"{'Max' if kind == 'max_pool' else 'Average'}Pool{axes}D"
        if kind in ("reduce_mean", "reduce_max") and len(read) in (4, 5):
            wanted = tuple(range(2, len(read)))
            if sorted(int(axis) % len(read) for axis in self._numbers(bound, "axes")) == [*wanted]:
                return f"Global{'Max' if kind == 'reduce_max' else 'Average'}Pool{axes}D"
        if kind == "reshape" and types:
            after = types[0].shape
            return "Flatten" if len(after) == 2 < len(read) and after[0] == 1 else "Reshape"
        if kind in ("matmul", "gather") and not weights:
            return "MatMul" if kind == "matmul" else "Gather"
        if kind == "matmul":
            return "Dense"
        return _ACTIVATIONS.get(kind) or _NAMES.get(kind, kind)

    def _macs(self, kind: str, bound: dict[str, list[str]], types: list[Type]) -> int:
        made = _count(types[0].shape) if types else 0
        if kind == "conv":
            return made * _count(self._kernel(bound)[1:])
        if kind == "conv_transpose":
            return _count(self._shape_of(bound, "x")) * _count(self._kernel(bound)[1:])
        if kind in ("linear", "matmul"):
            read = self._shape_of(bound, "x") or (1,)
            turned = kind == "matmul" and any(self._numbers(bound, "transpose_x"))
            return made * (read[-2 if turned else -1] or 1)
        if kind in ("lstm", "gru", "rnn"):
            steps = _count(self._shape_of(bound, "x")[:-1])
            names = [name for key in bound if key.startswith("weight") for name in bound[key]]
            return steps * sum(
                self.constants[name].weight.count for name in names if name in self.constants
            )
        if kind == "scaled_dot_product_attention":
            query, key, value = (self._shape_of(bound, name) for name in ("query", "key", "value"))
            return _count(query[:-1]) * (key[-2] or 1) * ((query[-1] or 1) + (value[-1] or 1))
        return 0

    def _weights(self, kind: str, bound: dict[str, list[str]]) -> list[Weight]:
        wanted = _WEIGHTS.get(kind, ("x", "y") if kind in _ELEMENTWISE else ())
        names = [name for key in wanted for name in bound.get(key, ())]
        return [
            self.constants[name].weight
            for name in names
            if name in self.constants and self.constants[name].weight.shape
        ]

    def _written_out(self, kind: str, bound: dict[str, list[str]], weights: list[Weight]) -> str:
        terms = [weight.shape for weight in weights]
        if not terms:
            return ""
        if kind in ("conv", "conv_transpose") and len(terms[0]) > 2:
            first, second, *taps = terms[0]
            groups = self._groups(bound)
            if kind == "conv_transpose":
                terms[0] = (*taps, first, second)
            elif groups > 1 and second == 1:
                terms[0] = (*taps, groups) if first == groups else (*taps, groups, first // groups)
            else:
                terms[0] = (*taps, second, first)
        elif kind == "linear" or kind in ("lstm", "gru", "rnn"):
            terms = [term[::-1] for term in terms]
        if kind.endswith("_norm") and len({*terms}) == 1 and len(terms[0]) == 1:
            return f"{len(terms)}x{terms[0][0]}"
        return "+".join("x".join(map(str, term)) for term in terms)

    def _groups(self, bound: dict[str, list[str]]) -> int:
        return int(next(iter(self._numbers(bound, "groups")), 1))

    def _kernel(self, bound: dict[str, list[str]]) -> tuple[int | None, ...]:
        return self._shape_of(bound, "weight")

    def _shape_of(self, bound: dict[str, list[str]], key: str) -> tuple[int | None, ...]:
        for name in bound.get(key, ())[:1]:
            if name in self.constants:
                return self.constants[name].weight.shape
            if name in self.types:
                return self.types[name].shape
        return ()

    def _numbers(self, bound: dict[str, list[str]], key: str) -> tuple[float, ...]:
        names = [name for name in bound.get(key, ()) if name in self.constants]
        return self.constants[names[0]].values if names else ()

    def _bound(self, start: int, end: int) -> Iterator[tuple[str, list[str]]]:
        """Input -> names of what it is bound to; values given in place become constants."""
        for at, to in parts(self.data, start, end, _INPUTS):
            key = text(self.data, at, to, 1)
            names = []
            for a, b in parts(self.data, at, to, _MAP_VALUE, _ARGUMENT_BINDINGS):
                name = text(self.data, a, b, _BINDING_NAME)
                for value in parts(self.data, a, b, _BINDING_VALUE):
                    name = f"{key}@{start}"
                    self.constants[name] = self.stored.constant(name, value)
                names.append(name)
            yield key, names

    def _attributes(self, start: int, end: int) -> Iterator[tuple[str, Span]]:
        for at, to in parts(self.data, start, end, _ATTRIBUTES):
            for value in parts(self.data, at, to, _MAP_VALUE):
                yield text(self.data, at, to, 1), value

    def _value(self, name: str, kind: Type) -> None:
        self.types[name] = kind
        shape = kind.shape
        leads = len(shape) > 1 and shape[0] == 1
        self.values[name] = Datum(shape, kind.dtype, shape[1:] if leads else shape)

    def _show_images(self, inputs: Sequence[str]) -> None:
        """Channels last, where a value has channels ahead of its positions."""
        images: set[str] = set()
        sources = {item.writes[0]: item for item in self.operations if item.writes}
        read_by_convolution: set[str] = set()
        for operation in reversed(self.operations):
            spatial = "Conv" in operation.type or "Pool" in operation.type
            through = operation.role == "silent" and read_by_convolution & {*operation.writes}
            if operation.reads and (spatial or through):
                read_by_convolution.add(operation.reads[0])
        for name, datum in self.values.items():
            if len(datum.shape or ()) < 3:
                continue
            made_by = sources.get(name)
            from_image = (
                made_by is not None
                and len(datum.shape or ()) == 4
                and made_by.type not in ("Permute", "Reshape", "MatMul")
                and any(read in images for read in made_by.reads)
            )
            spatial = made_by is not None and ("Conv" in made_by.type or "Pool" in made_by.type)
            if name in read_by_convolution or spatial or from_image:
                images.add(name)
                shown = datum.shown or ()
                self.values[name] = replace(datum, shown=(*shown[1:], *shown[:1]))


def _label(weights: list[Weight], writes: list[str]) -> str:
    """`conv1` of the weight conv1_weight_to_fp16; converters number what has no name."""
    owner = _OWNED.match(weights[0].name) if weights else None
    if owner and not owner[1].startswith(("const", "op_")):
        return owner[1]
    return writes[0].removesuffix("_cast_fp16") if writes else ""


def _count(shape: Sequence[int | None]) -> int:
    return prod(1 if size is None else size for size in shape)
