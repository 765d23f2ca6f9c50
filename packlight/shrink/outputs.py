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

from packlight.network import Network
from packlight.shrink.curvature import CHUNKS, Chunk, Loss, Moments, Samples, chunks_of
from packlight.shrink.gradients import Gradient, Pulls, require_gradients
from packlight.shrink.grid_search import Prepared
from packlight.shrink.layers import find_layers
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
    errors = {one.layer.name: [_errors(factor) for factor in one.factors] for one in seen}
    sums: dict[str, list[Moments]] = {}
    require_gradients(network, [one.layer for one in seen])  # before threads do it at once
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
    shared: Shared[tuple[Network, dict[str, list[Array]], Loss, int]], chunk: Chunk
) -> tuple[int, dict[str, list[Array]]]:
    """How many samples a chunk has, and every layer's sums over them."""
    network, errors, loss, seed = shared.value
    number, samples = chunk
    generator = torch.Generator().manual_seed(ANEW + seed * CHUNKS + number)
    layers = [layer for layer in find_layers(network) if layer.name in errors]
    handed = {name: [torch.from_numpy(one) for one in parts] for name, parts in errors.items()}
    sums: dict[str, list[Tensor]] = {}
    pulls = Pulls(network, layers)
    for sample in samples:
        gradients, _ = pulls.of(loss(pulls.outputs(sample), generator))
        for name, gradient in gradients.items():
            blocks = _products(gradient, handed[name])
            if name in sums:
                for total, block in zip(sums[name], blocks, strict=True):
                    total += block
            else:
                sums[name] = blocks
    return len(samples), {name: [one.numpy() for one in parts] for name, parts in sums.items()}


def _products(gradient: Gradient, errors: Sequence[Tensor]) -> list[Tensor]:
    """(G, b, b) G S G^T of each block of rows; the blocks are alike, but for the last.

    Args:
        gradient: of one sample.
        errors: of each block of columns.
    """
    pull, basis = _pull(gradient.others, errors), gradient.basis
    rows = (pull if basis is None else basis).shape[1]
    size = -(-rows // -(-rows // MAX_ROWS))
    if basis is None:
        return [part @ part.transpose(1, 2) for part in pull.split(size, 1)]
    inner = pull @ pull.transpose(1, 2)
    return [part @ inner @ part.transpose(1, 2) for part in basis.split(size, 1)]


def _pull(rows: Tensor, errors: Sequence[Tensor]) -> Tensor:
    """(G, R, n) G E^T: how a sample's loss moves with the independent errors of each row."""
    parts = rows.split([one.shape[1] for one in errors], 2)
    pairs = zip(parts, errors, strict=True)
    return torch.cat([part @ one.transpose(1, 2) for part, one in pairs], 2)
