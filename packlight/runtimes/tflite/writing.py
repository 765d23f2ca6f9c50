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
from packlight.runtimes.tflite.shuffles import with_shuffles

__all__ = ["lowered", "writable"]

RULE_BOOKS = (arithmetic, layers, moving, picking, pooling, resizing, transposed)


def lowered(network: Network, values: Values, channels_last: bool) -> bytes:
    """The .tflite file of a network whose sizes are all fixed.

    Raises:
        BadInput: names an operator that can not be written.
    """
    return Lowering(writable(network), values, channels_last).run()


def writable(network: Network) -> Network:
    """A network in operators that have a rule, as far as they can be spelled out by such."""
    return with_shuffles(without_unknown(network, set(RULES)))
