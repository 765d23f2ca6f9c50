"""What each Keras layer makes, keeps and computes, by its configuration.

Keras itself is not asked: a configuration from a stranger may name code to run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

Config = dict[str, Any]
Shape = tuple[int | None, ...]
Shapes = Sequence[Shape]

SILENT = frozenset(
    (
        *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "Masking"),
        *("GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization"),
        "Identity",
    )
)
ELEMENTWISE = frozenset(
    (
        *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Activation"),
        *("ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "BatchNormalization", "Rescaling"),
        *("LayerNormalization", "GroupNormalization", "UnitNormalization", "Normalization"),
        *("RMSNormalization", "RandomFlip", "RandomRotation", "RandomZoom", "RandomContrast"),
    )
)
ACTIVATION_LAYERS = ("Activation", "ReLU", "LeakyReLU", "ELU")
_WORDS = {
    **{"relu": "ReLU", "relu6": "ReLU6", "leaky_relu": "LeakyReLU", "elu": "ELU", "selu": "SELU"},
    **{"celu": "CELU", "gelu": "GELU", "silu": "SiLU", "swish": "SiLU", "mish": "Mish"},
    **{"softplus": "Softplus", "softsign": "Softsign", "sigmoid": "Sigmoid", "tanh": "Tanh"},
    **{"hard_sigmoid": "HardSigmoid", "hard_silu": "HardSwish", "hard_swish": "HardSwish"},
    **{"softmax": "Softmax", "log_softmax": "LogSoftmax", "exponential": "exp"},
}


@dataclass(frozen=True)
class Kept:
    """A layer's own numbers: shapes in Keras' layout, and multiplications for one sample."""

    weights: tuple[tuple[int, ...], ...] = ()
    macs: int = 0


def type_of(kind: str) -> str:
    """MaxPool2D for MaxPooling2D, and so on; other layers keep their class's name."""
    return kind.replace("Pooling", "Pool")


def activation_of(kind: str, config: Config) -> str:
    """What a layer's activation is called, "" for none."""
    if kind == "ReLU":
        high = config.get("max_value")
        return {None: "ReLU", 6: "ReLU6"}.get(high, "Clip")
    if kind in ("LeakyReLU", "ELU"):
        return kind
    given = config.get("activation")
    if isinstance(given, dict):
        given = (given.get("config") if given.get("class_name") == "function" else None) or given
        given = given.get("name", given.get("class_name", "")) if isinstance(given, dict) else given
    word = str(given or "linear")
    return "" if word == "linear" else _WORDS.get(word, word)


def written_out(kind: str, shapes: Sequence[tuple[int, ...]]) -> str:
    """A layer's parameters as 3x3x64x64+64."""
    if "Depthwise" in kind and shapes and shapes[0][-1] == 1:
        shapes = [shapes[0][:-1], *shapes[1:]]
    if kind.endswith("Transpose") and shapes:
        shapes = [(*shapes[0][:-2], *shapes[0][:-3:-1]), *shapes[1:]]  # inputs ahead of outputs
    if len({*shapes}) == 1 and len(shapes[0]) == 1 and kind.endswith("Normalization"):
        return f"{len(shapes)}x{shapes[0][0]}"
    return "+".join("x".join(map(str, shape)) or "1" for shape in shapes)


def shape_after(kind: str, config: Config, read: Shapes) -> Shape | None:
    """The output's shape without the batch; None for layers that are not known here.

    Args:
        kind: the layer's class.
        config: as Keras saves it.
        read: shapes of the inputs, without the batch.
    """
    if kind in ELEMENTWISE or kind in SILENT:
        return _broadcast(read)
    rule = next((rule for ending, rule in _SHAPES if kind.endswith(ending)), None)
    return rule(kind, config, read) if rule else None


def kept_by(kind: str, config: Config, read: Shapes, made: Shape | None) -> Kept | None:
    """The layer's weights and arithmetic; None for layers that are not known here."""
    rule = next((rule for ending, rule in _KEPT if kind.endswith(ending)), None)
    if rule is not None:
        return rule(kind, config, read, made or ())
    known = kind in ELEMENTWISE or kind in SILENT or shape_after(kind, config, read) is not None
    return Kept() if known else None


def last_channels(config: Config, shape: Shape) -> Shape:
    """The shape with channels last, as rows show it."""
    if config.get("data_format") == "channels_first" and len(shape) > 2:
        return (*shape[1:], shape[0])
    return shape


def _first_channels(config: Config, shape: Shape) -> Shape:
    if config.get("data_format") == "channels_first" and len(shape) > 1:
        return (shape[-1], *shape[:-1])
    return shape


