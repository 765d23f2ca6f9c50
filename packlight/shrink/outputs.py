"""How the loss listens to a layer's outputs together.

`curvature` takes all outputs of a layer for alike: where the rows of W move by dW, the loss rises
by 1/2 s tr(dW H dW^T). Here they are told apart, and what one of them errs others can make good:

    1/2 s tr(B dW H dW^T),     B = E[G S G^T], its diagonal 1 on average

G is the gradient of one sample's loss with respect to W, its signs drawn anew, and S the
covariance of the errors that rounding leaves in a row, whose columns hand theirs on (`quantize`).

B is shrunk towards the identity by the share of it that is chance, as the inputs' moments are.
Where few samples tell little, as in the last layer of a thousand classes, next to nothing is left
of it; in layers that widen, four fifths are.

Sources: Martens & Grosse, arXiv:1503.05671 (Kronecker form); Tseng et al., arXiv:2505.22988 (its
two factors made for each other; theirs is not shrunk).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from packlight.network import Network, flat
from packlight.shrink.curvature import (
    CHUNKS,
    Chunk,
    Loss,
    Moments,
    Samples,
    chunks_of,
    in_factors,
    require_gradients,
    rows_of,
)
from packlight.shrink.grid_search import Prepared
from packlight.shrink.layers import find_layers, value_of_name
from packlight.shrink.quantize import Factor
from packlight.shrink.workers import HERE, Shared, Workers
from packlight.types import Array

MAX_ROWS = 256  # of a block: rows further apart are taken for strangers
ANEW = 2**32  # other signs than those that `curvature` draws


def collect(
    network: Network,
    prepared: Sequence[Prepared],
    samples: Samples,
    loss: Loss,
    *,
    seed: int = 0,
    workers: Workers = HERE,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, tuple[Array, ...]]:
    """Measure B of every layer whose inputs are seen, on samples given one at a time.

    Args:
        network: left as it is, but that its layers' weights ask for gradients.
        prepared: its layers.
        samples, loss, seed, workers, tick: as of `curvature.collect`.
    Returns:
        layer name -> (G, b, b) float32 for each block of rows, not yet scaled.
    """
    seen = [one for one in prepared if one.factors]
    errors = {one.layer.name: ([_errors(f) for f in one.factors], one.positions) for one in seen}
    sums: dict[str, list[Moments]] = {}
    shared = workers.share((network, errors, loss, seed))
    for count, parts in workers.in_order(_sums_of, shared, chunks_of(samples)):
        for name, blocks in parts.items():
            mine = sums.setdefault(name, [Moments(*block.shape[:2]) for block in blocks])
            for total, block in zip(mine, blocks, strict=True):
                total.add(torch.from_numpy(block), count)
        tick()
    return {
        name: tuple(
            total.shrunk(total.sum.double() / len(samples), len(samples)).float().numpy()
            for total in blocks
        )
        for name, blocks in sums.items()
    }


def _errors(factor: Factor) -> Array:
    """(G, n, n) float32 E, columns in their own order: independent errors z leave z E in a row."""
    diagonal = np.diagonal(factor.upper, axis1=1, axis2=2)
    found = np.empty(factor.upper.shape, np.float32)
    found[:, :, factor.order] = factor.upper / diagonal[:, :, None]
    return found


def _sums_of(
    shared: Shared[tuple[Network, dict[str, tuple[list[Array], int]], Loss, int]], chunk: Chunk
) -> tuple[int, dict[str, list[Array]]]:
    """How many samples a chunk has, and every layer's sums over them."""
    network, errors, loss, seed = shared.value
    number, samples = chunk
    generator = torch.Generator().manual_seed(ANEW + seed * CHUNKS + number)
    layers = [layer for layer in find_layers(network) if layer.name in errors]
    require_gradients(network, layers)
    weights = [value_of_name(network, layer.weight) for layer in layers]
    handed = {
        name: ([torch.from_numpy(one) for one in parts], positions)
        for name, (parts, positions) in errors.items()
    }
    sums: dict[str, list[Tensor]] = {}
    for arrays in samples:
        value = loss(flat(network(*map(torch.tensor, arrays))), generator)
        if not value.requires_grad:
            continue
        gradients = torch.autograd.grad(value, weights, allow_unused=True)
        for layer, gradient in zip(layers, gradients, strict=True):
            if gradient is None:
                continue
            blocks = _products(rows_of(layer, gradient), *handed[layer.name])
            if layer.name in sums:
                for total, block in zip(sums[layer.name], blocks, strict=True):
                    total += block
            else:
                sums[layer.name] = blocks
    return len(samples), {name: [one.numpy() for one in parts] for name, parts in sums.items()}


def _products(rows: Tensor, errors: Sequence[Tensor], positions: int) -> list[Tensor]:
    """(G, b, b) G S G^T of each block of rows; the blocks are alike, but for the last.

    Args:
        rows: (G, R, n) G, of one sample.
        errors: of each block of columns.
        positions: of its inputs.
    """
    blocks = -(-rows.shape[1] // MAX_ROWS)
    size = -(-rows.shape[1] // blocks)
    factors = in_factors(rows, positions)
    if factors is None:
        return [part @ part.transpose(1, 2) for part in _pull(rows, errors).split(size, 1)]
    basis, rows = factors
    pull = _pull(rows, errors)
    inner = pull @ pull.transpose(1, 2)
    return [part @ inner @ part.transpose(1, 2) for part in basis.split(size, 1)]


def _pull(rows: Tensor, errors: Sequence[Tensor]) -> Tensor:
    """(G, R, n) G E^T: how a sample's loss moves with the independent errors of each row."""
    parts = rows.split([one.shape[1] for one in errors], 2)
    pairs = zip(parts, errors, strict=True)
    return torch.cat([part @ one.transpose(1, 2) for part, one in pairs], 2)
