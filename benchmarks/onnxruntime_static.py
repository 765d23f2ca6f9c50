"""`packlight fit` against onnxruntime's own static int8, same samples, same judges, same run.

    python -m benchmarks.onnxruntime_static MODEL.onnx --data DATA --target-size 900KB [--seeds 5]
        [--views]

The peer is `quant_pre_process` + `quantize_static` (QDQ, per channel, uint8 activations, MinMax) on
the very samples that the fit calibrates on. Both files are packed by `packlight pack`, judged on
the same samples and timed in turns on one thread. Several seeds choose the samples anew and are
judged together: 500 images and 5 seeds make 1,000 answers, two on average from each image. With
`--views` each image is judged in ten crops (the corners and the middle, and their mirror images, as
in Krizhevsky et al., NIPS 2012), which tells smaller differences apart. Answers of one image depend
on each other, so the interval of the difference counts images (cluster-robust variance,
Liang & Zeger, Biometrika 73 (1986) 13).
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from packlight.judge import Interval, Verdict, Z, compare, find_task
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


def peer(
    model: Path, samples: samples_of.Samples, folder: Path, *, reduce_range: bool = False
) -> tuple[Path, float]:
    """Quantise with onnxruntime, with `reduce_range` to seven bits, which no processor's sums
    overflow; returns the file and the seconds it took."""
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
        reduce_range=reduce_range,
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
    parser.add_argument("--views", action="store_true", help="judge ten crops of every image")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.views and not (options.crop and options.resize and options.crop < options.resize):
        parser.error("--views needs --resize and a smaller --crop to cut from")
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
    theirs, ours = ([run[name] for run in runs] for name in ("onnxruntime", "packlight"))
    record = {
        "model": options.model.name,
        "runtime": VERSION,
        "seeds": options.seeds,
        "n": sum(len(run["original"].answers[0]) for run in runs),
        "rows": rows,
        "packlight_against_onnxruntime": _compared(theirs, ours).to_dict(),
        "top1_of_onnxruntime_less_ours": _difference(theirs, ours),
    }
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))
    Console(width=110).print(_table(record))
    if gap := record["top1_of_onnxruntime_less_ours"]:
        print(
            f"top-1 of onnxruntime's less ours: {gap['value']:+.2%}, 95 % {gap['low']:+.2%} "
            f"to {gap['high']:+.2%} over {gap['images']} images"
        )


@dataclass(frozen=True)
class _Run:
    """One network of one seed: bytes, milliseconds, seconds to make, answers on the judges.

    `images` tells which image an answer is about.
    """

    size: int
    packed: int
    latency: float
    seconds: float
    answers: list[Array]
    labels: Array | None
    images: Array
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
        views = _Views(options, network.inputs, seed) if options.views else None
        found: dict[str, _Run] = {}
        for (label, path), latency in zip(files.items(), timed, strict=True):
            data = path.read_bytes()
            shown = views or split.judge.batches(16)
            answers = list(Session(path).over(shown))
            times = len(answers[0]) // len(split.judge)
            labels = split.judge.labels
            labels = None if labels is None else labels.repeat(times)
            task = find_task(sample, answers, labelled=labels is not None)
            found[label] = _Run(
                len(data),
                len(compress(data, "max")),
                latency.median,
                seconds[label],
                answers,
                labels,
                split.judge.indices.repeat(times),
                task.classifier,
            )
        return found


class _Views:
    """The judges in ten crops each, an image's one after the other; iterable more than once."""

    def __init__(self, options: argparse.Namespace, inputs: Any, seed: int) -> None:
        self._crop = options.crop
        whole = samples_of.Preprocess(options.resize, options.resize, options.scale)
        wide = [
            replace(spec, shape=(*spec.shape[:2], options.resize, options.resize))
            for spec in inputs
        ]
        dataset = samples_of.open_data(options.data, wide, whole)
        self._judge = samples_of.split(dataset, options.calibrate, seed).judge

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        for (images,) in self._judge.batches(4):
            low, far = 0, images.shape[-1] - self._crop
            corners = [(low, low), (low, far), (far, low), (far, far), (far // 2, far // 2)]
            crops = [
                images[:, :, y : y + self._crop, x : x + self._crop][..., ::mirror]
                for mirror in (1, -1)
                for y, x in corners
            ]
            yield (np.stack(crops, axis=1).reshape(-1, *crops[0].shape[1:]),)


def _difference(first: list[_Run], second: list[_Run]) -> dict[str, Any] | None:
    """Share right in the first less that in the second; its interval counts images."""
    if first[0].labels is None:
        return None
    gaps = np.concatenate(
        [
            (a.answers[0].reshape(len(a.labels), -1).argmax(1) == a.labels).astype(float)
            - (b.answers[0].reshape(len(b.labels), -1).argmax(1) == b.labels)
            for a, b in zip(first, second, strict=True)
        ]
    )
    images = np.unique(np.concatenate([run.images for run in first]), return_inverse=True)[1]
    mean = float(gaps.mean())
    sums = np.bincount(images, gaps - mean)
    spread = np.sqrt(np.square(sums).sum() * len(sums) / (len(sums) - 1)) / len(gaps)
    interval = Interval(mean, mean - Z * float(spread), mean + Z * float(spread))
    return {**interval.to_dict(), "images": len(sums)}


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
