"""What an update costs whose last layer was trained on: the figures of docs/how-to/small-update.md.

    python -m benchmarks.small_update resnet8_cifar10.onnx --data cifar10.zip

The last layer learns for 120 steps; both networks are fitted to 40 KB, and the new file is packed
as the difference to the old one. Then the same with the new layer rounded onto the old file's grid.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn.functional import nll_loss

import packlight
from packlight.data import open_data
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.types import Array

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
        shipped, fitted = (
            packlight.fit(
                one, options.data, target_size=SIZE, preprocess=HOW, out=folder / one.stem
            ).model
            for one in (old, new)
        )
        for title, file in (("fitted again", fitted), ("kept", _kept(shipped, new, folder))):
            whole = packlight.pack(file, folder / "whole.plt", force=True).stat().st_size
            update = packlight.pack(file, folder / "update.plt", base=shipped, force=True)
            found = packlight.check(new, file, options.data, preprocess=HOW).to_dict()["accuracy"]
            print(title, whole, update.stat().st_size, found["original"], found["compressed"])


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


def _kept(shipped: Path, new: Path, folder: Path) -> Path:
    """The old file with the new last layer, rounded plainly onto the old grid."""
    trained, model = _arrays(onnx.load(new)), onnx.load(shipped)
    old = _arrays(model)
    scale = old[f"{LAYER}.weight_scale"].reshape(-1, 1)
    levels = np.clip(np.rint(trained[f"{LAYER}.weight"] / scale), -64, 64).astype(np.int8)
    bias = np.rint(trained[f"{LAYER}.bias"] / old[f"{LAYER}.bias_scale"]).astype(np.int32)
    changed = {f"{LAYER}.weight_quantized": levels, f"{LAYER}.bias_quantized": bias}
    for one in model.graph.initializer:
        if one.name in changed:
            one.CopyFrom(numpy_helper.from_array(changed[one.name], one.name))
    onnx.save(model, folder / "kept.onnx")
    return folder / "kept.onnx"


def _arrays(model: onnx.ModelProto) -> dict[str, Array]:
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


if __name__ == "__main__":
    main()
