"""A network of the zoo in one short text, as commands take it.

mobilenet_v2                        at width 1
mobilenet_v2:0.35                   at width 0.35
shufflenet_v1:0.5,depth=2,groups=4  and other arguments by name
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from packlight import zoo
from packlight.errors import BadInput
from packlight.zoo.blocks import MOST

_TOLD_ELSEWHERE = ("resolution", "classes", "channels", "blocks")  # by the task, or not a number
_HELPERS = ("condense_step", "condensed", "group_lasso")

NETWORKS = tuple(name for name in zoo.__all__ if name not in _HELPERS)


@dataclass(frozen=True)
class Recipe:
    """Which network, how wide, and whatever else its function takes.

    Args:
        name: of a function of `packlight.zoo`.
        width: factor on channels.
        options: the function's other arguments by name, where they are not the default.
    """

    name: str
    width: float = 1.0
    options: tuple[tuple[str, float], ...] = field(default=())

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Read NAME, NAME:WIDTH or NAME:WIDTH,ARGUMENT=VALUE,...

        Raises:
            BadInput: no such network or argument, or a value that is no positive number; says what
                is allowed.
        """
        name, _, rest = text.strip().partition(":")
        allowed = _arguments(name)
        given: dict[str, float] = {}
        for place, part in enumerate(rest.split(",") if rest.strip() else ()):
            key, equals, value = (piece.strip() for piece in part.rpartition("="))
            if not place and not equals:
                key = "width"
            if key not in allowed:
                raise BadInput(
                    f"{part.strip()!r} in {text!r} is not an argument of {name}; write "
                    f"{name}:WIDTH, and by name {', '.join(f'{one}=' for one in allowed)}"
                )
            if key in given:
                raise BadInput(f"{key} is given twice in {text!r}; once is enough")
            given[key] = _number(key, value, allowed[key], text)
        width = given.pop("width", 1.0)
        kept = ((key, value) for key, value in given.items() if value != allowed[key])
        return cls(name, width, tuple(sorted(kept)))

    def __str__(self) -> str:
        others = [f"{key}={_shown(value)}" for key, value in self.options]
        if not others and self.width == 1:
            return self.name
        return f"{self.name}:{','.join([_shown(self.width), *others])}"

    def arguments(self, input_shape: tuple[int, int, int], classes: int) -> dict[str, Any]:
        """The keyword arguments of the function."""
        channels, *sides = input_shape
        numbers = {"width": self.width, **dict(self.options)}
        return {
            **{key: value for key, value in numbers.items() if value != 1 or key != "width"},
            "resolution": min(sides),
            "classes": classes,
            "channels": channels,
        }

    def build(
        self, input_shape: tuple[int, int, int] = (3, 96, 96), classes: int = 10
    ) -> nn.Module:
        """The network with random weights, from torch's own generator.

        Args:
            input_shape: channels, height and width; they may differ where the network ends in the
                mean over all positions.
        Raises:
            BadInput: an argument, or the shape, is not possible.
        """
        arguments = self.arguments(input_shape, classes)
        module: nn.Module = getattr(zoo, self.name)(**arguments)
        if len(set(input_shape[1:])) > 1:
            if not any(isinstance(layer, nn.AdaptiveAvgPool2d) for layer in module.modules()):
                high, wide = input_shape[1:]
                raise BadInput(
                    f"{self.name} reads every position of a square image, and {high}x{wide} is "
                    "none; give as much height as width, or take a network that ends in a mean"
                )
            module.input_shape = input_shape
        return module


def _arguments(name: str) -> dict[str, float]:
    """What a text can tell a function of the zoo, and the defaults."""
    if name not in NETWORKS:
        raise BadInput(f"there is no {name!r} in the zoo; there are {', '.join(NETWORKS)}")
    parameters = inspect.signature(getattr(zoo, name)).parameters
    return {key: one.default for key, one in parameters.items() if key not in _TOLD_ELSEWHERE}


def _number(key: str, value: str, default: float, text: str) -> float:
    """Whole where the default is whole; a switch is 0 or 1."""
    whole = isinstance(default, int)
    least = 0.0 if isinstance(default, bool) or not whole else 1.0
    try:
        number: float = int(value) if whole else float(value)
    except ValueError:
        number = -1.0
    above_zero = whole or number > 0
    most = 1.0 if isinstance(default, bool) else float(MOST)
    if not (least <= number <= most and above_zero):
        kind = "a whole number" if whole else "a number above 0"
        raise BadInput(
            f"{key}={value!r} in {text!r} is not possible; give {kind}, {most:g} at most"
        )
    return bool(number) if isinstance(default, bool) else number


def _shown(value: float) -> str:
    """As `parse` reads it back."""
    return str(int(value)) if value == int(value) else repr(value)
