"""A plain LeNet-5 with int8 weights, on the images that `packlight letters` is judged by.

    python -m benchmarks.letters_lenet

Trained as our recogniser is, as long and on the same images, then quantised by onnxruntime's own
static int8 and by `packlight fit --only quantize`. Prints one line per file.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

import packlight
from benchmarks.onnxruntime_static import peer
from packlight.coding.packing import compress
from packlight.data import open_data
from packlight.judge import proportion
from packlight.learning.training import Plan, train
from packlight.letters.learning import BATCH, FITTING, JUDGING, STEPS, TRAINING, Ahead, Sight
from packlight.letters.making import read
from packlight.progress import Lines
from packlight.runtimes import onnx
from packlight.zoo.lenet import lenet5

WIDTHS = (0.25, 0.5)
IMAGES, JUDGES = 2000, 20_000
DROP = 0.001  # that `fit` may lose


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, quantise and judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--widths", type=float, nargs="+", default=WIDTHS)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    sight = Sight()
    learnt, unseen = sight.draw(IMAGES, (FITTING, 0)), sight.draw(JUDGES, (JUDGING, 0))
    data = {"x_train": learnt[0], "y_train": learnt[1], "x_test": unseen[0], "y_test": unseen[1]}
    for width in options.widths:
        with tempfile.TemporaryDirectory() as folder:
            network = packlight.load(
                _trained(sight, width, options.steps), [torch.zeros(1, 1, 32, 32)]
            )
            model = onnx.write(network, Path(folder) / "lenet.onnx")
            samples = open_data(data, network.inputs).train
            assert samples is not None
            static, _ = peer(model, samples.take(range(300)), Path(folder))
            ours = packlight.fit(
                *(model, data), max_drop=DROP, only="quantize", out=Path(folder) / "fitted"
            )
            for name, file in (("floats", model), ("static int8", static), ("fit", ours.model)):
                right = int((read(file, unseen[0]) == unseen[1]).sum())
                seen = proportion(right, JUDGES)
                packed = len(compress(file.read_bytes(), "max", verify=False))
                print(
                    f"LeNet-5 x {width:g}, {name}: {file.stat().st_size:,} bytes, "
                    f"{packed:,} packed, {seen.value:.2%} ({seen.low:.2%} to {seen.high:.2%})",
                    flush=True,
                )


def _trained(sight: Sight, width: float, steps: int) -> torch.nn.Module:
    torch.manual_seed(0)
    network = lenet5(width=width, resolution=sight.size, classes=len(sight.charset))

    def batch_of(step: int) -> tuple[torch.Tensor, ...]:
        images, labels = sight.draw(BATCH, (TRAINING, 0, step + 1))
        return torch.from_numpy(images) / 255, torch.from_numpy(labels)

    with Ahead(batch_of, steps) as batches:
        train(
            network,
            batches,
            lambda module, batch: F.cross_entropy(module(batch[0]), batch[1]),
            Plan(steps),
            progress=Lines(),
        )
    return network


if __name__ == "__main__":
    main()
