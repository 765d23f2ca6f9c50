"""Whether a way to run a network answers like the file says.

What the file says is what its own runtime computes with as few shortcuts as it can be told to take
(onnxruntime without graph optimisations: quantised layers in float, rounded where the file says).
A way to run it may differ from that by float rounding, or by twice as much as the runtime's default
does: where values are rounded to levels, a last bit can move one by a level.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from packlight.data.sources import random_data
from packlight.errors import BadInput
from packlight.runtimes.apart import first_line
from packlight.runtimes.session import Runnable
from packlight.runtimes.targets import target_of
from packlight.runtimes.tuning.choices import Choice
from packlight.types import Array

SAMPLES = 8
SCALES = (1.0, 100.0)  # noise as of normalised inputs, and as of pixels
LIMIT = 1e-5  # of the largest answer
TIMES = 2  # as far as the default's answers are; with levels one more or less is chance
_SEED = 0


def session_of(choice: Choice) -> Runnable:
    """A session of a choice, in this process."""
    target = target_of(choice.runtime)
    made: Runnable = target.session(choice.path, threads=choice.threads, settings=choice.settings)
    return made


class Judge:
    """Knows the answers.

    Args:
        default: how the runtime runs the file unless told otherwise.
    Attributes:
        default_difference: how far its answers are from what the file says, relative.
        batch: samples of a run; None where it may vary.
    Raises:
        BadInput: the size of an input is open, or the file does not run.
    """

    def __init__(self, default: Choice) -> None:
        session = session_of(default)
        for spec in session.inputs:
            if None in spec.sample_shape:
                raise BadInput(
                    f"the size of input {spec} of {default.path.name} is open; fix it in the file"
                )
        noise = random_data(session.inputs, SAMPLES, _SEED).test.arrays()
        self.batch = session.batch
        self._samples = [
            [
                value * value.dtype.type(scale) if value.dtype.kind == "f" else value
                for value in noise
            ]
            for scale in SCALES
        ]
        self._default = [_answers(session, one, default.path) for one in self._samples]
        literal = default
        if default.runtime == "onnx":
            literal = default.set({"graph_optimization_level": "none"})
        said = session_of(literal)
        self._said = [_answers(said, one, default.path) for one in self._samples]
        self.default_difference = self._apart(self._default)

    def difference(self, choice: Choice) -> float:
        """How far answers are from what the file says, relative to the largest.

        Raises:
            BadInput: it does not run, is too far off, or decides otherwise; says which.
        """
        session = session_of(choice)
        made = [_answers(session, session.turned(one), choice.path) for one in self._samples]
        apart = self._apart(made)
        if not apart <= max(LIMIT, TIMES * self.default_difference):
            raise BadInput(f"its answers differ by {apart:.1e} of the largest")
        decided = (_decisions(answers) for answers in made)
        for mine, said, default in zip(decided, self._said, self._default, strict=True):
            both = zip(mine, _decisions(said), _decisions(default), strict=True)
            if any(((a != b) & (a != c)).any() for a, b, c in both):
                raise BadInput("it decides otherwise on random inputs")
        return apart

    def _apart(self, made: list[tuple[Array, ...]]) -> float:
        return max(
            _relative(mine, said)
            for answers, wanted in zip(made, self._said, strict=True)
            for mine, said in zip(answers, wanted, strict=True)
        )


def _answers(session: Runnable, samples: list[Array], path: Path) -> tuple[Array, ...]:
    try:
        return session.over([samples])
    except Exception as problem:
        raise BadInput(f"{path.name} does not run on noise: {first_line(problem)}") from problem


def _relative(mine: Array, said: Array) -> float:
    """Largest difference relative to the largest finite answer; infinite where kinds differ."""
    if mine.shape != said.shape:
        return float("inf")
    mine, said = mine.astype(np.float64), said.astype(np.float64)
    finite = np.isfinite(said)
    if not np.array_equal(mine[~finite], said[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    apart = float(np.abs(mine[finite] - said[finite]).max())
    return apart / (float(np.abs(said[finite]).max()) or 1.0)


def _decisions(answers: tuple[Array, ...]) -> list[Array]:
    """The largest of each sample's classes, of outputs that have classes."""
    return [value.argmax(-1) for value in answers if value.ndim == 2 and value.shape[1] > 1]
