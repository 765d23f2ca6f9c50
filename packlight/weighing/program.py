"""A network as its memory sees it: steps that read and write values, in the order they run.

Readers of any format make a Program; `packlight.weighing.memory` plans it. Weights and other
constants are no values: they lie in the file, not in the memory that a plan hands out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packlight.network import Network


@dataclass(frozen=True)
class Value:
    """One tensor that exists while the network runs.

    Args:
        name: unique in its program.
        shape: all axes; None where only a run can tell, counted as 1.
        dtype: numpy's name, as float32 or int8.
        bytes: what its numbers take.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True)
class Step:
    """One operation.

    Args:
        name: of the layer, for people; need not be unique.
        kind: the operator's name.
        reads, writes: names of values.
        view_of: the value whose storage its outputs are, as after a reshape: they take no bytes
            of their own.
        may_overwrite: inputs it can write its output over, if they are not needed afterwards
            (elementwise operators).
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    view_of: str | None = None
    may_overwrite: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A network's values and steps.

    Args:
        values: by name.
        steps: in the order given.
        inputs, outputs: names of values. Inputs exist before the first step, outputs after the
            last one.
    """

    values: Mapping[str, Value]
    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def program_of(
    network: Network,
    *,
    batch: int | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Program:
    """The program of a network.

    Args:
        batch: samples of one run; default: 1 where it may vary, otherwise what the network takes.
        input_shapes: whole shapes of inputs, by name, where they differ from the examples'.
    Raises:
        BadInput: the network does not run with this batch or these shapes.
    """
    from packlight.weighing.exported import program_of_graph

    return program_of_graph(network, batch, dict(input_shapes or {}))
