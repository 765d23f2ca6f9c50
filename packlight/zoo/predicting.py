"""How good a compact network would become: a line through what was published.

Top-1 on ImageNet grows about with the logarithms of the parameters and of the MACs. The line goes
through 50 published networks of the families below, among them MobileNet v1 and v2 by width and by
resolution; they lie 2.7 points (root mean square) about it, partly because they were trained in
different ways. It ranks networks of unlike shapes. It does not promise an accuracy: other data and
other training have another line, and the smallest network it has seen has 470,000 parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

from packlight.zoo.published import PUBLISHED, WIDTHS_AND_RESOLUTIONS
from packlight.zoo.recipes import Recipe

RESOLUTION = 224  # of what is published, where nothing else is said
CLASSES = 1000

#: SqueezeNets lie 9 and 13 points below this line; CondenseNet shrinks only while it is trained
FAMILIES = (
    "efficientnet_lite0",
    "ghostnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mobilenet_v4_conv_small",
    "shufflenet_v1",
    "shufflenet_v2",
)

# percentage points, fitted by least squares to `published_points`; tests fit them again
_AT_A_MILLION = 59.3  # parameters, and a hundred million MACs
_PER_DECADE = 11.7, 12.1  # of parameters, of MACs


def predicted(parameters: int, macs: int) -> float:
    """The line: percentage points of top-1 on ImageNet."""
    of_parameters, of_macs = _PER_DECADE
    return _AT_A_MILLION + of_parameters * log10(parameters / 1e6) + of_macs * log10(macs / 1e8)


def published_points() -> Iterator[tuple[Recipe, int, float]]:
    """What the line was fitted to: network, resolution, top-1 in percentage points."""
    for one in PUBLISHED:
        family = one.function or one.name
        if family in FAMILIES and family not in WIDTHS_AND_RESOLUTIONS:
            options = dict(one.arguments)
            width = options.pop("width", 1.0)
            yield Recipe(family, width, tuple(options.items())), RESOLUTION, 100 * one.top1
    for family, widths in WIDTHS_AND_RESOLUTIONS.items():
        for width, resolutions in widths.items():
            for resolution, top1 in resolutions.items():
                yield Recipe(family, width), resolution, top1
