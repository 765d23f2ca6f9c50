"""The whole journey on data that ships with the package: train, fit, check.

A small network learns to read letters off rendered photographs (`packlight.letters`), is fitted to
a tenth of its size, and the two are compared on photographs that neither has seen.
"""

from __future__ import annotations

import io
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import packlight
from packlight.errors import BadInput
from packlight.files import replace_file
from packlight.letters import CHARSET, SIZE, render
from packlight.progress import Progress
from packlight.runtimes import onnx

if TYPE_CHECKING:
    from packlight.checking import CheckResult
    from packlight.shrink.fit import FitResult

STEPS = 1200  # batches
BATCH = 128  # images
LEARNING_RATE = 1e-2  # at the top of its cycle
SMALLER = 10  # times: what the demo asks of `fit`

# Streams of images, so that no part of the demo sees an image of another.
TRAINING, FITTING, JUDGING = 1, 2, 3
FIT_IMAGES = 2000
JUDGE_IMAGES = 5000


class LetterNet(nn.Module):
    """Photographs (n, 1, 32, 32) in 0..1 -> scores (n, 36); 72,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, 16, 5, stride=2),  # (n, 16, 16, 16)
            *_convolution(16, 48, 3),
            nn.MaxPool2d(2),  # (n, 48, 8, 8)
            *_convolution(48, 64, 3),
            nn.MaxPool2d(2),  # (n, 64, 4, 4)
        )
        self.classify = nn.Linear(64 * (SIZE // 8) ** 2, len(CHARSET))

    def forward(self, image: Tensor) -> Tensor:
        return self.classify(self.features(image).flatten(1))


def train(*, seed: int = 0, steps: int = STEPS, progress: Progress | None = None) -> LetterNet:
    """Teach a LetterNet to read, in under a minute on two cores; every batch is drawn afresh.

    Args:
        seed: for the first weights and for every image.
        steps: batches to learn from.
        progress: told of every batch.
    Returns:
        LetterNet: in eval mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LetterNet()
    network.to(memory_format=torch.channels_last)  # the faster order on a CPU
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for step in (progress or Progress()).each("train", range(1, steps + 1), steps):
        images, labels = map(torch.from_numpy, render(BATCH, (TRAINING, seed, step)))
        loss = F.cross_entropy(network(images / 255), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.to(memory_format=torch.contiguous_format).eval()


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Args:
        model: the network as trained.
        data: the images it was fitted on and judged on.
        fitted: what `packlight.fit` made of it.
        checked: what `packlight.check` found; prints as a table.
    """

    model: Path
    data: Path
    fitted: FitResult
    checked: CheckResult

    @property
    def guide(self) -> str:
        """Where everything is, and the two commands to type next."""
        model, data, small = (
            shlex.quote(str(path))
            for path in (self.model, self.data, self.model.with_name("smallest"))
        )
        return (
            f"network   {self.fitted.model}\n"
            f"download  {self.fitted.packed}\n"
            f"report    {self.fitted.model.with_name('report.html')}\n"
            "\n"
            "Next, the smallest network that loses at most one point of accuracy:\n"
            f"  packlight fit {model} --data {data} --max-drop 1% --out {small}\n"
            f"  packlight check {model} {small}/model.onnx --data {data}"
        )


def demo(
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> DemoResult:
    """Train a letter recogniser, fit it to a tenth of its size, and check it.

    Args:
        out: a folder for letters.onnx, letters.npz and fitted/.
        seed: for every random choice.
        force: write into a folder that holds files.
        progress: told of every stage.
    Raises:
        BadInput: the folder can not be used.
        BudgetNotMet: a tenth was too small; the nearest network is in fitted/.
    """
    folder = _folder(Path(out), force)
    network = packlight.load(train(seed=seed, progress=progress), [torch.zeros(1, 1, SIZE, SIZE)])
    model = onnx.write(network, folder / "letters.onnx")
    data = write_images(folder / "letters.npz", seed)

    fitted = packlight.fit(
        model,
        data,
        target_size=model.stat().st_size // SMALLER,
        out=folder / "fitted",
        seed=seed,
        force=force,
        progress=progress,
    )
    checked = packlight.check(model, fitted.model, data, seed=seed)
    return DemoResult(model, data, fitted, checked)


def write_images(path: Path, seed: int) -> Path:
    """Images to fit on (x_train, y_train) and to judge on (x_test, y_test), as one .npz."""
    x_train, y_train = render(FIT_IMAGES, (FITTING, seed))
    x_test, y_test = render(JUDGE_IMAGES, (JUDGING, seed))
    file = io.BytesIO()
    np.savez_compressed(
        file,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=np.array(list(CHARSET)),
    )
    return replace_file(path, file.getvalue())


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def _folder(folder: Path, force: bool) -> Path:
    """Make the folder before a minute of training, or say why it can not be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = sorted(path.name for path in folder.iterdir())
    except OSError as problem:
        raise BadInput(f"{folder} can not be used as a folder ({problem.strerror})") from problem
    if held and not force:
        raise BadInput(f"{folder} already holds {held[0]}; give another folder, or --force")
    return folder
