"""`packlight fit` against onnxruntime's own static int8, same samples, same judges, same run.

    python -m benchmarks.onnxruntime_static MODEL.onnx --data DATA --target-size 900KB [--seeds 5]

The peer is `quant_pre_process` + `quantize_static` (QDQ, per channel, uint8 activations, MinMax) on
the very samples that the fit calibrates on. Both files are packed by `packlight pack`, judged on
the same samples and timed in turns on one thread. Several seeds choose the samples anew and are
judged together: 500 images and 5 seeds make 1,000 answers, two on average from each image.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.table import Table

import packlight
from packlight import data as samples_of
from packlight.coding.packing import compress
from packlight.errors import BudgetNotMet
from packlight.judge import Verdict, compare, find_task
from packlight.runtimes.onnxruntime import VERSION, Session, latencies
from packlight.types import Array


class _Reader(quantization.CalibrationDataReader):
    """Calibration samples, one at a time, as the peer wants them."""

    def __init__(self, names: list[str], samples: samples_of.Samples, batch: int) -> None:
        self._batches: Iterator[tuple[np.ndarray[Any, Any], ...]] = samples.batches(batch)
        self._names = names

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(zip(self._names, batch, strict=True))


def peer(model: Path, samples: samples_of.Samples, folder: Path) -> tuple[Path, float]:
    """Quantise with onnxruntime; returns the file and the seconds it took."""
    start = time.perf_counter()
    prepared, out = folder / "prepared.onnx", folder / "peer.onnx"
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    session = Session(model)
    quantization.quantize_static(
        str(prepared),
        str(out),
        _Reader(session.input_names, samples, session.batch or 1),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return out, time.perf_counter() - start


def main() -> None:
    """Run both for every seed, print a table over all of them, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--target-size")
    parser.add_argument("--max-drop")
    parser.add_argument("--resize", type=int)
    parser.add_argument("--crop", type=int)
    parser.add_argument("--scale", type=float)
    parser.add_argument("--calibrate", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1, help="choices of the calibrated samples")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)

    runs = [_run(options, seed) for seed in range(options.seeds)]
    rows = []
    for label in runs[0]:
        original, own = ([run[name] for run in runs] for name in ("original", label))
        verdict = _compared(original, own)
        rows.append(
            {
                "network": label,
                "bytes": _mean([run.size for run in own]),
                "packed_bytes": _mean([run.packed for run in own]),
                "accuracy": verdict.to_dict(),
                "speed": _mean([a.latency / b.latency for a, b in zip(original, own, strict=True)]),
                "seconds": _mean([run.seconds for run in own]),
            }
        )
    record = {
        "model": options.model.name,
        "runtime": VERSION,
        "seeds": options.seeds,
        "n": sum(len(run["original"].answers[0]) for run in runs),
        "rows": rows,
        "packlight_against_onnxruntime": _compared(
            *([run[name] for run in runs] for name in ("onnxruntime", "packlight"))
        ).to_dict(),
    }
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))
    Console(width=110).print(_table(record))
    if drop := record["packlight_against_onnxruntime"]["drop"]:
        top1 = drop["top1"]
        print(
            f"top-1 of onnxruntime's less ours: {top1['value']:+.2%}, 95 % {top1['low']:+.2%} "
            f"to {top1['high']:+.2%}"
        )


@dataclass(frozen=True)
class _Run:
    """One network of one seed: bytes, milliseconds, seconds to make, answers on the judges."""

    size: int
    packed: int
    latency: float
    seconds: float
    answers: list[Array]
    labels: Array | None
    classifier: bool


def _run(options: argparse.Namespace, seed: int) -> dict[str, _Run]:
    """The original, the peer's and ours, on one choice of calibrated samples."""
    preprocess = samples_of.Preprocess(options.resize, options.crop, options.scale)
    network = packlight.load(options.model)
    dataset = samples_of.open_data(options.data, network.inputs, preprocess)
    split = samples_of.split(dataset, options.calibrate, seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peer_file, peer_seconds = peer(options.model, split.fit, folder)
        start = time.perf_counter()
        try:
            result = packlight.fit(
                options.model,
                options.data,
                target_size=options.target_size,
                max_drop=options.max_drop,
                preprocess=preprocess,
                calibrate=options.calibrate,
                seed=seed,
                out=folder / "ours",
            )
        except BudgetNotMet as problem:
            result = problem.nearest
        seconds = {
            "original": 0.0,
            "onnxruntime": peer_seconds,
            "packlight": time.perf_counter() - start,
        }
        files = {"original": options.model, "onnxruntime": peer_file, "packlight": result.model}
        (sample,) = split.judge.take([0]).batches(1)
        timed = latencies(list(files.values()), sample, seconds=8)
        found: dict[str, _Run] = {}
        for (label, path), latency in zip(files.items(), timed, strict=True):
            data = path.read_bytes()
            answers = list(Session(path).over(split.judge.batches(16)))
            labels = split.judge.labels
            task = find_task(sample, answers, labelled=labels is not None)
            found[label] = _Run(
                len(data),
                len(compress(data, "max")),
                latency.median,
                seconds[label],
                answers,
                labels,
                task.classifier,
            )
        return found


def _compared(first: list[_Run], second: list[_Run]) -> Verdict:
    """Two networks on the judges of all seeds."""
    labels = [run.labels for run in first if run.labels is not None]
    return compare(
        _joined([run.answers for run in first]),
        _joined([run.answers for run in second]),
        np.concatenate(labels) if labels else None,
        classifier=first[0].classifier,
    )


def _joined(answers: list[list[Array]]) -> list[Array]:
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _table(record: dict[str, Any]) -> Table:
    table = Table(title=f"{record['model']}, {record['n']} judged, {record['runtime']}")
    for column in ("", "file", "packed", "top-1", "agreement", "SQNR", "speed", "seconds"):
        table.add_column(column, justify="right")
    for row in record["rows"]:
        accuracy = row["accuracy"]
        top1 = (accuracy["compressed"] or {}).get("top1")
        agreement = accuracy["agreement"]
        table.add_row(
            row["network"],
            f"{row['bytes']:,.0f}",
            f"{row['packed_bytes']:,.0f}",
            "" if top1 is None else f"{top1:.2%}",
            "" if agreement is None else f"{agreement['value']:.2%}",
            f"{accuracy['sqnr_db']:.1f} dB",
            f"{row['speed']:.2f}x",
            f"{row['seconds']:.0f}",
        )
    return table


if __name__ == "__main__":
    main()
