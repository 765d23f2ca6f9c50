"""Pool before the last pointwise convolution instead of behind it.

Many classifiers end in a convolution of 1x1 and an activation whose values are averaged over all
positions. Neighbouring positions see nearly the same, so the mean of a window may go through the
convolution in place of each of its positions: k x k windows take k^2 times fewer multiply-adds,
and no weight changes. Only the activation makes a difference,

    mean_p f(W x_p + b)  ~  mean_w f(W mean_{p in w} x_p + b),

none where all of a window is on one side of its kink.

Some convolutions pad as well (SqueezeNet 1.1's): around the positions they add a frame of f(b),
which is a share of the mean that is known without computing it. A window of 1x1 does only that.

Source: Howard et al., arXiv:1905.02244, sec. 5.1 (MobileNetV3, which is trained so, with one window
for all). Differs: in a network that is trained already, with windows of any size that divides.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import torch
from torch import fx

from packlight.graph import (
    add_weight,
    argument,
    aten,
    free_name,
    is_call,
    is_weight,
    layer_name,
    pair,
    value_of,
)
from packlight.network import Network
from packlight.weighing.operators import operator_name

# they look at one number at a time
ACTIVATIONS = (
    *("celu", "clamp", "clamp_min", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh"),
    *("leaky_relu", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "tanh"),
)


@dataclass(frozen=True)
class Pooled:
    """A network whose last pointwise convolution reads means.

    Args:
        network: a copy.
        layer: the convolution's name.
        window: positions along height and width that became one.
    """

    network: Network
    layer: str
    window: tuple[int, int]


@dataclass(frozen=True)
class _End:
    """A pointwise convolution, the activations behind it, and the mean over all positions."""

    convolution: fx.Node
    activations: tuple[fx.Node, ...]
    mean: fx.Node


def pooled(network: Network) -> list[Pooled]:
    """The network with every window that its last pointwise convolution may read means of.

    Args:
        network: fused; left as it is.
    Returns:
        The smallest window first; empty where no mean follows a pointwise convolution.
    """
    found = []
    for end in _ends(network):
        read = end.convolution.args[0]
        assert isinstance(read, fx.Node)
        for window in _windows(*read.meta["val"].shape[2:], padded=any(_padding(end.convolution))):
            found.append(Pooled(_read(network, end, window), layer_name(end.convolution), window))
    return found


def _windows(height: int, width: int, *, padded: bool) -> list[tuple[int, int]]:
    """Squares that tile the positions, and all of them; 1x1 if that takes padding away."""
    common = gcd(height, width)
    squares = [(side, side) for side in range(1, common + 1) if common % side == 0]
    tiles = list(dict.fromkeys([*squares, (height, width)]))
    return tiles if padded else tiles[1:]


def _ends(network: Network) -> list[_End]:
    """What ends so: one, as a rule."""
    found = []
    for mean in network.module.graph.nodes:
        if not _takes_means(mean):
            continue
        activations = []
        node = mean.args[0]
        while _only(node) and operator_name(node) in ACTIVATIONS:
            activations.append(node)
            node = node.args[0]
        if activations and _only(node) and _pointwise(network, node):
            found.append(_End(node, tuple(reversed(activations)), mean))
    return found


def _only(node: fx.Node) -> bool:
    """Whether a call's value has one reader."""
    return node.op == "call_function" and len(node.users) == 1


def _takes_means(node: fx.Node) -> bool:
    """Whether a call gives the mean over all positions of each channel."""
    if is_call(node, aten.adaptive_avg_pool2d):
        return list(node.args[1]) in ([1], [1, 1])
    if not is_call(node, aten.mean):
        return False
    rank = len(node.args[0].meta["val"].shape)
    axes = argument(node, 1, "dim")
    return rank == 4 and axes is not None and {axis % rank for axis in axes} == {2, 3}


def _pointwise(network: Network, node: fx.Node) -> bool:
    """Whether a call is a convolution of 1x1 over a known number of positions."""
    if not is_call(node, aten.conv2d) or not is_weight(node.args[1]):
        return False
    bias = argument(node, 2, "bias")
    sizes = (*node.meta["val"].shape[2:], *node.args[0].meta["val"].shape[2:])
    return (
        tuple(value_of(network.module, node.args[1]).shape[2:]) == (1, 1)
        and all(isinstance(size, int) for size in sizes)
        and pair(argument(node, 3, "stride", 1)) == (1, 1)
        and not isinstance(argument(node, 4, "padding", 0), str)
        and (bias is None or is_weight(bias))
    )


def _padding(node: fx.Node) -> tuple[int, int]:
    return pair(argument(node, 4, "padding", 0))


def _read(network: Network, end: _End, window: tuple[int, int]) -> Network:
    """A copy in which the convolution reads the means of windows."""
    copy = network.copy()
    module = copy.module
    here = {node.name: node for node in module.graph.nodes}
    convolution, mean = here[end.convolution.name], here[end.mean.name]
    read = convolution.args[0]
    if window != (1, 1):
        with module.graph.inserting_before(convolution):
            read = module.graph.call_function(
                aten.avg_pool2d.default, (read, list(window), list(window))
            )
    groups = argument(convolution, 6, "groups", 1)
    bias = argument(convolution, 2, "bias")
    padded = any(_padding(convolution))
    convolution.args = (read, convolution.args[1], bias, [1, 1], [0, 0], [1, 1], groups)
    convolution.kwargs = {}
    if padded:
        _frame(copy, end, mean)
    return copy.refreshed()


def _frame(copy: Network, end: _End, mean: fx.Node) -> None:
    """Put back what the frame of padding was of the mean: f(b) at each of its positions."""
    module = copy.module
    height, width = end.convolution.args[0].meta["val"].shape[2:]
    framed = end.convolution.meta["val"].shape
    inside = height * width / (framed[2] * framed[3])
    value = torch.zeros(framed[1])
    bias = argument(end.convolution, 2, "bias")
    if bias is not None:
        value = value_of(copy.module, bias).detach()
    shape = end.mean.meta["val"].shape
    value = value.reshape(1, -1, *[1] * (len(shape) - 2))
    for activation in end.activations:
        value = activation.target(value, *activation.args[1:], **activation.kwargs)
    following = mean.next
    share = free_name(module, f"{layer_name(end.convolution)}.frame")
    frame = add_weight(module, following, share, (1 - inside) * value, trainable=False)
    with module.graph.inserting_before(following):
        scaled = module.graph.call_function(aten.mul.Tensor, (mean, inside))
        whole = module.graph.call_function(aten.add.Tensor, (scaled, frame))
    mean.replace_all_uses_with(whole, delete_user_cb=lambda user: user is not scaled)
