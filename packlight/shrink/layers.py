"""Which weights can be quantised, and each as the matrix that its inputs are multiplied with.

Every layer is seen as rows @ columns: a row makes one output, a column reads one input. A
convolution's columns are the taps of its window, so its inputs are the windows themselves
(`windows`). Groups (a depthwise convolution has one per channel) stack along the first axis.
Sizes: G groups, R rows per group, n columns per group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from packlight.graph import argument, aten, is_call, is_weight, layer_name, pair, value_of
from packlight.network import Network
from packlight.types import Array

_CONVOLUTIONS = (aten.conv1d, aten.conv2d)
_TRANSPOSED = (aten.conv_transpose1d, aten.conv_transpose2d)
_LOOKUPS = (aten.embedding, aten.lstm, aten.gru, aten.rnn_tanh, aten.rnn_relu, aten.einsum)
_OTHER = (*_LOOKUPS, aten.conv3d, aten.conv_transpose3d, aten.bmm)


@dataclass(frozen=True)
class Layer:
    """One weight that is multiplied with inputs.

    Args:
        name: the layer, as in the file.
        kind: "conv", "conv_transpose", "linear", "matmul", or "other" for weights whose inputs
            are not seen (an LSTM's, an embedding's): those are rounded, not solved.
        node: the call that reads the weight.
        weight: the parameter's name.
        bias: the bias parameter's name, if nothing else reads it.
        axis: the dimension of the stored weight that counts output channels.
        shape: of the stored weight.
        groups: of a convolution, otherwise 1.
    """

    name: str
    kind: str
    node: fx.Node
    weight: str
    bias: str | None
    axis: int
    shape: tuple[int, ...]
    groups: int = 1

    def __getstate__(self) -> dict[str, Any]:
        """What goes to other processes: everything but the graph it is in."""
        return {**vars(self), "node": None}

    @property
    def solvable(self) -> bool:
        """Whether its inputs can be collected."""
        return self.kind != "other"

    @property
    def centred(self) -> bool:
        """Whether a bias can absorb what changed weights add on average."""
        return self.bias is not None and self.kind in ("conv", "linear")

    @property
    def input(self) -> fx.Node:
        """The node whose value the weight is multiplied with."""
        return self.node.args[0]

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

    def windows(self, value: Tensor) -> Tensor:
        """The inputs that the rows see: (G, positions, n) from one value of `input`."""
        if self.kind == "conv":
            return _windows(self.node, value, self.groups)
        if self.kind == "conv_transpose":
            channels = value.shape[1]
            flat = value.reshape(value.shape[0], self.groups, channels // self.groups, -1)
            return flat.permute(1, 0, 3, 2).reshape(self.groups, -1, channels // self.groups)
        return value.reshape(1, -1, value.shape[-1])


def find_layers(network: Network) -> list[Layer]:
    """Every weight that can be quantised, in the order the graph runs."""
    return list(_layers(network.module))


def _layers(module: fx.GraphModule) -> Iterator[Layer]:
    seen: set[str] = set()
    names: set[str] = set()
    for node in module.graph.nodes:
        for kind, weight, axis, groups in _weights(module, node):
            name = str(weight.target)
            value = value_of(module, weight)
            if name in seen or not value.is_floating_point() or value.ndim < 2:
                continue
            seen.add(name)
            label = layer_name(node)
            if kind == "other" or label in names:
                label = name
            names.add(label)
            bias = None if kind == "other" else argument(node, 2, "bias")
            own_bias = isinstance(bias, fx.Node) and is_weight(bias) and len(bias.users) == 1
            yield Layer(
                name=label,
                kind=kind,
                node=node,
                weight=name,
                bias=str(bias.target) if own_bias and bias is not None else None,
                axis=axis,
                shape=tuple(value.shape),
                groups=groups,
            )


def _weights(module: fx.GraphModule, node: fx.Node) -> Iterator[tuple[str, fx.Node, int, int]]:
    if is_call(node, *_CONVOLUTIONS) and is_weight(node.args[1]):
        yield "conv", node.args[1], 0, int(argument(node, 6, "groups", 1))
    elif is_call(node, *_TRANSPOSED) and is_weight(node.args[1]):
        groups = int(argument(node, 6, "groups", 1))
        # one scale per output channel exists only where no two groups share the axis
        yield ("conv_transpose" if groups == 1 else "other"), node.args[1], 1, groups
    elif is_call(node, aten.linear) and is_weight(node.args[1]):
        yield "linear", node.args[1], 0, 1
    elif is_call(node, aten.matmul, aten.mm) and is_weight(node.args[1]):
        two_dimensional = value_of(module, node.args[1]).ndim == 2
        yield ("matmul", node.args[1], 1, 1) if two_dimensional else ("other", node.args[1], 0, 1)
    elif is_call(node, *_OTHER) and not _is_codebook(module, node):
        for source in node.all_input_nodes:
            if is_weight(source):
                yield "other", source, 0, 1


def _is_codebook(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a shared weight is looked up: the rows wanted are bytes that the network holds."""
    rows = node.args[1] if is_call(node, aten.embedding) else None
    while isinstance(rows, fx.Node) and rows.op == "call_function":
        rows = next(iter(rows.args), None)
    return is_weight(rows) and value_of(module, rows).dtype == torch.uint8


def _windows(node: fx.Node, value: Tensor, groups: int) -> Tensor:
    """Unfold (N, C, *size) into the convolution's windows, (G, N * positions, C / G * taps)."""
    kernel = node.args[1].meta["val"].shape[2:]
    if value.ndim == 3:  # one dimension is two with a height of 1
        value, kernel = value.unsqueeze(2), (1, *kernel)
    stride, dilation = (pair(argument(node, i, name, 1)) for i, name in ((3, "stride"), (5, "d")))
    padding = argument(node, 4, "padding", 0)
    if isinstance(padding, str):
        padding = (
            0
            if padding == "valid"
            else [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
        )
    if len(node.args[1].meta["val"].shape) == 3:
        stride, dilation, padding = (
            (neutral, one[-1]) for neutral, one in ((1, stride), (1, dilation), (0, pair(padding)))
        )
    columns = F.unfold(value, kernel, dilation, pair(padding), stride)
    samples, _, positions = columns.shape
    split = columns.reshape(samples, groups, -1, positions)
    return split.permute(1, 0, 3, 2).reshape(groups, samples * positions, -1)


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
