"""How much the outputs care: second-order information of every layer, from unlabelled samples.

For a layer y = W x the loss rises by 1/2 sum_r s (dw_r)^T H (dw_r) when row r of W moves by dw_r:

    H   second moments of the inputs, E[(x - mu)(x - mu)^T] over samples and positions. The mean
        mu is taken out because the bias can absorb whatever a changed weight adds on average.
    s   how sensitive the loss is to the layer: E||G||^2 / (R tr H), G the gradient of one
        sample's loss with respect to W. It is measured per sample on the weights, not per position
        on the outputs: one weight moves every position of a map the same way, and position-wise
        gradients miss that by a factor of 20 in late layers.

What is asked for is the Fisher information: labels are drawn from the network's own predictions, so
none are used. But where a network is sure, almost every label drawn says that nothing matters, and
one in a thousand that everything does. So all labels are taken at once, their log-likelihoods each
times the root of its probability and a random sign: the square of its gradient is the same on
average, and never far from it. Networks that do not classify are asked for a random projection of
the outputs, each measured in units of its own spread.

H is blended half and half with E[G^T G], matched in trace, which knows which inputs the loss
listens to and is too noisy on its own.

Few samples leave directions in which it looks as if nothing ever moved, and rounding would hide all
its errors in those. So H is shrunk towards a multiple of the identity, by the share of it that is
chance: the variance of the mean of the chunks below.

Samples are summed in chunks that do not depend on where they run, each with draws of its own, and
the chunks' sums are added in their order.

Sources: Hassibi & Stork, Optimal Brain Surgeon, NIPS 1992; Martens & Grosse, arXiv:1503.05671
(Kronecker form); Kunstner et al., arXiv:1905.12558 (labels drawn, not true ones); Hutchinson, Comm.
Stat. Sim. 19 (1990) 433 (signs); Ledoit & Wolf, J. Multivariate Analysis 88 (2004) 365 (shrinking;
what varies here are chunks, not samples).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, fx

from packlight.network import Network
from packlight.shrink.gradients import Gradient, Pulls, require_gradients
from packlight.shrink.layers import Layer, find_layers
from packlight.shrink.workers import HERE, Shared, Workers
from packlight.types import Array

MAX_COLUMNS = 4608  # a larger H is kept as blocks along its diagonal; 4608^2 floats are 85 MB
GRADIENT_SHARE = 0.5  # of E[G^T G] in the blend
CHUNKS = 16  # of samples, at most: so many processes can share the work
WIDE = 1 / 8  # of the columns: more rows are worth a sum of their own, for half of the work
TOGETHER = 128  # rows: with fewer, writing the sum takes longer than computing it


@dataclass(frozen=True)
class Curvature:
    """Second-order information of one layer.

    Args:
        moments: one (G, m, m) float32 array per block of columns, the blended H.
        mean: (G, n) float64, the mean input.
        sensitivity: s, a non-negative number.
        of_bias: the same of a bias, whose input is 1: E||g||^2 / channels, g the gradient of one
            sample's loss with respect to all of them; 0 where nothing is known.
    """

    moments: tuple[Array, ...]
    mean: Array
    sensitivity: float
    of_bias: float = 0.0


Loss = Callable[[tuple[Tensor, ...], torch.Generator], Tensor]


def classifier_loss(probabilities: bool) -> Loss:
    """Log-likelihoods of all labels, sum_c +-sqrt(p_c) log p_c with p the first output.

    Args:
        probabilities: the output holds probabilities; otherwise logits.
    """

    return partial(_of_labels, probabilities)


def _of_labels(
    probabilities: bool, outputs: tuple[Tensor, ...], generator: torch.Generator
) -> Tensor:
    scores = outputs[0].flatten(1)
    logs = scores.clamp_min(1e-12).log() if probabilities else scores.log_softmax(1)
    return (_signs(logs, generator) * logs.detach().exp().sqrt() * logs).sum()


def projection_loss(spreads: Sequence[float]) -> Loss:
    """A random +-1 projection of every output, in units of its spread (root mean square)."""

    return partial(_of_projection, tuple(spreads))


def _of_projection(
    spreads: Sequence[float], outputs: tuple[Tensor, ...], generator: torch.Generator
) -> Tensor:
    total = torch.zeros(())
    for output, spread in zip(outputs, spreads, strict=True):
        if not output.is_floating_point() or spread == 0:
            continue
        signs = _signs(output, generator)
        total = total + (output * signs).sum() / (spread * output.numel() ** 0.5)
    return total


def _signs(values: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, values.shape, generator=generator) * 2 - 1


class Samples(Protocol):
    """The inputs of one sample after the other."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]: ...


