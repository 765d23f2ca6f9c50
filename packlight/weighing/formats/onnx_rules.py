"""What each ONNX operator is called, what it computes, how its parameters are written out.

The words and layouts are those of `packlight.weighing.operators`: Keras' names, a kernel as
height x width x inputs x outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from onnx import NodeProto

from packlight.weighing.formats.onnx_contrib import attribute
from packlight.weighing.formats.operations import Weight

Sizes = tuple[int | None, ...] | None

ACTIVATIONS = {
    **{"Relu": "ReLU", "LeakyRelu": "LeakyReLU", "Elu": "ELU", "Selu": "SELU", "Celu": "CELU"},
    **{"Gelu": "GELU", "FastGelu": "GELU", "QuickGelu": "GELU", "Swish": "SiLU", "Mish": "Mish"},
    **{"Softplus": "Softplus", "Softsign": "Softsign", "Sigmoid": "Sigmoid", "Tanh": "Tanh"},
    **{"HardSigmoid": "HardSigmoid", "HardSwish": "HardSwish", "Clip": "Clip"},
    **{"ThresholdedRelu": "Threshold", "QLinearSigmoid": "Sigmoid"},
    **{"QLinearLeakyRelu": "LeakyReLU"},
}
_NAMES = {
    **{"Gemm": "Dense", "FusedGemm": "Dense", "QGemm": "Dense", "MatMulNBits": "Dense"},
    **{"FusedMatMul": "MatMul", "MatMulInteger": "MatMul", "QLinearMatMul": "MatMul"},
    **{"RNN": "SimpleRNN", "Attention": "Attention", "PRelu": "PReLU", "LpPool": "LpPool"},
    **{"SimplifiedLayerNormalization": "RMSNormalization", "ReduceMean": "Mean"},
    **{"ReduceMax": "Max", "Max": "Maximum", "Min": "Minimum", "Sum": "Add", "Sub": "Subtract"},
    **{"Mul": "Multiply", "Div": "Divide", "Concat": "Concatenate", "QLinearConcat": "Concatenate"},
    **{"QLinearAdd": "Add", "QLinearMul": "Multiply", "QLinearSoftmax": "Softmax"},
    **{"SequenceConstruct": "Stack", "Transpose": "Permute", "Pad": "Padding"},
    **{"CumSum": "CumulativeSum", "BiasGelu": "GELU", "LogSoftmax": "LogSoftmax"},
    **{"GatherBlockQuantized": "Embedding"},
}
# as `packlight.weighing.operators` names them: Keras has no word for a layer of these
_NAMES |= {name: name.lower() for name in ("Abs", "Cos", "Erf", "Exp", "Log", "Neg", "Pow", "Sqrt")}
_CONVOLUTIONS = ("Conv", "FusedConv", "ConvInteger", "QLinearConv")
_PRODUCTS = {"MatMul": 1, "FusedMatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3}
_GEMMS = {"Gemm": 1, "FusedGemm": 1, "QGemm": 3}
RECURRENT = ("LSTM", "GRU", "RNN")
SILENT = frozenset(
    (
        *("Identity", "Dropout", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"),
        *("Squeeze", "Unsqueeze", "DynamicQuantizeLinear"),
    )
)
#: these give back what they got when the shape stays the same
SILENT_IF_SAME = frozenset(("Reshape", "Flatten", "Expand", "Pad", "Slice"))
VIEWS = frozenset(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"))
OVERWRITES = frozenset(
    (
        *ACTIVATIONS,
        *("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "BatchNormalization", "PRelu"),
        *("Exp", "Log", "Sqrt", "Neg", "Abs", "Pow", "Erf", "Reciprocal", "Clip"),
    )
)
REARRANGED = frozenset(("Transpose", "Reshape", "Flatten", "MatMul"))
SPATIAL = frozenset(
    (
        *(*_CONVOLUTIONS, "ConvTranspose", "BatchNormalization", "InstanceNormalization"),
        *("GroupNormalization", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
        *("LpPool", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "LRN"),
        *("QLinearGlobalAveragePool", "QLinearAveragePool"),
    )
)


def activation_of(node: NodeProto, bounds: tuple[Any, Any]) -> str | None:
    """What an activation without parameters is called; None for other operators."""
    if node.op_type == "Clip" and bounds[0] == 0:
        return {None: "ReLU", 6: "ReLU6"}.get(bounds[1], "Clip")
    return ACTIVATIONS.get(node.op_type)


def type_of(
    node: NodeProto,
    reads: Sequence[Sizes],
    shown: tuple[Sizes, Sizes],
    weights: Sequence[Weight],
    axes: Sequence[int] | None,
) -> str:
    """The layer's type.

    Args:
        reads: shapes of the node's inputs.
        shown: what the first input and the first output have as the shape of one sample.
        weights: what the node reads of the file's.
        axes: that it reduces, where it does.
    """
    op, rank = node.op_type, len(reads[0] or ()) if reads else 0
    if op in _CONVOLUTIONS:
        depthwise = is_depthwise(node, _kernel_shape(node, reads))
        return f"{'Depthwise' if depthwise else ''}Conv{rank - 2}D"
    if op == "ConvTranspose":
        return f"Conv{rank - 2}DTranspose"
    if op in ("MaxPool", "AveragePool", "QLinearAveragePool"):
        return f"{'Max' if op == 'MaxPool' else 'Average'}Pool{rank - 2}D"
    if op in ("GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool"):
        return f"Global{'Max' if op == 'GlobalMaxPool' else 'Average'}Pool{rank - 2}D"
    positions = rank in (4, 5) and axes and sorted(a % rank for a in axes) == [*range(2, rank)]
    if op in ("ReduceMean", "ReduceMax") and positions:
        return f"Global{'Max' if op == 'ReduceMax' else 'Average'}Pool{rank - 2}D"
    if op in ("Reshape", "Flatten"):
        before, after = shown
        flat = before is not None and after is not None and len(after) == 1 < len(before)
        return "Flatten" if flat else "Reshape"
    if op in ("Resize", "Upsample"):
        return f"UpSampling{rank - 2}D" if rank > 2 else "Resize"
    if op == "Gather" and weights:
        return "Embedding"
    name = _NAMES.get(op, op)
    return "Dense" if name == "MatMul" and weights else name


def macs_of(node: NodeProto, reads: Sequence[Sizes], written: Sequence[Sizes]) -> int:
    """Multiplications with an addition; a size that is not known counts as 1.

    Args:
        reads, written: shapes for one sample.
    """
    op, made = node.op_type, _count(written[0] if written else None)
    if op in _CONVOLUTIONS or op == "ConvTranspose":
        kernel = _kernel_shape(node, reads)
        slid = _count(reads[0]) if op == "ConvTranspose" else made
        return slid * _count(kernel[1:]) if kernel else 0
    if op in _GEMMS:
        left = reads[0] or (1,)
        return made * (left[0 if attribute(node, "transA", 0) else -1] or 1)
    if op in _PRODUCTS:
        left = reads[0] or (1,)
        return made * (left[-2 if attribute(node, "transA", 0) else -1] or 1)
    if op == "MatMulNBits":
        return made * int(attribute(node, "K", 1))
    if op in RECURRENT and reads[0]:
        return _count(reads[0][:-1]) * (_count(reads[1]) + _count(reads[2]))
    if op == "Einsum":
        return _einsum(node, reads)
    if op == "Attention" and len(reads) > 2 and all(reads[:3]):
        query, key, value = (shape or (1, 1) for shape in reads[:3])
        scores = _count(query[:-1]) * (key[-2] or 1)
        return scores * ((query[-1] or 1) + (value[-1] or 1))
    return 0


def written_out(node: NodeProto, reads: Sequence[Sizes], weights: Sequence[Weight]) -> str:
    """A layer's parameters as 3x3x64x64+64."""
    op, shapes = node.op_type, [weight.shape for weight in weights]
    if not shapes:
        return ""
    first, *rest = shapes
    if (op in _CONVOLUTIONS or op == "ConvTranspose") and len(first) > 2:
        return _plus([_kernel(node, first), *rest])
    if op in _GEMMS and len(first) == 2 and attribute(node, "transB", 0):
        return _plus([first[::-1], *rest])
    if op in RECURRENT:
        return _plus(_by_direction([shape for shape in reads[1:4] if shape]))
    if len({*shapes}) == 1 and len(first) == 1 and op.endswith("Normalization"):
        return f"{len(shapes)}x{first[0]}"
    return _plus(shapes)


