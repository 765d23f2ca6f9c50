"""Weight sharing: a tensor as a codebook of few values, and a byte per weight that picks one.

Unlike a grid's levels, the centres lie wherever the weights are. They are placed by k-means, plain
or weighted by what an error in each weight costs; weights then go to the nearest centre, or column
by column with their errors handed on, as in `packlight.shrink.quantize`. A codebook may hold
vectors: d weights of consecutive output channels are then picked together.

Sizes: P codebooks per tensor, k centres, d weights per centre; G, R, n as in
`packlight.shrink.layers`.

Sources: Han et al., arXiv:1510.00149 (Deep Compression); Choi et al., arXiv:1612.01543 (k-means
weighted by the diagonal of the curvature). Differs: the exact solution on the line, and error
feedback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from packlight.errors import BadInput
from packlight.shrink import kmeans, quantize
from packlight.shrink.curvature import Curvature
from packlight.shrink.layers import Layer
from packlight.types import Array

MAX_CENTRES = 256  # an index is a byte
VECTOR_KINDS = ("conv", "linear", "matmul")  # whose rows are output channels


@dataclass(frozen=True)
class Codebook:
    """A tensor with shared weights.

    Args:
        centres: (P, k, d) float32; one codebook for each run of output channels, all runs but the
            last of the same length.
        indices: uint8, the tensor's shape with `axis` divided by d.
        axis: the dimension that counts output channels.
        group_size: output channels that share a codebook, a multiple of d.
    """

    centres: Array
    indices: Array
    axis: int
    group_size: int

    @property
    def vector(self) -> int:
        """d, the weights that one index picks."""
        return int(self.centres.shape[2])

    @property
    def books(self) -> Array:
        """Which codebook each index reads, (blocks of d output channels, 1, ...)."""
        return _books(self.indices.shape, self.axis, self.group_size // self.vector)

    def decoded(self) -> Array:
        """The tensor, float32."""
        picked = self.centres[self.books, self.indices]
        shape = list(self.indices.shape)
        shape[self.axis] *= self.vector
        return np.moveaxis(picked, -1, self.axis + 1).reshape(shape)


def palettize(
    weight: Array,
    k: int,
    *,
    axis: int = 0,
    group_size: int | None = None,
    vector: int = 1,
    importance: Array | None = None,
    zero: bool = False,
    price: float = 0.0,
    start: Array | None = None,
    seed: int = 0,
) -> Codebook:
    """Cluster a tensor's weights.

    Args:
        weight: any shape, finite.
        k: centres of a codebook, 1 to 256.
        axis: the dimension that counts output channels.
        group_size: output channels that share a codebook; default: all.
        vector: weights of consecutive output channels that one index picks.
        importance: what a squared error costs in each weight, the weight's shape; default: 1.
        zero: 0 is one of the centres, so that pruned weights stay pruned.
        price: error that one bit of entropy is worth; centres that do not pay are left out.
        start: (at most k,) centres to begin Lloyd's algorithm from; default: the exact solution.
            Only for single weights.
        seed: of the vectors' start; nothing else is drawn.
    Returns:
        Codebook: with fewer than k centres where so many are not needed.
    Raises:
        BadInput: an argument does not fit the weight, or the weight is not finite.
    """
    weight = np.asarray(weight)
    group_size = weight.shape[axis] if group_size is None else group_size
    _check(weight, k, axis, group_size, vector, zero or price > 0)
    books = []
    cuts = range(group_size, weight.shape[axis], group_size)
    costs = None if importance is None else np.broadcast_to(importance, weight.shape)
    for part in np.split(np.arange(weight.shape[axis]), cuts):
        values = weight.take(part, axis).astype(np.float64)
        cost = None if costs is None else costs.take(part, axis)
        if vector > 1:
            shared = None if cost is None else _vectors(cost, axis, vector).mean(1)
            pieces = _vectors(values, axis, vector)
            books.append(kmeans.vector_centres(pieces, k, shared, seed=seed))
            continue
        centres = kmeans.centres_of(values, k, cost, zero=zero) if start is None else start
        if price > 0 or start is not None:
            centres = kmeans.settled(values, centres, cost, price=price, zero=zero)
        books.append(centres[:, None])
    centres = _stacked(books)
    if price > 0:
        return _priced(weight, centres, axis, group_size, costs, price)
    return _assigned(weight, centres, axis, group_size)


def recognise(weight: Array) -> Codebook | None:
    """The codebook of a float32 tensor that has few values already, kept to the bit.

    Returns:
        Codebook: one for the whole tensor, or None where there are more than 256 values or a
            codebook would save nothing.
    """
    if weight.dtype != np.float32 or weight.ndim < 2 or not np.isfinite(weight).all():
        return None
    bits, inverse = np.unique(np.ascontiguousarray(weight).view(np.uint32), return_inverse=True)
    if len(bits) > MAX_CENTRES or weight.size + bits.nbytes >= weight.nbytes:
        return None
    centres, indices = ascending(bits.view(np.float32), inverse.reshape(weight.shape))
    return Codebook(centres, indices, 0, weight.shape[0])


def ascending(centres: Array, indices: Array) -> tuple[Array, Array]:
    """Centres (k,) in order, as the (1, k, 1) of a `Codebook`, and the indices that follow."""
    order = np.argsort(centres, kind="stable")
    place = np.empty(len(order), np.uint8)
    place[order] = np.arange(len(order))
    return centres[order].reshape(1, -1, 1), place[indices]


def handed_on(
    layer: Layer,
    weights: Array,
    factors: Sequence[quantize.Factor],
    codebook: Codebook,
    *,
    price: float = 0.0,
) -> Codebook:
    """Pick the centres anew, column by column, each error made good by the columns still free.

    Args:
        layer: whose tensor it is.
        weights: (G, R, n), as `layer.rows` gives them.
        factors: of H, one per block of columns; without any, nothing changes.
        codebook: its centres stay as they are.
        price: error that one bit is worth, in the units of weight^2 x moment.
    Raises:
        BadInput: the codebook's vectors do not follow the layer's rows.
    """
    if not factors:
        return codebook
    if codebook.vector > 1 and (
        layer.kind not in VECTOR_KINDS or weights.shape[1] % codebook.vector
    ):
        raise BadInput(
            f"{layer.name} is a {layer.kind} layer with {weights.shape[1]} rows in a group: errors "
            f"can not be handed on between vectors of {codebook.vector}; use vectors of 1"
        )
    axis = layer.axis
    spread = np.repeat(codebook.books, codebook.vector, axis)
    books = layer.rows(np.ascontiguousarray(np.broadcast_to(spread, layer.shape)))[:, :, 0]
    choose = _from_codebook(codebook, books, price)
    values, _ = quantize.round_blocks(weights, factors, np.ones(books.shape), choose)
    return _assigned(layer.stored(values), codebook.centres, axis, codebook.group_size)


def importance_of(layer: Layer, curvature: Curvature) -> Array:
    """The diagonal of H at every weight, in the stored weight's shape."""
    diagonals = [np.diagonal(block, axis1=1, axis2=2) for block in curvature.moments]
    across = np.concatenate(diagonals, axis=1)[:, None, :]
    return layer.stored(np.ascontiguousarray(np.broadcast_to(across, layer.matrix)))


