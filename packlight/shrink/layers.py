"""Which weights can be quantised, and each as the matrix that its inputs are multiplied with.

Every layer is seen as rows @ columns: a row makes one output, a column reads one input. A
convolution's columns are the taps of its window, so its inputs are the windows themselves
(`windows`). Groups (a depthwise convolution has one per channel) stack along the first axis.
A weight that several calls read alike, as the steps of a loop do, has the inputs of all of them.
A recurrent layer has two weights in each direction: one for its inputs, one for its states.
Sizes: G groups, R rows per group, n columns per group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from packlight.graph import (
    RECURRENT,
    argument,
    aten,
    is_call,
    is_weight,
    layer_name,
    per_dimension,
    value_of,
)
from packlight.network import Network
from packlight.types import Array

_CONVOLUTIONS = (aten.conv1d, aten.conv2d, aten.conv3d)
_TRANSPOSED = (aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)
_LOOKUPS = (aten.embedding, aten.lstm, aten.gru, aten.rnn_tanh, aten.rnn_relu, aten.einsum)
_OTHER = (*_LOOKUPS, aten.bmm)

#: positions of one sample, for all columns and for each, that tell as much as any more of them
ENOUGH, EACH_COLUMN = 256, 16


@dataclass(frozen=True)
class Layer:
    """One weight that is multiplied with inputs.

    Args:
        name: the layer, as in the file.
        kind: "conv", "conv_transpose", "linear", "matmul", "recurrent" (of LSTM, GRU and RNN), or
            "other" for weights whose inputs are not seen (an embedding's): those are rounded, not
            solved.
        node: the call that reads the weight, the first of several.
        weight: the parameter's name.
        bias: the bias parameter's name, if nothing else reads it.
        axis: the dimension of the stored weight that counts output channels.
        shape: of the stored weight.
        groups: of a convolution, otherwise 1.
        calls: all that read the weight as `node` does, itself among them.
        states: of a weight that a recurrent layer's states are multiplied with, the first of the
            call's outputs that are its states; None for all other weights.
    """

    name: str
    kind: str
    node: fx.Node
    weight: str
    bias: str | None
    axis: int
    shape: tuple[int, ...]
    groups: int = 1
    calls: tuple[fx.Node, ...] = ()
    states: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What goes to other processes: everything but the graph it is in."""
        return {**vars(self), "node": None, "calls": ()}

    @property
    def solvable(self) -> bool:
        """Whether its inputs can be collected."""
        return self.kind != "other"

    @property
    def centred(self) -> bool:
        """Whether a bias can absorb what changed weights add on average."""
        return self.bias is not None and self.kind in ("conv", "linear", "recurrent")

    @property
    def input(self) -> fx.Node:
        """The node whose value the weight is multiplied with."""
        return self.read_by(self.node)

    def read_by(self, call: fx.Node) -> fx.Node:
        """The node whose value one of its calls multiplies the weight with."""
        return call if self.states is not None else call.args[0]

    @property
    def matrix(self) -> tuple[int, ...]:
        """(G, R, n), the shape of its rows."""
        return self.rows(np.empty(self.shape, np.bool_)).shape

    def rows(self, weight: Array) -> Array:
        """The stored weight as (G, R, n)."""
        if self.kind == "conv":
            return weight.reshape(self.groups, self.shape[0] // self.groups, -1)
        if self.kind == "conv_transpose":
            # (in, out / G, *kernel): a column is an input channel, a row an output and a tap
            split = weight.reshape(self.groups, self.shape[0] // self.groups, -1)
            return split.swapaxes(1, 2)
        if self.kind == "matmul":
            return weight.T[None]
        return np.moveaxis(weight, self.axis, 0).reshape(1, self.shape[self.axis], -1)

    def stored(self, rows: Array) -> Array:
        """The inverse of `rows`."""
        if self.kind == "conv":
            return rows.reshape(self.shape)
        if self.kind == "conv_transpose":
            return rows.swapaxes(1, 2).reshape(self.shape)
        if self.kind == "matmul":
            return np.ascontiguousarray(rows[0].T)
        moved = (self.shape[self.axis], *np.delete(self.shape, self.axis))
        return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, self.axis))

    def channels(self, per_row: Array) -> Array:
        """One number per row, (G, R), as one number per output channel.

        Rows of one output channel must agree; a transposed convolution has one row per tap.
        """
        if self.kind == "conv_transpose":
            out = self.shape[1]
            return per_row.reshape(self.groups, out, -1)[:, :, 0].reshape(-1)
        return per_row.reshape(-1)

    def per_row(self, channels: Array) -> Array:
        """The inverse of `channels`: (G, R)."""
        rows = (
            np.repeat(channels, int(np.prod(self.shape[2:])))
            if self.kind == "conv_transpose"
            else channels
        )
        return rows.reshape(self.groups, -1)

    def windows(self, value: Any, call: fx.Node | None = None, turn: int | None = None) -> Tensor:
        """The inputs that the rows see: (G, positions, n) float32.

        Args:
            value: of `read_by` of a call.
            call: which of its calls; default: the first.
            turn: of a convolution's positions, far more than columns, take some, and others in
                every turn; default: all.
        """
        if self.states is not None:
            # a step's states are those that the step before gives: all but the first and the last
            value = value[0].narrow(-1, self.states, self.shape[1])
        value = value.float()
        if self.kind == "conv":
            return _windows(call or self.node, value, self.groups, turn)
        if self.kind == "conv_transpose":
            channels = value.shape[1]
            flat = value.reshape(value.shape[0], self.groups, channels // self.groups, -1)
            return flat.permute(1, 0, 3, 2).reshape(self.groups, -1, channels // self.groups)
        return value.reshape(1, -1, value.shape[-1])


def find_layers(network: Network) -> list[Layer]:
    """Every weight that can be quantised, in the order the graph runs."""
    return list(_layers(network.module))


def _layers(module: fx.GraphModule) -> Iterator[Layer]:
    reads: dict[str, list[tuple[fx.Node, _Read]]] = {}
    for node in module.graph.nodes:
        for read in _weights(module, node):
            value = value_of(module, read.weight)
            if value.is_floating_point() and value.ndim >= 2:
                reads.setdefault(str(read.weight.target), []).append((node, read))
    names: set[str] = set()
    for name, ways in reads.items():
        node, read = ways[0]
        label = layer_name(node)
        if read.kind in ("other", "recurrent") or label in names:
            label = name
        names.add(label)
        bias = None if read.kind == "other" else read.bias
        own_bias = bias is not None and is_weight(bias) and len(bias.users) == 1
        yield Layer(
            name=label,
            kind=read.kind,
            node=node,
            weight=name,
            bias=str(bias.target) if own_bias and bias is not None else None,
            axis=read.axis,
            shape=tuple(value_of(module, read.weight).shape),
            groups=read.groups,
            calls=tuple(call for call, way in ways if way.alike == read.alike),
            states=read.states,
        )


@dataclass(frozen=True)
class _Read:
    """How a call reads a weight; the fields are those of `Layer`."""

    kind: str
    weight: fx.Node
    axis: int = 0
    groups: int = 1
    bias: fx.Node | None = None
    states: int | None = None

    @property
    def alike(self) -> tuple[Any, ...]:
        """What calls have in common whose inputs can be seen as one."""
        return self.kind, self.axis, self.groups, self.states


def _weights(module: fx.GraphModule, node: fx.Node) -> Iterator[_Read]:
    if is_call(node, *_CONVOLUTIONS) and is_weight(node.args[1]):
        groups = int(argument(node, 6, "groups", 1))
        yield _Read("conv", node.args[1], 0, groups, argument(node, 2, "bias"))
    elif is_call(node, *_TRANSPOSED) and is_weight(node.args[1]):
        groups = int(argument(node, 6, "groups", 1))
        # one scale per output channel exists only where no two groups share the axis
        kind = "conv_transpose" if groups == 1 else "other"
        yield _Read(kind, node.args[1], 1, groups, argument(node, 2, "bias"))
    elif is_call(node, aten.linear) and is_weight(node.args[1]):
        yield _Read("linear", node.args[1], bias=argument(node, 2, "bias"))
    elif is_call(node, aten.matmul, aten.mm) and is_weight(node.args[1]):
        two_dimensional = value_of(module, node.args[1]).ndim == 2
        yield _Read("matmul", node.args[1], 1) if two_dimensional else _Read("other", node.args[1])
    elif is_call(node, *RECURRENT) and _one_layer(node):
        yield from _of_recurrent(module, node)
    elif is_call(node, *_OTHER) and not _is_codebook(module, node):
        for source in node.all_input_nodes:
            if is_weight(source):
                yield _Read("other", source)


def _one_layer(node: fx.Node) -> bool:
    """Whether a recurrent call is one layer, without projections, of weights alone."""
    parameters, biases, layers = node.args[2:5]
    directions = 2 if node.args[7] else 1
    ours = all(is_weight(one) for one in parameters)
    return ours and layers == 1 and len(parameters) == directions * (4 if biases else 2)


def _of_recurrent(module: fx.GraphModule, node: fx.Node) -> Iterator[_Read]:
    parameters, biases = node.args[2:4]
    each = 4 if biases else 2  # of a direction: for inputs, for states, and the biases of both
    for start in range(0, len(parameters), each):
        inputs, states, *own = parameters[start : start + each]
        first = start // each * value_of(module, states).shape[1]
        yield _Read("recurrent", inputs, bias=own[0] if own else None)
        yield _Read("recurrent", states, bias=own[1] if own else None, states=first)


def _is_codebook(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a shared weight is looked up: the rows wanted are bytes that the network holds."""
    rows = node.args[1] if is_call(node, aten.embedding) else None
    while isinstance(rows, fx.Node) and rows.op == "call_function":
        rows = next(iter(rows.args), None)
    return is_weight(rows) and value_of(module, rows).dtype == torch.uint8


def _windows(node: fx.Node, value: Tensor, groups: int, turn: int | None) -> Tensor:
    """Unfold (N, C, *size) into the convolution's windows, (G, N * positions, C / G * taps)."""
    kernel = node.args[1].meta["val"].shape[2:]
    rank = len(kernel)
    stride = per_dimension(argument(node, 3, "stride", 1), rank)
    dilation = per_dimension(argument(node, 5, "dilation", 1), rank)
    spans = [gap * (size - 1) + 1 for gap, size in zip(dilation, kernel, strict=True)]
    padding = argument(node, 4, "padding", 0)
    if padding == "same":
        before = [(span - 1) // 2 for span in spans]
        after = [span // 2 for span in spans]
    else:
        before = after = per_dimension(0 if padding == "valid" else padding, rank)
    # the last dimension comes first
    ends = [end for both in zip(reversed(before), reversed(after), strict=True) for end in both]
    batch = value if value.ndim == rank + 2 else value.unsqueeze(0)
    windows = F.pad(batch, ends).unflatten(1, (groups, -1))
    for place, (span, step, gap) in enumerate(zip(spans, stride, dilation, strict=True)):
        windows = windows.unfold(3 + place, span, step)[..., ::gap]
    if turn is not None:
        windows = _of_turn(windows, rank, turn)
    samples, _, channels, *others = range(windows.ndim)
    positions, taps = others[:rank], others[rank:]
    # a column's inputs lie in one piece, as pixels of a row do: far less to copy than by windows
    turned = windows.permute(1, channels, *taps, samples, *positions)
    shape = (groups, turned.shape[1] * kernel.numel(), -1)
    return turned.reshape(shape).transpose(1, 2)


def _of_turn(windows: Tensor, rank: int, turn: int) -> Tensor:
    """Of (N, G, C / G, *positions, *taps), as many positions as tell enough, equally far apart."""
    channels, *sizes = windows.shape[2:]
    enough = max(ENOUGH, EACH_COLUMN * channels * prod(sizes[rank:]))
    skip = 1  # and odd, as what repeats along an image mostly does so every second pixel
    while prod(size // (skip + 2) for size in sizes[:rank]) >= enough:
        skip += 2
    taken = [slice(turn // skip**place % skip, None, skip) for place in range(rank)]
    return windows[(..., *taken, *[slice(None)] * rank)]


def weight_array(network: Network, name: str) -> Array:
    """A parameter as float64, the precision the solvers work in."""
    value = value_of_name(network, name)
    array: Array = value.detach().to(torch.float64).numpy()
    return array


def value_of_name(network: Network, name: str) -> Tensor:
    """The tensor stored under a dotted name."""
    owner, _, leaf = name.rpartition(".")
    value: Tensor = getattr(network.module.get_submodule(owner), leaf)
    return value


def put(network: Network, values: Mapping[str, Tensor]) -> None:
    """Write values into a network's parameters of these names, in place."""
    with torch.no_grad():
        for name, value in values.items():
            value_of_name(network, name).copy_(value)