def collect(
    network: Network,
    layers: Sequence[Layer],
    samples: Samples,
    loss: Loss,
    *,
    seed: int = 0,
    workers: Workers = HERE,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Curvature]:
    """Measure every layer on samples given one at a time.

    Args:
        network: left as it is, but that its layers' weights and biases ask for gradients.
        layers: of this network.
        samples: the inputs of one sample each (as many as the batch, where that is fixed).
        loss: of one sample's outputs; can be pickled.
        seed: for the signs drawn.
        workers: where the chunks of samples run.
        tick: called after every chunk; there are `CHUNKS`, or one per sample where those are fewer.
    Returns:
        layer name -> Curvature; without moments where a layer is not solvable.
    """
    sums = {layer.name: _Sums(layer) for layer in layers}
    require_gradients(network, layers)  # before threads do it at once
    shared = workers.share((network, list(sums), loss, seed))
    size = sum(one.nbytes for one in sums.values())
    for parts in workers.in_order(_sums_of, shared, chunks_of(samples), size):
        for name, part in parts.items():
            sums[name].add(part)
        tick()
    return {name: total.curvature() for name, total in sums.items()}


Chunk = tuple[int, list[tuple[Array, ...]]]
"""Its number, and samples."""


def chunks_of(samples: Samples) -> Iterator[Chunk]:
    """The samples in the chunks that are summed: `CHUNKS`, or one each where those are fewer."""
    total, each = len(samples), iter(samples)
    chunks = min(CHUNKS, total)
    for number in range(chunks):
        size = total * (number + 1) // chunks - total * number // chunks
        yield number, [tuple(value.numpy() for value in sample) for sample in islice(each, size)]


def _sums_of(
    shared: Shared[tuple[Network, list[str], Loss, int]], chunk: Chunk
) -> dict[str, _Part]:
    """Every layer's sums over the samples of a chunk."""
    network, names, loss, seed = shared.value
    number, samples = chunk
    generator = torch.Generator().manual_seed(seed * CHUNKS + number)
    layers = [layer for layer in find_layers(network) if layer.name in names]
    sums = {layer.name: _Sums(layer) for layer in layers}

    def look(layer: Layer, call: fx.Node, value: Any) -> None:
        mine = sums[layer.name]
        mine.add_input(layer.windows(value, call, turn=mine.turn))

    pulls = Pulls(network, layers, look)
    for sample in samples:
        gradients, of_biases = pulls.of(loss(pulls.outputs(sample), generator))
        for name, gradient in gradients.items():
            sums[name].add_gradient(gradient)
        for name, of_bias in of_biases.items():
            sums[name].bias_energy += float(of_bias.double().square().mean())
    return {name: total.part() for name, total in sums.items()}


@dataclass(frozen=True)
class _Part:
    """What `_Sums` has summed, as arrays that go from process to process."""

    products: list[Array]
    gradients: list[Array]
    total: Array
    shift: Array | None
    positions: int
    samples: int
    energy: float
    bias_energy: float


