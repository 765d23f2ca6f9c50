"""`packlight fit` against other tools, as bytes at the same accuracy.

    python -m benchmarks.lossy MODEL.onnx --data DATA [--resize 256 --crop 227] [--scale 1]
    python -m benchmarks.lossy            # the networks of ../shared, one after the other

All get the same calibration samples, and onnxruntime judges all on the same other samples, in one
run. A peer's network counts as the best general compressor makes it; ours as `packlight pack` does.
Nobody retrains. Each peer offers several points of bytes and accuracy; ours is asked for a ladder
of sizes below them, and of 70 % of a peer's bytes where it took more than that; against each peer's
point stands our smallest that is at least as accurate.
Ours is asked for each size with activations in int8 and, as most peers leave them, in float; for
points that neither reaches, with shared float weights too. Peers are installed on their first use,
each into its own environment (see `peers`).

Accuracy is the share of answers that stay the original's, and top-1 where there are labels. Both
sides choose among points with the judges' eyes, which flatters both; so the interval of the
difference between the two networks is given.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from rich.console import Console

import packlight
from benchmarks import at_a_glance, compressors, history, lossy_pages
from benchmarks.lossy_judges import Judges
from benchmarks.peers import PEERS, Made, Peer, make
from benchmarks.peers.child import sentence
from benchmarks.same_accuracy import Point, ladder, match
from packlight import data as samples_of
from packlight.errors import BudgetNotMet
from packlight.runtimes.onnxruntime import VERSION

SHARED = Path(__file__).parents[2] / "shared"
DEFAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("lenet_300_100.onnx", "mnist.npz", {}),
    ("lenet5_caffe.onnx", "mnist.npz", {}),
    ("resnet8_cifar10_bn.onnx", "cifar10.zip", {"scale": 1.0}),
    ("squeezenet1_1.onnx", "imagenet500.zip", {"resize": 256, "crop": 227, "scale": 1.0}),
)
STEP, SHORT_STEP = 0.87, 0.75  # from one size asked of ours to the next
PEER_SECONDS = 1200  # for all settings of one peer
MOST = 1 / 3  # of the original's bytes: larger networks are hardly compressed
GOAL = 0.7  # of the best peer's bytes: where ours took more, it is asked for this as well
WAYS: Mapping[str, dict[str, str]] = {
    "int8": {},
    "float activations": {"activations": "float"},
    "shared floats": {"only": "palettize"},
}
FINEST = "float activations"


def main() -> None:
    """Run every network given, print tables, keep results."""
    options = _options()
    logging.disable(logging.WARNING)
    wanted = [peer for peer in PEERS if not options.peers or peer.name in options.peers]
    step = SHORT_STEP if options.short else STEP
    for subject in _subjects(options):
        options.json.parent.mkdir(parents=True, exist_ok=True)
        results = _kept(options.docs, options.json)
        for record in measure(subject, wanted, options.cache, step):
            results[subject.model.stem] = record
            options.json.write_text(json.dumps(results, indent=1) + "\n")
        Console(width=120).print(lossy_pages.markdown(subject.model.stem, record), markup=False)
        if options.docs:
            history.keep(f"lossy-{subject.model.stem}", record, options.docs)
            lossy_pages.publish(results, options.docs)
            at_a_glance.publish(options.docs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--data")
    parser.add_argument("--resize", type=int)
    parser.add_argument("--crop", type=int)
    parser.add_argument("--scale", type=float)
    parser.add_argument("--calibrate", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", nargs="*", choices=[peer.name for peer in PEERS])
    parser.add_argument("--short", action="store_true", help="fewer sizes of ours, small networks")
    parser.add_argument("--cache", type=Path, default=Path("build/peers"))
    parser.add_argument("--json", type=Path, default=Path("build/lossy.json"))
    parser.add_argument("--docs", type=Path, help="the folder of docs to write the results into")
    options = parser.parse_args()
    if (options.model is None) != (options.data is None):
        parser.error("give a model and its --data, or neither")
    if options.model is None and not SHARED.exists():
        parser.error(f"{SHARED.name} is not beside the project; give a model and its --data")
    return options


@dataclass(frozen=True)
class Subject:
    """One network and its samples, as everyone gets them."""

    model: Path
    data: str
    preprocess: samples_of.Preprocess
    calibrate: int
    seed: int

    def split(self) -> samples_of.Split:
        """The samples to fit on and to judge with, the same that `fit` takes."""
        network = packlight.load(self.model)
        dataset = samples_of.open_data(self.data, network.inputs, self.preprocess)
        return samples_of.split(dataset, self.calibrate, self.seed)


def _subjects(options: argparse.Namespace) -> list[Subject]:
    if options.model is not None:
        chosen = samples_of.Preprocess(options.resize, options.crop, options.scale)
        return [Subject(options.model, options.data, chosen, options.calibrate, options.seed)]
    few = DEFAULTS[:3] if options.short else DEFAULTS
    return [
        Subject(
            SHARED / "models" / model,
            str(SHARED / "data" / data),
            samples_of.Preprocess(**how),
            options.calibrate,
            options.seed,
        )
        for model, data, how in few
    ]


def measure(
    subject: Subject, peers: list[Peer], cache: Path, step: float
) -> Iterator[dict[str, Any]]:
    """One network, made by all and judged: a JSON object, anew after each of our networks.

    Args:
        subject: the network.
        peers: the other tools.
        cache: for their environments and for what is made.
        step: from one size asked of ours to the next.
    """
    folder = cache / "work" / subject.model.stem
    split = subject.split()
    judges = Judges.of(subject.model, split.judge)
    job = _job(folder / "job", subject.model, split.fit, judges.reference.input_names)
    theirs: list[Point] = []
    failures = []
    for peer in peers:
        for made in make(peer, cache, job, folder / peer.name, PEER_SECONDS):
            point = _judged(peer, made, judges)
            if isinstance(point, Point):
                theirs.append(point)
            else:
                failures.append({"tool": peer.name, "setting": made.setting, "failed": point})
    shutil.rmtree(job)

    size = subject.model.stat().st_size
    near = [point for point in theirs if point.size <= MOST * size]
    ours: list[Point] = []

    def record() -> dict[str, Any]:
        return {
            **history.circumstances(
                {"judge": VERSION, **{peer.name: peer.version for peer in peers}}
            ),
            "data": Path(subject.data).name,
            "calibrated": subject.calibrate,
            "seed": subject.seed,
            "n": len(split.judge),
            "judged_on": split.description,
            "bytes": size,
            "whole": judges.whole,
            "theirs": [point.to_dict() for point in theirs],
            "failures": failures,
            "ours": [point.to_dict() for point in ours],
            "matches": {
                name: {
                    metric: [judges.described(each) for each in match(points, ours, metric, whole)]
                    for metric, whole in judges.whole.items()
                }
                for name, points in _by_tool(near).items()
            },
        }

    yield record()
    for way in WAYS:
        wanted = near if way != "shared floats" else _unmatched(near, ours, judges.whole)
        for target in ladder(wanted, judges.whole, step):
            point, finest = _fitted(subject, way, target, folder / "packlight", judges)
            ours.append(point)
            yield record()
            if finest:
                break
    metric, whole = next(iter(judges.whole.items()))
    for found in match(near, ours, metric, whole):
        if found.ratio is None or found.ratio > GOAL:
            target = round(GOAL * found.peer.size)
            ours.append(_fitted(subject, FINEST, target, folder / "packlight", judges)[0])
            yield record()


def _by_tool(points: list[Point]) -> dict[str, list[Point]]:
    """Points by who made them, and under "best of all" those of all."""
    tools = {point.tool: [each for each in points if each.tool == point.tool] for point in points}
    return {**tools, lossy_pages.BEST: points}


def _unmatched(theirs: list[Point], ours: list[Point], metrics: dict[str, float]) -> list[Point]:
    """The peers' points that none of ours is as accurate as."""
    return [
        found.peer
        for metric, whole in metrics.items()
        for found in match(theirs, ours, metric, whole)
        if found.ours is None
    ]


