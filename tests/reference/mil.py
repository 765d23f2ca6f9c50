"""A Core ML program, evaluated operator by operator as the MIL specification describes them.

Slow and obvious. coremltools only reads the file; what the operators do is written down here, so
that a mistake of the converter shows. Operators that no test needs raise KeyError.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tests.reference.mil_operators import MORE


def program(path: Path) -> Any:
    """The program of a package, as coremltools reads it back."""
    from coremltools.converters.mil.frontend.milproto.load import load
    from coremltools.models.utils import load_spec

    spec = load_spec(str(path))
    folder = path / "Data" / "com.apple.CoreML" / "weights"
    return load(spec, spec.specificationVersion, str(folder))


def operations(path: Path) -> list[Any]:
    """Its operators that are not constants, in order, those inside of loops behind the loop."""
    (function,) = program(path).functions.values()
    return _inside(function)


def _inside(block: Any) -> list[Any]:
    found = []
    for op in block.operations:
        found += [op] * (op.op_type != "const")
        for inner in op.blocks:
            found += _inside(inner)
    return found


def run(path: Path, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Evaluate a package: one array per input in, one per output out."""
    (function,) = program(path).functions.values()
    values = dict(zip(function.inputs, map(torch.from_numpy, inputs), strict=True))
    _evaluate(function.operations, values)
    return tuple(np.asarray(values[var.name]) for var in function.outputs)


def _evaluate(operations: Sequence[Any], values: dict[str, Any]) -> None:
    """Add what the operators make to the values, by name."""
    for op in operations:
        if op.op_type == "const":
            values[op.outputs[0].name] = op.outputs[0].val
            continue
        given = {name: _given(values, var) for name, var in op.inputs.items() if var is not None}
        if op.op_type == "while_loop":
            made = _loop(*op.blocks, given["loop_vars"], values)
        else:
            made = _OPERATORS[op.op_type](**given)
        for var, value in zip(op.outputs, made if len(op.outputs) > 1 else [made], strict=True):
            values[var.name] = value


def _loop(condition: Any, body: Any, state: list[Any], values: dict[str, Any]) -> list[Any]:
    def results(block: Any) -> list[Any]:
        inside = values | dict(zip((var.name for var in block.inputs), state, strict=True))
        _evaluate(block.operations, inside)
        return [inside[var.name] for var in block.outputs]

    while bool(results(condition)[0]):
        state = results(body)
    return state


def _given(values: dict[str, Any], var: Any) -> Any:
    if isinstance(var, (list, tuple)):
        return [_given(values, one) for one in var]
    return values[var.name]


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def _tensor(value: Any) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.tensor(np.asarray(value))


