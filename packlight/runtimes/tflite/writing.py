"""Every rule, registered."""

from __future__ import annotations

from packlight.network import Network
from packlight.runtimes.tflite import (
    Values,
    arithmetic,
    layers,
    moving,
    picking,
    pooling,
    resizing,
    transposed,
)
from packlight.runtimes.tflite.composites import without_unknown
from packlight.runtimes.tflite.lowering import RULES, Lowering

__all__ = ["lowered"]

RULE_BOOKS = (arithmetic, layers, moving, picking, pooling, resizing, transposed)


def lowered(network: Network, values: Values, channels_last: bool) -> bytes:
    """The .tflite file of a network whose sizes are all fixed.

    Raises:
        BadInput: names an operator that can not be written.
    """
    network = without_unknown(network, set(RULES))
    return Lowering(network, values, channels_last).run()
