"""`packlight fit` against onnxruntime's own static int8, same samples, same judges, same run.

    python -m benchmarks.onnxruntime_static MODEL.onnx --data DATA --target-size 600KB [options]

The peer is `quant_pre_process` + `quantize_static` (QDQ, per channel, uint8 activations, MinMax) on
the very samples that the fit calibrates on. Both files are packed with the same xz, judged on the
same samples and timed in turns on one thread.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.table import Table

import packlight
from packlight import data as samples_of
from packlight.coding import xz
from packlight.errors import BudgetNotMet
from packlight.judge import compare, find_task
from packlight.runtimes.onnxruntime import VERSION, Session, latencies


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
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
    """Run both, print a table, write JSON."""
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)

    preprocess = samples_of.Preprocess(options.resize, options.crop, options.scale)
    network = packlight.load(options.model)
    dataset = samples_of.open_data(options.data, network.inputs, preprocess)
    split = samples_of.split(dataset, options.calibrate, options.seed)
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
                seed=options.seed,
                out=folder / "ours",
            )
        except BudgetNotMet as problem:
            result = problem.nearest
        ours_seconds = time.perf_counter() - start

        files = {"original": options.model, "onnxruntime": peer_file, "packlight": result.model}
        answers = {
            label: Session(path).over(split.judge.batches(16)) for label, path in files.items()
        }
        (sample,) = split.judge.take([0]).batches(1)
        task = find_task(sample, answers["original"], labelled=split.judge.labels is not None)
        timed = latencies(list(files.values()), sample, seconds=8)
        rows = []
        for (label, path), latency in zip(files.items(), timed, strict=True):
            data = path.read_bytes()
            verdict = compare(
                answers["original"], answers[label], split.judge.labels, classifier=task.classifier
            )
            rows.append(
                {
                    "network": label,
                    "bytes": len(data),
                    "packed_bytes": len(xz.pack(data)),
                    "accuracy": verdict.to_dict(),
                    "latency_ms": latency.median,
                    "speed": timed[0].median / latency.median,
                    "seconds": {"onnxruntime": peer_seconds, "packlight": ours_seconds}.get(label),
                }
            )
    record = {"model": options.model.name, "runtime": VERSION, "n": len(split.judge), "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))
    Console(width=110).print(_table(record))


def _table(record: dict[str, Any]) -> Table:
    table = Table(title=f"{record['model']}, {record['n']} judges, {record['runtime']}")
    for column in ("", "file", "packed", "top-1", "agreement", "SQNR", "speed", "seconds"):
        table.add_column(column, justify="right")
    for row in record["rows"]:
        accuracy = row["accuracy"]
        top1 = (accuracy["compressed"] or {}).get("top1")
        agreement = accuracy["agreement"]
        table.add_row(
            row["network"],
            f"{row['bytes']:,}",
            f"{row['packed_bytes']:,}",
            "" if top1 is None else f"{top1:.2%}",
            "" if agreement is None else f"{agreement['value']:.2%}",
            f"{accuracy['sqnr_db']:.1f} dB",
            f"{row['speed']:.2f}x",
            "" if row["seconds"] is None else f"{row['seconds']:.0f}",
        )
    return table


if __name__ == "__main__":
    main()
