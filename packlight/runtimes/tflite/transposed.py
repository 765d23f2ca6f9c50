"""The rule for transposed convolutions."""

from __future__ import annotations

import numpy as np
from torch import fx

from packlight.graph import argument, aten, pair
from packlight.runtimes.tflite.layers import Call, Kernel, write
from packlight.runtimes.tflite.layouts import Layout, as_image
from packlight.runtimes.tflite.lowering import Lowering, rule, shape_of, unsupported
from packlight.runtimes.tflite.schema import schema
from packlight.runtimes.tflite.windows import place
from packlight.types import Array

ORDER = (1, 2, 3, 0)  # (in, out, h, w) -> (out, h, w, in)


@rule(aten.conv_transpose1d, aten.conv_transpose2d)
def transposed_convolution(low: Lowering, node: fx.Node) -> None:
    """TRANSPOSE_CONV, cut to size where its borders are not torch's.

    Groups and dilation, which it does not know, become zeros in the weight.
    """
    weight = node.args[1]
    assert isinstance(weight, fx.Node)
    x, shape = low.value(node.args[0]), as_image(shape_of(weight))
    if len(x.shape) == len(shape_of(weight)) - 1:
        raise unsupported(node, "its input counts no samples")
    groups = argument(node, 6, "groups", 1)
    stride, before, spread = (
        pair(argument(node, at, name, default))
        for at, name, default in ((3, "stride", 1), (4, "padding", 0), (7, "dilation", 1))
    )
    if len(x.shape) == 3:
        stride, before, spread = (1, stride[1]), (0, before[1]), (1, spread[1])
    taps = [(count - 1) * step + 1 for count, step in zip(shape[2:], spread, strict=True)]
    sizes, outputs = as_image(x.shape)[2:], as_image(shape_of(node))[2:]
    # it is the convolution from outputs to inputs, the other way round
    windows = place(outputs, sizes, taps, stride, (1, 1), before)
    whole, cut = list(outputs), None
    if windows.padding == schema.Padding.VALID:
        full = [(size - 1) * step + n for size, step, n in zip(sizes, stride, taps, strict=True)]
        ends = [begin + size for begin, size in zip(before, outputs, strict=True)]
        whole = [max(pair) for pair in zip(full, ends, strict=True)]
        if whole != list(outputs):
            kept = [(begin, end, 1) for begin, end in zip(before, ends, strict=True)]
            cut = ((0, x.shape[0], 1), *kept, (0, shape[1] * groups, 1))
    options = schema.TransposeConvOptionsT(
        padding=windows.padding, strideH=stride[0], strideW=stride[1]
    )
    size = (x.shape[0], *whole, shape[1] * groups)
    kernel = Kernel(ORDER, 0, lambda array: _dense(array, groups, spread), groups)
    write(low, node, Call("TRANSPOSE_CONV", options, size, cut), x, Layout.LAST, kernel)


def _dense(weight: Array, groups: int, spread: tuple[int, int]) -> Array:
    """A weight as an image's, without groups and dilation."""
    inside, out, rows, columns = as_image(weight.shape)
    taps = (rows - 1) * spread[0] + 1, (columns - 1) * spread[1] + 1
    made = np.zeros((inside, out * groups, *taps), weight.dtype)
    each = inside // groups
    for group in range(groups):
        rows_in, columns_out = slice(group * each, (group + 1) * each), group * out
        made[rows_in, columns_out : columns_out + out, :: spread[0], :: spread[1]] = weight[
            rows_in
        ].reshape(each, out, rows, columns)
    return made
