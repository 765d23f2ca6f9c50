"""A recogniser taught on images that are drawn while it learns, no two the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from packlight.learning.checkpoints import Checkpoints
from packlight.learning.threads import threads_for
from packlight.learning.training import Plan
from packlight.learning.training import train as train_network
from packlight.letters.bounds import Bounds
from packlight.letters.charset import CHARSET
from packlight.letters.drawing import SIZE, render
from packlight.letters.fonts import Font
from packlight.letters.network import LetterNet, scaled
from packlight.progress import Progress
from packlight.types import Array

STEPS = 1600  # batches, where nothing else is said
BATCH = 128  # images
RATE = 1e-2  # of learning, at its highest
WARMUP = 0.2  # share of the steps in which it rises
AHEAD = 4  # batches drawn while others are learnt

# Streams of images, so that nothing sees an image of another's.
TRAINING, FITTING, JUDGING = 1, 2, 3

T = TypeVar("T")


@dataclass(frozen=True)
class Sight:
    """What a recogniser is to read, and what comes between it and the clean glyphs.

    Args:
        charset: distinct characters.
        size: side of an image in pixels, 8..256.
        bounds: how far images stray.
        fonts: font files; None for the four that ship.
    """

    charset: str = CHARSET
    size: int = SIZE
    bounds: Bounds = field(default_factory=Bounds)
    fonts: Sequence[Font] | None = None

    def draw(self, count: int, seed: int | Sequence[int]) -> tuple[Array, Array]:
        """Images and labels, as `render` gives them."""
        return render(
            count,
            seed,
            charset=self.charset,
            size=self.size,
            bounds=self.bounds,
            fonts=self.fonts,
        )


def train(
    sight: Sight | None = None,
    *,
    channels: Sequence[int] | None = None,
    seed: int = 0,
    steps: int = STEPS,
    memory: Checkpoints | None = None,
    progress: Progress | None = None,
) -> LetterNet:
    """Teach a LetterNet to read; every batch is drawn afresh, while the one before is learnt.

    Args:
        sight: what to read; None for A-Z and 0-9.
        channels: of its convolutions; None for the 32,000 weights that the demo has.
        seed: for the first weights and for every image.
        steps: batches to learn from.
        memory: where it is kept, so that one that is cut off goes on.
        progress: told of every batch.
    Returns:
        LetterNet: in eval mode.
    """
    sight = sight or Sight()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LetterNet(len(sight.charset), channels or scaled(1, sight.size))

    def batch_of(step: int) -> tuple[Tensor, ...]:
        images, labels = sight.draw(BATCH, (TRAINING, seed, step + 1))
        return torch.from_numpy(images) / 255, torch.from_numpy(labels)

    plan = Plan(steps, rate=RATE, warmup=WARMUP, seed=seed)
    with threads_for(0), Ahead(batch_of, steps) as batches:  # one learns, one draws
        train_network(network, batches, _missed, plan, memory=memory, progress=progress)
    return network


def _missed(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    images, labels = batch
    return F.cross_entropy(network(images), labels)


class Ahead(Generic[T]):
    """Makes what the next steps need while this one is at work.

    Args:
        make: what a step needs, from its number alone.
        steps: how many there are.
    """

    def __init__(self, make: Callable[[int], T], steps: int) -> None:
        self.make, self.steps = make, steps
        self.waiting: dict[int, Future[T]] = {}
        self.pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> T:
        """What a step needs."""
        for number in range(step, min(step + AHEAD, self.steps)):
            if number not in self.waiting:
                self.waiting[number] = self.pool.submit(self.make, number)
        return self.waiting.pop(step).result()
