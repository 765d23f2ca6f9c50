"""The report of a fit: every figure, measured on the files that were written."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import packlight
from packlight.coding import rate
from packlight.coding.packing import compress
from packlight.files import sha256
from packlight.runtimes.onnxruntime import VERSION
from packlight.shrink.activations import Place
from packlight.shrink.layers import value_of_name

if TYPE_CHECKING:
    from packlight.shrink.job import Job, Outcome


def describe(
    job: Job,
    outcome: Outcome,
    file: Path,
    packed: Path,
    *,
    asked: dict[str, Any],
    macs: int | None,
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
        fused: what the exact rewrites changed.
        command: what the user typed.
    """
    original = job.original_file
    parameters = sum(value.numel() for value in job.network.module.parameters())
    accuracy = outcome.verdict.to_dict() | {
        "looks": outcome.looks,
        "judged_on": job.split.description,
    }
    if outcome.score is not None:
        accuracy["eval_fn"] = {"original": outcome.score[0], "compressed": outcome.score[1]}
    latency = job.latency(outcome.point)
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
        "accuracy": accuracy,
        "latency_ms": latency,
        "layers": _layers(job, outcome),
        "visited": _visited(job, outcome),
        "notes": _notes(job, outcome, fused),
        "stages": [
            {"name": name, "seconds": round(seconds, 2)}
            for name, seconds in job.progress.seconds.items()
        ],
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnxruntime": VERSION.split()[-1],
            "numpy": np.__version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        },
        "command": command or " ".join(sys.argv),
    }


def to_json(report: dict[str, Any]) -> bytes:
    """The report as the bytes of report.json; numbers that are not finite become null."""
    return json.dumps(_finite(report), indent=1, ensure_ascii=False).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _layers(job: Job, outcome: Outcome) -> list[dict[str, Any]]:
    rows = []
    assembly = outcome.point.assembly
    before = {layer.name: layer for layer in job.layers}
    for slot, solved in zip(assembly.slots, outcome.point.solved, strict=True):
        layer = slot.layer
        levels = solved.levels
        bias = 0 if solved.bias is None else solved.bias.size
        original = before[layer.name]
        held = 0 if original.bias is None else value_of_name(job.network, original.bias).numel()
        why = None
        if layer.solvable:
            why = _why_float(layer.input.name, assembly.places, assembly.harmful)
        rows.append(
            {
                "name": layer.name,
                "kind": layer.kind,
                "shape": list(layer.shape),
                "weights": levels.size,
                "bytes_before": 4 * (int(np.prod(original.shape)) + held),
                "bytes_after": levels.size + 4 * len(set(solved.scale.tolist())) + 4 * bias,
                "bits_per_weight": rate.estimate(levels) / levels.size,
                "step": float(solved.scale.max()),
                "zeros": float((levels == 0).mean()),
                "levels": len(np.unique(levels)),
                "activation": "float" if slot.input_scale is None else "int8",
                "why_float": why,
                "damage": solved.damage,
            }
        )
    return rows


def _why_float(source: str, places: Sequence[Place], harmful: dict[str, float]) -> str | None:
    for place in places:
        if source in place.nodes and place.name in harmful:
            return f"int8 alone leaves the outputs {harmful[place.name]:.1f} dB above its noise"
    return None


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
    for place, ratio in outcome.point.assembly.harmful.items():
        notes.append(
            f"activations at {place} stay float: int8 there alone leaves {ratio:.1f} dB of SQNR"
        )
    rounded = [slot.layer.name for slot in outcome.point.assembly.slots if not slot.layer.solvable]
    if rounded:
        shown = ", ".join(rounded[:5]) + (", ..." if len(rounded) > 5 else "")
        notes.append(f"weights rounded without seeing their inputs: {shown}")
    return notes
