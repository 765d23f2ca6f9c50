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

import packlight
from packlight.files import replace_file
from packlight.letters.charset import CHARSET
from packlight.letters.drawing import SIZE, render
from packlight.letters.learning import FITTING, JUDGING, train
from packlight.progress import Progress
from packlight.runtimes import onnx
from packlight.shrink.stages import output_folder

if TYPE_CHECKING:
    from packlight.checking import CheckResult
    from packlight.shrink.fit import FitResult

STEPS = 1200  # batches of training: half a minute
SMALLER = 10  # times: what the demo asks of `fit`
FIT_IMAGES = 2000
JUDGE_IMAGES = 5000


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
    folder = output_folder(out, force, "the demo writes")
    network = packlight.load(
        train(seed=seed, steps=STEPS, progress=progress), [torch.zeros(1, 1, SIZE, SIZE)]
    )
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