class _Sums:
    """Running sums of one layer: inputs, their products, gradients' products."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.groups, self.rows, self.columns = layer.matrix
        self.blocks = [
            slice(start, min(start + MAX_COLUMNS, self.columns))
            for start in range(0, self.columns, MAX_COLUMNS)
            if layer.solvable
        ]
        sizes = [block.stop - block.start for block in self.blocks]
        self.products = [Moments(self.groups, size) for size in sizes]
        self.gradients = [torch.zeros(self.groups, size, size) for size in sizes]
        self.seen = _Rows([moments.sum for moments in self.products], self.blocks)
        self.pulls = _Rows(self.gradients, self.blocks)
        self.total = torch.zeros(self.groups, self.columns, dtype=torch.float64)
        self.shift: Tensor | None = None
        self.turn = 0
        self.positions = 0
        self.samples = 0
        self.energy = 0.0
        self.bias_energy = 0.0

    @property
    def nbytes(self) -> int:
        """Of what is summed."""
        return sum(value.nbytes for value in self.gradients) * 2

    def add_input(self, windows: Tensor) -> None:
        self.turn += 1
        if self.layer.centred:
            # what is summed is small if the mean is nearly gone; float32 then loses nothing
            if self.shift is None:
                self.shift = windows.mean(1)
            windows = windows - self.shift.unsqueeze(-2)
        self.positions += windows.shape[1]
        self.total += windows.sum(1)  # float32 is enough for one sample, shifted
        self.seen.add(windows)

    def add_gradient(self, gradient: Gradient) -> None:
        self.samples += 1
        self.energy += gradient.energy
        self.pulls.add(gradient.others)  # of two factors, the other is orthonormal

    def part(self) -> _Part:
        """The sums so far, shifted to their mean."""
        self.seen.join()
        self.pulls.join()
        if self.shift is not None:
            mean = self.total / max(self.positions, 1)
            for block, products in zip(self.blocks, self.products, strict=True):
                _add_outer(products.sum, mean[:, block], -self.total[:, block])
            self.shift = self.shift + mean.float()
            self.total = torch.zeros_like(self.total)
        return _Part(
            products=[value.sum.numpy() for value in self.products],
            gradients=[value.numpy() for value in self.gradients],
            total=self.total.numpy(),
            shift=None if self.shift is None else self.shift.numpy(),
            positions=self.positions,
            samples=self.samples,
            energy=self.energy,
            bias_energy=self.bias_energy,
        )

    def add(self, part: _Part) -> None:
        """Take in what was summed elsewhere."""
        theirs = [torch.from_numpy(value) for value in part.products]
        self.total += torch.from_numpy(part.total)
        if part.shift is not None and self.shift is None:
            self.shift = torch.from_numpy(part.shift)
        elif part.shift is not None and self.shift is not None:
            # x - self.shift is (x - part.shift) + moved, of which the first has the mean 0
            moved = torch.from_numpy(part.shift).double() - self.shift
            for block, products in zip(self.blocks, theirs, strict=True):
                _add_outer(products, part.positions * moved[:, block], moved[:, block])
            self.total += part.positions * moved
        for mine, products in zip(self.products, theirs, strict=True):
            mine.add(products, part.positions)
        for mine, gradients in zip(self.gradients, part.gradients, strict=True):
            mine += torch.from_numpy(gradients)
        self.positions += part.positions
        self.samples += part.samples
        self.energy += part.energy
        self.bias_energy += part.bias_energy

    def curvature(self) -> Curvature:
        count = max(self.positions, 1)
        centre = self.total / count  # of the shifted inputs
        trace = 0.0
        moments = []
        for block, products, gradients in zip(
            self.blocks, self.products, self.gradients, strict=True
        ):
            covariance = products.sum.double() / count
            if self.layer.centred:
                offset = centre[:, block]
                covariance -= offset[:, :, None] * offset[:, None, :]
            size = _trace(covariance)
            covariance = products.shrunk(covariance, count)
            pull = _trace(gradients.double())
            if pull > 0 and size > 0:
                other = gradients.double() * (size / pull)
                covariance = (1 - GRADIENT_SHARE) * covariance + GRADIENT_SHARE * other
            trace += size
            moments.append(covariance.float().numpy())
        if not self.layer.solvable:
            trace = float(self.columns)  # inputs not seen are taken for white: H = 1
        energy = self.energy / max(self.samples, 1)
        sensitivity = energy / (self.rows * trace) if trace > 0 else 0.0
        mean = centre if self.shift is None else centre + self.shift.double()
        of_bias = self.bias_energy / max(self.samples, 1)
        return Curvature(tuple(moments), mean.numpy(), sensitivity, of_bias)


class _Rows:
    """Rows on their way into a sum of their products, few of which wait for more.

    Args:
        sums: (G, m, m) of each block of columns, added to in place.
        blocks: of columns.
    """

    def __init__(self, sums: Sequence[Tensor], blocks: Sequence[slice]) -> None:
        self._sums, self._blocks = sums, blocks
        self._waiting: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        """Take in (G, k, n)."""
        if rows.shape[1] >= TOGETHER:
            self._sum(rows)
            return
        self._waiting.append(rows.clone())  # what it is a view of may change
        if sum(one.shape[1] for one in self._waiting) >= TOGETHER:
            self.join()

    def join(self) -> None:
        """Add what waits."""
        if self._waiting:
            self._sum(torch.cat(self._waiting, 1))
            self._waiting = []

    def _sum(self, rows: Tensor) -> None:
        for block, products in zip(self._blocks, self._sums, strict=True):
            part = rows[:, :, block]
            if len(part) == 1 and part.shape[1] > WIDE * part.shape[2]:
                products += squared(part)
            else:
                products.baddbmm_(part.transpose(1, 2), part)


def squared(rows: Tensor) -> Tensor:
    """(G, k, n) X -> (G, n, n) X^T X; a BLAS that is told so only computes half of it."""
    if len(rows) > 1:
        return rows.transpose(1, 2) @ rows
    (own,) = rows.numpy()
    return torch.from_numpy(np.dot(own.T, own))[None]


class Moments:
    """A sum of second moments, and how much the chunks that it is made of differ.

    Args:
        groups, size: (groups, size, size) is its shape.
    """

    def __init__(self, groups: int, size: int) -> None:
        self.sum = torch.zeros(groups, size, size)
        self.chunks = 0
        self.squares = torch.zeros(groups, dtype=torch.float64)  # of the chunks' means

    def add(self, sums: Tensor, count: int) -> None:
        """A chunk's sums over so many of what is counted."""
        self.sum += sums
        self.chunks += 1
        self.squares += _square(sums / max(count, 1))

    def shrunk(self, covariance: Tensor, count: int) -> Tensor:
        """As near to a multiple of the identity as the chunks make likely.

        Args:
            covariance: the sum over its count, centred.
            count: of all chunks.
        """
        target = torch.zeros_like(covariance)
        diagonal = covariance.diagonal(dim1=1, dim2=2)
        target.diagonal(dim1=1, dim2=2)[:] = diagonal.mean(1, keepdim=True)
        pairs = max(self.chunks * (self.chunks - 1), 1)
        noise = (self.squares - self.chunks * _square(self.sum / count)) / pairs
        share = (noise / _square(covariance - target).clamp_min(1e-300)).clamp(0, 1)
        return torch.lerp(covariance, target, share[:, None, None])


def _square(matrices: Tensor) -> Tensor:
    """(groups,) squared Frobenius norms."""
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), dtype=torch.float64)
    return norms.square()


def _add_outer(matrices: Tensor, left: Tensor, right: Tensor) -> None:
    matrices.baddbmm_(left.float()[:, :, None], right.float()[:, None, :])


def _trace(matrices: Tensor) -> float:
    return float(matrices.diagonal(dim1=1, dim2=2).clamp_min(0).sum())