def is_depthwise(node: NodeProto, kernel: Sizes) -> bool:
    """Whether each channel has kernels of its own."""
    return attribute(node, "group", 1) > 1 and kernel is not None and kernel[1:2] == (1,)


def _kernel_shape(node: NodeProto, reads: Sequence[Sizes]) -> tuple[int | None, ...]:
    position = 3 if node.op_type == "QLinearConv" else 1
    return (reads[position] or ()) if position < len(reads) else ()


def _kernel(node: NodeProto, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(o, i / g, *k), or (i, o / g, *k) when transposed, as k x i / g x o."""
    first, second, *taps = shape
    if node.op_type == "ConvTranspose":
        return (*taps, first, second)
    if is_depthwise(node, shape):
        groups = attribute(node, "group", 1)
        return (*taps, groups) if first == groups else (*taps, groups, first // groups)
    return (*taps, second, first)


def _by_direction(shapes: Sequence[tuple[int | None, ...]]) -> list[tuple[int, ...]]:
    """(d, 4 h, i), (d, 4 h, h), (d, 8 h) as i x 4 h, h x 4 h, 4 h, 4 h for each direction."""
    directions, *_ = shapes[0]
    once: list[tuple[int, ...]] = []
    for shape in shapes:
        _, *sizes = (size or 0 for size in shape)
        once += [tuple(sizes[::-1])] if len(sizes) == 2 else [(sizes[0] // 2,)] * 2
    return once * (directions or 1)


def _einsum(node: NodeProto, reads: Sequence[Sizes]) -> int:
    """The product of all index sizes, when two operands meet; one alone is only rearranged."""
    equation = attribute(node, "equation", b"").decode("utf-8", "replace").replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if len(terms) < 2 or len(terms) != len(reads):
        return 0
    size_of: dict[str, int] = {}
    for term, sizes in zip(terms, reads, strict=True):
        letters = list(term.replace("...", "."))
        if "." in letters:
            at, hidden = letters.index("."), len(sizes or ()) - len(letters) + 1
            letters[at : at + 1] = [f"...{hidden - 1 - axis}" for axis in range(hidden)]
        for letter, size in zip(letters, sizes or (), strict=False):
            size_of[letter] = max(size_of.get(letter, 1), size or 1)
    return prod(size_of.values())


def _count(shape: Sequence[int | None] | None) -> int:
    return prod(1 if size is None else size for size in shape or ())


def _plus(shapes: Sequence[Sequence[int]]) -> str:
    return "+".join("x".join(map(str, shape)) or "1" for shape in shapes)
