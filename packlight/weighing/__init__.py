"""Where a network's bytes, memory and arithmetic go, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from packlight.errors import BadInput
from packlight.progress import Progress
from packlight.weighing.table import LayerRow, LayerTable, Totals

__all__ = ["LayerRow", "LayerTable", "Totals", "weigh"]

_SOLVER = "a lower plan of memory may be found after: pip install 'packlight[solver]'"
SECONDS = 1.0  # for the search of a better plan of memory; most networks take far less


def weigh(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    constants: Mapping[str, Any] | None = None,
    batch: int = 1,
    progress: Progress | None = None,
) -> LayerTable:
    """Weigh a network: one row per layer, everything for one run.

    Args:
        model: a path to a model file (docs/weigh.md names the kinds), a Network, a
            `torch.nn.Module`, a Keras model.
        example_inputs: as for `packlight.load`.
        input_shapes: input name -> whole shape, for files that leave sizes open; the name ""
            stands for the first input.
        constants: values for inputs that steer the graph, such as `{"sr": 16000}`.
        batch: samples of the run: data, MACs and memory grow with them.
        progress: told of every stage.
    Raises:
        BadInput: the model can not be read, or not run with this batch.
    """
    from packlight.weighing.bytes import bytes_of
    from packlight.weighing.formats import listing_of

    if batch < 1:
        raise BadInput(f"a batch of {batch} is not possible; give at least 1")
    progress = progress or Progress()
    path = Path(model) if isinstance(model, (str, Path)) else None
    with progress.stage("weighing the layers"):
        listing = None
        if example_inputs is None:
            listing = listing_of(model, input_shapes, constants)
        if listing is not None:
            table = _weigh_listing(listing, path, batch)
        else:
            table, path = _weigh_graph(model, example_inputs, input_shapes, constants, batch)
    if path is not None and path.exists():
        with progress.stage("weighing the file"):
            table = replace(table, file=bytes_of(path))
    if table.memory is not None and table.memory.peak > table.memory.lower_bound:
        from packlight.weighing.memory import solver

        if not solver.is_installed():
            table = replace(table, notes=(*table.notes, _SOLVER))
    return table.for_batch(batch)


def _weigh_listing(listing: Any, path: Path | None, batch: int) -> LayerTable:
    """Weigh what a format lists."""
    from packlight.weighing.formats.operations import program_of, rows_of
    from packlight.weighing.memory import memory_of

    if batch not in (1, listing.fixed_batch or batch):
        raise BadInput(
            f"a batch of {batch} is not possible; the file fixes it to {listing.fixed_batch}"
        )
    rows, notes = rows_of(listing)
    program = program_of(listing)
    values = {
        name: replace(value, bytes=batch * value.bytes) for name, value in program.values.items()
    }
    memory = memory_of(replace(program, values=values), seconds=SECONDS)
    return LayerTable(rows=rows, model=path.name if path else "", notes=notes, memory=memory)


def _weigh_graph(
    model: Any,
    example_inputs: Sequence[Any] | None,
    input_shapes: Mapping[str, tuple[int, ...]] | None,
    constants: Mapping[str, Any] | None,
    batch: int,
) -> tuple[LayerTable, Path | None]:
    """Weigh what becomes a Network; the file it came from."""
    from packlight.readers import load
    from packlight.weighing.memory import memory_of
    from packlight.weighing.program import program_of
    from packlight.weighing.walk import rows_of

    if input_shapes and isinstance(model, (str, Path)):
        from packlight.readers.shapes import examples_of

        example_inputs = examples_of(Path(model), input_shapes)
    network = load(model, example_inputs, constants=constants)
    source = network.source
    rows, notes = rows_of(network)
    program = program_of(network, batch=batch if batch > 1 else None)
    table = LayerTable(
        rows=rows,
        model=source.name if source else "",
        notes=(*network.notes, *notes),
        memory=memory_of(program, seconds=SECONDS),
    )
    return table, source
