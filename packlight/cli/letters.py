"""The command `letters`: a letter recogniser from nothing, made to fit a size."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from packlight.cli.output import dump, json_option, progress_for, quiet_option
from packlight.letters.bounds import Bounds

_HELP = {
    "rotation": "Degrees to either side.",
    "shift": "Along each axis, as a fraction of the image.",
    "scale": "Larger or smaller by this fraction.",
    "blur": "Pixels: the strongest, a standard deviation.",
    "noise": "The strongest, black to white being 1.",
    "contrast": "The least, between ink and paper.",
    "background": "How much the light may change across the image.",
}


def _bound_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each bound; the command gets them as one value."""

    @functools.wraps(command)
    def with_bounds(**options: Any) -> Any:
        given = {field.name: options.pop(field.name) for field in fields(Bounds)}
        return command(bounds=Bounds(**given), **options)

    for field in reversed(fields(Bounds)):
        option = click.option(
            f"--{field.name}",
            type=float,
            default=field.default,
            show_default=True,
            help=_HELP[field.name],
        )
        with_bounds = option(with_bounds)
    return with_bounds


@click.command(short_help="Train a letter recogniser, and fit it into a size.")
@click.option(
    "--charset", required=True, metavar="CHARS", help="What to read: A-Z0-9, or characters."
)
@click.option("--target-size", required=True, metavar="SIZE", help="Bound on the download: 10KB.")
@click.option(
    "--font",
    "fonts",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A .ttf or .otf file to draw with; may be repeated.  [default: four that ship]",
)
@_bound_options
@click.option(
    "--size", type=int, default=32, show_default=True, metavar="PX", help="Side of an image."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("letters"),
    show_default=True,
    help="Output folder.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="For every choice.")
@click.option("--force", is_flag=True, help="Replace what an earlier run wrote.")
@json_option
@quiet_option
def letters(
    charset: str,
    target_size: str,
    fonts: tuple[Path, ...],
    bounds: Bounds,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a letter recogniser on images drawn here, and fit it into a size.

    The network has no more room than the size allows, and the images stray from clean letters as
    far as the bounds say, and no further. Its accuracy is of the written file, on images within the
    bounds that nothing has seen.
    """
    from packlight.letters.making import make

    made = make(
        charset,
        target_size,
        fonts=fonts or None,
        bounds=bounds,
        progress=progress_for(quiet),
        command=shlex.join(["packlight", *sys.argv[1:]]),
        **options,
    )
    if as_json:
        dump(made.to_dict())
    else:
        click.echo(str(made))