def shift_of(layer: Layer, weights: Array, codebook: Codebook, curvature: Curvature) -> Array:
    """(channels,) what the bias takes over: H leaves the mean input out because it can.

    Args:
        layer: one that is `centred`.
        weights: (G, R, n), as `layer.rows` gives them.
    """
    lost = weights - layer.rows(codebook.decoded().astype(np.float64))
    return layer.channels(np.einsum("grn,gn->gr", lost, curvature.mean))


def _from_codebook(codebook: Codebook, books: Array, price: float) -> quantize.Choose:
    """The centre that costs least in error and bits, for one column of rows.

    Args:
        books: (G, R) the codebook of each row.
    """
    centres = codebook.centres.astype(np.float64)
    d = codebook.vector
    of_vector = books[:, ::d]  # (G, R / d)
    bits = np.zeros(centres.shape[:2])
    if price > 0:
        spread = np.broadcast_to(codebook.books, codebook.indices.shape)
        for book in range(len(centres)):
            chosen = codebook.indices[spread == book]
            bits[book] = kmeans.bits_of(np.bincount(chosen, minlength=centres.shape[1]))

    def choose(targets: Array, cost: Array) -> Array:
        groups, rows = targets.shape
        wanted = targets.reshape(groups, -1, d)
        weight = np.broadcast_to(cost, targets.shape)[:, ::d, None]  # the same in all rows
        distance = np.zeros((*of_vector.shape, centres.shape[1]))
        for place in range(d):
            distance += np.square(wanted[:, :, place, None] - centres[:, :, place][of_vector])
        chosen = (weight * distance + price * bits[of_vector]).argmin(2)
        return centres[of_vector, chosen].reshape(groups, rows)

    return choose


