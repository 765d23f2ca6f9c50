"""Channels go before anything else is done, where speed or RAM is asked for.

Before channels, for speed, means are taken in front of the last convolution rather than behind it,
where that costs the loss less than the channels that make up for it.

The smaller network takes the place of the one that is fitted; what follows knows no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from packlight.errors import BadInput, BudgetNotMet
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import activations, grid_search, narrowing, pooling, preparing, thinning
from packlight.shrink.assembly import assemble
from packlight.shrink.channels import find_groups
from packlight.shrink.layers import find_layers
from packlight.shrink.measuring import BATCH
from packlight.shrink.teaching import Teaching
from packlight.units import show_size

if TYPE_CHECKING:
    from packlight.shrink.job import Job

SPREAD = 1.01  # more speed than is asked for, as the clock is read again when the file is written


def speed_up(job: Job, speedup: float) -> None:
    """Pool earlier and take out channels until the file is as fast as asked."""
    wanted = speedup * SPREAD

    def measure(network: Network) -> float:
        return job.measuring.speedup(_like(job, network)) / wanted

    alone = measure(job.network)
    if alone < 1 and _pool(job, measure, alone):
        alone = measure(job.network)
    if alone >= 1:
        job.notes.append(f"{alone * wanted:.2f} times as fast with all of its channels")
        return
    try:
        cost = thinning.macs_by_weight(job.network)
        _narrow(job, cost, measure, alone, "faster-")
    except narrowing.NotNarrowEnough as problem:
        reached = f"is {problem.best * wanted:.2f} times as fast" if problem.best else None
        raise _out_of_reach(f"a speedup of {speedup:g}", reached, "less") from None


def spare_ram(job: Job, most: int) -> None:
    """Take out channels until the file needs no more RAM than asked."""

    def measure(network: Network) -> float:
        return most / max(job.measuring.ram(_like(job, network)), 1)

    alone = measure(job.network)
    if alone >= 1:
        return
    try:
        cost = narrowing.values_by_weight(job.network)
        _narrow(job, cost, measure, alone, "sparer-")
    except narrowing.NotNarrowEnough as problem:
        reached = f"needs {show_size(most / problem.best)}" if problem.best else None
        raise _out_of_reach(f"{show_size(most)} of RAM", reached, "more") from None


def _out_of_reach(asked: str, reached: str | None, ask_for: str) -> BudgetNotMet:
    """The sentence; `reached` is what the narrowest network tried does, None if there is none."""
    tried = f"the narrowest network tried {reached}" if reached else "it has none that could go"
    return BudgetNotMet(
        f"{asked} can not be reached by taking out channels: {tried}; ask for {ask_for}"
    )


def _pool(job: Job, measure: Callable[[Network], float], alone: float) -> bool:
    """Let the last pointwise convolution read means, where that is better than channels alone.

    The smallest window that is fast enough by itself is taken; where none is, the one whose own
    loss and that of the channels which have to go with it are least.

    Args:
        job: whose network is replaced.
        measure: a network -> what its file measures; 1 is enough.
        alone: what the network measures as it is.
    Returns:
        Whether a window was taken.
    """
    forms = pooling.pooled(job.network)

    def choose() -> int:
        measured = []
        with job.progress.stage("pool earlier", len(forms)) as tick:
            for number, form in enumerate(forms):
                measured.append(measure(form.network))
                tick()
                if measured[-1] >= 1:
                    return number
        curvatures = preparing.curvatures(job, job.network, job.narrowed)
        groups = find_groups(job.network)
        scores = thinning.scores(job.network, groups, job.layers, curvatures)

        def loss(network: Network, share: float) -> float:
            cost = thinning.macs_by_weight(network)
            try:
                _, channels = thinning.choose(groups, scores, cost, share, narrowing.MULTIPLE)
            except BadInput:  # not even the narrowest leaves so little
                return float("inf")
            return channels + job.measuring.distance(onnx_file.to_bytes(network))

        losses = [loss(form.network, m) for form, m in zip(forms, measured, strict=True)]
        best = int(np.argmin(losses))
        return best if losses[best] <= loss(job.network, alone) else -1

    number = job.stages.run("pool", choose) if forms else -1
    if number < 0:
        return False
    form = forms[number]
    job.network, job.layers = form.network, find_layers(form.network)
    job.narrowed += "pooled-"
    window = " x ".join(map(str, form.window))
    job.notes.append(f"{form.layer} reads means of {window} positions")
    return True


def _narrow(
    job: Job,
    cost: dict[str, float],
    measure: Callable[[Network], float],
    start: float,
    stage: str,
) -> None:
    """Take out channels until a measure is met, and teach what is left."""
    curvatures = preparing.curvatures(job, job.network, job.narrowed)

    def choose() -> dict[str, Any]:
        with job.progress.stage("narrow") as tick:
            found = narrowing.narrow(job.network, curvatures, cost, measure, start, tick=tick)
        return {name: torch.from_numpy(stays) for name, stays in found.keep.items()}

    chosen = job.stages.run(f"{stage}narrow", choose)
    keep = {name: stays.numpy() for name, stays in chosen.items()}
    batches = list(job.measuring.tensors(job.split.fit))
    with job.progress.stage("repair"):
        job.network = thinning.without(job.network, curvatures, keep, batches, job.stages.folder)
    widths = [f"{name} {len(k)} -> {int(k.sum())}" for name, k in keep.items() if not k.all()]
    job.notes.append(f"channels: {', '.join(widths)}")
    job.narrowed += stage
    if job.effort != "fast":
        job.network = Teaching(job).distilled()
    job.layers = find_layers(job.network)


def _like(job: Job, network: Network) -> bytes:
    """A file as fast and as large in RAM as the one that will be written, whatever it says."""
    if "quantize" not in job.moves:
        return onnx_file.to_bytes(network)
    layers = find_layers(network)
    places = activations.find_places(network, layers) if job.activations == "int8" else []
    few = list(job.measuring.tensors(job.split.fit.first(BATCH)))
    grids = activations.observe(network, places, few)
    assembly = assemble(network, layers, places, grids, {})
    # rounded plainly: where scales do not belong together, onnxruntime takes float kernels
    plain = [grid_search.solve(one, 0.0) for one in grid_search.prepare(network, layers, {})]
    return assembly.file(assembly.values(plain))
