"""Options for networks that leave something open: sizes of inputs, inputs that choose a branch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def network_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options for networks that leave something open."""
    shape = click.option(
        "--input-shape",
        "input_shapes",
        multiple=True,
        metavar="[NAME=]1x3x224x224",
        help="The shape of an input whose sizes the file leaves open.",
    )
    constant = click.option(
        "--set",
        "constants",
        multiple=True,
        metavar="NAME=VALUE",
        help="The value of an input that chooses between branches, as in sr=16000.",
    )
    return shape(constant(command))


def constants_of(pairs: tuple[str, ...]) -> dict[str, Any] | None:
    """The values that --set gives."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.rpartition("=")
        try:
            values[name] = float(text) if "." in text else int(text)
        except ValueError:
            equals = ""
        if not equals:
            raise click.UsageError(f"--set {pair!r} is not NAME=NUMBER, as in sr=16000")
    return values or None


def examples_of(model: Path, shapes: tuple[str, ...]) -> list[Any] | None:
    """Example inputs of the shapes that --input-shape gives."""
    if not shapes:
        return None
    from packlight.readers.shapes import examples_of as shaped

    return shaped(model, shapes_of(shapes))


def shapes_of(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """The shapes that --input-shape gives, by input; "" where none is named."""
    parsed = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        try:
            parsed[name] = tuple(int(size) for size in sizes.lower().split("x"))
        except ValueError:
            raise click.UsageError(
                f"--input-shape {text!r} is not a shape like 1x3x224x224 or image=1x3x224x224"
            ) from None
    return parsed
