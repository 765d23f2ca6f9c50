"""The layers of a .tflite file in LiteRT.

Keeping all tensors (`experimental_preserve_all_tensors`) is no way to see them: LiteRT 2.3 then
hands every operator to XNNPACK by itself, so that nothing is fused. Instead there is one copy of
the file per layer, which ends there, and runs as the file itself does.

packlight wrote the file, operator by operator from a graph. It is written again in memory, which
tells the operator for every layer; the file is compared as it lies there, whatever became of its
numbers, as long as it has the same operators in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import fx

from packlight.errors import BadInput
from packlight.exporting import RECORD
from packlight.fuse import fuse
from packlight.graph import is_call
from packlight.layerwise.graph import PASSING, add_runs, place_of
from packlight.layerwise.measure import Place, RuntimeLayers, Tally
from packlight.layerwise.watched import Watched, held, run_all
from packlight.network import Network
from packlight.readers import load
from packlight.runtimes.apart import apart
from packlight.runtimes.litert import Session
from packlight.runtimes.lowering import with_one_sample
from packlight.runtimes.tflite.flatfile import parsed, unparsed
from packlight.runtimes.tflite.layouts import PLAIN_ORDER, Layout
from packlight.runtimes.tflite.lowering import Lowering
from packlight.runtimes.tflite.writing import writable

_SETTINGS: tuple[dict[str, Any], ...] = tuple(
    {"channels_last": last, "values": values}
    for values in ("fitted", "int8", "float")
    for last in (False, True)
)


@dataclass(frozen=True)
class _Seen:
    """A place in the file.

    Args:
        place: in the graph.
        operator: number of the operator that makes it.
        tensor: that it fills.
        last: its channels are last.
        signal: it has three dimensions, and one row more in the file where channels are last.
        scale, zero: of the integers in the file; None and 0 where it holds floats.
    """

    place: Place
    operator: int
    tensor: int
    last: bool
    signal: bool
    scale: float | None
    zero: int


def compare(watched: Watched) -> RuntimeLayers:
    """Compare the values at the end of every layer."""
    network = writable(fuse(with_one_sample(load(watched.reference))).network)
    try:
        model = parsed(watched.path.read_bytes())
    except Exception as problem:
        raise BadInput(f"{watched.path.name} is no .tflite file ({problem})") from problem
    seen = _seen(network, model, watched)
    apart("", _watch, watched.path, seen, watched.inputs, watched.work)
    given = {}
    for one in seen:
        values = np.load(held(watched.work, one.place))
        if one.scale is not None:
            values = (values.astype(np.float64) - one.zero) * one.scale
        if one.last:
            values = values.transpose(0, *(axis + 1 for axis in PLAIN_ORDER))
            values = values.squeeze(3) if one.signal else values
        given[one.place.key] = np.ascontiguousarray(values)  # torch's views take no others
    tallies = {one.place.key: Tally(one.place) for one in seen}
    add_runs(network, tallies, given, watched.samples)
    return watched.result(tallies.values())


def _seen(network: Network, model: Any, watched: Watched) -> list[_Seen]:
    """Where the file holds the graph's values.

    Raises:
        BadInput: the file was not written from this network.
    """
    wanted = _steps(model)
    for settings in (_recorded(watched.path), *_SETTINGS):
        lowering = Lowering(network, settings["values"], settings["channels_last"])
        if _steps(parsed(lowering.run())) == wanted:
            return [
                one
                for node, tensor, layout in lowering.made
                if not is_call(node, *PASSING)
                and (one := _found(node, lowering.file.maker(tensor), layout, model)) is not None
            ]
    raise BadInput(
        f"{watched.path.name} has other operators than this version of packlight writes from "
        f"{watched.reference.name}; export it again to see its layers"
    )


def _recorded(path: Path) -> dict[str, Any]:
    """How the file was written, as export's record has it."""
    settings: dict[str, Any] = {"channels_last": False, "values": "fitted"}
    try:
        record = json.loads((path.parent / RECORD).read_bytes())
        found = record["files"]["litert"]["settings"]
        return settings | {key: found[key] for key in settings if key in found}
    except (OSError, ValueError, KeyError, TypeError):
        return settings


def _steps(model: Any) -> list[tuple[Any, ...]]:
    """Every operator, with what it fills."""
    (graph,) = model.subgraphs
    return [
        (
            model.operatorCodes[call.opcodeIndex].builtinCode,
            *((tuple(graph.tensors[at].shape), graph.tensors[at].type) for at in call.outputs),
        )
        for call in graph.operators
    ]


def _found(node: fx.Node, operator: int | None, layout: Layout, model: Any) -> _Seen | None:
    if operator is None:
        return None
    (graph,) = model.subgraphs
    (tensor,) = graph.operators[operator].outputs
    grid = graph.tensors[tensor].quantization
    place, scale, zero = place_of(node), None, 0
    if grid is not None and grid.scale is not None and len(grid.scale) == 1:
        scale, zero = float(grid.scale[0]), int(grid.zeroPoint[0])
        place = replace(place, step=place.step or scale)
    signal = node.meta["val"].ndim == 3
    return _Seen(place, operator, int(tensor), layout is Layout.LAST, signal, scale, zero)


def _watch(path: Path, seen: Sequence[_Seen], inputs: Sequence[Path], work: Path) -> None:
    """In another process: run one copy per place, and keep what it gives."""
    data = path.read_bytes()
    for one in seen:
        session = Session(cut(data, one.operator, one.tensor), threads=1)
        (values,) = run_all(session, inputs)
        np.save(held(work, one.place), values)


def cut(data: bytes, operator: int, tensor: int) -> bytes:
    """The file that ends with one tensor of a file's, and computes nothing else."""
    model = parsed(data)
    (graph,) = model.subgraphs
    wanted, kept = {tensor}, []
    for call in reversed(graph.operators[: operator + 1]):
        if wanted.intersection(map(int, call.outputs)):
            wanted.update(map(int, call.inputs))
            kept.append(call)
    graph.operators = kept[::-1]
    graph.outputs = np.array([tensor], np.int32)
    model.signatureDefs = None
    return unparsed(model)
