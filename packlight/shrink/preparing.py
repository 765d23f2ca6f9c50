"""What is measured of a float network before it is rounded: grids of activations, curvature.

Each is a stage whose result is kept, so that a fit that was cut off goes on behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from packlight.errors import BadInput
from packlight.network import Network
from packlight.shrink import activations, curvature, grid_search, outputs
from packlight.shrink.assembly import Assembly, Integers, assemble
from packlight.shrink.curvature import Curvature
from packlight.shrink.fallback import ENOUGH_DB, alone, harmful_layers, harmful_places
from packlight.shrink.grid_search import Prepared
from packlight.shrink.layers import find_layers

if TYPE_CHECKING:
    from packlight.shrink.job import Job

T = TypeVar("T")

FALLBACK_SAMPLES = 48  # on which activations are tried in int8


def assembled(
    job: Job, network: Network, stage: str, floats: Mapping[str, float] | None = None
) -> Assembly:
    """A float network made ready for integers: its activations measured and put on grids.

    Args:
        job: whose samples are used.
        network: with the same inputs and outputs as the one that is fitted.
        stage: goes before the names under which the results are kept.
        floats: weights that stay as they are, as from `harmful_layers`.
    """
    floats = floats or {}
    layers = [layer for layer in find_layers(network) if layer.weight not in floats]
    if job.activations == "float":
        return replace(assemble(network, layers, [], {}, {}), floats=floats)
    places = activations.find_places(network, layers)
    grids = _grids(job, network, places, f"{stage}grids")
    harmful = _harmful(job, network, places, grids, f"{stage}fallback")
    return replace(assemble(network, layers, places, grids, harmful), floats=floats)


def harmful_weights(job: Job, network: Network, form: Integers) -> dict[str, float]:
    """Weights that not even the finest integers are enough for, as of `fallback.harmful_layers`."""
    rounded = {}
    for slot, solved in zip(form.assembly.slots, form.solved, strict=True):
        layer = slot.layer
        shape = [-1 if axis == layer.axis else 1 for axis in range(len(layer.shape))]
        weight = solved.levels * solved.scale.reshape(shape)
        rounded[layer.weight] = torch.from_numpy(weight.astype(np.float32))
    few = job.split.fit.first(FALLBACK_SAMPLES)
    with job.progress.stage("try int8 weights") as tick:
        return harmful_layers(network, rounded, list(job.measuring.tensors(few)), tick)


def with_more_floats(job: Job, network: Network, form: Integers, stage: str) -> Assembly | None:
    """Room for the same solution with more activations in float: as few as the file needs.

    Networks that take the smallest of many values, or the logarithm of one near zero, answer
    otherwise in onnxruntime than in torch once values are rounded; so the file decides.

    Args:
        job: whose samples are used.
        network: in floats.
        form: the solution, whose file is not exact enough.
        stage: under which activations were measured.
    Returns:
        None if it would not be exact enough with all of them in float.
    """
    before = form.assembly
    layers = [slot.layer for slot in before.slots]
    grids = _grids(job, network, before.places, f"{stage}grids")
    kept = [place for place in before.places if place.name not in before.harmful]
    few = job.split.fit.first(FALLBACK_SAMPLES)
    with job.progress.stage("try the written file") as tick:
        ratios = alone(network, kept, grids, list(job.measuring.tensors(few)), tick)

        def trial(count: int) -> Assembly | None:
            harmful = before.harmful | dict(list(ratios.items())[:count])
            made = assemble(network, layers, before.places, grids, harmful)
            point = job.measuring.point([Integers(made, form.solved)], 0.0)
            tick()
            return made if point.visit.verdict.sqnr_db >= ENOUGH_DB else None

        too_few, enough = 0, len(ratios)
        best = trial(enough) if ratios else None
        while best is not None and enough - too_few > 1:
            middle = (too_few + enough) // 2
            found = trial(middle)
            if found is None:
                too_few = middle
            else:
                best, enough = found, middle
    return best


def curvatures(job: Job, network: Network, stage: str) -> dict[str, Curvature]:
    """The curvature of every layer of a float network, by name; `stage` as of `assembled`."""

    def compute() -> dict[str, dict[str, Any]]:
        watched = network.copy()
        layers = find_layers(watched)
        found = _summed(job, "curvature", curvature.collect, watched, layers)
        for name, value in found.items():
            if not np.isfinite([value.sensitivity, value.of_bias, value.mean.sum()]).all():
                raise BadInput(
                    f"what layer {name} reads of the samples, or how the outputs move with it, is "
                    "not finite (NaN or infinity), so its weights can not be fitted; look at the "
                    "samples, and at how they are scaled (--scale)"
                )
        return {
            name: {
                "moments": [torch.from_numpy(block) for block in value.moments],
                "mean": torch.from_numpy(value.mean),
                "sensitivity": value.sensitivity,
                "of_bias": value.of_bias,
            }
            for name, value in found.items()
        }

    stored = job.stages.run(f"{stage}curvature", compute)
    return {
        name: Curvature(
            tuple(block.numpy() for block in value["moments"]),
            value["mean"].numpy(),
            value["sensitivity"],
            value["of_bias"],
        )
        for name, value in stored.items()
    }


def bound(job: Job, network: Network, prepared: Sequence[Prepared], stage: str) -> list[Prepared]:
    """The layers of a float network, their rows told to make good each other's errors."""

    def compute() -> dict[str, list[torch.Tensor]]:
        watched = network.copy()
        found = _summed(job, "curvature between rows", outputs.collect, watched, prepared)
        return {name: [torch.from_numpy(one) for one in blocks] for name, blocks in found.items()}

    stored = job.stages.run(f"{stage}rows", compute)
    moments = {name: [one.numpy() for one in blocks] for name, blocks in stored.items()}
    return [grid_search.bound(one, moments.get(one.layer.name, ())) for one in prepared]


def _summed(
    job: Job,
    shown: str,
    collect: Callable[..., dict[str, T]],
    network: Network,
    layers: Sequence[Any],
) -> dict[str, T]:
    """What is summed over the samples, one at a time; `shown` by the progress bar."""
    singles = job.measuring.tensors(job.split.fit, 1)
    with job.progress.stage(shown, min(len(singles), curvature.CHUNKS)) as tick:
        return collect(
            *(network, layers, singles, job.measuring.curvature_loss),
            seed=job.seed,
            workers=job.workers,
            tick=tick,
        )


def _grids(
    job: Job, network: Network, places: Sequence[activations.Place], stage: str
) -> dict[str, activations.Grid]:
    def compute() -> dict[str, list[float]]:
        batches = job.measuring.tensors(job.split.fit)
        with job.progress.stage("calibrate activations", len(batches)) as tick:
            grids = activations.observe(network, places, batches, tick, job.workers)
        return {name: [grid.scale, grid.zero] for name, grid in grids.items()}

    stored = job.stages.run(stage, compute)
    return {name: activations.Grid(scale, int(zero)) for name, (scale, zero) in stored.items()}


def _harmful(
    job: Job,
    network: Network,
    places: Sequence[activations.Place],
    grids: dict[str, activations.Grid],
    stage: str,
) -> dict[str, float]:
    def compute() -> dict[str, float]:
        few = job.split.fit.first(FALLBACK_SAMPLES)
        batches = list(job.measuring.tensors(few))
        with job.progress.stage("try int8 activations") as tick:
            return harmful_places(network, places, grids, batches, tick)

    found: dict[str, float] = job.stages.run(stage, compute)
    return found
