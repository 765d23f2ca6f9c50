"""Recurrent layers: LSTM, GRU and RNN.

The usual kind is one call of torch's own, whose gates stand in another order: ONNX has input,
output, forget, cell for LSTM and update, reset, hidden for GRU; torch has input, forget, cell,
output and reset, update, hidden. Peepholes, clipping, other activations and sequences of
different lengths are written out step by step.

Shapes: T steps, N sequences, I inputs, H hidden, D directions, G gates.
    X (T, N, I)   W (D, G H, I)   R (D, G H, H)   B (D, 2 G H)   state (D, N, H)   Y (T, D, N, H)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from packlight.readers.onnx.file import MAX_STEPS
from packlight.readers.onnx.graph import Node
from packlight.readers.onnx.registry import op
from packlight.readers.onnx.values import Array

_LSTM_ORDER = (0, 2, 3, 1)
_GRU_ORDER = (1, 0, 2)

_ACTIVATIONS: dict[str, Callable[[Tensor, float | None, float | None], Tensor]] = {
    "affine": lambda x, a, b: (1.0 if a is None else a) * x + (0.0 if b is None else b),
    "elu": lambda x, a, b: torch.nn.functional.elu(x, 1.0 if a is None else a),
    "hardsigmoid": lambda x, a, b: torch.clamp(
        (0.2 if a is None else a) * x + (0.5 if b is None else b), 0.0, 1.0
    ),
    "leakyrelu": lambda x, a, b: torch.nn.functional.leaky_relu(x, 0.01 if a is None else a),
    "relu": lambda x, a, b: torch.relu(x),
    "scaledtanh": lambda x, a, b: (
        (1.0 if a is None else a) * torch.tanh((1.0 if b is None else b) * x)
    ),
    "sigmoid": lambda x, a, b: torch.sigmoid(x),
    "softplus": lambda x, a, b: torch.nn.functional.softplus(x),
    "softsign": lambda x, a, b: torch.nn.functional.softsign(x),
    "tanh": lambda x, a, b: torch.tanh(x),
    "thresholdedrelu": lambda x, a, b: torch.nn.functional.threshold(
        x, 1.0 if a is None else a, 0.0
    ),
}


@dataclass
class _Layer:
    """A node's inputs with the batch second, and its attributes."""

    node: Node
    x: Tensor
    w: Tensor
    r: Tensor
    b: Tensor | None
    lengths: Tensor | None
    h: Tensor
    c: Tensor | None
    peepholes: Tensor | None
    directions: int
    hidden: int
    activations: list[str]
    usual: bool

    def parameters(self, gates: int, order: tuple[int, ...]) -> list[Tensor]:
        """Weights as torch wants them: W, R and both biases of each direction."""
        found = []
        for direction in range(self.directions):
            parts = [_reorder(matrix[direction], order) for matrix in (self.w, self.r)]
            if self.b is not None:
                size = gates * self.hidden
                bias = self.b[direction]
                parts += [_reorder(half, order) for half in (bias[:size], bias[size:])]
            found += parts
        return found


@op("LSTM", either=[4])
def lstm(node: Node, *inputs: Any) -> tuple[Tensor, ...]:
    """Long short-term memory."""
    layer = _layer(node, inputs, ["sigmoid", "tanh", "tanh"], cell=True)
    assert layer.c is not None
    if layer.usual and layer.peepholes is None and not node.get("input_forget", 0):
        parameters = layer.parameters(4, _LSTM_ORDER)
        y, h, c = torch.lstm(layer.x, (layer.h, layer.c), parameters, *_torch_flags(layer))
        return _results(layer, _split_directions(layer, y), h, c)
    return _unrolled(layer, _lstm_cell)


@op("GRU", either=[4])
def gru(node: Node, *inputs: Any) -> tuple[Tensor, ...]:
    """Gated recurrent unit."""
    layer = _layer(node, inputs, ["sigmoid", "tanh"])
    if layer.usual and node.get("linear_before_reset", 0):
        parameters = layer.parameters(3, _GRU_ORDER)
        y, h = torch.gru(layer.x, layer.h, parameters, *_torch_flags(layer))
        return _results(layer, _split_directions(layer, y), h)
    return _unrolled(layer, _gru_cell)


