"""Exact rewrites: the same function with fewer operators.

One pass per file. A pass takes a Network's copy, changes its graph in place and says how many
places it changed. `fuse` runs them in order and holds each to the promise they all make: the
outputs stay what they were, to float rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from packlight.errors import PacklightError
from packlight.fuse.affine import fold_affine
from packlight.fuse.batch_norm import fold_batch_norm
from packlight.fuse.constants import fold_constants
from packlight.fuse.gates import name_gates
from packlight.fuse.identity import remove_identities
from packlight.fuse.moves import compose_moves
from packlight.fuse.padding import fold_padding
from packlight.fuse.recurrent import separate_layers
from packlight.fuse.repeats import drop_repeats
from packlight.network import Network

__all__ = ["TOLERANCE", "Fused", "difference", "fuse"]

TOLERANCE = 1e-4  # of the largest output: float32 rounding, summed over a deep network

Pass = Callable[[Network], int]
PASSES: tuple[Pass, ...] = (
    separate_layers,
    remove_identities,
    fold_constants,
    name_gates,
    fold_batch_norm,
    fold_affine,
    fold_padding,
    compose_moves,
    drop_repeats,
)


@dataclass(frozen=True)
class Fused:
    """What fusing did.

    Args:
        network: the rewritten copy.
        changes: pass name -> places changed.
        error: largest difference of any output, relative to that output's largest value.
    """

    network: Network
    changes: dict[str, int]
    error: float


def fuse(network: Network) -> Fused:
    """Remove what costs bytes and time without changing the outputs.

    Raises:
        PacklightError: a pass changed the outputs by more than rounding; names the pass.
    """
    rewritten = network.copy()
    before = _outputs(network)
    changes: dict[str, int] = {}
    error = 0.0
    for rewrite in PASSES:
        changes[rewrite.__name__] = rewrite(rewritten)
        graph = rewritten.module.graph
        graph.eliminate_dead_code()
        graph.lint()
        rewritten.module.recompile()
        error = difference(before, _outputs(rewritten))
        if not error <= TOLERANCE:
            raise PacklightError(
                f"{rewrite.__name__} changed the outputs by {error:.1e} of their largest value; "
                "please report the model"
            )
    return Fused(rewritten.refreshed(), changes, error)


def _outputs(network: Network) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return network(*network.example_inputs)


def difference(before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> float:
    """The largest difference of any output, relative to that output's largest value."""
    worst = 0.0
    for old, new in zip(before, after, strict=True):
        if not old.numel():
            continue
        old, new = old.double(), new.double()
        same = (old == new) | (old.isnan() & new.isnan())
        gap = torch.where(same, 0.0, (old - new).abs())
        worst = max(worst, float(gap.max() / old.nan_to_num(0, 0, 0).abs().max().clamp_min(1e-12)))
    return worst
