"""Rules for operators that change how many rows and columns there are.

TFLite's RESIZE operators are taken where they compute what torch does. Any other interpolation or
average is a matrix along each dimension: torch's own operator, applied to the identity, gives it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import fx

from packlight.graph import argument, aten, is_call
from packlight.runtimes.lowering import matrix_of
from packlight.runtimes.tflite.layouts import Layout
from packlight.runtimes.tflite.lowering import Ending, Lowering, Value, rule, shape_of, unsupported
from packlight.runtimes.tflite.picking import gathered
from packlight.runtimes.tflite.schema import schema
from packlight.types import Array

_NEAREST = (
    aten.upsample_nearest1d,
    aten.upsample_nearest2d,
    aten._upsample_nearest_exact1d,
    aten._upsample_nearest_exact2d,
)
_SMOOTH = (aten.upsample_linear1d, aten.upsample_bilinear2d, aten.upsample_bicubic2d)


@rule(*_NEAREST)
def nearest(low: Lowering, node: fx.Node) -> None:
    """RESIZE_NEAREST_NEIGHBOR, or GATHER per dimension where it would take other elements."""
    x, outputs = low.value(node.args[0]), shape_of(node)[2:]
    places = [_places(node, axis) for axis in range(len(outputs))]
    half = "exact" in str(node.target)
    if len(outputs) == 2 and all(
        np.array_equal(found, _litert_places(size, output, half))
        for found, size, output in zip(places, x.shape[2:], outputs, strict=True)
    ):
        options = schema.ResizeNearestNeighborOptionsT(halfPixelCenters=half)
        integers = x.grid is not None
        source = low.tensor(x, integers, Layout.LAST)
        made = low.output(node, Ending(node, grid=x.grid), Layout.LAST)
        size = low.file.constant(np.array(outputs, np.int32))
        low.file.operator("RESIZE_NEAREST_NEIGHBOR", [source, size], [made], options)
        return
    for axis, indices in enumerate(places):
        x = gathered(low, x, axis + 2, indices)
    low.give(node, x)


@rule(*_SMOOTH)
def smooth(low: Lowering, node: fx.Node) -> None:
    """RESIZE_BILINEAR, or a matrix per dimension."""
    x, outputs = low.value(node.args[0]), shape_of(node)[2:]
    bilinear = is_call(node, aten.upsample_bilinear2d)
    corners = bool(argument(node, 2, "align_corners", False))
    matrices = [_matrix(node, axis) for axis in range(len(outputs))]
    wanted = [
        _linear(size, output, corners) for size, output in zip(x.shape[2:], outputs, strict=True)
    ]
    if bilinear and all(map(_near, matrices, wanted)):
        options = schema.ResizeBilinearOptionsT(alignCorners=corners, halfPixelCenters=not corners)
        source = low.tensor(x, False, Layout.LAST)
        made = low.output(node, Ending(node), Layout.LAST)
        size = low.file.constant(np.array(outputs, np.int32))
        low.file.operator("RESIZE_BILINEAR", [source, size], [made], options)
        return
    multiplied(low, node, x, matrices)


def multiplied(low: Lowering, node: fx.Node, x: Value, matrices: Sequence[Array]) -> None:
    """Give a node the value that a matrix (output, input) per last dimension makes of another."""
    tensor, rank = low.tensor(x, False, Layout.PLAIN), len(x.shape)
    swapped = [*range(rank - 2), rank - 1, rank - 2]
    for axis, matrix in reversed([*enumerate(matrices, rank - len(matrices))]):
        if np.array_equal(matrix, np.eye(*matrix.shape)):
            continue
        order = list(range(rank))
        order[axis], order[-1] = order[-1], order[axis]
        if axis == rank - 2:
            order = swapped
        turned = tensor if axis == rank - 1 else low.transposed(tensor, order, None)
        made = low.file.value((*low.file.shape(turned)[:-1], len(matrix)), "float32")
        inputs = [turned, low.file.constant(np.ascontiguousarray(matrix, np.float32)), -1]
        options = schema.FullyConnectedOptionsT(keepNumDims=True)
        low.file.operator("FULLY_CONNECTED", inputs, [made], options)
        tensor = made if axis == rank - 1 else low.transposed(made, order, None)
    low.give(node, Value(shape_of(node), tensors={(False, Layout.PLAIN): tensor}))


def _matrix(node: fx.Node, axis: int) -> Array:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    assert callable(node.target)
    target = node.target
    return matrix_of(lambda x: target(x, *node.args[1:], **node.kwargs), axis, shape_of(source)[2:])


def _places(node: fx.Node, axis: int) -> Array:
    found: Array = _matrix(node, axis).argmax(1)
    return found


def _litert_places(size: int, output: int, half: bool) -> Array:
    scale = np.float32(size) / np.float32(output)
    at = np.arange(output, dtype=np.float32) + np.float32(0.5 if half else 0)
    found: Array = np.minimum(np.floor(at * scale), size - 1).astype(np.int64)
    return found


def _linear(size: int, output: int, corners: bool) -> Array:
    """What RESIZE_BILINEAR does along a dimension."""
    at = np.arange(output, dtype=np.float64)
    if corners and output > 1:
        at = at * (size - 1) / (output - 1)
    elif corners:
        at = at * 0
    else:
        at = np.maximum((at + 0.5) * size / output - 0.5, 0)
    first = np.minimum(np.floor(at).astype(int), size - 1)
    part = at - first
    made = np.zeros((output, size))
    made[np.arange(output), first] += 1 - part
    made[np.arange(output), np.minimum(first + 1, size - 1)] += part
    return made


def _near(matrix: Array, wanted: Array) -> bool:
    return bool(np.abs(matrix - wanted).max() < 1e-5)


@rule(aten.pixel_shuffle)
def pixel_shuffle(low: Lowering, node: fx.Node) -> None:
    """DEPTH_TO_SPACE, its channels brought into TFLite's order first."""
    x, block = low.value(node.args[0]), argument(node, 1, "upscale_factor")
    if len(x.shape) != 4:
        raise unsupported(node, f"its input has {len(x.shape)} dimensions, not 4")
    channels = shape_of(node)[1]
    if channels > 1:
        order = np.arange(x.shape[1]).reshape(channels, block * block).T.reshape(-1)
        x = gathered(low, x, 1, order, Layout.LAST)
    integers = x.grid is not None
    source = low.tensor(x, integers, Layout.LAST)
    made = low.output(node, Ending(node, grid=x.grid), Layout.LAST)
    options = schema.DepthToSpaceOptionsT(blockSize=block)
    low.file.operator("DEPTH_TO_SPACE", [source], [made], options)


