"""Where a network's bytes, memory and arithmetic go, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from packlight.weighing.table import LayerRow, LayerTable, Totals

__all__ = ["LayerRow", "LayerTable", "Totals", "weigh"]


def weigh(model: Any, example_inputs: Sequence[Any] | None = None) -> LayerTable:
    """Weigh a network: one row per layer, everything for one sample.

    Args:
        model: a Network, or whatever `packlight.load` takes: a path, a `torch.nn.Module`.
        example_inputs: as for `packlight.load`.
    Raises:
        BadInput: the model can not be read.
    """
    from packlight.readers import load
    from packlight.weighing.walk import rows_of

    network = load(model, example_inputs)
    name = network.source.name if network.source else ""
    rows, notes = rows_of(network)
    return LayerTable(rows=rows, model=name, notes=(*network.notes, *notes))
