"""A letter recogniser from nothing, made to fit a size: `packlight letters`.

    charset, fonts, bounds -> images -> train -> fit -> read images that nothing has seen

The recipe by which a translator's reader was brought onto phones: a network with no more room than
the size allows, taught on images distorted as far as the camera distorts, and no further.

Source: Good, "How Google Translate squeezes deep learning onto a phone", 2015.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import packlight
from packlight.data import Dataset, open_data
from packlight.errors import BudgetNotMet
from packlight.files import replace_file
from packlight.judge import Interval, proportion
from packlight.learning.checkpoints import Checkpoints
from packlight.letters.bounds import Bounds
from packlight.letters.charset import parse_charset
from packlight.letters.drawing import SIZE
from packlight.letters.fonts import Font, twins
from packlight.letters.learning import FITTING, JUDGING, STEPS, Sight, train
from packlight.letters.network import BESIDE, LetterNet, channels_for
from packlight.network import Network
from packlight.progress import Progress
from packlight.runtimes import onnx
from packlight.runtimes.onnxruntime import Session
from packlight.shrink.fit import FitResult
from packlight.shrink.stages import FOLDER, Stages, output_folder
from packlight.types import Array
from packlight.units import parse_size, show_size

FIT_IMAGES = 50_000  # of which a fifth says where the fit stands
LESSONS = 200_000  # images that it learns through its rounded weights
JUDGES = 20_000  # images that say how good it is
BATCH = 256  # images run at once
SHOWN = 5  # confusions
STAGES = f"{FOLDER}-letters"  # folder in the output, until all is done
NOTES = 3  # twins that are named


@dataclass(frozen=True)
class Recogniser:
    """What was made.

    Args:
        fitted: what `packlight.fit` made of it: the files and the report.
        charset: the classes, in the order of the scores.
        channels: of the convolutions.
        accuracy: of the written file, on `judges` images that nothing has seen, with the 95 %
            interval.
        judges: how many images that were.
        confused: (character, what it was taken for, how often), the most frequent first.
        notes: what was found on the way, in sentences.
    """

    fitted: FitResult
    charset: str
    channels: list[int]
    accuracy: Interval
    judges: int
    confused: list[tuple[str, str, int]]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "model": str(self.fitted.model),
            "bytes": self.fitted.model.stat().st_size,
            "packed": str(self.fitted.packed),
            "packed_bytes": self.fitted.packed.stat().st_size,
            "charset": self.charset,
            "channels": self.channels,
            "accuracy": self.accuracy.to_dict(),
            "judges": self.judges,
            "confused": self.confused,
            "notes": self.notes,
        }

    def __str__(self) -> str:
        at, folder = self.accuracy, self.fitted.model.parent
        lines = [
            f"reads     {at.value:.2%} of {self.judges:,} unseen images "
            f"({at.low:.2%} to {at.high:.2%}), {len(self.charset)} characters",
            f"size      {self.fitted.packed.stat().st_size:,} bytes to download, "
            f"{self.fitted.model.stat().st_size:,} as {self.fitted.model.name}",
        ]
        if self.confused:
            pairs = ", ".join(f"{a} as {b} ({count})" for a, b, count in self.confused)
            lines.append(f"misread   {pairs}")
        lines += [f"note: {note}" for note in self.notes]
        lines += [
            f"network   {self.fitted.model}",
            f"download  {self.fitted.packed}",
            f"labels    {folder / 'labels.txt'}",
            f"report    {folder / 'report.html'}",
        ]
        return "\n".join(lines)


def make(
    charset: str,
    target_size: str | int,
    *,
    size: int = SIZE,
    bounds: Bounds | None = None,
    fonts: Sequence[Font] | None = None,
    out: str | os.PathLike[str] = "letters",
    seed: int = 0,
    force: bool = False,
    steps: int = STEPS,
    lessons: int = LESSONS,
    images: int = FIT_IMAGES,
    judges: int = JUDGES,
    progress: Progress | None = None,
    command: str | None = None,
) -> Recogniser:
    """Train a letter recogniser and fit it into a size.

    Args:
        charset: the classes, as `parse_charset` reads them: "A-Z0-9".
        target_size: bound on the packed download: "10KB" (1000s), "10KiB" (1024s) or bytes.
        size: side of an image in pixels, 8..256.
        bounds: how far the images stray from clean glyphs, for training and for judging.
        fonts: font files to draw with; None for the four that ship.
        out: a folder for model.onnx, model.onnx.plt, labels.txt (a character per line), the report
            and trained.onnx, the network before it was fitted. Cut off, it goes on there.
        seed: for every random choice.
        force: write into a folder that holds files.
        steps: batches of training.
        lessons: images that it learns through its rounded weights.
        images: that it is fitted on.
        judges: images that say how good it is.
        progress: told of every stage.
        command: what the user typed, for the report.
    Returns:
        Recogniser: the files, measured.
    Raises:
        BadInput: an argument, a font or the folder can not be used.
        BudgetNotMet: the size is too small.
    """
    characters = parse_charset(charset)
    most = parse_size(target_size, "target-size")
    sight = Sight(characters, size, bounds or Bounds(), fonts)
    sight.draw(0, seed)  # what can not be drawn is told before anything is written
    _look_at_size(most, len(characters))
    notes = _twin_notes(sight)
    channels = channels_for(most, len(characters), size)
    begun = (Path(out) / STAGES).is_dir()  # what it holds, a run that was cut off has written
    folder = output_folder(out, force or begun, "letters writes")
    progress = progress or Progress()

    trained = _trained(sight, channels, seed, steps, folder, progress)
    replace_file(folder / "labels.txt", "".join(f"{one}\n" for one in characters).encode())
    network = packlight.load(trained, [torch.zeros(1, 1, size, size)])
    model = onnx.write(network, folder / "trained.onnx")
    with progress.stage("draw images"):
        learnt, unseen = sight.draw(images, (FITTING, seed)), sight.draw(judges, (JUDGING, seed))
    stages = _stages(sight, channels, seed, steps, folder)
    try:
        fitted = packlight.fit(
            model,
            _dataset(learnt, unseen, network),
            target_size=most,
            effort="normal",
            labels=True,
            lessons=lessons,
            out=folder,
            seed=seed,
            force=True,
            progress=progress,
            command=command,
        )
    except BudgetNotMet:
        stages.clear()
        raise
    stages.clear()
    answers = read(fitted.model, unseen[0])
    right = int((answers == unseen[1]).sum())
    return Recogniser(
        fitted,
        characters,
        channels,
        proportion(right, judges),
        judges,
        _confused(characters, unseen[1], answers),
        notes + _repeats(learnt[0], unseen[0]),
    )


def read(model: Path, images: Array) -> Array:
    """The class that a written recogniser sees in every image.

    Args:
        model: an ONNX file.
        images: uint8 (n, 1, size, size).
    Returns:
        int64 (n,).
    """
    pieces = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
    (scores,) = Session(str(model)).over([piece / np.float32(255)] for piece in pieces)
    classes: Array = scores.argmax(1)
    return classes


def _dataset(learnt: tuple[Array, Array], unseen: tuple[Array, Array], network: Network) -> Dataset:
    """Images and labels as `fit` takes them.

    The judges are drawn as the camera will take them, and stay whole where that repeats an image.
    """
    dataset = open_data(
        {"x_train": learnt[0], "y_train": learnt[1], "x_test": unseen[0], "y_test": unseen[1]},
        network.inputs,
    )
    return replace(dataset, test=replace(dataset.test, content=None), name="images drawn for it")


def _repeats(learnt: Array, unseen: Array) -> list[str]:
    """A note where the bounds leave so little to vary that unseen images are not new."""
    seen = {image.tobytes() for image in learnt}
    count = sum(image.tobytes() in seen for image in unseen)
    if not count:
        return []
    return [f"{count:,} of the unseen images equal one that was learnt: the bounds vary little"]


def _look_at_size(most: int, classes: int) -> None:
    """A size that not even an empty network fits is told before minutes of training."""
    least = BESIDE // 2 + classes
    if most < least:
        raise BudgetNotMet(
            f"target-size allows {most:,} bytes and a recogniser of {classes} characters takes "
            f"more than {show_size(least)} without any weights; ask for more"
        )


def _twin_notes(sight: Sight) -> list[str]:
    """Which classes can not be told apart in which typeface, and what that costs at least."""
    found = twins(sight.charset, sight.size, sight.fonts, sight.bounds.scale)
    if not found:
        return []
    named = ", ".join(f"{pair[0]} and {pair[1]} in {face}" for pair, face in found[:NOTES])
    more = f" and {len(found) - NOTES} more pairs" if len(found) > NOTES else ""
    return [
        f"the same shape but for its size, so that either is often read as the other: {named}{more}"
    ]


def _trained(
    sight: Sight, channels: list[int], seed: int, steps: int, folder: Path, progress: Progress
) -> LetterNet:
    """The network in floats, from an earlier run where that had finished or begun it."""
    stages = _stages(sight, channels, seed, steps, folder)

    def compute() -> dict[str, torch.Tensor]:
        memory = Checkpoints(stages.folder / "train.part")
        network = train(
            sight, channels=channels, seed=seed, steps=steps, memory=memory, progress=progress
        )
        memory.forget()
        return network.state_dict()

    network = LetterNet(len(sight.charset), channels)
    network.load_state_dict(stages.run("trained", compute))
    return network.eval()


def _stages(sight: Sight, channels: list[int], seed: int, steps: int, folder: Path) -> Stages:
    fonts = None if sight.fonts is None else [str(font) for font in sight.fonts]
    asked = {**asdict(sight), "fonts": fonts, "channels": channels, "seed": seed, "steps": steps}
    return Stages(folder, {"packlight": packlight.__version__, **asked}, STAGES)


def _confused(charset: str, labels: Array, answers: Array) -> list[tuple[str, str, int]]:
    wrong = labels != answers
    pairs = Counter(zip(labels[wrong].tolist(), answers[wrong].tolist(), strict=True))
    return [(charset[a], charset[b], count) for (a, b), count in pairs.most_common(SHOWN)]
