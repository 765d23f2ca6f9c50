"""Low rank: one weight as a product of two or three smaller ones.

A weight W maps its inputs x to W x; what counts is the error of that, E|(W - W')x|^2, which is
tr (W - W') H (W - W')^T: the whitened norm, with H the second moments of the inputs. All forms
below are found for this norm:

    svd       k x k, 1 x 1          linear: two matrices. The best there is: W projected on the
                                    leading eigenvectors of W H W^T
    channel   1 x 1, k x k          fewer input channels
    tucker    1 x 1, k x k, 1 x 1   fewer input and output channels (Tucker-2)
    spatial   k x 1, 1 x k          taps apart
    cp        1 x 1, k x k depthwise, 1 x 1   a sum of outer products (alternating least squares)

In all but the first, the first factors are found under a simpler H, the same at every tap, and the
last by regression under H itself, which is exact.

Sizes: R outputs, C input channels, K taps of the kernel, n = C K columns, r rank.

Sources: Zhang et al., arXiv:1505.06798 (response reconstruction); Wang et al., arXiv:2403.07378
(whitening); Kim et al., arXiv:1511.06530 (Tucker-2); De Lathauwer et al., SIAM J. Matrix Anal.
Appl. 21 (2000) 1253 and 1324 (HOSVD, HOOI); Jaderberg et al., arXiv:1405.3866 (spatial);
Lebedev et al., arXiv:1412.6553 (CP); Izenman, J. Multivariate Anal. 5 (1975) 248 (regression of
reduced rank).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from packlight.types import Array

SWEEPS = 3  # of the higher-order iteration: input factor, output factor, and again
CP_SWEEPS = 40  # of alternating least squares
RIDGE = 1e-10  # of the mean diagonal: what rounding makes singular stays solvable


@dataclass(frozen=True)
class Factors:
    """A weight in factors.

    Args:
        form: as above.
        rank: one number, or for Tucker-2 those of the inputs and the outputs.
        stages: weights in the order they are applied, (outputs, inputs, *kernel); a stage with
            one input per output is depthwise.
        error: squared, in the whitened norm.
    """

    form: str
    rank: tuple[int, ...]
    stages: tuple[Array, ...]
    error: float = np.nan

    @property
    def parameters(self) -> int:
        """Numbers held."""
        return sum(stage.size for stage in self.stages)

    def composed(self) -> Array:
        """The one weight that does the same, (R, C, *kernel)."""
        whole = self.stages[0]
        for stage in self.stages[1:]:
            if stage.shape[1] == 1 and len(stage) == len(whole):
                whole = stage * whole
                continue
            # each dimension of the kernel is longer than 1 in one of the two at most
            taps = np.maximum(stage.shape[2:], whole.shape[2:])
            joined = np.tensordot(stage, whole, (1, 0))  # (outputs, *kernel, inputs, *kernel)
            dims = range(1, stage.ndim - 1)
            paired = [at for dim in dims for at in (dim, dim + stage.ndim - 1)]
            shape = (len(stage), whole.shape[1], *taps)
            whole = joined.transpose(0, stage.ndim - 1, *paired).reshape(shape)
        return whole


@dataclass(frozen=True)
class Norm:
    """The whitened norm of matrices with n columns.

    Args:
        blocks: H as blocks along its diagonal, (m, m) each.
    """

    blocks: tuple[Array, ...]

    def times(self, a: Array) -> Array:
        """A H."""
        parts, start = [], 0
        for block in self.blocks:
            parts.append(a[:, start : start + len(block)] @ block)
            start += len(block)
        return np.concatenate(parts, axis=1)

    def product(self, a: Array, b: Array) -> Array:
        """A H B^T."""
        return np.asarray(self.times(a) @ b.T)

    def squared(self, a: Array) -> float:
        """tr A H A^T."""
        return max(float(np.einsum("rn,rn->", self.times(a), a)), 0.0)

    def coded(self, code: Array, columns: Array) -> Array:
        """T H T^T, where T applies a code at every tap.

        Args:
            code: (r, E).
            columns: (E, T) column numbers.
        Returns:
            (r T, r T), the taps of a feature one after the other.
        """
        rank, taps = len(code), columns.shape[1]
        total, start = np.zeros((rank, taps, rank, taps)), 0
        for block in self.blocks:
            here = [
                np.nonzero((among >= 0) & (among < len(block)))[0] for among in columns.T - start
            ]
            rows = [columns[inside, tap] - start for tap, inside in enumerate(here)]
            for tap in range(taps):
                half = code[:, here[tap]] @ block[rows[tap]]
                for other in range(taps):
                    total[:, tap, :, other] += half[:, rows[other]] @ code[:, here[other]].T
            start += len(block)
        return total.reshape(rank * taps, rank * taps)

    def marginal(self, columns: Array) -> Array:
        """H between the rows of `columns`, averaged over its columns.

        Args:
            columns: (E, T) column numbers.
        """
        total = np.zeros((len(columns), len(columns)))
        start = 0
        for block in self.blocks:
            for among in columns.T - start:
                (inside,) = np.nonzero((among >= 0) & (among < len(block)))
                total[np.ix_(inside, inside)] += block[np.ix_(among[inside], among[inside])]
            start += len(block)
        return total / columns.shape[1]


def svd(weight: Array, norm: Norm, ranks: Sequence[int]) -> Iterator[Factors]:
    """The best approximations of each rank: k x k, then 1 x 1.

    Args:
        weight: (R, C, *kernel), or (R, n) of a linear layer.
        norm: of its n columns.
        ranks: within 1..min(R, n).
    """
    matrix = weight.reshape(len(weight), -1)
    ones = [1] * (weight.ndim - 2)
    basis = _eigenvectors(norm.product(matrix, matrix))
    for rank in ranks:
        left = basis[:, :rank]
        first = (left.T @ matrix).reshape(rank, *weight.shape[1:])
        yield _measured(weight, norm, "svd", (rank,), first, left.reshape(*left.shape, *ones))


def channel(weight: Array, norm: Norm, ranks: Sequence[int]) -> Iterator[Factors]:
    """1 x 1, then k x k.

    Args:
        weight: (R, C, *kernel).
        ranks: within 1..C.
    """
    taps = _Taps(weight, norm, _columns(weight).reshape(weight.shape[1], -1))
    leading = taps.leading(weight)
    for rank in ranks:
        code = _orthonormal(leading[:, :rank])
        decoder, _ = taps.regressed(code)
        yield _measured(weight, norm, "channel", (rank,), *_channel_stages(weight, code, decoder))


def tucker(weight: Array, norm: Norm, ranks: Sequence[tuple[int, int]]) -> Iterator[Factors]:
    """1 x 1, then k x k, then 1 x 1.

    Args:
        weight: (R, C, *kernel).
        ranks: of the input channels, within 1..C, and of the outputs, within 1..R.
    """
    taps = _Taps(weight, norm, _columns(weight).reshape(weight.shape[1], -1))
    start = taps.leading(weight)
    for inputs, outputs in ranks:
        leading, tried = start, []
        for _ in range(SWEEPS):
            code = _orthonormal(leading[:, :inputs])
            decoder, explained = taps.regressed(code)
            left = _eigenvectors(explained)[:, :outputs]
            first, core = _channel_stages(weight, code, left.T @ decoder)
            last = left.reshape(*left.shape, *[1] * (weight.ndim - 2))
            tried.append(_measured(weight, norm, "tucker", (inputs, outputs), first, core, last))
            # next, the inputs that matter to the outputs kept
            leading = taps.leading(np.tensordot(left.T, weight, 1))
        yield min(tried, key=lambda factors: factors.error)


def spatial(weight: Array, norm: Norm, ranks: Sequence[int]) -> Iterator[Factors]:
    """k x 1, then 1 x k.

    Args:
        weight: (R, C, height, width).
        ranks: within 1..min(C height, R width).
    """
    outputs, channels, height, width = weight.shape
    taps = _Taps(weight, norm, _columns(weight).reshape(channels * height, width))
    leading = taps.leading(weight)
    for rank in ranks:
        code = _orthonormal(leading[:, :rank])
        decoder, _ = taps.regressed(code)
        first = code.reshape(rank, channels, height, 1)
        last = decoder.reshape(outputs, rank, 1, width)
        yield _measured(weight, norm, "spatial", (rank,), first, last)


def cp(weight: Array, norm: Norm, ranks: Sequence[int], seed: int = 0) -> Iterator[Factors]:
    """1 x 1, then k x k depthwise, then 1 x 1.

    Args:
        weight: (R, C, *kernel).
        ranks: at least 1.
        seed: of the start.
    """
    outputs, channels, *kernel = weight.shape
    columns = _columns(weight).reshape(channels, -1)
    values, vectors = np.linalg.eigh(norm.marginal(columns))
    scale = np.sqrt(np.maximum(values, RIDGE * max(values.mean(), RIDGE)))
    white = np.einsum("rck,cm->rmk", weight.reshape(outputs, channels, -1), vectors * scale)
    ones = [1] * len(kernel)
    for rank in ranks:
        whitened, taps = _alternated(white, rank, np.random.default_rng(seed))
        code = (vectors / scale @ whitened).T  # (r, C)
        code /= np.maximum(np.linalg.norm(code, axis=1, keepdims=True), np.finfo(float).tiny)
        features = (code[:, :, None] * taps.T[:, None]).reshape(rank, -1)
        cross = norm.product(weight.reshape(outputs, -1), features)
        decoder, _ = _regressed(norm.product(features, features), cross)
        yield _measured(
            weight,
            norm,
            "cp",
            (rank,),
            code.reshape(rank, channels, *ones),
            taps.T.reshape(rank, 1, *kernel),
            decoder.reshape(outputs, rank, *ones),
        )


class _Taps:
    """A weight whose columns are E inputs at each of T taps; a code is the same at every tap.

    Args:
        weight: (R, ...) with n numbers in a row.
        norm: of the n columns.
        columns: (E, T) where they are.
    """

    def __init__(self, weight: Array, norm: Norm, columns: Array) -> None:
        values, vectors = np.linalg.eigh(norm.marginal(columns))
        self._root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
        self._norm, self._columns = norm, columns
        self._whitened = norm.times(weight.reshape(len(weight), -1))

    def leading(self, weight: Array) -> Array:
        """(E, E) the combinations of inputs that keep most of a weight, the best first."""
        apart = weight.reshape(len(weight), -1)[:, self._columns]  # (rows, E, T)
        unfolded = np.moveaxis(apart, 1, 2).reshape(-1, len(self._columns))
        gram = unfolded.T @ unfolded
        # the row space of the best V' = U U^T V, V the unfolded weight, without inverting H
        return gram @ self._root @ _eigenvectors(self._root @ gram @ self._root)

    def regressed(self, code: Array) -> tuple[Array, Array]:
        """`_regressed` on the features that a code (r, E) makes; B is (R, r T)."""
        moments = self._norm.coded(code, self._columns)
        cross = np.einsum("ret,qe->rqt", self._whitened[:, self._columns], code, optimize=True)
        return _regressed(moments, cross.reshape(len(cross), -1))


def _regressed(moments: Array, cross: Array) -> tuple[Array, Array]:
    """The best weights for features z = T x in place of x.

    Args:
        moments: (q, q) T H T^T.
        cross: (R, q) W H T^T.
    Returns:
        (R, q) B with the least error of B T, and (R, R) the moments of B z.
    """
    ridge = max(RIDGE * float(moments.diagonal().mean()), np.finfo(float).tiny)
    decoder = np.linalg.solve(moments + ridge * np.eye(len(moments)), cross.T).T
    return decoder, cross @ decoder.T


def _alternated(tensor: Array, rank: int, noise: np.random.Generator) -> tuple[Array, Array]:
    """CP by alternating least squares in the plain norm: the factors of the last two modes.

    Args:
        tensor: (R, C, K).
    Returns:
        (C, rank) and (K, rank), columns of length 1.
    """
    outputs, channels, taps = tensor.shape
    unfolded = tensor.reshape(outputs, -1)
    inputs, kernel = (_unit(noise.normal(size=(size, rank))) for size in (channels, taps))
    for _ in range(CP_SWEEPS):
        pairs = (inputs[:, None] * kernel).reshape(-1, rank)
        left = _least_squares(inputs, kernel, unfolded @ pairs)
        seen = (unfolded.T @ left).reshape(channels, taps, rank)
        inputs = _unit(_least_squares(left, kernel, (seen * kernel).sum(1)))
        kernel = _unit(_least_squares(left, inputs, (seen * inputs[:, None]).sum(0)))
    return inputs, kernel


def _least_squares(one: Array, other: Array, products: Array) -> Array:
    """The third factor, from the products of the tensor with the other two."""
    gram = (one.T @ one) * (other.T @ other)
    ridge = max(RIDGE * float(gram.diagonal().mean()), np.finfo(float).tiny)
    return np.asarray(np.linalg.solve(gram + ridge * np.eye(len(gram)), products.T).T)


def _unit(factor: Array) -> Array:
    """Columns of length 1: the first factor carries the sizes."""
    length = np.linalg.norm(factor, axis=0)
    return np.asarray(factor / np.where(length > 0, length, 1.0))


def _measured(
    weight: Array, norm: Norm, form: str, rank: tuple[int, ...], *stages: Array
) -> Factors:
    factors = Factors(form, rank, stages)
    lost = (weight - factors.composed()).reshape(len(weight), -1)
    return replace(factors, error=norm.squared(lost))


def _channel_stages(weight: Array, code: Array, decoder: Array) -> tuple[Array, Array]:
    kernel = weight.shape[2:]
    first = code.reshape(*code.shape, *[1] * len(kernel))
    return first, decoder.reshape(len(decoder), len(code), *kernel)


def _columns(weight: Array) -> Array:
    """The number of each column, (C, *kernel)."""
    return np.arange(weight[0].size).reshape(weight.shape[1:])


def _orthonormal(directions: Array) -> Array:
    """(E, r) directions as r orthonormal rows."""
    basis, _ = np.linalg.qr(directions)
    return np.asarray(basis.T)


def _eigenvectors(symmetric: Array) -> Array:
    """Eigenvectors as columns, that of the largest eigenvalue first."""
    _, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    return np.asarray(vectors[:, ::-1])
