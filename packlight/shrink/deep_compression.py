"""Deep Compression, in its authors' order: prune, share what is left, code.

    prune   weights smaller than so many standard deviations of their layer are zero, in a few
            rounds; those left are retrained after each
    share   those left are clustered, from centres evenly spaced; the centres are retrained
    code    gaps between the weights left, and the centres they have, each by Huffman's code

It is here to be compared with: `fit` by itself chooses weights by what the loss misses, not by
size, and all layers compete for the same bits. The file that is written is packed like any other;
`huffman_bytes` says what the paper's own code takes.

Source: Han, Mao & Dally, Deep Compression, ICLR 2016, arXiv:1510.00149.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from packlight.coding.packing import compress
from packlight.network import Network
from packlight.shrink import kmeans
from packlight.shrink.float_moves import Changed, Floats, SharedFiles
from packlight.shrink.layers import Layer, put, value_of_name
from packlight.shrink.palettize import MAX_CENTRES, Codebook, ascending
from packlight.shrink.search import Point
from packlight.shrink.teaching import Teaching
from packlight.shrink.tying import Masked, Shared
from packlight.types import Array
from packlight.units import show_size

CONVOLUTION_BITS, OTHER_BITS = 8, 5  # of a centre's number, and of a gap
START = 0.3  # standard deviations
ROUNDS = 4  # of pruning and retraining
SHARE_OF_PRUNING = 0.6  # of the steps of training
NARROWED = 1.01  # factor on the threshold, where the trained network is a little too large
TRIMS, TRIMMED = 40, 0.002  # rounds at the end, and the share of the weights that goes in each
HALVINGS, CLOSE = 16, 0.995  # of the threshold, until a size is reached as nearly


def index_bits(layer: Layer) -> int:
    """Bits of a centre's number, as in the paper: 8 in convolutions, 5 in other layers."""
    return CONVOLUTION_BITS if layer.kind.startswith("conv") else OTHER_BITS


def survivors(weight: Array, deviations: float, spread: float | None = None) -> Array:
    """Which weights stay: those of at least so many standard deviations.

    Args:
        weight: any shape.
        deviations: the paper's quality parameter.
        spread: the standard deviation to count in; default: the weight's own.
    Returns:
        Booleans. The largest weight stays, whatever the threshold.
    """
    size = np.abs(weight)
    least = deviations * float(weight.std() if spread is None else spread)
    return np.asarray((size >= min(least, float(size.max()))) & (size > 0))


def cluster(weight: Array, kept: Array, bits: int, axis: int) -> Codebook:
    """Share the weights that stay: Lloyd's algorithm from centres evenly spaced.

    Args:
        weight: any shape.
        kept: booleans of the same shape; the others become zero.
        bits: at most 2^bits centres, fewer by one where a byte must count zero as well.
        axis: the dimension that counts output channels.
    """
    values = weight[kept].astype(np.float64)
    centres = np.zeros(0)
    if values.size:
        count = min(2**bits, MAX_CENTRES - 1)
        even = np.unique(np.linspace(values.min(), values.max(), count))
        centres = kmeans.settled(values, even)
        centres = np.unique(centres[centres != 0].astype(np.float32))
    whole = np.union1d(centres, np.zeros(1, np.float32))
    indices = np.full(weight.shape, int(np.searchsorted(whole, 0.0)), np.uint8)
    if centres.size:
        nearest = centres[kmeans.nearest(values, centres.astype(np.float64))]
        indices[kept] = np.searchsorted(whole, nearest)
    return Codebook(whole.reshape(1, -1, 1), indices, axis, weight.shape[axis])


def without_smallest(codebook: Codebook, share: float) -> Codebook:
    """A codebook of which a share of the weights left, the smallest, has become zero as well."""
    size = np.abs(codebook.decoded())
    left = np.sort(size[size > 0])
    if not left.size:
        return codebook
    indices = codebook.indices.copy()
    gone = size <= left[min(int(share * left.size), left.size - 1)]
    indices[gone] = int(np.flatnonzero(codebook.centres.ravel() == 0)[0])
    return replace(codebook, indices=indices)


