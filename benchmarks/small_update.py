"""What an update costs whose last layer was trained on: the figures of docs/how-to/small-update.md.

    python -m benchmarks.small_update resnet8_cifar10.onnx --data cifar10.zip

The last layer learns for 120 steps; the old network is fitted to 40 KB, the new one too, once by
itself and once with the old fit for a base, and each new file is packed as the difference to the
old one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import nll_loss

import packlight
from packlight.data import open_data
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file

LAYER = "dense"
SIZE = "40KB"
IMAGES, STEPS, BATCH, RATE = 8000, 120, 64, 1e-3
HOW = packlight.Preprocess(scale=1)


def main() -> None:
    """Train, fit, pack; print bytes and accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old = onnx_file.write(packlight.load(options.model), folder / "old.onnx")
        new = onnx_file.write(_taught(options.model, options.data), folder / "new.onnx")
        fits = {"old": (old, None), "fitted again": (new, None), "--base": (new, folder / "old")}
        for title, (model, base) in fits.items():
            result = packlight.fit(
                *(model, options.data),
                target_size=SIZE,
                preprocess=HOW,
                base=base,
                out=folder / title,
            )
            update = packlight.pack(
                result.model, folder / "update.plt", base=folder / "old/model.onnx", force=True
            )
            found = result.report["accuracy"]
            right = found["original"]["top1"], found["compressed"]["top1"]
            print(title, result.packed.stat().st_size, update.stat().st_size, *right, flush=True)


def _taught(model: Path, data: str) -> Network:
    """The network, its last layer trained on; it answers with probabilities."""
    network = packlight.load(model)
    train = open_data(data, network.inputs, HOW).train
    assert train is not None
    some = train.take(np.random.default_rng(0).permutation(len(train))[:IMAGES])
    images, labels = torch.from_numpy(some.arrays()[0]), torch.from_numpy(some.labels)
    layer = [value for key, value in network.module.named_parameters() if LAYER in key]
    for value in network.module.parameters():
        value.requires_grad_(any(value is one for one in layer))
    optimizer = torch.optim.Adam(layer, RATE)
    draw = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        batch = torch.randint(len(images), (BATCH,), generator=draw)
        optimizer.zero_grad()
        (answers,) = network.module(images[batch])
        nll_loss(torch.log(answers + 1e-9), labels[batch]).backward()
        optimizer.step()
    for value in layer:
        value.requires_grad_(False)
    return network


if __name__ == "__main__":
    main()
