"""More operators of Core ML's MIL, as the specification describes them, for `tests.reference.mil`.

Arguments have the specification's names; arrays that the program holds are NumPy's, others torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F


def tensor(value: Any) -> torch.Tensor:
    if isinstance(value, float):
        return torch.tensor(value)
    return value if isinstance(value, torch.Tensor) else torch.tensor(np.asarray(value))


def ints(values: Any) -> list[int]:
    return [int(value) for value in np.atleast_1d(np.asarray(values))]


def _one(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda x: function(tensor(x))


def _two(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda x, y: function(tensor(x), tensor(y))


def _reduced(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def reduce(x: Any, axes: Any = None, keep_dims: Any = False) -> torch.Tensor:
        x = tensor(x)
        over = range(x.ndim) if axes is None else [axis % x.ndim for axis in ints(axes)]
        for axis in sorted(over, reverse=True):
            x = function(x, axis)
            x = x.unsqueeze(axis) if keep_dims else x
        return x

    return reduce


def _over(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def reduce(x: Any, axes: Any, keep_dims: Any = False) -> torch.Tensor:
        return function(tensor(x), tuple(ints(axes)), bool(keep_dims))

    return reduce


def _conv_transpose(
    x, weight, pad_type, strides, dilations, groups, pad=None, bias=None, output_shape=None
):
    weight = tensor(weight)
    convolve = {3: F.conv_transpose1d, 4: F.conv_transpose2d}[x.ndim]
    whole = convolve(x, weight, None, ints(strides), groups=int(groups), dilation=ints(dilations))
    margins = ints(pad) if str(pad_type) == "custom" else [0] * 2 * (x.ndim - 2)
    for axis, (before, after) in enumerate(zip(margins[::2], margins[1::2], strict=True), start=2):
        wanted = whole.shape[axis] - before - after
        if output_shape is not None:
            wanted = ints(output_shape)[axis]
        lack = max(0, before + wanted - whole.shape[axis])
        whole = F.pad(whole, [0, 0] * (whole.ndim - 1 - axis) + [0, lack])
        whole = whole.narrow(axis, before, wanted)
    return whole if bias is None else whole + tensor(bias).reshape(-1, *[1] * (x.ndim - 2))


def _batch_norm(x, mean, variance, gamma=1.0, beta=0.0, epsilon=1e-5):
    shape = [1, -1, *[1] * (x.ndim - 2)]
    mean, variance, gamma, beta = (
        tensor(one).reshape(shape) for one in (mean, variance, gamma, beta)
    )
    return (x - mean) / (variance + float(epsilon)).sqrt() * gamma + beta


def _instance_norm(x, gamma=1.0, beta=0.0, epsilon=1e-5):
    axes = tuple(range(2, x.ndim))
    shape = [1, -1, *[1] * (x.ndim - 2)]
    scaled = (x - x.mean(axes, keepdim=True)) / (
        x.var(axes, correction=0, keepdim=True) + float(epsilon)
    ).sqrt()
    return scaled * tensor(gamma).reshape(shape) + tensor(beta).reshape(shape)


def _layer_norm(x, axes, gamma=None, beta=None, epsilon=1e-5):
    over = tuple(axis % x.ndim for axis in ints(axes))
    shape = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    made = (x - x.mean(over, keepdim=True)) / (
        x.var(over, correction=0, keepdim=True) + float(epsilon)
    ).sqrt()
    made = made if gamma is None else made * tensor(gamma).reshape(shape)
    return made if beta is None else made + tensor(beta).reshape(shape)


def _split(x, axis, num_splits=None, split_sizes=None):
    if split_sizes is None:
        return x.chunk(int(num_splits), int(axis))
    return x.split(ints(split_sizes), int(axis))


def _gather(x, indices, axis=0, batch_dims=0, validate_indices=False):
    assert int(batch_dims) == 0
    x, places, axis = tensor(x), tensor(indices).long(), int(axis) % tensor(x).ndim
    found = x.index_select(axis, places.reshape(-1) % x.shape[axis])
    return found.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


def _gelu(x, mode="EXACT"):
    assert str(mode) in ("EXACT", "TANH_APPROXIMATION")
    return F.gelu(x, approximate="none" if str(mode) == "EXACT" else "tanh")


def _scaled(x, height, width, **how):
    size = [int(x.shape[2] * float(height) + 1e-4), int(x.shape[3] * float(width) + 1e-4)]
    return F.interpolate(x, size, **how)


def _upsample_bilinear(
    x, scale_factor_height, scale_factor_width, align_corners, half_pixel_centers=None
):
    assert half_pixel_centers is None or bool(half_pixel_centers) != bool(align_corners)
    return _scaled(
        x,
        scale_factor_height,
        scale_factor_width,
        mode="bilinear",
        align_corners=bool(align_corners),
    )


def _lstm(
    x,
    initial_h,
    initial_c,
    weight_ih,
    weight_hh,
    bias=None,
    direction="forward",
    output_sequence=False,
    weight_ih_back=None,
    weight_hh_back=None,
    bias_back=None,
    **activations,
):
    """Gates in the order input, forget, output, cell; states hold both directions side by side."""
    names = {"recurrent_activation": "sigmoid", "cell_activation": "tanh", "activation": "tanh"}
    assert {key: str(activations.pop(key, name)) for key, name in names.items()} == names
    assert not {key for key, value in activations.items() if value is not None} - {"peephole"}
    passes = [(weight_ih, weight_hh, bias, str(direction) == "reverse")]
    if str(direction) == "bidirectional":
        passes.append((weight_ih_back, weight_hh_back, bias_back, True))
    states = zip(
        tensor(initial_h).chunk(len(passes), 1),
        tensor(initial_c).chunk(len(passes), 1),
        strict=True,
    )
    made = []
    for (given, fed_back, offset, backwards), (h, c) in zip(passes, states, strict=True):
        every = []
        for step in reversed(x) if backwards else x:
            gates = step @ tensor(given).T + h @ tensor(fed_back).T
            gates = gates if offset is None else gates + tensor(offset)
            i, f, o, z = gates.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * z.tanh()
            h = o.sigmoid() * c.tanh()
            every.append(h)
        made.append((torch.stack(every[::-1] if backwards else every), h, c))
    outputs, h, c = (torch.cat(parts, -1) for parts in zip(*made, strict=True))
    return outputs if output_sequence else h[None], h, c


def _topk(x, k, axis=-1, ascending=False, sort=True, return_indices=True, **_):
    values, places = x.topk(int(k), int(axis), largest=not ascending)
    return (values, places.int()) if return_indices else values


def _arg(function):
    return lambda x, axis=-1, keep_dims=False, output_dtype=None: function(
        x, int(axis), bool(keep_dims)
    ).int()


def _prelu(x, alpha):
    return torch.where(x > 0, x, x * tensor(alpha).reshape(-1, *[1] * (x.ndim - 2)))


def _band_part(x, lower, upper):
    rows, columns = np.indices(tuple(x.shape[-2:]))
    kept = ((int(lower) < 0) | (rows - columns <= int(lower))) & (
        (int(upper) < 0) | (columns - rows <= int(upper))
    )
    return torch.where(torch.from_numpy(kept), x, torch.zeros_like(x))


def _cumsum(x, axis, exclusive=False, reverse=False):
    assert not exclusive
    assert not reverse
    return x.cumsum(int(axis))


def _resample(
    x, coordinates, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners
):
    assert str(coordinates_mode) == "normalized_minus_one_to_one"
    assert float(padding_value) == 0
    return F.grid_sample(
        x,
        tensor(coordinates).float(),
        str(sampling_mode),
        {"constant": "zeros"}[str(padding_mode)],
        align_corners=bool(align_corners),
    )


def _gather_along_axis(x, indices, axis=0, validate_indices=False):
    return tensor(x).gather(int(axis), tensor(indices).long())


def _crop(x, crop_height, crop_width):
    (top, bottom), (left, right) = ints(crop_height), ints(crop_width)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _rnn(
    x,
    initial_h,
    weight_ih,
    weight_hh,
    bias=0.0,
    direction="forward",
    output_sequence=False,
    activation="tanh",
):
    assert str(direction) == "forward"
    assert str(activation) == "tanh"
    h, every = tensor(initial_h), []
    for step in x:
        h = (step @ tensor(weight_ih).T + h @ tensor(weight_hh).T + tensor(bias)).tanh()
        every.append(h)
    return (torch.stack(every) if output_sequence else h[None]), h


def _scatter(data, indices, updates, axis=0, mode="add", validate_indices=False):
    data, axis = tensor(data), int(axis)
    put = {"add": data.index_add, "update": data.index_copy}[str(mode)]
    return put(axis, tensor(indices).long().reshape(-1) % data.shape[axis], tensor(updates))


def _written(ls, index, value):
    return {**ls, int(index): tensor(value)}


MORE: dict[str, Any] = {
    "abs": _one(torch.abs),
    "argsort": lambda x, axis=-1, ascending=False: x.argsort(
        int(axis), descending=not ascending
    ).int(),
    "atan": _one(torch.atan),
    "band_part": _band_part,
    "batch_norm": _batch_norm,
    "ceil": _one(torch.ceil),
    "conv_transpose": _conv_transpose,
    "cos": _one(torch.cos),
    "crop": _crop,
    "cumsum": _cumsum,
    "einsum": lambda values, equation: torch.einsum(str(equation), *map(tensor, values)),
    "elu": lambda x, alpha: F.elu(x, float(alpha)),
    "equal": _two(torch.eq),
    "erf": _one(torch.erf),
    "fill": lambda shape, value: torch.full(ints(shape), np.asarray(value).item()),
    "floor": _one(torch.floor),
    "floor_div": _two(lambda x, y: torch.div(x, y, rounding_mode="floor")),
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gelu": _gelu,
    "greater": _two(torch.gt),
    "greater_equal": _two(torch.ge),
    "instance_norm": _instance_norm,
    "inverse": lambda x, epsilon: 1 / (x + float(epsilon)),
    "layer_norm": _layer_norm,
    "leaky_relu": lambda x, alpha: torch.where(x < 0, x * float(alpha), x),
    "less": _two(torch.lt),
    "less_equal": _two(torch.le),
    "linear_activation": lambda x, alpha, beta: x * float(alpha) + float(beta),
    "list_gather": lambda ls, indices: torch.stack([ls[int(at)] for at in indices]),
    "list_read": lambda ls, index: ls[int(index)],
    "list_scatter": lambda ls, indices, value: (
        ls | {int(at): one for at, one in zip(indices, value, strict=True)}
    ),
    "list_write": _written,
    "local_response_norm": lambda x, size, alpha, beta, k: F.local_response_norm(
        x, int(size), float(alpha), float(beta), float(k)
    ),
    "log": lambda x, epsilon: (x + float(epsilon)).log(),
    "logical_and": _two(torch.logical_and),
    "logical_not": _one(torch.logical_not),
    "logical_or": _two(torch.logical_or),
    "lstm": _lstm,
    "make_list": lambda **about: {},
    "maximum": _two(torch.maximum),
    "minimum": _two(torch.minimum),
    "mod": _two(torch.remainder),
    "not_equal": _two(torch.ne),
    "one_hot": lambda indices, one_hot_vector_size, axis, on_value, off_value: torch.where(
        F.one_hot(tensor(indices).long(), int(one_hot_vector_size)).movedim(-1, int(axis)) > 0,
        tensor(on_value),
        tensor(off_value),
    ),
    "pixel_shuffle": lambda x, upscale_factor: F.pixel_shuffle(x, int(upscale_factor)),
    "pixel_unshuffle": lambda x, downscale_factor: F.pixel_unshuffle(x, int(downscale_factor)),
    "pow": _two(torch.pow),
    "prelu": _prelu,
    "reduce_argmax": _arg(torch.argmax),
    "reduce_argmin": _arg(torch.argmin),
    "reduce_l1_norm": _over(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "reduce_l2_norm": _over(lambda x, axes, keep: (x * x).sum(axes, keep).sqrt()),
    "reduce_log_sum_exp": _over(torch.logsumexp),
    "reduce_max": _reduced(lambda x, axis: x.amax(axis)),
    "reduce_min": _reduced(lambda x, axis: x.amin(axis)),
    "reduce_prod": _reduced(lambda x, axis: x.prod(axis)),
    "reduce_sum": _over(lambda x, axes, keep: x.sum(axes, keep)),
    "reduce_sum_square": _over(lambda x, axes, keep: (x * x).sum(axes, keep)),
    "resample": _resample,
    "rnn": _rnn,
    "reverse": lambda x, axes: x.flip(ints(axes)),
    "round": _one(torch.round),
    "rsqrt": lambda x, epsilon: (x + float(epsilon)).rsqrt(),
    "scatter": _scatter,
    "select": lambda cond, a, b: torch.where(tensor(cond).bool(), tensor(a), tensor(b)),
    "shape": lambda x: torch.tensor(tensor(x).shape, dtype=torch.int32),
    "sigmoid_hard": lambda x, alpha, beta: (x * float(alpha) + float(beta)).clamp(0, 1),
    "sign": _one(torch.sign),
    "sin": _one(torch.sin),
    "softplus": _one(F.softplus),
    "softsign": _one(F.softsign),
    "split": _split,
    "sqrt": _one(torch.sqrt),
    "square": _one(torch.square),
    "stack": lambda values, axis: torch.stack(list(map(tensor, values)), int(axis)),
    "threshold": lambda x, alpha: x.clamp(min=float(alpha)),
    "thresholded_relu": lambda x, alpha: torch.where(x >= float(alpha), x, torch.zeros_like(x)),
    "tile": lambda x, reps: tensor(x).repeat(ints(reps)),
    "topk": _topk,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": lambda x, scale_factor_height, scale_factor_width: _scaled(
        x, scale_factor_height, scale_factor_width
    ),
}