def huffman_bytes(codebook: Codebook, bits: int) -> int:
    """What a layer takes in the paper's form.

    Weights that are not zero are stored as (gap since the last, centre), a gap of more than
    2^bits - 1 zeros being broken by a zero that is stored; gaps and centres each have a Huffman
    code. With the lengths of the codes, a byte for each symbol, and the centres as floats.
    """
    gaps, chosen = sparse_form(codebook, bits)
    total = sum(_huffman_bits(Counter(symbols.tolist())) for symbols in (gaps, chosen))
    tables = len(set(gaps.tolist())) + len(set(chosen.tolist()))
    return -(-total // 8) + tables + 4 * int(np.count_nonzero(codebook.centres))


def sparse_form(codebook: Codebook, bits: int) -> tuple[Array, Array]:
    """Gaps, 0 to 2^bits - 1 zeros before a weight, and the centres of these weights."""
    longest = 2**bits
    indices = codebook.indices.ravel()
    zero = np.flatnonzero(codebook.centres.ravel() == 0)
    filled = np.flatnonzero(~np.isin(indices, zero))
    distance = np.diff(filled, prepend=-1)
    fillers = (distance - 1) // longest
    gaps = np.full(len(filled) + int(fillers.sum()), longest - 1)
    chosen = np.full(len(gaps), zero[0] if len(zero) else 0)
    at = np.cumsum(fillers + 1) - 1
    gaps[at] = distance - 1 - longest * fillers
    chosen[at] = indices[filled]
    return gaps, chosen


def _huffman_bits(counts: Counter[int]) -> int:
    """Bits of all symbols under their Huffman code: the sum of the inner nodes of its tree."""
    heap = sorted(counts.values())
    if len(heap) == 1:
        return heap[0]
    total = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


@dataclass(frozen=True)
class Classic(Floats):
    """A network pruned and shared in the classic way (a `moves.Form`)."""

    def notes(self) -> list[str]:
        """What was decided, in sentences."""
        total, left, count = 0, 0, 0
        for one in self.changed:
            assert one.codebook is not None
            total += huffman_bytes(one.codebook, index_bits(one.layer))
            total += 0 if one.bias is None else one.bias.nbytes
            left += int(np.count_nonzero(one.weight))
            count += one.weight.size
        return [
            *super().notes(),
            f"{left:,} of {count:,} weights left; in Deep Compression's own form (gaps and "
            f"centres, Huffman) weights and biases take {total:,} bytes ({show_size(total)})",
        ]


class DeepCompression:
    """The classic as a move: the coarseness is the threshold, in standard deviations.

    Args:
        network: fused, float.
        layers: its layers.
    """

    start = START

    def __init__(self, network: Network, layers: Sequence[Layer]) -> None:
        self.network, self.layers = network, layers
        self._files = SharedFiles(network, layers, Classic)
        self.weights = {
            layer.weight: value_of_name(network, layer.weight).detach().numpy() for layer in layers
        }
        self._spread = {name: float(weight.std()) for name, weight in self.weights.items()}
        self.last = max(
            float(np.abs(weight).max()) / max(self._spread[name], 1e-30)
            for name, weight in self.weights.items()
        )

    def survivors(self, weights: Mapping[str, Array], coarseness: float) -> dict[str, Array]:
        """Which of these weights stay, by the layers' first standard deviations."""
        return {
            name: survivors(weight, coarseness, self._spread[name])
            for name, weight in weights.items()
        }

    def shared(
        self, weights: Mapping[str, Array], kept: Mapping[str, Array]
    ) -> dict[str, Codebook]:
        """Every layer's codebook."""
        return {
            layer.weight: cluster(
                weights[layer.weight], kept[layer.weight], index_bits(layer), layer.axis
            )
            for layer in self.layers
        }

    def forms(self, coarseness: float) -> list[Floats]:
        """Pruned and shared, not retrained."""
        kept = self.survivors(self.weights, coarseness)
        return self.forms_of(self.shared(self.weights, kept), {})

    def forms_of(
        self, codebooks: Mapping[str, Codebook], biases: Mapping[str, Array]
    ) -> list[Floats]:
        """These codebooks and biases, in bytes and in plain floats."""
        changed = [
            Changed(
                layer,
                codebooks[layer.weight].decoded(),
                None if layer.bias is None else self._bias(layer.bias, biases),
                float("nan"),
                codebooks[layer.weight],
            )
            for layer in self.layers
        ]
        return self._files.forms(changed)

    def _bias(self, name: str, biases: Mapping[str, Array]) -> Array:
        if name in biases:
            return biases[name]
        bias: Array = value_of_name(self.network, name).detach().numpy()
        return bias


class InOrder:
    """Deep Compression with its retraining (a `teaching.Trained`).

    Args:
        teaching: what is taught.
        move: of the job's network.
    """

    def __init__(self, teaching: Teaching, move: DeepCompression) -> None:
        self.teaching, self.move, self.job = teaching, move, teaching.job

    def __call__(self, size: int, steps: int, stage: str) -> Point:
        """The network trained into a packed size, as a point of the search."""
        move = self.move
        deviations = self._deviations(size)
        weights = dict(move.weights)
        network = move.network.copy()
        for number in range(1, ROUNDS + 1):
            kept = move.survivors(weights, deviations * number / ROUNDS)
            tied = {
                name: Masked(torch.from_numpy(weights[name]), torch.from_numpy(kept[name]))
                for name in weights
            }
            part = max(int(SHARE_OF_PRUNING * steps / ROUNDS), 1)
            trained = self.teaching.floats(network, part, f"{stage}-prune-{number}", tied)
            put(network, trained)
            weights = {name: trained[name].numpy() for name in weights}
        codebooks = self._codebooks(weights, deviations, size)
        shared = {name: Shared(codebook) for name, codebook in codebooks.items()}
        part = max(int((1 - SHARE_OF_PRUNING) * steps), 1)
        trained = self.teaching.floats(network, part, f"{stage}-share", shared)
        centred = {
            name: _recentred(codebook, trained[name].numpy())
            for name, codebook in codebooks.items()
        }
        biases = {name: value.numpy() for name, value in trained.items() if name not in centred}
        forms = move.forms_of(centred, biases)
        # trained centres are rounder numbers no more: the last few weights may have to go for them
        for _ in range(TRIMS):
            if _packed(forms) <= size:
                break
            centred = {name: without_smallest(one, TRIMMED) for name, one in centred.items()}
            forms = move.forms_of(centred, biases)
        return self.job.measuring.point(forms, float("nan"))

    def _deviations(self, size: int) -> float:
        """The threshold at which the network, not yet retrained, packs into a size."""
        low, high = 0.0, self.move.last
        best = high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            packed = _packed(self.move.forms(middle))
            if packed > size:
                low = middle
            else:
                best = high = middle
                if packed >= CLOSE * size:
                    break
        return best

    def _codebooks(
        self, weights: Mapping[str, Array], deviations: float, size: int
    ) -> dict[str, Codebook]:
        """Of the retrained weights; a few more go if the file would be too large."""
        while True:
            kept = self.move.survivors(weights, deviations)
            codebooks = self.move.shared(weights, kept)
            if deviations >= self.move.last:
                return codebooks
            if _packed(self.move.forms_of(codebooks, {})) <= CLOSE * size:
                return codebooks
            deviations *= NARROWED


def _packed(forms: Sequence[Floats]) -> int:
    return min(len(compress(form.file, "max", verify=False)) for form in forms)


def _recentred(codebook: Codebook, weight: Array) -> Codebook:
    """The codebook of which a trained weight is made, its centres in order."""
    centres = codebook.centres.copy().ravel()
    centres[codebook.indices.ravel()] = weight.ravel()
    ordered, indices = ascending(centres, codebook.indices)
    return replace(codebook, centres=ordered, indices=indices)