@op("RNN", either=[4])
def rnn(node: Node, *inputs: Any) -> tuple[Tensor, ...]:
    """The plain recurrent layer."""
    layer = _layer(node, inputs, ["tanh"])
    run = torch.rnn_tanh
    if layer.activations == ["relu"] * layer.directions and _default_parameters(node):
        layer.usual, run = _torch_direction(layer), torch.rnn_relu
    if layer.usual:
        y, h = run(layer.x, layer.h, layer.parameters(1, (0,)), *_torch_flags(layer))
        return _results(layer, _split_directions(layer, y), h)
    return _unrolled(layer, _rnn_cell)


def _layer(node: Node, inputs: tuple[Any, ...], default: list[str], cell: bool = False) -> _Layer:
    given: list[Any] = [*inputs, *[None] * (8 - len(inputs))]
    x, w, r, b, lengths, h, c, peepholes = given
    if node.get("layout", 0):
        x = x.transpose(0, 1)
        h, c = (None if state is None else state.transpose(0, 1) for state in (h, c))
    if x.ndim != 3 or w.ndim != 3 or r.ndim != 3:
        raise node.bad("its input or a weight does not have three dimensions")
    directions, hidden = int(w.shape[0]), int(r.shape[2])
    named = node.get("direction", "forward")
    if directions != (2 if named == "bidirectional" else 1) or named not in (
        "forward",
        "reverse",
        "bidirectional",
    ):
        raise node.bad(f"direction {named!r} with weights for {directions}")
    if isinstance(lengths, np.ndarray):
        lengths = _needed_lengths(lengths, x)
    if h is None:
        h = x.new_zeros(directions, x.shape[1], hidden)
    if c is None and cell:
        c = x.new_zeros(directions, x.shape[1], hidden)
    chosen = [name.lower() for name in node.get("activations") or default * directions]
    chosen = chosen[: len(default) * directions]  # a schema's default covers both directions
    if len(chosen) != len(default) * directions or not all(n in _ACTIVATIONS for n in chosen):
        raise node.unsupported(f"activations {chosen}")
    layer = _Layer(
        node, x, w, r, b, lengths, h, c, peepholes, directions, hidden, chosen, usual=False
    )
    layer.usual = (
        chosen == default * directions and _default_parameters(node) and _torch_direction(layer)
    )
    return layer


def _needed_lengths(lengths: Array, x: Tensor) -> Tensor | None:
    """Lengths, unless every sequence has all steps."""
    if (lengths == int(x.shape[0])).all():
        return None
    return torch.from_numpy(lengths.astype(np.int64))


def _default_parameters(node: Node) -> bool:
    return not (
        node.get("activation_alpha") or node.get("activation_beta") or node.get("clip") is not None
    )


def _torch_direction(layer: _Layer) -> bool:
    return layer.lengths is None and layer.node.get("direction", "forward") != "reverse"


def _torch_flags(layer: _Layer) -> tuple[Any, ...]:
    """has_biases, num_layers, dropout, train, bidirectional, batch_first."""
    return layer.b is not None, 1, 0.0, False, layer.directions == 2, False


def _reorder(matrix: Tensor, order: tuple[int, ...]) -> Tensor:
    if len(order) == 1:
        return matrix
    gates = matrix.chunk(len(order), 0)
    return torch.cat([gates[index] for index in order], 0)


def _split_directions(layer: _Layer, y: Tensor) -> Tensor:
    """(T, N, D H) -> (T, D, N, H)."""
    if layer.directions == 1:
        return y.unsqueeze(1)
    return y.unflatten(2, (2, layer.hidden)).transpose(1, 2)


