"""The report of a fit: every figure, measured on the files that were written."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch

import packlight
from packlight.coding.contents import info
from packlight.coding.packing import compress
from packlight.data import Samples
from packlight.files import sha256
from packlight.progress import Progress
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnxruntime import VERSION
from packlight.shrink import flipped
from packlight.shrink.delivery import delivery_of, memory_of
from packlight.shrink.layers import find_layers, value_of_name
from packlight.shrink.moves import LayerFigures
from packlight.weighing.limits import Sizes

if TYPE_CHECKING:
    from packlight.shrink.job import Job, Outcome
    from packlight.shrink.revising import Earlier


def describe(
    job: Job,
    outcome: Outcome,
    file: Path,
    packed: Path,
    *,
    asked: dict[str, Any],
    macs: int | None,
    ram: int | None,
    fused: dict[str, int],
    command: str | None,
) -> dict[str, Any]:
    """What report.json holds; docs/report.md describes every key.

    Args:
        job: the fit, finished.
        outcome: where it ended.
        file, packed: as written; their sizes and hashes are read from the disk.
        asked: budgets and settings.
        macs: multiply-adds of one sample, if known.
        ram: bytes that the original takes while it runs, if known.
        fused: what the exact rewrites changed.
        command: what the user typed.
    """
    original = onnx_file.bytes_of(job.original)
    parameters = sum(value.numel() for value in job.teacher.module.parameters())
    memory = memory_of(file)
    sizes = Sizes(
        packed.stat().st_size, file.stat().st_size, memory["ram_bytes"] if memory else None
    )
    accuracy = outcome.verdict.to_dict() | {
        "looks": outcome.looks,
        "judged_on": job.split.description,
    }
    if outcome.score is not None:
        accuracy["eval_fn"] = {"original": outcome.score[0], "compressed": outcome.score[1]}
    latency = job.measuring.latency(outcome.point)
    judge = job.split.judge
    return {
        "packlight": packlight.__version__,
        "asked": asked,
        "met": outcome.met,
        "why": outcome.why,
        "binding": outcome.binding,
        "original": {
            "file": asked["model"],
            "sha256": sha256(original),
            "bytes": len(original),
            "packed_bytes": len(compress(original, "max", verify=False)),
            "parameters": parameters,
            "macs": macs,
        },
        "compressed": {
            "file": file.name,
            "sha256": sha256(file),
            "bytes": file.stat().st_size,
            "packed_file": packed.name,
            "packed_sha256": sha256(packed),
            "packed_bytes": packed.stat().st_size,
        },
        "update": None if job.base is None else _update(job.base, outcome),
        "accuracy": accuracy,
        "flips": None if outcome.flips is None else flipped.describe(outcome.flips, judge),
        "latency_ms": latency,
        "memory": memory,
        "delivery": delivery_of(Sizes(len(original), len(original), ram), sizes),
        "data": {
            "fit": _fingerprint(job.split.fit),
            "judge": _fingerprint(judge),
        },
        "layers": _layers(job, outcome, packed),
        "explain": None if outcome.blames is None else [vars(one) for one in outcome.blames],
        "visited": _visited(job, outcome),
        "notes": _notes(job, outcome, fused),
        **circumstances(job.progress, command or " ".join(sys.argv)),
    }


def _update(base: Earlier, outcome: Outcome) -> dict[str, Any]:
    """What whoever has the earlier version downloads."""
    return {
        "base": base.path.name,
        "sha256": sha256(base.file),
        "bytes": base.update(outcome.point.file),
    }


def circumstances(progress: Progress, command: str) -> dict[str, Any]:
    """Where and how long, as reports hold it."""
    return {
        "stages": [
            {"name": name, "seconds": round(seconds, 2)}
            for name, seconds in progress.seconds.items()
        ],
        "environment": environment(),
        "command": command,
    }


def environment() -> dict[str, str]:
    """What computed: versions and machine, as a report holds them."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": VERSION.split()[-1],
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "system": platform.system(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def _fingerprint(samples: Samples) -> dict[str, Any]:
    """How many samples, and a hash of their bytes in their order."""
    known = samples.content is not None
    digest = sha256(b"".join(samples.fingerprints())) if known else None
    return {"samples": len(samples), "sha256": digest}


def _layers(job: Job, outcome: Outcome, packed: Path) -> list[dict[str, Any]]:
    rows = []
    before = {layer.name: layer for layer in find_layers(job.teacher)}
    figures = outcome.point.form.layers()
    costs: dict[str, int | None] = {}
    if any(layer.bits is None for layer in figures):
        costs = {part.name: part.packed for part in info(packed).parts}
    for layer in figures:
        original = before.get(layer.name)
        held = 0
        if original is not None:
            bias = original.bias
            held = int(np.prod(original.shape))
            held += 0 if bias is None else value_of_name(job.teacher, bias).numel()
        rows.append(
            {
                "name": layer.name,
                "kind": layer.kind,
                "shape": list(layer.shape),
                "form": layer.form,
                "weights": layer.weights,
                "bytes_before": 4 * held,
                "bytes_after": layer.installed,
                "bits_per_weight": _measured(layer, costs) if layer.bits is None else layer.bits,
                "step": layer.step,
                "zeros": layer.zeros,
                "levels": layer.levels,
                "activation": layer.activation,
                "why_float": layer.why_float,
                "damage": layer.damage,
            }
        )
    return rows


def _measured(layer: LayerFigures, costs: dict[str, int | None]) -> float | None:
    """Bits of one weight in the packed file; None where it does not tell tensors apart."""
    known = [costs.get(name) for name in layer.tensors]
    if None in known:
        return None
    return 8 * sum(cost for cost in known if cost is not None) / layer.weights


def _visited(job: Job, outcome: Outcome) -> list[dict[str, Any]]:
    rows = []
    for visit in outcome.visited:
        verdict = visit.verdict
        agreement = verdict.agreement
        rows.append(
            {
                "stage": "search",
                "tradeoff": visit.coarseness,
                "packed_bytes": visit.packed_bytes,
                "bytes": visit.bytes,
                "metric": "sqnr_db" if agreement is None else "agreement",
                "score": verdict.sqnr_db if agreement is None else agreement.value,
                "on": "steer" if job.split.steer is not None else "fit",
                "chosen": visit is outcome.point.visit,
            }
        )
    return rows


def _notes(job: Job, outcome: Outcome, fused: dict[str, int]) -> list[str]:
    notes = list(job.network.notes)
    for name, count in fused.items():
        if count:
            notes.append(f"{name.replace('_', ' ')}: {count}")
    return [*notes, *outcome.notes, *outcome.point.form.notes()]