def _slid(kind: str, config: Config, read: Shapes) -> Shape:
    """A kernel's or a pool's output."""
    *sizes, channels = last_channels(config, read[0])
    axes = len(sizes)
    pool = "Pooling" in kind
    kernel = _many(config.get("pool_size" if pool else "kernel_size"), axes)
    steps = _many(config.get("strides") or (kernel if pool else 1), axes)
    dilation = _many(config.get("dilation_rate", 1), axes)
    out: list[int | None] = []
    for size, taps, step, rate in zip(sizes, kernel, steps, dilation, strict=True):
        extent = rate * (taps - 1) + 1
        if size is None:
            out.append(None)
        elif kind.endswith("Transpose"):
            grown = size * step
            out.append(grown if config.get("padding") == "same" else grown + max(extent - step, 0))
        elif config.get("padding") in ("same", "causal"):
            out.append(-(-size // step))
        else:
            out.append((size - extent) // step + 1)
    if not pool:
        depthwise = "Depthwise" in kind
        channels = (
            (channels or 1) * config.get("depth_multiplier", 1)
            if depthwise
            else config.get("filters")
        )
    return _first_channels(config, (*out, channels))


def _pooled_whole(kind: str, config: Config, read: Shapes) -> Shape:
    *sizes, channels = last_channels(config, read[0])
    if config.get("keepdims"):
        return _first_channels(config, (*[1] * len(sizes), channels))
    return (channels,)


def _flat(kind: str, config: Config, read: Shapes) -> Shape:
    return (None if None in read[0] else prod(size or 0 for size in read[0]),)


def _reshaped(kind: str, config: Config, read: Shapes) -> Shape:
    target = [int(size) for size in config["target_shape"]]
    total = _flat(kind, config, read)[0]
    if -1 in target:
        rest = prod(size for size in target if size != -1)
        return tuple((total // rest if total and rest else None) if n == -1 else n for n in target)
    return tuple(target)


def _resized(kind: str, config: Config, read: Shapes) -> Shape:
    """Zero padding, cropping, upsampling."""
    *sizes, channels = last_channels(config, read[0])
    if "UpSampling" in kind:
        factors = _many(config["size"], len(sizes))
        grown = [None if s is None else s * n for s, n in zip(sizes, factors, strict=True)]
        return _first_channels(config, (*grown, channels))
    margins = config["padding" if "Padding" in kind else "cropping"]
    pairs = [_many(pair, 2) for pair in _many_any(margins, len(sizes))]
    sign = 1 if "Padding" in kind else -1
    grown = [
        None if size is None else size + sign * sum(pair)
        for size, pair in zip(sizes, pairs, strict=True)
    ]
    return _first_channels(config, (*grown, channels))


def _joined(kind: str, config: Config, read: Shapes) -> Shape:
    axis = config.get("axis", -1)
    axis = axis - 1 if axis > 0 else axis % len(read[0])  # the batch is axis 0
    parts = [shape[axis] for shape in read]
    total = None if None in parts else sum(size or 0 for size in parts)
    return (*read[0][:axis], total, *read[0][axis + 1 :])


def _dense(kind: str, config: Config, read: Shapes) -> Shape:
    return (*read[0][:-1], config["units"])


def _embedded(kind: str, config: Config, read: Shapes) -> Shape:
    return (*read[0], config["output_dim"])


def _recurrent(kind: str, config: Config, read: Shapes) -> Shape:
    return (read[0][0], config["units"]) if config.get("return_sequences") else (config["units"],)


def _permuted(kind: str, config: Config, read: Shapes) -> Shape:
    return tuple(read[0][axis - 1] for axis in config["dims"])


def _repeated(kind: str, config: Config, read: Shapes) -> Shape:
    return (config["n"], *read[0])


def _enlarged(kind: str, config: Config, read: Shapes) -> Shape:
    channels = last_channels(config, read[0])[-1]
    return _first_channels(config, (config["height"], config["width"], channels))


_SHAPES: tuple[tuple[str, Callable[[str, Config, Shapes], Shape]], ...] = (
    *((f"Conv{axes}D{turned}", _slid) for axes in (1, 2, 3) for turned in ("", "Transpose")),
    *((f"Global{way}Pooling{n}D", _pooled_whole) for way in ("Max", "Average") for n in (1, 2, 3)),
    *((f"{way}Pooling{axes}D", _slid) for way in ("Max", "Average") for axes in (1, 2, 3)),
    *(
        (f"{name}{n}D", _resized)
        for name in ("Padding", "Cropping", "UpSampling")
        for n in (1, 2, 3)
    ),
    *(("Flatten", _flat), ("Reshape", _reshaped), ("Concatenate", _joined), ("Dense", _dense)),
    *(("Embedding", _embedded), ("LSTM", _recurrent), ("GRU", _recurrent)),
    *(("SimpleRNN", _recurrent), ("Permute", _permuted), ("RepeatVector", _repeated)),
    ("Resizing", _enlarged),
)


def _convolution(kind: str, config: Config, read: Shapes, made: Shape) -> Kept:
    inputs = last_channels(config, read[0])[-1] or 1
    made = last_channels(config, made)
    taps = tuple(_many(config["kernel_size"], len(read[0]) - 1))
    bias = ((made[-1] or 1,),) if config.get("use_bias", True) else ()
    positions = _count(made[:-1])
    multiplier = config.get("depth_multiplier", 1)
    if kind.startswith(("Depthwise", "Separable")):
        each = (*taps, inputs, multiplier)
        if kind.startswith("Depthwise"):
            return Kept((each, *bias), positions * prod(each))
        mixing = (*[1] * len(taps), inputs * multiplier, config["filters"])
        return Kept((each, mixing, *bias), positions * (prod(each) + prod(mixing)))
    if kind.endswith("Transpose"):
        kernel = (*taps, config["filters"], inputs)
        return Kept((kernel, *bias), _count(last_channels(config, read[0])[:-1]) * prod(kernel))
    kernel = (*taps, inputs // config.get("groups", 1), config["filters"])
    return Kept((kernel, *bias), positions * prod(kernel))


def _dense_kept(kind: str, config: Config, read: Shapes, made: Shape) -> Kept:
    inputs, units = read[0][-1] or 1, config["units"]
    bias = ((units,),) if config.get("use_bias", True) else ()
    return Kept(((inputs, units), *bias), _count(made) * inputs)


def _embedding_kept(kind: str, config: Config, read: Shapes, made: Shape) -> Kept:
    return Kept(((config["input_dim"], config["output_dim"]),))


def _normalization(kind: str, config: Config, read: Shapes, made: Shape) -> Kept:
    if kind in ("UnitNormalization", "Normalization"):
        return Kept() if kind == "UnitNormalization" else Kept(((read[0][-1] or 1,),) * 2)
    axes = config.get("axis", -1)
    axes = axes if isinstance(axes, list) else [axes]
    shape = (None, *read[0])
    sizes = tuple(shape[axis] or 1 for axis in axes)
    count = bool(config.get("scale", True)) + bool(config.get("center", True))
    if kind == "RMSNormalization":
        count = 1
    return Kept((sizes,) * (count + 2 * (kind == "BatchNormalization")))


def _recurrent_kept(kind: str, config: Config, read: Shapes, made: Shape) -> Kept:
    gates = {"LSTM": 4, "GRU": 3}.get(kind, 1)
    steps, inputs = (read[0][0] or 1), read[0][-1] or 1
    units = config["units"]
    matrices = ((inputs, gates * units), (units, gates * units))
    bias: tuple[tuple[int, ...], ...] = ()
    if config.get("use_bias", True):
        twice = kind == "GRU" and config.get("reset_after", True)
        bias = ((2, gates * units),) if twice else ((gates * units,),)
    return Kept((*matrices, *bias), steps * sum(map(prod, matrices)))


def _slopes(kind: str, config: Config, read: Shapes, made: Shape) -> Kept:
    shared = config.get("shared_axes") or []
    return Kept((tuple(1 if i + 1 in shared else n or 1 for i, n in enumerate(read[0])),))


_KEPT: tuple[tuple[str, Callable[[str, Config, Shapes, Shape], Kept]], ...] = (
    *((f"Conv{axes}D{turned}", _convolution) for axes in (1, 2, 3) for turned in ("", "Transpose")),
    *(("Dense", _dense_kept), ("Embedding", _embedding_kept), ("Normalization", _normalization)),
    *(("LSTM", _recurrent_kept), ("GRU", _recurrent_kept), ("SimpleRNN", _recurrent_kept)),
    ("PReLU", _slopes),
)


def _broadcast(read: Shapes) -> Shape | None:
    rank = max(map(len, read), default=0)
    aligned = [(1,) * (rank - len(shape)) + shape for shape in read]
    return tuple(
        None if None in sizes else max(size or 0 for size in sizes)
        for sizes in zip(*aligned, strict=True)
    )


def _many(value: Any, count: int) -> list[int]:
    return [int(item) for item in _many_any(value, count)]


def _many_any(value: Any, count: int) -> list[Any]:
    items = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(items) != count:
        raise ValueError(f"{value} is not {count} numbers")
    return items


def _count(shape: Shape) -> int:
    return prod(1 if size is None else size for size in shape)
