"""Commands that train networks: distill."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from packlight.cli.networks import sample_options
from packlight.cli.output import dump, json_option, progress_for, quiet_option, show


@click.command(short_help="Teach a small network what a big one knows.")
@click.argument("teacher", type=click.Path(path_type=Path))
@click.option(
    "--student",
    required=True,
    metavar="STUDENT",
    help="A network of the zoo with its width, mobilenet_v2:0.35, or an .onnx or .pt2 file.",
)
@sample_options
@click.option("--labels", is_flag=True, help="Learn from the samples' labels as well.")
@click.option(
    "--balance",
    type=float,
    default=0.5,
    show_default=True,
    help="Weight of the teacher beside labels, where it answers right; 0: labels alone.",
)
@click.option("--epochs", type=int, metavar="N", help="Rounds.  [default: 30, or 3000 steps]")
@click.option(
    "--temperature",
    type=float,
    default=4.0,
    show_default=True,
    help="What the teacher's answers are softened by.",
)
@click.option("--features", is_flag=True, help="Match what the last layers read, too.")
@click.option(
    "--rate",
    type=float,
    help="Of learning, at its highest.  [default: 0.006, of a file 0.0012]",
)
@click.option("--target-size", metavar="SIZE", help="Then fit the student into this download.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Output folder.  [default: TEACHER-distilled]",
)
@click.option("--force", is_flag=True, help="Replace what an earlier one wrote into the folder.")
@json_option
@quiet_option
def distill(teacher: Path, student: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Teach a small STUDENT what TEACHER knows; both are judged on samples nothing learnt from.

    Started by torchrun, several processes train as one.
    """
    from packlight.errors import BudgetNotMet
    from packlight.learning.distilling import distill as distill_network
    from packlight.learning.distributed import leads

    try:
        result = distill_network(
            teacher,
            student,
            options.pop("data"),
            progress=progress_for(quiet),
            command=shlex.join(["packlight", *sys.argv[1:]]),
            **options,
        )
    except BudgetNotMet as problem:
        if problem.nearest is not None:
            _show(problem.nearest, as_json)
        raise
    if leads():
        _show(result, as_json)


def _show(result: Any, as_json: bool) -> None:
    if as_json:
        dump(result.report)
        return
    show(result)
    for note in result.report["notes"]:
        click.echo(f"note: {note}")
    click.echo(f"student   {result.model}")
    click.echo(f"to learn on  {result.program}")
    if result.fitted is not None:
        click.echo(f"fitted    {result.fitted}")
    click.echo(f"report    {result.model.with_name('distill.json')}")
