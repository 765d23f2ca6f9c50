"""The inputs of an ONNX graph, every size decided but the batch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx

from packlight.errors import BadInput
from packlight.readers.onnx.file import Array
from packlight.weighing.formats.onnx_shapes import shape_of

#: numbers of one sample that no network for a phone takes
_LARGEST = 1 << 28


class Inputs:
    """The inputs of a graph with every size decided but the batch's."""

    def __init__(
        self, sizes: dict[str, tuple[int, list[int | None]]], known: dict[str, Array], varies: bool
    ) -> None:
        self._sizes = sizes
        self.known = known
        self.varies = varies

    @property
    def names(self) -> list[str]:
        """In the file's order."""
        return [*self._sizes]

    def sized(self, batch: int) -> dict[str, tuple[int, tuple[int, ...]]]:
        """(data type, shape) of every input at this batch."""
        return {
            name: (kind, tuple(batch if size is None else size for size in shape))
            for name, (kind, shape) in self._sizes.items()
        }

    def taking(self, name: str, value: Array) -> Inputs:
        """The same with an input that is taken as a constant."""
        return Inputs(self._sizes, self.known | {name: value}, self.varies)

    @classmethod
    def of(
        cls,
        graph: onnx.GraphProto,
        where: str,
        given: dict[str, tuple[int, ...]],
        constants: dict[str, Any],
    ) -> Inputs:
        """Decide on every size, by what the file says and the user gives."""
        initialised = {tensor.name for tensor in graph.initializer}
        ports = {port.name: port.type for port in graph.input if port.name not in initialised}
        if "" in given and ports:
            given = {next(iter(ports)) if name == "" else name: s for name, s in given.items()}
        for name in [*given, *constants]:
            if name not in ports:
                raise BadInput(f"{where} has no input {name!r}; it has {', '.join(ports)}")
        batch = next(
            (
                kind.tensor_type.shape.dim[0].dim_param
                for name, kind in ports.items()
                if name not in constants and kind.tensor_type.shape.dim
            ),
            "",
        )
        sizes: dict[str, tuple[int, list[int | None]]] = {}
        known: dict[str, Array] = {}
        for name, kind in ports.items():
            if not kind.HasField("tensor_type"):
                raise BadInput(f"input {name!r} of {where} is not a tensor, and can not be weighed")
            shape = _shape(name, kind, given.get(name), batch, where)
            sizes[name] = (kind.tensor_type.elem_type, shape)
            if name in constants:
                whole = [1 if size is None else size for size in shape]
                known[name] = value_for(name, constants[name], kind.tensor_type.elem_type, whole)
                sizes[name] = (kind.tensor_type.elem_type, [*whole])
        varies = any(None in shape for _, shape in sizes.values())
        return cls(sizes, known, varies)


def value_for(name: str, given: Any, kind: int, shape: list[int]) -> Array:
    """What an input is taken as."""
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    array = np.asarray(given)
    fits = array.dtype.kind in "biuf" and np.can_cast(array.dtype, dtype, "same_kind")
    if not fits or array.size not in (1, math.prod(shape)):
        raise BadInput(
            f"the value of input {name!r} is {given!r}; a value of type {dtype} and of shape "
            f"{'x'.join(map(str, shape)) or 'scalar'} is needed"
        )
    return np.broadcast_to(array.astype(dtype).reshape(shape if array.size > 1 else ()), shape)


def _shape(
    name: str, kind: onnx.TypeProto, given: tuple[int, ...] | None, batch: str, where: str
) -> list[int | None]:
    """One input's sizes; None where the batch goes."""
    said = shape_of(kind)
    if said is None and given is None:
        raise BadInput(
            f"the file does not say how many dimensions input {name!r} has; give its shape (on "
            "the command line: --input-shape)"
        )
    if said is None or given is None:
        said = said if said is not None else given or ()
    elif len(given) != len(said) or any(
        size is not None and size != wanted for size, wanted in zip(said, given, strict=True)
    ):
        allowed = "x".join("?" if size is None else str(size) for size in said) or "scalar"
        raise BadInput(
            f"input {name!r} of {where} can not have the shape {'x'.join(map(str, given))}; the "
            f"file says {allowed}"
        )
    dims = kind.tensor_type.shape.dim
    shape: list[int | None] = []
    for axis, size in enumerate(said):
        symbol = dims[axis].dim_param if axis < len(dims) else ""
        if size is None and (axis == 0 or (batch and symbol == batch)):
            shape.append(None)
        elif size is not None:
            shape.append(size)
        elif given is not None:
            shape.append(given[axis])
        else:
            named = f" ({symbol!r})" if symbol else ""
            raise BadInput(
                f"input {name!r} leaves dimension {axis}{named} open, and only the batch may "
                "vary; give its shape (on the command line: --input-shape)"
            )
    total = 1
    for size in shape:
        total *= size or 1
    if not 0 <= total <= _LARGEST or any(size is not None and size < 0 for size in shape):
        raise BadInput(
            f"input {name!r} of shape {shape} is larger than any network for a phone takes"
        )
    return shape
