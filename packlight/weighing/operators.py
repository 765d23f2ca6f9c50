"""What each ATen operator is called, how its parameters are written out, what it computes.

Names and layouts are those of Keras: a kernel is height x width x inputs x outputs. Sizes: k a
kernel's axes, i inputs, o outputs, g groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, fx

from packlight.graph import argument, aten, is_call, quantized
from packlight.weighing.sizes import Sizes, first_tensor

_CONVOLUTIONS = {aten.conv1d: 1, aten.conv2d: 2, aten.conv3d: 3}
_TRANSPOSED = {aten.conv_transpose1d: 1, aten.conv_transpose2d: 2, aten.conv_transpose3d: 3}
_PRODUCTS = (aten.mm, aten.bmm, aten.matmul)
_SUMS_OF_PRODUCTS = (aten.addmm, aten.baddbmm)
_RECURRENT = {
    aten.lstm: "LSTM",
    aten.gru: "GRU",
    aten.rnn_tanh: "SimpleRNN",
    aten.rnn_relu: "SimpleRNN",
}
_CELLS = {
    aten.lstm_cell: "LSTMCell",
    aten.gru_cell: "GRUCell",
    aten.rnn_tanh_cell: "SimpleRNNCell",
    aten.rnn_relu_cell: "SimpleRNNCell",
}
_BATCH_NORMS = (
    aten.batch_norm,
    aten._native_batch_norm_legit_no_training,
    aten.native_batch_norm,
    aten.cudnn_batch_norm,
)

ACTIVATIONS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "selu": "SELU",
    "celu": "CELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "sigmoid": "Sigmoid",
    "log_sigmoid": "LogSigmoid",
    "tanh": "Tanh",
    "hardsigmoid": "HardSigmoid",
    "hardswish": "HardSwish",
    "hardtanh": "Clip",
    "clamp": "Clip",
    "clamp_min": "Clip",
    "clamp_max": "Clip",
    "threshold": "Threshold",
}

_NAMES = {
    "linear": "Dense",
    "mm": "MatMul",
    "bmm": "MatMul",
    "matmul": "MatMul",
    "addmm": "Dense",
    "baddbmm": "MatMul",
    "einsum": "Einsum",
    "scaled_dot_product_attention": "Attention",
    "embedding": "Embedding",
    "layer_norm": "LayerNormalization",
    "native_layer_norm": "LayerNormalization",
    "rms_norm": "RMSNormalization",
    "group_norm": "GroupNormalization",
    "native_group_norm": "GroupNormalization",
    "instance_norm": "InstanceNormalization",
    "prelu": "PReLU",
    "_prelu_kernel": "PReLU",
    "softmax": "Softmax",
    "_softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "_log_softmax": "LogSoftmax",
    "max_pool1d": "MaxPool1D",
    "max_pool2d": "MaxPool2D",
    "max_pool2d_with_indices": "MaxPool2D",
    "max_pool3d": "MaxPool3D",
    "avg_pool1d": "AveragePool1D",
    "avg_pool2d": "AveragePool2D",
    "avg_pool3d": "AveragePool3D",
    "adaptive_avg_pool1d": "AdaptiveAveragePool1D",
    "adaptive_avg_pool2d": "AdaptiveAveragePool2D",
    "_adaptive_avg_pool2d": "AdaptiveAveragePool2D",
    "adaptive_avg_pool3d": "AdaptiveAveragePool3D",
    "adaptive_max_pool1d": "AdaptiveMaxPool1D",
    "adaptive_max_pool2d": "AdaptiveMaxPool2D",
    "mean": "Mean",
    "amax": "Max",
    "add": "Add",
    "sub": "Subtract",
    "mul": "Multiply",
    "div": "Divide",
    "maximum": "Maximum",
    "minimum": "Minimum",
    "cat": "Concatenate",
    "concat": "Concatenate",
    "stack": "Stack",
    "split": "Split",
    "split_with_sizes": "Split",
    "chunk": "Split",
    "unbind": "Split",
    "flatten": "Flatten",
    "view": "Reshape",
    "reshape": "Reshape",
    "unflatten": "Reshape",
    "_unsafe_view": "Reshape",
    "permute": "Permute",
    "transpose": "Permute",
    "t": "Permute",
    "slice": "Slice",
    "pad": "Padding",
    "constant_pad_nd": "Padding",
    "reflection_pad2d": "Padding",
    "replication_pad2d": "Padding",
    "upsample_nearest2d": "UpSampling2D",
    "upsample_bilinear2d": "UpSampling2D",
    "upsample_bicubic2d": "UpSampling2D",
    "pixel_shuffle": "DepthToSpace",
    "pixel_unshuffle": "SpaceToDepth",
    "channel_shuffle": "ChannelShuffle",
    "cumsum": "CumulativeSum",
}

# operators whose values are images (or volumes, or channels-first sequences) by nature
_SPATIAL = (
    *_CONVOLUTIONS,
    *_TRANSPOSED,
    aten.convolution,
    aten.instance_norm,
    aten.group_norm,
    aten.pixel_shuffle,
    aten.pixel_unshuffle,
    aten.channel_shuffle,
    *_BATCH_NORMS,
)
_SPATIAL_WORDS = ("pool1d", "pool2d", "pool3d", "upsample_")


def operator_name(node: fx.Node) -> str:
    """The ATen name without its overload, `relu` for `aten.relu_.default`."""
    packet = getattr(node.target, "overloadpacket", node.target)
    name = str(getattr(packet, "__name__", packet)).rpartition(".")[2]
    return name.rstrip("_") or name


def is_spatial(node: fx.Node) -> bool:
    """Whether the operator takes and gives values with channels ahead of positions."""
    name = operator_name(node)
    return is_call(node, *_SPATIAL) or any(word in name for word in _SPATIAL_WORDS)


def is_quantize(node: Any) -> bool:
    """Whether the operator puts values on a grid, or takes them off it."""
    return is_call(
        node,
        quantized.quantize_per_tensor,
        quantized.quantize_per_channel,
        quantized.dequantize_per_tensor,
        quantized.dequantize_per_channel,
        quantized.quantize_per_token,
        quantized.dequantize_per_token,
        aten.fake_quantize_per_tensor_affine,
        aten.fake_quantize_per_channel_affine,
    )


def is_convolution(node: fx.Node) -> bool:
    """Whether the operator slides a kernel, in either direction."""
    return is_call(node, *_CONVOLUTIONS, *_TRANSPOSED, aten.convolution)


def activation_name(node: fx.Node) -> str | None:
    """What an activation without parameters is called; None for other operators."""
    if node.op != "call_function":
        return None
    name = operator_name(node)
    if name in ("hardtanh", "clamp", "clamp_min"):
        low, high = _bounds(node)
        if low == 0:
            return {None: "ReLU", 6: "ReLU6"}.get(high, "Clip")
    return ACTIVATIONS.get(name)


def type_of(node: fx.Node, sizes: Sizes) -> str:
    """The layer's type, in Keras' words where it has one."""
    for table in (_RECURRENT, _CELLS):
        for packet, name in table.items():
            if is_call(node, packet):
                return name
    if is_convolution(node):
        return _convolution_type(node)
    if is_call(node, *_BATCH_NORMS):
        return "BatchNormalization"
    name = operator_name(node)
    output, source = first_tensor(node), _operand(node, 0)
    if output is not None and source is not None:
        if _pools_everything(node, name, output, source):
            kind = "Max" if "max" in name else "Average"
            return f"Global{kind}Pool{source.ndim - 2}D"
        if name in ("view", "reshape", "flatten", "_unsafe_view"):
            before, after = sizes.shown(source), sizes.shown(output)
            return "Flatten" if len(after) < len(before) and len(after) == 1 else "Reshape"
    return activation_name(node) or _NAMES.get(name, name)


def macs_of(node: fx.Node, sizes: Sizes) -> int:
    """Multiplications with an addition, for one sample; 0 for what is neither product nor filter.

    A recurrent layer multiplies each of its matrices once per step; attention is two products.
    """
    output = first_tensor(node)
    if output is None:
        return 0
    if is_convolution(node):
        weight = _operand(node, 1)
        assert weight is not None
        slid = _operand(node, 0) if _is_transposed(node) else output
        assert slid is not None
        return sizes.count(slid) * prod(int(size) for size in weight.shape[1:])
    if is_call(node, aten.linear):
        return sizes.count(output) * _last(_operand(node, 0), sizes)
    if is_call(node, *_PRODUCTS, *_SUMS_OF_PRODUCTS):
        left = _operand(node, 1 if is_call(node, *_SUMS_OF_PRODUCTS) else 0)
        return sizes.count(output) * _last(left, sizes)
    if is_call(node, *_RECURRENT, *_CELLS):
        # a step is one row of the last axis of what the layer reads
        read = _operand(node, 0)
        assert read is not None
        steps = sizes.count(read) // max(_last(read, sizes), 1)
        weights = _tensors_in(node.args[2:])  # input, initial state, then the parameters
        return steps * sum(matrix.numel() for matrix in weights if matrix.ndim == 2)
    if is_call(node, aten.scaled_dot_product_attention):
        query, key, value = (_operand(node, position) for position in range(3))
        assert query is not None
        assert key is not None
        scores = sizes.count(query) // max(_last(query, sizes), 1) * sizes.axis(key, -2)
        return scores * (_last(query, sizes) + _last(value, sizes))
    if is_call(node, aten.einsum):
        return _einsum_macs(node, sizes)
    return 0


def written_out(node: fx.Node, parameters: Sequence[Tensor]) -> str:
    """A layer's parameters as 3x3x64x64+64.

    Args:
        node: the call that reads them.
        parameters: in the order they are read.
    """
    if not parameters:
        return ""
    first, *rest = parameters
    if is_convolution(node) and first.ndim > 2:
        return _plus(_kernel(node, first), *map(_plain, rest))
    if is_call(node, aten.addmm):  # addmm(bias, x, weight)
        return _plus(*(_plain(item) for item in sorted(parameters, key=lambda item: -item.ndim)))
    matrix = _operand(node, 1)
    if is_call(node, aten.linear) and matrix is not None and matrix.shape != first.shape:
        return _plus(*map(_plain, parameters))  # it is stored as inputs x outputs, and turned
    if is_call(node, aten.linear) or is_call(node, *_RECURRENT, *_CELLS):
        return _plus(*(_plain(item.T if item.ndim == 2 else item) for item in parameters))
    same = {tuple(item.shape) for item in parameters}
    if len(same) == 1 and first.ndim == 1 and _is_norm(node):
        return f"{len(parameters)}x{_plain(first)}"
    return _plus(*map(_plain, parameters))


def _convolution_type(node: fx.Node) -> str:
    weight = _operand(node, 1)
    assert weight is not None
    axes = weight.ndim - 2
    if _is_transposed(node):
        return f"Conv{axes}DTranspose"
    return f"DepthwiseConv{axes}D" if _is_depthwise(node, weight) else f"Conv{axes}D"


def _kernel(node: fx.Node, weight: Tensor) -> str:
    """(o, i / g, *k), or (i, o / g, *k) when transposed, as k x i / g x o."""
    first, second, *taps = weight.shape
    if _is_depthwise(node, weight):
        inputs = _groups(node)
        ends = [inputs] if first == inputs else [inputs, first // inputs]
    else:
        ends = [first, second] if _is_transposed(node) else [second, first]
    return "x".join(str(int(size)) for size in (*taps, *ends))


def _is_depthwise(node: fx.Node, weight: Tensor) -> bool:
    groups = _groups(node)
    return groups > 1 and not _is_transposed(node) and weight.shape[1] == 1


def _groups(node: fx.Node) -> int:
    if is_call(node, aten.convolution):
        return int(argument(node, 8, "groups", 1))
    return int(argument(node, 6, "groups", 1))


def _is_transposed(node: fx.Node) -> bool:
    if is_call(node, aten.convolution):
        return bool(argument(node, 6, "transposed", False))
    return is_call(node, *_TRANSPOSED)


def _is_norm(node: fx.Node) -> bool:
    return is_call(node, *_BATCH_NORMS) or operator_name(node).endswith("_norm")


def _pools_everything(node: fx.Node, name: str, output: Tensor, source: Tensor) -> bool:
    """Whether each channel's positions, all of them, become one number."""
    if name.startswith(("adaptive_", "_adaptive_")):
        return all(str(size) == "1" for size in output.shape[2:])
    if name not in ("mean", "amax") or source.ndim not in (4, 5):
        return False
    axes = argument(node, 1, "dim")
    axes = [axes] if isinstance(axes, int) else axes or range(source.ndim)
    return sorted(axis % source.ndim for axis in axes) == list(range(2, source.ndim))


