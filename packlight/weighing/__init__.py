"""Where a network's bytes, memory and arithmetic go, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packlight.weighing.table import LayerRow, LayerTable, Totals

__all__ = ["LayerRow", "LayerTable", "Totals", "weigh"]


def weigh(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> LayerTable:
    """Weigh a network: one row per layer, everything for one sample.

    Args:
        model: a path to a model file (docs/weigh.md names the kinds), a Network, a
            `torch.nn.Module`, a Keras model.
        example_inputs: as for `packlight.load`.
        input_shapes: input name -> whole shape, for files that leave sizes open; the name ""
            stands for the first input.
        constants: values for inputs that steer the graph, such as `{"sr": 16000}`.
    Raises:
        BadInput: the model can not be read.
    """
    from packlight.weighing.formats import listing_of
    from packlight.weighing.formats.operations import rows_of

    listing = None
    if example_inputs is None:
        listing = listing_of(model, input_shapes, constants)
    if listing is not None:
        name = Path(model).name if isinstance(model, (str, Path)) else ""
        rows, notes = rows_of(listing)
        return LayerTable(rows=rows, model=name, notes=notes)
    return _weigh_graph(model, example_inputs, input_shapes, constants)


def _weigh_graph(
    model: Any,
    example_inputs: Sequence[Any] | None,
    input_shapes: Mapping[str, tuple[int, ...]] | None,
    constants: Mapping[str, Any] | None,
) -> LayerTable:
    """Weigh what becomes a Network."""
    from packlight.readers import load
    from packlight.weighing.walk import rows_of

    if input_shapes and isinstance(model, (str, Path)):
        from packlight.readers.shapes import examples_of

        example_inputs = examples_of(Path(model), input_shapes)
    network = load(model, example_inputs, constants=constants)
    name = network.source.name if network.source else ""
    rows, notes = rows_of(network)
    return LayerTable(rows=rows, model=name, notes=(*network.notes, *notes))
