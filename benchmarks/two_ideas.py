"""The figures of docs/two-ideas.md, from the demo's network for letters.

    python -m benchmarks.two_ideas --docs docs

Trains that network as `packlight demo` does, fits it to several sizes and writes what was measured
to docs/two-ideas.json, from which the three pictures are drawn. Minutes on two cores; with
`--draw`, only the pictures are drawn anew.
"""

from __future__ import annotations

import argparse
import json
import lzma
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

import packlight
from benchmarks.onnxruntime_static import peer
from benchmarks.two_ideas_pictures import pictures
from packlight import data as samples_of
from packlight.coding import rate
from packlight.coding.contents import info
from packlight.coding.packing import compress
from packlight.demo import STEPS, write_images
from packlight.files import replace_file
from packlight.fuse import fuse
from packlight.judge import compare
from packlight.letters.learning import train
from packlight.network import Network
from packlight.progress import Lines
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnxruntime import Session
from packlight.shrink import curvature, grid_search
from packlight.shrink.layers import find_layers
from packlight.types import Array

SIZES = (5_000, 6_000, 8_000, 11_000, 16_000, 24_000)  # bytes of download
SHOWN = 8_000  # whose levels are looked at
CALIBRATE = 300  # as `fit` does by default
COARSENESSES = 24
REACH = 0.25, 12.0  # of the coarseness where grids begin to be coarser than int8


def main() -> None:
    """Measure, unless it is to be drawn only; then draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--docs", type=Path, required=True, help="where the figures are kept")
    parser.add_argument("--draw", action="store_true", help="draw what was measured before")
    options = parser.parse_args()
    file = options.docs / "two-ideas.json"
    if not options.draw:
        with tempfile.TemporaryDirectory() as folder:
            found = measured(Path(folder))
        replace_file(file, (json.dumps(found, indent=1) + "\n").encode())
    for name, picture in pictures(json.loads(file.read_text())).items():
        replace_file(options.docs / f"two-ideas-{name}.svg", picture.encode())


def measured(folder: Path) -> dict[str, Any]:
    """Everything that the pictures show, as JSON."""
    network = Network.from_module(
        train(steps=STEPS, progress=Lines()), (torch.zeros(2, 1, 32, 32),)
    )
    model = onnx_file.write(network, folder / "letters.onnx")
    data = write_images(folder / "letters.npz", seed=0)
    parts = samples_of.split(samples_of.open_data(data, network.inputs), CALIBRATE, 0)
    fits = [_fitted(model, data, parts.judge, size, folder) for size in SIZES]
    theirs, _ = peer(model, parts.fit, folder, reduce_range=True)
    shown = folder / f"fitted-{SHOWN}"
    return {
        "network": {"bytes": model.stat().st_size},
        "judged": len(parts.judge),
        "fits": fits,
        "peer": _point(model, theirs, parts.judge),
        "levels": _levels(shown),
        "layers": _layers(network, parts.fit, shown),
    }


def _fitted(
    model: Path, data: Path, judges: samples_of.Samples, size: int, folder: Path
) -> dict[str, Any]:
    """A fit to `size`: what was changed, and its bytes by us and by xz."""
    out = folder / f"fitted-{size}"
    fit = packlight.fit(model, data, target_size=size, out=out, calibrate=CALIBRATE)
    return {"asked": size, **_point(model, fit.model, judges)}


def _point(model: Path, other: Path, judges: samples_of.Samples) -> dict[str, Any]:
    inputs = judges.arrays()
    first, second = (Session(path).over([inputs]) for path in (model, other))
    verdict = compare(first, second, judges.labels, classifier=True)
    assert verdict.agreement is not None
    file = other.read_bytes()
    return {
        "bytes": len(file),
        "packed": len(compress(file)),
        "xz": len(lzma.compress(file, preset=9 | lzma.PRESET_EXTREME)),
        "agreement": verdict.agreement.to_dict(),
        "top1": verdict.top1,
    }


def _weights(fitted: Path) -> dict[str, Array]:
    """Every layer's levels in a fitted file, by the layer's name."""
    graph = onnx.load(fitted / "model.onnx").graph
    arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    end = ".weight_quantized"
    return {name.removesuffix(end): a for name, a in arrays.items() if name.endswith(end)}


def _levels(fitted: Path) -> dict[str, Any]:
    """How often each level occurs in the largest layer, and what the layer costs."""
    name, levels = max(_weights(fitted).items(), key=lambda item: item[1].size)
    values, counts = np.unique(levels, return_counts=True)
    share = counts / levels.size
    parts = info(fitted / "model.onnx.plt").parts
    (packed,) = (one.packed for one in parts if one.name.startswith(f"{name}.weight_quantized"))
    assert packed is not None
    return {
        "layer": name,
        "values": values.tolist(),
        "counts": counts.tolist(),
        "entropy": float(-(share * np.log2(share)).sum()),
        "coded": 8 * packed / levels.size,
        "xz": 8
        * len(lzma.compress(levels.tobytes(), preset=9 | lzma.PRESET_EXTREME))
        / levels.size,
    }


def _layers(network: Network, samples: samples_of.Samples, fitted: Path) -> list[dict[str, Any]]:
    """For every layer, loss against bits as its grid gets coarser; and where `fit` stops."""
    network = fuse(network).network
    layers = find_layers(network)
    singles = [tuple(map(torch.from_numpy, batch)) for batch in samples.batches(1)]
    loss = curvature.classifier_loss(probabilities=False)
    prepared = grid_search.prepare(
        network, layers, curvature.collect(network, layers, singles, loss)
    )
    report = json.loads((fitted / "report.json").read_text())
    visits = [one for one in report["visited"] if one["chosen"]]
    chosen = float(visits[0]["tradeoff"])
    start = float(np.median([one.finest for one in prepared]))
    coarsenesses = start * np.geomspace(*REACH, COARSENESSES)
    return [
        {
            "name": one.layer.name,
            "weights": one.weights.size,
            "step": float(chosen * one.unit),
            "curve": [_cost(one, float(c)) for c in coarsenesses],
            "chosen": _cost(one, chosen),
        }
        for one in prepared
    ]


def _cost(prepared: grid_search.Prepared, coarseness: float) -> tuple[float, float]:
    """Bits and estimated rise of the loss, of one weight of a layer on average."""
    solved = grid_search.solve(prepared, coarseness)
    count = solved.levels.size
    return rate.estimate(solved.levels) / count, solved.damage / count


if __name__ == "__main__":
    main()