def _bounds(node: fx.Node) -> tuple[Any, Any]:
    if is_call(node, aten.hardtanh):
        return argument(node, 1, "min_val", -1), argument(node, 2, "max_val", 1)
    high = None if is_call(node, aten.clamp_min) else argument(node, 2, "max")
    return argument(node, 1, "min"), high


def _einsum_macs(node: fx.Node, sizes: Sizes) -> int:
    """The product of all index sizes, when two operands meet; one alone is only rearranged."""
    equation, operands = str(node.args[0]).replace(" ", ""), list(_tensors_in(node.args[1:]))
    if len(operands) < 2:
        return 0
    size_of: dict[str, int] = {}
    for term, value in zip(equation.partition("->")[0].split(","), operands, strict=True):
        letters = list(term.replace("...", "."))
        if "." in letters:
            at, hidden = letters.index("."), value.ndim - len(letters) + 1
            # an ellipsis stands for the same last axes in every term
            letters[at : at + 1] = [f"...{hidden - 1 - axis}" for axis in range(hidden)]
        for letter, size in zip(letters, sizes.shape(value), strict=True):
            size_of[letter] = max(size_of.get(letter, 1), size or 1)
    return prod(size_of.values())


def _operand(node: fx.Node, position: int) -> Tensor | None:
    if len(node.args) <= position:
        return None
    source = node.args[position]
    if isinstance(source, (list, tuple)) and source:
        source = source[0]
    return first_tensor(source) if isinstance(source, fx.Node) else None


def _tensors_in(values: Any) -> list[Tensor]:
    """The tensors of all nodes among arguments, in order."""
    nodes: list[fx.Node] = []
    fx.node.map_arg(values, nodes.append)
    return [value for node in nodes if (value := first_tensor(node)) is not None]


def _last(value: Tensor | None, sizes: Sizes) -> int:
    if value is None or value.ndim == 0:
        return 1
    return sizes.axis(value, -1)


def _plain(value: Tensor) -> str:
    return "x".join(str(int(size)) for size in value.shape) or "1"


def _plus(*terms: str) -> str:
    return "+".join(terms)
