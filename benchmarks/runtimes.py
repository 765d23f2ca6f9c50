"""What the same int8 network gains on each runtime here, beside that runtime's own quantiser.

    python -m benchmarks.runtimes MODEL.onnx --data DATA --target-size 600KB [--crop 227]
    python -m benchmarks.runtimes         # two networks of ../shared, one after the other

Per runtime, the network in floats, the one that `fit` made, the one that it made when it was asked
for more speed as well, and the one that the runtime's own quantiser makes of the floats
(onnxruntime's static int8 per channel; ai-edge-quantizer, static and dynamic; torchao with
XNNPACKQuantizer) take turns on one thread (`packlight.bench`). All are calibrated on the same
samples; every file is judged on the others by the answers of the original in onnxruntime. Core ML's
file is written and weighed; nothing here can run it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

import packlight
from benchmarks import executorch_static, onnxruntime_static
from benchmarks.peers import LITERT, make
from benchmarks.runtimes_pages import markdown, publish
from packlight import data as samples_of
from packlight.errors import BudgetNotMet
from packlight.files import size_of
from packlight.judge import compare
from packlight.network import Network
from packlight.runtimes.apart import apart
from packlight.runtimes.targets import target_of

SHARED = Path(__file__).parents[2] / "shared"
TAUGHT = "--speedup 1.1 --to litert --effort normal --labels"
DEFAULTS: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("squeezenet1_1.onnx", "imagenet500.zip", "600KB", "--speedup 2", {"crop": 227, "scale": 1.0}),
    ("resnet8_cifar10_bn.onnx", "cifar10.zip", "40KB", TAUGHT, {"scale": 1.0}),
)
RUNTIMES = ("onnx", "litert", "executorch")  # that run here
JUDGES = 1000  # samples, at most: a file is run on one after the other
PEER_SECONDS = 600  # for ai-edge-quantizer
BATCH = 16


@dataclass(frozen=True)
class Subject:
    """One network, its samples, its fits' size, and what the second is asked for as well."""

    model: Path
    data: str
    target_size: str
    faster: str
    preprocess: samples_of.Preprocess


@dataclass(frozen=True)
class Candidate:
    """One file of one runtime: who made it, from what."""

    runtime: str
    maker: str
    path: Path


def main() -> None:
    """Measure every network given, print tables, keep results."""
    options = _options()
    logging.disable(logging.WARNING)
    results: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    for subject in _subjects(options):
        record = measure(subject, options.cache, options.seconds)
        results[subject.model.stem] = record
        options.json.write_text(json.dumps(results, indent=1) + "\n")
        print(markdown(subject.model.stem, record), end="\n\n")
    if options.docs:
        publish(results, options.docs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--data")
    parser.add_argument("--target-size")
    parser.add_argument("--faster", default="--speedup 2", help="asked of one of ours, as of fit")
    parser.add_argument("--resize", type=int)
    parser.add_argument("--crop", type=int)
    parser.add_argument("--scale", type=float)
    parser.add_argument("--seconds", type=float, default=20.0, help="to time each runtime's files")
    parser.add_argument("--cache", type=Path, default=Path("build/peers"))
    parser.add_argument("--json", type=Path, default=Path("build/runtimes.json"))
    parser.add_argument("--docs", type=Path, help="the folder of docs to write the results into")
    options = parser.parse_args()
    if options.model is None:
        if not SHARED.exists():
            parser.error(f"{SHARED.name} is not beside the project; give a model and its --data")
    elif options.data is None or options.target_size is None:
        parser.error("give --data and --target-size with a model")
    return options


def _subjects(options: argparse.Namespace) -> list[Subject]:
    if options.model is not None:
        how = samples_of.Preprocess(options.resize, options.crop, options.scale)
        return [Subject(options.model, options.data, options.target_size, options.faster, how)]
    return [
        Subject(
            SHARED / "models" / model,
            str(SHARED / "data" / data),
            size,
            faster,
            samples_of.Preprocess(**how),
        )
        for model, data, size, faster, how in DEFAULTS
    ]


def measure(subject: Subject, cache: Path, seconds: float) -> dict[str, Any]:
    """One network on every runtime, as a JSON object.

    Args:
        subject: the network.
        cache: for the peers' environments.
        seconds: for timing, each runtime.
    """
    folder = cache / "work" / f"{subject.model.stem}-runtimes"
    shutil.rmtree(folder, ignore_errors=True)
    network = packlight.load(subject.model)
    dataset = samples_of.open_data(subject.data, network.inputs, subject.preprocess)
    split = samples_of.split(dataset, 300, 0)
    judge = split.judge.take(range(min(len(split.judge), JUDGES)))

    everywhere = (*RUNTIMES, "coreml")
    makers, failures = {"floats": folder / "floats"}, []
    packlight.export(subject.model, everywhere, makers["floats"])
    shutil.copyfile(subject.model, makers["floats"] / "model.onnx")  # not our rewriting of it
    for maker, asked in (
        ("packlight", {}),
        (f"packlight {subject.faster}", _asked(subject.faster)),
    ):
        place = folder / maker.replace(" ", "")
        try:
            packlight.fit(
                *(subject.model, subject.data),
                target_size=subject.target_size,
                **asked,
                preprocess=subject.preprocess,
                out=place,
            )
        except BudgetNotMet as problem:
            failures.append(f"{maker}: {problem}")
            continue
        packlight.export(place, everywhere, force=True)
        makers[maker] = place
    files = [
        Candidate(name, maker, place / f"model{target_of(name).suffix}")
        for name in everywhere
        for maker, place in makers.items()
    ]
    theirs, failed = _theirs(subject, network, split.fit, folder, cache)
    failures += failed
    wanted = _answers(files[0], judge)
    rows = [
        {**row, **_judged(file, judge, wanted)}
        for runtime in RUNTIMES
        for file, row in _timed([f for f in [*files, *theirs] if f.runtime == runtime], seconds)
    ]
    rows += [_weighed(file) for file in files if file.runtime == "coreml"]
    versions = {"packlight": packlight.__version__, LITERT.name: LITERT.version}
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {_instructions()}",
        "versions": versions,
        "data": Path(subject.data).name,
        "asked": subject.target_size,
        "n": len(judge),
        "rows": rows,
        "failures": failures,
    }