def _fitted(
    subject: Subject, way: str, target: int, folder: Path, judges: Judges
) -> tuple[Point, bool]:
    """Ours at a size, in one of `WAYS`, and whether it is on the finest grids there are."""
    try:
        result = packlight.fit(
            subject.model,
            subject.data,
            target_size=target,
            **WAYS[way],
            preprocess=subject.preprocess,
            calibrate=subject.calibrate,
            seed=subject.seed,
            out=folder / f"{way.replace(' ', '-')}-{target}",
            force=True,
        )
    except BudgetNotMet as problem:
        result = problem.nearest
    size = result.packed.stat().st_size
    point = judges.point("packlight", way, size, result.model)
    return point, result.report["binding"] == "none"


def _job(folder: Path, model: Path, fit: samples_of.Samples, names: list[str]) -> Path:
    """What a peer is given: the network, also with its batch norms folded, and samples."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(model, folder / "original.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "model.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    folded = onnx.load(folder / "model.onnx")
    used = {node.domain for node in folded.graph.node}
    opsets = [opset for opset in folded.opset_import if opset.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(opsets)
    onnx.save(folded, folder / "model.onnx")
    (folder / "inputs.json").write_text(json.dumps(names))
    for index, values in enumerate(fit.arrays()):
        np.save(folder / f"input{index}.npy", values)
    return folder


def _judged(peer: Peer, made: Made, judges: Judges) -> Point | str:
    """A peer's network as a point, or why it is none."""
    if made.model is None:
        return made.failed
    sizes = [compressors.smallest(path.read_bytes()) for path in made.counted]
    try:
        return judges.point(
            peer.name, made.setting, sum(size for size, _ in sizes), made.model, sizes[0][1]
        )
    except Exception as problem:  # onnxruntime finds some faults only as it runs
        return sentence(problem)


def _kept(docs: Path | None, path: Path) -> dict[str, Any]:
    """The networks compared before: the docs' where results are written there, else the file's."""
    kept = docs / lossy_pages.FOLDER / "results.json" if docs else path
    return json.loads(kept.read_text()) if kept.exists() else {}


if __name__ == "__main__":
    main()