def _assigned(weight: Array, centres: Array, axis: int, group_size: int) -> Codebook:
    """Every weight at its nearest centre."""
    d = centres.shape[2]
    shape = list(weight.shape)
    shape[axis] //= d
    vectors = _vectors(weight.astype(np.float64), axis, d)
    books = np.broadcast_to(_books(shape, axis, group_size // d), shape).ravel()
    indices = np.empty(len(vectors), np.uint8)
    for book, values in enumerate(centres.astype(np.float64)):
        mine = books == book
        if d == 1:
            indices[mine] = kmeans.nearest(vectors[mine, 0], values[:, 0])
        else:
            indices[mine] = kmeans.nearest_vectors(vectors[mine], values)[0]
    return Codebook(centres, indices.reshape(shape), axis, group_size)


def _priced(
    weight: Array, centres: Array, axis: int, group_size: int, costs: Array | None, price: float
) -> Codebook:
    """Every weight at the centre that costs least in error and bits together."""
    nearest = _assigned(weight, centres, axis, group_size)
    indices = nearest.indices.copy()
    books = np.broadcast_to(nearest.books, indices.shape)
    for book, values in enumerate(centres[:, :, 0].astype(np.float64)):
        mine = books == book
        bits = kmeans.bits_of(np.bincount(indices[mine], minlength=len(values)))
        importance = 1.0 if costs is None else costs[mine]
        indices[mine] = kmeans.nearest(
            weight[mine].astype(np.float64), values, importance, price * bits
        )
    return Codebook(centres, indices, axis, group_size)


def _vectors(weight: Array, axis: int, d: int) -> Array:
    """(indices, d): d consecutive output channels at a time, in the order of the indices."""
    shape = weight.shape
    split = weight.reshape(*shape[:axis], shape[axis] // d, d, *shape[axis + 1 :])
    return np.moveaxis(split, axis + 1, -1).reshape(-1, d)


def _books(shape: Sequence[int], axis: int, blocks: int) -> Array:
    book = np.arange(shape[axis]) // blocks
    return book.reshape([-1 if at == axis else 1 for at in range(len(shape))])


def _stacked(books: list[Array]) -> Array:
    """(P, k, d) float32; shorter codebooks repeat their last centre."""
    k = max(len(book) for book in books)
    rows = [np.concatenate([book, np.repeat(book[-1:], k - len(book), 0)]) for book in books]
    return np.stack(rows).astype(np.float32)


def _check(
    weight: Array, k: int, axis: int, group_size: int, vector: int, only_numbers: bool
) -> None:
    if not 1 <= k <= MAX_CENTRES:
        raise BadInput(f"{k} centres were asked for; a codebook has 1 to {MAX_CENTRES}")
    if not weight.size or not np.isfinite(weight).all():
        what = "is empty" if not weight.size else "holds numbers that are not finite"
        raise BadInput(f"a weight of shape {weight.shape} {what}; it can not be clustered")
    channels = weight.shape[axis]
    if vector < 1 or group_size < 1 or channels % vector or group_size % vector:
        raise BadInput(
            f"{channels} output channels in groups of {group_size} can not be taken {vector} at a "
            f"time; give a group_size and a vector that divide them"
        )
    if vector > 1 and only_numbers:
        raise BadInput(f"a codebook of vectors of {vector} takes neither zero nor price")