def _asked(options: str) -> dict[str, Any]:
    """The options of `packlight fit` that a second fit is given, as `packlight.fit` takes them."""
    parser = argparse.ArgumentParser("--faster")
    parser.add_argument("--speedup", type=float)
    parser.add_argument("--to", dest="runtimes", default="onnx")
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--labels", action="store_true")
    return vars(parser.parse_args(options.split()))


def _theirs(
    subject: Subject, network: Network, fit: samples_of.Samples, folder: Path, cache: Path
) -> tuple[list[Candidate], list[str]]:
    """What each runtime's own quantiser makes of the floats; and why one made nothing."""
    own = folder / "theirs"
    own.mkdir()
    path, _ = onnxruntime_static.peer(subject.model, fit, own)
    files = [Candidate("onnx", "onnxruntime static", path)]
    failures = []

    job = folder / "job"
    job.mkdir()
    shutil.copyfile(folder / "floats" / "model.tflite", job / "model.tflite")
    (job / "inputs.json").write_text(json.dumps(list(network.input_names)))
    for index, values in enumerate(fit.arrays()):
        np.save(job / f"input{index}.npy", values)
    for made in make(LITERT, cache, job, folder / LITERT.name, PEER_SECONDS):
        maker = f"{LITERT.name} {made.setting}".strip()
        if made.model is None:
            failures.append(f"{maker}: {made.failed}")
        else:
            files.append(Candidate("litert", maker, made.model))

    samples = [tuple(map(torch.from_numpy, batch)) for batch in fit.batches(1)]
    program = own / "static.pte"
    try:
        apart("torchao", executorch_static.write, network, samples, program)
        files.append(Candidate("executorch", "torchao static", program))
    except packlight.PacklightError as problem:
        failures.append(str(problem))
    return files, failures


def _timed(files: list[Candidate], seconds: float) -> Iterator[tuple[Candidate, dict[str, Any]]]:
    """The files of one runtime, in turns; ratios are to the first."""
    result = packlight.bench([file.path for file in files], seconds=seconds)
    for file, timed in zip(files, result.files, strict=True):
        yield (
            file,
            {
                **_weighed(file),
                "ms": timed.median_ms and timed.median_ms.to_dict(),
                "ratio": timed.ratio and timed.ratio.to_dict(),
                "problem": timed.problem,
            },
        )


def _weighed(file: Candidate) -> dict[str, Any]:
    return {"runtime": file.runtime, "maker": file.maker, "bytes": size_of(file.path)}


def _judged(file: Candidate, judge: samples_of.Samples, wanted: tuple[Any, ...]) -> dict[str, Any]:
    verdict = compare(wanted, _answers(file, judge), judge.labels, classifier=True)
    assert verdict.agreement is not None
    return {
        "agreement": verdict.agreement.to_dict(),
        "top1": verdict.top1 and verdict.top1[1],
        "sqnr_db": verdict.sqnr_db,
    }


def _answers(file: Candidate, judge: samples_of.Samples) -> tuple[Any, ...]:
    session = target_of(file.runtime).session(file.path, threads=1)
    made: tuple[Any, ...] = session.over(session.turned(batch) for batch in judge.batches(BATCH))
    return made


def _instructions() -> str:
    """What decides how fast integers are here."""
    try:
        known = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return "instructions unknown"
    names = {"avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI", "asimddp": "dot products"}
    found = [name for flag, name in names.items() if flag in known]
    return found[0] if found else "no int8 instructions"


if __name__ == "__main__":
    main()
