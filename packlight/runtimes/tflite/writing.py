"""Every rule, registered."""

from __future__ import annotations

from packlight.network import Network
from packlight.runtimes.tflite import Values, arithmetic, layers, moving, pooling
from packlight.runtimes.tflite.lowering import Lowering

__all__ = ["lowered"]

RULE_BOOKS = (arithmetic, layers, moving, pooling)


def lowered(network: Network, values: Values, channels_last: bool) -> bytes:
    """The .tflite file of a network whose sizes are all fixed.

    Raises:
        BadInput: names an operator that can not be written.
    """
    return Lowering(network, values, channels_last).run()
