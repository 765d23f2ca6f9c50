"""Layers solved in order, each from networks run anew and by least squares on every window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import fx

from packlight.shrink import grid_search, quantize, weights


def value_at(module, name: str, sample) -> torch.Tensor:
    """What a node of a graph makes of a sample, the whole graph run."""
    seen = {}

    class Watch(fx.Interpreter):
        def run_node(self, node):
            seen[node.name] = super().run_node(node)
            return seen[node.name]

    with torch.no_grad():
        Watch(module).run(*sample)
    return seen[name]


def windows(layer, module, samples) -> np.ndarray:
    """(G, positions, n) float64: what a layer reads in a network, for all samples."""
    call = next(node for node in module.graph.nodes if node.name == layer.node.name)
    pieces = [
        layer.windows(value_at(module, call.args[0].name, sample).float()).double().numpy()
        for sample in samples
    ]
    return np.concatenate(pieces, axis=1)


def regressed(rows, a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """(R, n) what makes rows @ (a - b) from b: ridge regression, row by row."""
    ridge = share * np.square(b).mean() * len(b) or len(b)
    tall = np.vstack([b, np.sqrt(ridge) * np.eye(b.shape[1])])
    found = []
    for row in rows:
        goal = np.concatenate([(a - b) @ row, np.zeros(b.shape[1])])
        found.append(np.linalg.lstsq(tall, goal, rcond=None)[0])
    return np.array(found)


def best_share(rows, halves, shares) -> float:
    """The ridge with which either half foretells the other; infinity where none helps."""
    losses = dict.fromkeys(shares, 0.0)
    nothing = 0.0
    for known, other in (halves, halves[::-1]):
        for group, matrix in enumerate(rows):
            a, b = (value[group] for value in other)
            missing = (a - b) @ matrix.T
            nothing += np.square(missing).sum() / len(b)
            for share in shares:
                told = regressed(matrix, known[0][group], known[1][group], share)
                losses[share] += np.square(missing - b @ told.T).sum() / len(b)
    best = min(losses, key=losses.__getitem__)
    return best if losses[best] < nothing else np.inf


def aim(prepared, x: np.ndarray, y: np.ndarray, halves, shares):
    """The layer as its new inputs `y` want it, which were `x`; `halves` are both by parts."""
    layer, rows = prepared.layer, prepared.weights

    def centred(value: np.ndarray) -> np.ndarray:
        return value - value.mean(1, keepdims=True) if layer.centred else value

    share = best_share(rows, [[centred(value) for value in half] for half in halves], shares)
    aimed = rows.copy()
    if np.isfinite(share):
        for group, matrix in enumerate(rows):
            aimed[group] += regressed(matrix, centred(x)[group], centred(y)[group], share)
    H = prepared.factors[0].moments.copy()
    for group, matrix in enumerate(H):
        for value, sign in ((x, -1), (y, 1)):  # half of H are the inputs' moments
            each = centred(value)[group]
            matrix += sign * each.T @ each / (2 * len(each))
    prepared = replace(prepared, factors=[quantize.factorize(H)])
    if not layer.centred:
        return replace(prepared, weights=aimed)
    old, new = x.mean(1), y.mean(1)
    kept = np.einsum("grn,gn->gr", rows, old) - np.einsum("grn,gn->gr", aimed, new)
    bias = prepared.bias + layer.channels(kept)
    return replace(prepared, weights=aimed, bias=bias, mean=new)


def in_order(network, assembly, prepared, solved, coarseness: float, samples, shares):
    """As `packlight.shrink.following.solve_in_order`."""
    found = list(solved)
    place = {node.name: at for at, node in enumerate(network.module.graph.nodes)}
    parts = samples, samples[::2], samples[1::2]
    for index in sorted(range(len(found)), key=lambda i: place[prepared[i].layer.node.name]):
        weights.fill(assembly.network, assembly.values(found))
        one = prepared[index]
        (x, y), *halves = [
            [windows(one.layer, net.module, part) for net in (network, assembly.network)]
            for part in parts
        ]
        found[index] = grid_search.solve(aim(one, x, y, halves, shares), coarseness)
    return found