@rule(aten.pixel_unshuffle)
def pixel_unshuffle(low: Lowering, node: fx.Node) -> None:
    """SPACE_TO_DEPTH, its channels brought into torch's order afterwards."""
    x, block = low.value(node.args[0]), argument(node, 1, "downscale_factor")
    if len(x.shape) != 4:
        raise unsupported(node, f"its input has {len(x.shape)} dimensions, not 4")
    integers = x.grid is not None
    source = low.tensor(x, integers, Layout.LAST)
    shape = shape_of(node)
    made = low.file.like(source, (shape[0], *shape[2:], shape[1]))
    options = schema.SpaceToDepthOptionsT(blockSize=block)
    low.file.operator("SPACE_TO_DEPTH", [source], [made], options)
    value = Value(shape, x.grid, {(integers, Layout.LAST): made})
    if x.shape[1] > 1:
        order = np.arange(shape[1]).reshape(block * block, x.shape[1]).T.reshape(-1)
        value = gathered(low, value, 1, order)
    low.give(node, value)


@rule(aten.channel_shuffle)
def channel_shuffle(low: Lowering, node: fx.Node) -> None:
    """TRANSPOSE of groups and the channels in each, between two RESHAPE; channels are last."""
    x, groups = low.value(node.args[0]), argument(node, 1, "groups")
    if len(x.shape) not in (3, 4):
        raise unsupported(node, f"its input has {len(x.shape)} dimensions, not 3 or 4")
    integers = x.grid is not None
    source = low.tensor(x, integers, Layout.LAST)
    each = x.shape[1] // groups
    split = low.reshaped(source, (math.prod(x.shape) // x.shape[1], groups, each))
    turned = low.transposed(split, (0, 2, 1), x.grid)
    made = low.output(node, Ending(node, grid=x.grid), Layout.LAST)
    low.reshape(turned, made)