def _margins(x, kind, pad, kernel, strides, dilations):
    """Padding per spatial axis as F.pad wants it, the last axis first."""
    size = x.shape[2:]
    if str(kind) == "valid":
        pairs = [(0, 0)] * len(size)
    elif str(kind) == "custom":
        flat = _ints(pad)
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
    else:
        pairs = []
        for length, window, step, gap in zip(size, kernel, strides, dilations, strict=True):
            reach = gap * (window - 1) + 1
            total = max(0, (-(-length // step) - 1) * step + reach - length)
            first = total // 2 if str(kind) == "same" else -(-total // 2)
            pairs.append((first, total - first))
    return [side for pair in reversed(pairs) for side in pair]


def _conv(x, weight, strides, pad_type, pad, dilations, groups, bias=None):
    weight, bias = _tensor(weight), None if bias is None else _tensor(bias)
    margins = _margins(x, pad_type, pad, weight.shape[2:], _ints(strides), _ints(dilations))
    convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.ndim]
    inside = [0] * (x.ndim - 2)
    if margins[::2] == margins[1::2]:  # torch's own padding: sums are added up in its order then
        inside, margins = margins[::-2], []
    padded = F.pad(x, margins) if margins else x
    return convolve(padded, weight, bias, _ints(strides), inside, _ints(dilations), int(groups))


def _pool(average):
    def pool(
        x,
        kernel_sizes,
        strides,
        pad_type,
        pad,
        ceil_mode=False,
        exclude_padding_from_average=False,
    ):
        window, step = _ints(kernel_sizes), _ints(strides)
        margins = _margins(x, pad_type, pad, window, step, [1] * len(window))
        given = list(margins)
        if ceil_mode:  # a window may reach over the end, as long as it begins before it
            for axis, (length, size, stride) in enumerate(
                zip(x.shape[2:], window, step, strict=True)
            ):
                at = 2 * (len(window) - 1 - axis)
                before, after = margins[at : at + 2]
                rest = (length + before + after - size) % stride
                begins = length + before + after - rest + (stride - size if rest else 0)
                if rest and begins < length + before:
                    margins[at + 1] += stride - rest
        reached = [after - before for after, before in zip(margins, given, strict=True)]
        rank = len(window)
        if not average:
            largest = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[rank]
            return largest(F.pad(x, margins, value=-torch.inf), window, step)
        mean = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[rank]
        counted = F.pad(torch.ones_like(x), given, value=float(not exclude_padding_from_average))
        counted = F.pad(counted, reached)  # beyond the padding nothing counts
        return mean(F.pad(x, margins), window, step) / mean(counted, window, step)

    return pool


def _quantize(input, scale, output_dtype, zero_point=0):
    low, high = {"int8": (-128, 127), "uint8": (0, 255)}[str(output_dtype)]
    level = torch.round(input / float(scale)) + float(zero_point)
    return level.clamp(low, high)


def _dequantize(input, scale, zero_point=0):
    return (input - float(zero_point)) * float(scale)


def _affine(quantized_data, zero_point, scale, axis):
    shape = [1] * quantized_data.ndim
    shape[int(axis)] = -1
    spread = [
        np.asarray(one, np.float32).reshape(shape if np.ndim(one) else [1] * quantized_data.ndim)
        for one in (zero_point, scale)
    ]
    return (quantized_data.astype(np.float32) - spread[0]) * spread[1]


def _blockwise(data, scale, offset=0):
    return (data.astype(np.float32) - offset) * scale


def _lut(indices, lut, shape=None, vector_axis=None):
    if shape is not None:  # iOS 16: packed bits and one table
        bits, count = int(np.log2(len(lut))), int(np.prod(shape))
        flat = np.unpackbits(indices, bitorder="little")[: count * bits].reshape(count, bits)
        return lut[flat @ (1 << np.arange(bits))].reshape(_ints(shape))
    result = None
    *groups, _, vector = lut.shape
    axis = int(vector_axis) if vector_axis is not None else 0
    result = np.zeros(
        [size * (vector if at == axis else 1) for at, size in enumerate(indices.shape)], np.float32
    )
    for at in np.ndindex(indices.shape):
        book = tuple(i * g // n for i, g, n in zip(at, groups, indices.shape, strict=True))
        for number in range(vector):
            place = list(at)
            place[axis] = at[axis] * vector + number
            result[tuple(place)] = lut[(*book, int(indices[at]), number)]
    return result


def _sparse_lut(indices_mask, indices_nonzero_data, lut):
    table = lut.reshape(-1)
    return indices_mask, np.array([table[int(at)] for at in indices_nonzero_data], np.float32)


def _sparse_blockwise(data_mask, nonzero_data, scale):
    spread = np.broadcast_to(scale, data_mask.shape)
    return data_mask, nonzero_data.astype(np.float32) * spread[np.asarray(data_mask, bool)]


def _sparse(nonzero_data, mask, shape=None):
    if shape is not None:  # iOS 16: a flat mask of packed bits
        count = int(np.prod(shape))
        mask = np.unpackbits(mask, bitorder="little")[:count].reshape(_ints(shape))
    result = np.zeros(mask.shape, np.float32)
    result[np.asarray(mask, bool)] = nonzero_data
    return result


_TYPES = {
    "bool": torch.bool,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "int16": torch.int16,
    "int32": torch.int32,
    "int8": torch.int8,
    "uint8": torch.uint8,
}


def _slice(x, begin, end, stride=None, begin_mask=None, end_mask=None, squeeze_mask=None):
    parts: list[Any] = []
    for axis in range(x.ndim):
        first = None if begin_mask is not None and begin_mask[axis] else int(begin[axis])
        last = None if end_mask is not None and end_mask[axis] else int(end[axis])
        step = 1 if stride is None else int(stride[axis])
        whole = squeeze_mask is not None and squeeze_mask[axis]
        parts.append(int(begin[axis]) if whole else slice(first, last, step))
    return x[tuple(parts)]


def _pad(x, pad, mode="constant", constant_val=0.0):
    pairs = list(zip(_ints(pad)[::2], _ints(pad)[1::2], strict=True))
    sides = [side for pair in reversed(pairs) for side in pair]
    if str(mode) == "constant":
        return F.pad(x, sides, value=float(constant_val))
    while len(sides) > 2 and sides[-2:] == [0, 0]:
        del sides[-2:]
    return F.pad(x, sides, str(mode))


def _matmul(x, y, transpose_x=False, transpose_y=False):
    x, y = _tensor(x), _tensor(y)
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def _joined(values, axis, interleave):
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].ndim
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


_OPERATORS: dict[str, Any] = MORE | {
    "add": lambda x, y: _tensor(x) + _tensor(y),
    "avg_pool": _pool(average=True),
    "cast": lambda x, dtype: _tensor(x).to(_TYPES[str(dtype)]),
    "clip": lambda x, alpha, beta: x.clamp(float(alpha), float(beta)),
    "concat": lambda values, axis, interleave=False: _joined(
        [_tensor(value) for value in values], int(axis), bool(interleave)
    ),
    "constexpr_affine_dequantize": _affine,
    "constexpr_blockwise_shift_scale": _blockwise,
    "constexpr_lut_to_dense": _lut,
    "constexpr_lut_to_sparse": _sparse_lut,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise,
    "constexpr_sparse_to_dense": _sparse,
    "conv": _conv,
    "dequantize": _dequantize,
    "exp": lambda x: x.exp(),
    "expand_dims": lambda x, axes: x[(..., None)] if _ints(axes) == [-1] else _expanded(x, axes),
    "identity": lambda x: x,
    "linear": lambda x, weight, bias=None: F.linear(
        x, _tensor(weight), None if bias is None else _tensor(bias)
    ),
    "matmul": _matmul,
    "max_pool": _pool(average=False),
    "mul": lambda x, y: _tensor(x) * _tensor(y),
    "pad": _pad,
    "quantize": _quantize,
    "real_div": lambda x, y: _tensor(x) / _tensor(y),
    "reduce_mean": lambda x, axes, keep_dims=False: x.mean(_ints(axes), keepdim=bool(keep_dims)),
    "relu": lambda x: x.clamp(min=0),
    "relu6": lambda x: x.clamp(0, 6),
    "reshape": lambda x, shape: x.reshape(_ints(shape)),
    "sigmoid": lambda x: x.sigmoid(),
    "silu": lambda x: x * x.sigmoid(),
    "slice_by_index": _slice,
    "softmax": lambda x, axis: x.softmax(int(axis)),
    "squeeze": lambda x, axes: x.squeeze(tuple(_ints(axes))),
    "sub": lambda x, y: _tensor(x) - _tensor(y),
    "tanh": lambda x: x.tanh(),
    "transpose": lambda x, perm: x.permute(_ints(perm)),
}


def _expanded(x, axes):
    for axis in sorted(_ints(axes)):
        x = x.unsqueeze(axis)
    return x