def _results(layer: _Layer, y: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
    if layer.node.get("layout", 0):
        return y.permute(2, 0, 1, 3), *[state.transpose(0, 1) for state in states]
    return y, *states


# One step by hand. A cell takes the step's part of W x + b, the recurrent weights and the state.


@dataclass
class _Step:
    """What the cell of one direction needs."""

    layer: _Layer
    f: list[Callable[[Tensor], Tensor]]
    r: Tensor
    rb: Tensor
    peepholes: Tensor | None

    def clip(self, gate: Tensor) -> Tensor:
        """The sum before an activation, limited if the node asks for it."""
        limit = self.layer.node.get("clip")
        return gate if limit is None else torch.clamp(gate, -limit, limit)


def _lstm_cell(step: _Step, wx: Tensor, h: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    assert c is not None
    f, g, last = step.f
    i, o, forget, cell = (wx + h @ step.r.t() + step.rb).chunk(4, -1)
    if step.peepholes is not None:
        pi, po, pf = step.peepholes.chunk(3)
        i, forget = i + pi * c, forget + pf * c
    i = f(step.clip(i))
    keep = 1 - i if step.layer.node.get("input_forget", 0) else f(step.clip(forget))
    new = keep * c + i * g(step.clip(cell))
    if step.peepholes is not None:
        o = o + po * new
    return f(step.clip(o)) * last(new), new


def _gru_cell(step: _Step, wx: Tensor, h: Tensor, c: Tensor | None) -> tuple[Tensor, None]:
    f, g = step.f
    wz, wr, wh = wx.chunk(3, -1)
    rz, rr, rh = step.r.chunk(3, 0)
    bz, br, bh = step.rb.chunk(3, 0)
    z = f(step.clip(wz + h @ rz.t() + bz))
    reset = f(step.clip(wr + h @ rr.t() + br))
    if step.layer.node.get("linear_before_reset", 0):
        hidden = g(step.clip(wh + reset * (h @ rh.t() + bh)))
    else:
        hidden = g(step.clip(wh + (reset * h) @ rh.t() + bh))
    return (1 - z) * hidden + z * h, None


def _rnn_cell(step: _Step, wx: Tensor, h: Tensor, c: Tensor | None) -> tuple[Tensor, None]:
    (f,) = step.f
    return f(step.clip(wx + h @ step.r.t() + step.rb)), None


def _unrolled(layer: _Layer, cell: Callable[..., tuple[Tensor, Any]]) -> tuple[Tensor, ...]:
    steps = int(layer.x.shape[0])
    if steps > MAX_STEPS:
        raise layer.node.unsupported(f"{steps} steps of a cell that torch does not have")
    ys, hs, cs = [], [], []
    per_direction = len(layer.activations) // layer.directions
    for d in range(layer.directions):
        gates = layer.w.shape[1]
        bias = layer.b[d] if layer.b is not None else layer.x.new_zeros(2 * gates)
        step = _Step(
            layer,
            [_activation(layer, d * per_direction + index) for index in range(per_direction)],
            layer.r[d],
            bias[gates:],
            None if layer.peepholes is None else layer.peepholes[d],
        )
        wx = torch.nn.functional.linear(layer.x, layer.w[d], bias[:gates])
        h, c = layer.h[d], None if layer.c is None else layer.c[d]
        backwards = d == 1 or layer.node.get("direction") == "reverse"
        outputs = []
        for t in reversed(range(steps)) if backwards else range(steps):
            new_h, new_c = cell(step, wx[t], h, c)
            out = new_h
            if layer.lengths is not None:
                # past its end a sequence keeps its state and gives zeros
                alive = (layer.lengths > t).unsqueeze(-1)
                out = torch.where(alive, new_h, torch.zeros_like(new_h))
                new_h = torch.where(alive, new_h, h)
                new_c = None if c is None else torch.where(alive, new_c, c)
            h, c = new_h, new_c
            outputs.append(out)
        ys.append(torch.stack(outputs[::-1] if backwards else outputs))
        hs.append(h)
        cs.append(c)
    states = [torch.stack(hs)] + ([] if layer.c is None else [torch.stack(cs)])
    return _results(layer, torch.stack(ys, 1), *states)


def _activation(layer: _Layer, index: int) -> Callable[[Tensor], Tensor]:
    run = _ACTIVATIONS[layer.activations[index]]
    alphas = layer.node.get("activation_alpha") or []
    betas = layer.node.get("activation_beta") or []
    alpha = alphas[index] if index < len(alphas) else None
    beta = betas[index] if index < len(betas) else None
    return lambda x: run(x, alpha, beta)
